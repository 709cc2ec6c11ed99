"""What people bring as arrays, be it lists, pandas or PyTorch, as plain NumPy arrays of numbers; and what is said of data."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from bnnedge import bounded


class DataError(ValueError):
    """Data that cannot be used; the text says which and why."""


class DataWarning(UserWarning):
    """Data that can be used, but hardly are what was meant; the text says which and why."""


def note(text: str) -> None:
    """Warn (`DataWarning`), as of the line that called this package."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "bnnedge":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(text, DataWarning, stacklevel=depth)


def plain(what: str, given: Any) -> np.ndarray:
    """An array of one or more axes, of booleans, integers or floats, as it is; of other numbers or text, too, of any dtype.

    Taken are lists, what can be read as an array (pandas, PyTorch), and arrays of objects that are all numbers, or text.
    Raises DataError, with `what` it is, for anything else, and where a mask would be lost.
    """
    parts = given if isinstance(given, (list, tuple)) else ()
    if any(isinstance(part, np.ma.MaskedArray) and np.any(part.mask) for part in (given, *parts)):
        raise DataError(
            f"{what} has masked values, and the mask would be lost: fill them, as numpy.ma.filled(x, 0) does, or leave these "
            "images out"
        )
    if callable(getattr(given, "toarray", None)) and not isinstance(given, np.ndarray):
        raise DataError(f"{what} is a sparse matrix: give its toarray()")
    if hasattr(given, "x_train") and hasattr(given, "x_test"):
        raise DataError(f"{what} is a data set: give its arrays, x_train and y_train, or x_test and y_test")
    found = _read(what, given)
    if found.ndim == 0:
        batches = hasattr(given, "__iter__") and not isinstance(given, (str, bytes, dict))
        hint = ": gather what it yields, with numpy.concatenate" if batches else ""
        raise DataError(f"{what} must be an array, not {bounded.shown(type(given).__name__)}{hint}")
    if found.dtype == object:
        odd = next((repr(value) for value in found.flat if not isinstance(value, (int, float, np.number))), "none")
        raise DataError(
            f"{what} holds Python objects, such as {bounded.shown(odd, 40)}, not numbers of one kind: leave out what is missing, "
            "and convert the others (astype)"
        )
    if found.dtype.names:
        raise DataError(f"{what} has fields ({bounded.listed(found.dtype.names)}): give an array of numbers")
    return found


def _read(what: str, given: Any) -> np.ndarray:
    parts = given if isinstance(given, (list, tuple)) else ()
    try:
        with warnings.catch_warnings():
            # Of NumPy before 1.24, for lists of different lengths.
            warnings.filterwarnings("error", message="Creating an ndarray from ragged")
            # Lists of tensors: older versions of NumPy look for numbers in them.
            found = np.asarray([np.asarray(part) if hasattr(part, "__array__") else part for part in parts] if parts else given)
    except Exception as error:  # of somebody else's __array__, it may be any
        shapes = dict.fromkeys(str(part.shape) for part in parts if isinstance(part, np.ndarray))
        if len(shapes) > 1:
            raise DataError(f"{what} holds arrays of shapes {bounded.listed(list(shapes))}: all must be of one") from error
        said = bounded.shown(" ".join(str(error).split()) or type(error).__name__, 200)
        raise DataError(f"{what} ({bounded.shown(type(given).__name__)}) cannot be read as an array: {said}") from error
    if found.dtype == object and found.ndim:
        try:
            inner = np.array(found.tolist())
        except ValueError:
            return found
        if inner.dtype.kind in "biufU" and inner.shape[: found.ndim] == found.shape:
            return inner
    return found
