"""Images: bytes, or floats (and booleans) of which 1 is white; what is refused, and how they become bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnedge.data.arrays import DataError, note, plain
from bnnedge.shapes import MOVE, channels_first

_AT_ONCE = 1024  # images
_OVERSHOOT = 0.1  # of images in [0, 1], by interpolation


def check_images(what: str, given: Any) -> np.ndarray:
    """Images of any accepted dtype and range, (N, ...), unchanged; DataError otherwise.

    Floats may miss their range by less than half a byte's step, which rounding takes away.
    """
    images = plain(what, given)
    if images.ndim < 2:
        hint = "one image alone is x[None], and labels come behind their images"
        raise DataError(f"{what} must have shape (N, ...) with one or more axes per image, not {images.shape}: {hint}")
    if images.size == 0:
        raise DataError(f"{what} is empty: its shape is {images.shape}")
    if images.dtype.kind not in "biuf":
        raise DataError(f"{what} must be integers in 0..255 or floats in [0, 1], not {images.dtype}: convert them (astype)")
    if channels_first(images.shape[1:]):
        hint = MOVE
        hint += ", or leave out the one that there is: x[:, 0]" if images.shape[1] == 1 else ""
        hint += f"; if {images.shape[1]} is the height, exchange it with the width: np.swapaxes(x, 1, 2)"
        raise DataError(f"{what} holds images of shape {images.shape[1:]}: {hint}")
    low, high = images.min(), images.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{what} holds NaN or infinite values: leave these images out, or replace the values (np.nan_to_num)")
    limits = np.array([low, high]) if images.dtype.kind in "iu" else _rounded(np.array([low, high]), in_unit(images))
    if limits[0] < 0 or limits[1] > 255:
        raise DataError(f"{what} must lie in 0..255 (or, floats, in [0, 1]), not {low:g}..{high:g}: {_hint(images, low, high)}")
    return images


def _hint(images: np.ndarray, low: Any, high: Any) -> str:
    """How to bring images into the range."""
    if images.dtype.kind == "f" and low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return "give np.clip(x, 0, 1)"
    if images.dtype.kind == "f" and -1 <= low < -0.9 and high <= 1:
        return "give (x + 1) / 2, if -1 is black and 1 is white"
    return "give floats in [0, 1], (x - lo) / (hi - lo), lo and hi being the limits of the training images, and clip them"


def in_unit(images: np.ndarray) -> bool:
    """Whether 1 is white, not 255: of booleans, and of floats up to 1."""
    return images.dtype.kind == "b" or (images.dtype.kind == "f" and bool(_rounded(images.max(keepdims=True), True) <= 255))


def _rounded(values: np.ndarray, unit: bool) -> np.ndarray:
    """What becomes of floats, in their own type, in which a half float of 1.002 is 256."""
    with np.errstate(over="ignore"):
        return np.rint(values * (255 if unit else 1))


def refuse_beyond_unit(what: str, images: np.ndarray) -> None:
    """DataError for checked floats beyond 1, where there is nothing that tells whether 1 or 255 is white."""
    if images.dtype.kind == "f" and not in_unit(images):
        high = images.max()
        hint = "give np.clip(x, 0, 1)" if high <= 1 + _OVERSHOOT else "scale to [0, 1], or give integers 0..255"
        raise DataError(f"{what} holds floats up to {high:g}: {hint}")


def refuse_dim(what: str, images: np.ndarray, unit: bool) -> None:
    """DataError if checked images are too dim to train on: as bytes, they would leave the top bit unused."""
    high = images.max()
    if _rounded(images.max(keepdims=True), unit) < 128 and images.dtype.kind != "b":
        kind = "floats" if images.dtype.kind == "f" else "integers"
        scaled = f"x / {high:g}" if high else "were floats made integers, which are 0 below 1?"
        raise DataError(
            f"{what} holds {kind} up to {high:g} only, and the first layer learns from the upper bits of a pixel in 0..255: "
            f"scale them, and test images likewise, to 0..255, or give floats in [0, 1] ({scaled})"
        )


def note_mixed(what: str, images: np.ndarray) -> None:
    """Warn if some of checked floats beyond 1 are fractions up to 1: to the nearest integer, they become black."""
    flat = images.reshape(len(images), -1)
    small = np.flatnonzero(flat.max(1) <= 1)
    mixed = sum(bool((flat[i] != np.rint(flat[i])).any()) for i in small)
    if mixed:
        note(f"{what} holds {mixed} images up to 1 among others up to {images.max():g}: bring all to one scale")


def quantise(images: np.ndarray, unit: bool) -> np.ndarray:
    """Checked images as uint8 0..255, rounded to the nearest integer; those `in_unit` are multiplied by 255 first."""
    if images.dtype.kind in "iu":
        return images.astype(np.uint8, copy=False)
    made = np.empty(images.shape, np.uint8)
    for i in range(0, len(images), _AT_ONCE):  # beside large images there need be no room for the same once more
        made[i : i + _AT_ONCE] = _rounded(images[i : i + _AT_ONCE], unit)
    return made
