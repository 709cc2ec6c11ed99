"""Images and labels as a trainer takes them: checked, as bytes, and watched while they are trained on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from bnnedge.callbacks import Callback
from bnnedge.data import DataError
from bnnedge.data.dataset import check_classes, check_images, check_labels, quantise
from bnnedge.network import Network


def images_for(network: Network, x: np.ndarray, name: str) -> np.ndarray:
    """(N, *input_shape) uint8 of images for a network; DataError, with their `name`, if their shape or range is another.

    Always a new view: a device takes the same object for the same pixels.
    """
    images = check_images(name, x)
    if images.shape[1:] != network.input_shape:
        raise DataError(
            f"{name} holds images of shape {images.shape[1:]}, but network {network.name!r} takes {network.input_shape}"
        )
    if np.issubdtype(images.dtype, np.floating) and images.max() > 1:
        raise DataError(f"{name} holds floats up to {images.max():g}: scale to [0, 1], or give integers 0..255")
    return np.ascontiguousarray(quantise(images, 255)).view()


def samples_for(
    network: Network, x: np.ndarray, y: np.ndarray, name_x: str = "x", name_y: str = "y"
) -> tuple[np.ndarray, np.ndarray]:
    """Images as `images_for` gives them and labels (N,) int64 of the network's classes; DataError if they are not such."""
    images = images_for(network, x, name_x)
    labels = check_labels(name_y, y, len(images))
    check_classes(name_y, labels, network.classes)
    return images, labels


def digest(images: np.ndarray, labels: np.ndarray) -> int:
    """32 bits that tell a data set from another."""
    return zlib.crc32(np.ascontiguousarray(labels, "<i8").data, zlib.crc32(images.data))


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
