"""Images and labels as a trainer takes them: checked, as bytes, and watched while they are trained on."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bnnedge.callbacks import Callback
from bnnedge.data.arrays import DataError
from bnnedge.data.dataset import Dataset
from bnnedge.data.images import check_images, in_unit, quantise, refuse_beyond_unit, refuse_dim
from bnnedge.data.labels import check_classes, check_labels, note_unused
from bnnedge.data.scale import Scale, compare, note_other, ranged
from bnnedge.network import Network
from bnnedge.shapes import MOVE


class Samples(NamedTuple):
    """Images (N, *input_shape) uint8 and labels (N,) int64 of a network."""

    images: np.ndarray
    labels: np.ndarray


def images_for(network: Network, x: Any, name: str, scale: Scale | None = None) -> np.ndarray:
    """(N, *input_shape) uint8 of images for a network; DataError, with their `name`, if their shape or range is another.

    scale: of the images that the network was trained on: a warning (`DataWarning`) says if these are of another.
    Always a new view: a device takes the same object for the same pixels.
    """
    given = _checked(network, x, name)
    images = _bytes(given)
    if scale is not None:
        note_other(scale, images, name, ranged(given))
    return images


def samples_for(network: Network, x: Any, y: Any, name_x: str = "x", name_y: str = "y", scale: Scale | None = None) -> Samples:
    """Images as `images_for` gives them and labels of the network's classes; DataError if they are not such."""
    images = images_for(network, x, name_x, scale)
    return Samples(images, _labels(network, y, name_y, len(images)))


def training_samples(network: Network, x: Any, y: Any, validation_data: Any = None) -> tuple[Samples, Samples | None, Scale]:
    """Samples to train on, those to validate on, if any, and the scale of the images.

    validation_data: (x, y) or a `Dataset`, whose test images are meant.
    Raises DataError for what cannot be used, images too dim to train on, and validation images of another scale. Warns
    (`DataWarning`) of classes without an image, and of a scale that may be another.
    """
    given = _checked(network, x, "x")
    refuse_dim("x", given, in_unit(given))
    samples = Samples(_bytes(given), _labels(network, y, "y", len(given)))
    scale = Scale.of(samples.images)
    validation = None
    if validation_data is not None:
        x_val, y_val = _pair(validation_data)
        held = _checked(network, x_val, "validation x")
        validation = Samples(_bytes(held), _labels(network, y_val, "validation y", len(held)))
        compare(scale, Scale.of(validation.images), ("x", "validation x"), (ranged(given), ranged(held)))
    note_unused("y", samples.labels, network.classes)
    return samples, validation, scale


def _pair(given: Any) -> tuple[Any, Any]:
    """Images and labels of what is given to validate on."""
    if isinstance(given, Dataset):
        return given.x_test, given.y_test
    if not isinstance(given, (tuple, list)):
        raise DataError(f"validation_data must be (x, y) or a Dataset, not {type(given).__name__}")
    if len(given) == 3:
        raise DataError("validation_data has three parts, but samples have no weights here: give (x, y)")
    if len(given) != 2:
        raise DataError(f"validation_data must be (x, y) or a Dataset, not {len(given)} parts")
    return given[0], given[1]


def _checked(network: Network, x: Any, name: str) -> np.ndarray:
    """Images of the network's shape, and of a range that is clear, as they are."""
    images = check_images(name, x)
    found, wanted = images.shape[1:], network.input_shape
    if found != wanted:
        hint = _hint(found, wanted)
        if images.shape == wanted:
            hint = ": one image alone is x[None]"
        elif images.shape[:-1] == wanted:
            hint = ": give np.moveaxis(x, -1, 0), if the last axis counts the images"
        raise DataError(f"{name} holds images of shape {found}, but network {network.name!r} takes {wanted}{hint}")
    refuse_beyond_unit(name, images)
    return images


def _hint(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """How to make images of one shape those of another, where there is only one way."""
    if found == (1, *wanted):
        return ": channels first? leave the axis out: x[:, 0]"
    if len(found) == 3 and (*found[1:], found[0]) == wanted:
        return f": {MOVE}"
    if found == (*wanted, 1):
        return ": give x[..., 0]"
    if wanted == (*found, 1):
        return ": give x[..., None]"
    if len(found) == 1 and found[0] == math.prod(wanted) + 1:
        return ": is a column of labels among them? leave it out"
    if len(found) == len(wanted) == 3 and found[:2] == wanted[:2] and (found[2], wanted[2]) == (4, 3):
        return ": leave the opacity out: x[..., :3]"
    if math.prod(found) != math.prod(wanted):
        return ""
    if len(wanted) == 1:
        return ": give x.reshape(len(x), -1)"
    grey = len(wanted) == 2 or wanted[2:] == (1,)
    return f": give x.reshape(-1, {', '.join(map(str, wanted))})" if len(found) == 1 and grey else ""


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(quantise(images, in_unit(images))).view()


def _labels(network: Network, y: Any, name: str, count: int) -> np.ndarray:
    labels = check_labels(name, y, count)
    check_classes(name, labels, network.classes)
    return labels


def digest(images: np.ndarray, labels: np.ndarray, before: int = 0) -> int:
    """32 bits that tell a data set from another. before: those of what comes before it."""
    return zlib.crc32(np.ascontiguousarray(labels, "<i8").data, zlib.crc32(images.data, before))


class Unchanged(Callback):
    """Sees that x stays as it was: a device keeps a copy, and so would train on other images than the golden model."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, known: int) -> None:
        self._samples, self._digest, self._epochs = (images, labels), known, 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._epochs += 1
        if self._epochs == 1:  # early; after each epoch it would take a board a good part of the time
            self.check()

    def check(self) -> None:
        """DataError if it did not."""
        if digest(*self._samples) != self._digest:
            raise DataError(
                "x was changed while fit ran, and devices differ in when they see that: begin anew, with an array that stays as "
                "it is, and vary images by `augment`"
            )
