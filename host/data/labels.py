"""Labels: one class number an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.data.arrays import DataError, note, plain

_LIMIT = 1 << 31


def check_labels(what: str, given: Any, count: int) -> np.ndarray:
    """Labels of `count` images as int64, (count,); DataError if they are none.

    Taken are shapes (N,) and (N, 1), and integers, booleans, or floats that are whole.
    """
    labels = plain(what, given)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras's CIFAR-10 has them
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{what} must have shape (N,), one class number an image, not {labels.shape}{_hint(labels, count)}")
    if len(labels) != count:
        raise DataError(f"{what} has {len(labels)} labels for {count} images")
    _check_kind(what, labels)
    if labels.min() < 0:
        signs = set(np.unique(labels).tolist()) == {-1, 1}
        hint = "for labels -1 and 1 give (y + 1) // 2" if signs else "class numbers begin at 0"
        raise DataError(f"{what} holds the negative label {labels.min():g}: {hint}")
    # Before the conversion, in which uint64 could wrap around.
    if int(labels.max()) >= _LIMIT:
        raise DataError(f"{what} holds the label {labels.max()}; class numbers must be less than 2**31")
    return labels.astype(np.int64)


def _hint(labels: np.ndarray, count: int) -> str:
    if labels.size == count:
        return ": give y.ravel()"
    if labels.ndim == 2 and len(labels) == count and labels.shape[1]:
        return ": of one-hot labels give y.argmax(1)"
    if labels.ndim == 3 and labels.shape[:2] == (count, 1):
        return ": of one-hot labels give y.argmax(-1)"
    return ": are these images? They come first, and their labels behind them" if labels.ndim > 2 else ""


def _check_kind(what: str, labels: np.ndarray) -> None:
    kind = labels.dtype.kind
    if kind in "US":
        numbers = all(isinstance(label, str) and label.isdecimal() for label in labels[:100].tolist())
        hint = "y.astype(int) gives them" if numbers else "classes, y = numpy.unique(y, return_inverse=True) numbers them"
        raise DataError(f"{what} must be integers, not text such as {bounded.shown(repr(labels[:1].tolist()[0]), 40)}: {hint}")
    if kind == "f":
        if not np.isfinite(labels).all():
            raise DataError(f"{what} holds NaN or infinite values: leave out images without a label")
        broken = labels[labels != np.rint(labels)]
        if len(broken):
            raise DataError(f"{what} must be integers, not {labels.dtype} such as {broken[0]:g}: classes are numbered")
    elif kind not in "biu":
        raise DataError(f"{what} must be integers, not {labels.dtype}")


def check_classes(what: str, labels: np.ndarray, classes: int) -> None:
    """DataError if a checked label is not one of `classes`."""
    if labels.max() >= classes:
        hint = ". Do they begin at 1? Then subtract 1" if labels.max() == classes and labels.min() == 1 else ""
        raise DataError(f"{what} holds the label {labels.max()}; the {classes} classes are 0..{classes - 1}{hint}")


def note_unused(what: str, labels: np.ndarray, classes: int) -> None:
    """Warn if there are classes without an image to train on."""
    seen = np.bincount(labels.astype(np.intp), minlength=classes)  # a board has 32 bits, and refuses to count numbers of 64
    unused = np.flatnonzero(seen[:classes] == 0)
    if len(unused):
        numbers = bounded.listed([str(number) for number in unused])
        hint = ": do the labels begin at 1? Then subtract 1" if labels.min() == 1 else ""
        note(f"{what} has no image of class{'es' * (len(unused) > 1)} {numbers} of the {classes} to train on{hint}")
