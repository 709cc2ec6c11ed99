"""Reader of the pickles of CIFAR-10's Python version, in which nothing can run.

A pickle is a program that may call any function it names. The files of CIFAR-10 name three, all NumPy's, to rebuild an
array of bytes; stand-ins take their place here, for NumPy's own would trust the strides and types that a file claims.
Beside such arrays a pickle is made of strings, bytes, numbers, lists, tuples and dictionaries; every other name ends the
reading.
"""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from bnnedge.data.dataset import DataError

_UNSIGNED_BYTE = ("u1", b"u1")


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: object) -> None:
        if code not in _UNSIGNED_BYTE:
            raise pickle.UnpicklingError(f"an array of type {code!r}; only unsigned bytes (u1) are read")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment, which bytes do not have."""


class _Array:
    """Stands in for numpy.ndarray; `values` has what the pickle gives it."""

    values: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, octets = state
        if not isinstance(kind, _Type) or not isinstance(octets, bytes) or math.prod(shape) != len(octets):
            raise pickle.UnpicklingError("an array that is not made of as many bytes as its shape says")
        self.values = np.frombuffer(octets, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Made anew at each call: a pickle can set attributes of what it gets.
        known: dict[tuple[str, str], Callable[..., object] | None] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),  # of NumPy 2
            ("numpy", "ndarray"): None,  # an argument of _reconstruct
            ("numpy", "dtype"): lambda code, *_: _Type(code),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which data have no need of")
        return known[module, name]


def read(where: str, octets: bytes) -> dict[str, Any]:
    """The dictionary in a pickle: keys as str, arrays as uint8 `numpy.ndarray`. Runs nothing that the pickle names.

    Raises DataError, beginning with `where`, if it is damaged, is no dictionary, or holds anything but byte arrays,
    bytes, strings, numbers, lists, tuples and dictionaries.
    """
    try:
        content = _Restricted(io.BytesIO(octets), encoding="bytes").load()
    # A malformed pickle makes the unpickler raise nearly anything.
    except Exception as error:
        raise DataError(f"{where}: not a pickle of plain data: {error or type(error).__name__}") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: holds no dictionary")
    found = {}
    for key, value in content.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        # One that was made, but never filled, has no values.
        found[name] = getattr(value, "values", None) if isinstance(value, _Array) else value
    return found
