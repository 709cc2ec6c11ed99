"""Training images varied anew for each epoch, on the host: shifted and mirrored.

A device trains on what it is given; that an epoch's images differ from the last one's costs it nothing but their upload.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bnnedge.data.arrays import DataError
from bnnedge.keywords import explained_class
from bnnedge.settings import flag
from bnnedge.shapes import MOVE, channels_first

SHIFT = 0.125  # share of an image's size: 4 pixels of 32


@explained_class
@dataclasses.dataclass(frozen=True)
class Augment:
    """How training images are varied.

    Parameters
    ----------
    shift: largest shift as a share of the image's size, 0 to 0.5: an image is moved by a whole number of pixels, each in
        -round(shift * size)..round(shift * size) as likely as the other, down and to the right independently. 0.125 is 4
        pixels of 32. What comes in from beyond the edge is the lowest pixel of all the images.
    flip: mirror each image, left to right, with probability 1/2. Not for letters and digits.

    Raises
    ------
    ValueError: a shift out of range, or neither of the two asked for
    """

    shift: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        number = isinstance(self.shift, (int, float, np.number)) and not isinstance(self.shift, bool)
        if not number or not 0 <= self.shift <= 0.5:
            raise ValueError(f"shift must be a share of the image's size in 0..0.5, not {self.shift!r:.80}")
        flip = flag("flip", self.flip)
        if not self.shift and not self.flip:
            raise ValueError("an augmentation must shift or flip: give shift, flip or both")
        # Plain ones, which a checkpoint can hold.
        object.__setattr__(self, "shift", float(self.shift))
        object.__setattr__(self, "flip", flip)

    @classmethod
    def parse(cls, text: str) -> Augment:
        """Of "shift" (by up to an eighth), "shift=SHARE", "flip", or a shift and flip with a comma between; else ValueError."""
        chosen: dict[str, Any] = {}
        for part in text.split(","):
            name, given, share = part.partition("=")
            if name in chosen or name not in ("shift", "flip") or (given and name == "flip"):
                raise ValueError(f"must be shift, shift=SHARE, flip, or shift,flip, not {text!r}")
            try:
                chosen[name] = True if name == "flip" else float(share) if given else SHIFT
            except ValueError:
                raise ValueError(f"shift must be a share of the image's size, not {share!r}") from None
        return cls(**chosen)

    def __str__(self) -> str:
        shifted = [f"shifted by up to {100 * self.shift:g} %"] if self.shift else []
        return " and ".join(shifted + ["mirrored at random"] * self.flip)

    def check(self, shape: tuple[int, ...]) -> None:
        """DataError if images of this shape have no height and width, or have them behind their channels."""
        if channels_first(shape):
            raise DataError(f"augment takes images with channels last, not {shape}: {MOVE}")
        if len(shape) not in (2, 3):
            raise DataError(f"augment takes images of shape (height, width) or (height, width, channels), not {shape}")

    def apply(self, images: np.ndarray, random: np.random.RandomState, out: np.ndarray) -> None:
        """Write each image, varied, to `out`.

        images, out: (N, H, W) or (N, H, W, C) uint8, not overlapping; `images` stays as it is. The same state of `random`
        gives the same pixels with every version of NumPy and on every machine. DataError for images of another shape.
        """
        self.check(images.shape[1:])
        count, height, width = images.shape[:3]
        # An explicit type: the default one, and what is drawn for it, depends on the machine.
        down, right = (
            random.randint(0, 2 * most + 1, count, np.uint32).astype(np.int64) - most
            for most in (round(self.shift * size) for size in (height, width))
        )
        mirrored = random.randint(0, 2, count, np.uint32).astype(np.int64) * self.flip
        low = images.min()
        # By kinds, all images of one at once: slices are copied several times as fast as single pixels.
        varied = np.stack([down, right, mirrored], axis=1)
        kinds, kind_of = np.unique(varied, axis=0, return_inverse=True)
        members = np.split(np.argsort(kind_of.ravel(), kind="stable"), np.bincount(kind_of.ravel()).cumsum()[:-1])
        for (y, x, mirror), chosen in zip(kinds, members, strict=True):
            part = images[chosen]
            moved = np.full_like(part, low)
            to_y, from_y = _moved(int(y), height)
            to_x, from_x = _moved(int(x), width)
            moved[:, to_y, to_x] = (part[:, :, ::-1] if mirror else part)[:, from_y, from_x]
            out[chosen] = moved


def _moved(shift: int, size: int) -> tuple[slice, slice]:
    """Where the pixels come to lie, and which these are, when an axis of that size is shifted."""
    return slice(max(shift, 0), size + min(shift, 0)), slice(max(-shift, 0), size - max(shift, 0))


class Epochs:
    """Training images as the epochs of a run show them.

    A device takes the same object for the same pixels: within an epoch `show` returns one array, in the next another. All
    of an epoch's are views of one buffer, so that two sets of images, not three, are in the host's memory.
    """

    def __init__(self, images: np.ndarray, augment: Augment | None) -> None:
        if augment is not None:
            augment.check(images.shape[1:])
        self._images, self._augment = images, augment
        self._shown: tuple[int, np.ndarray] | None = None
        self._buffer = None if augment is None else np.empty_like(images)

    def show(self, epoch: int, random: np.random.RandomState) -> np.ndarray:
        """Images (N, ...) uint8 of an epoch; `random`, if they are not at hand, decides on how they vary."""
        if self._augment is None or self._buffer is None:
            return self._images
        if self._shown is None or self._shown[0] != epoch:
            self._augment.apply(self._images, random, self._buffer)
            self._shown = epoch, self._buffer.view()
        return self._shown[1]
