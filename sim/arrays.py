"""The libraries that the golden model and the float references can compute with: any of the Python array API standard.

Their functions find the library in their arguments (`array_namespace`); here is how arrays get into one, and back.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import array_api_compat
import numpy as np
from array_api_compat import array_namespace

__all__ = ["LIBRARIES", "NUMPY", "Array", "Library", "array_namespace", "library", "library_of", "to_numpy"]

Array = Any
"""An array of any of the libraries: the standard has no type for it."""

LIBRARIES = ("numpy", "torch", "cupy", "array_api_strict")


@dataclasses.dataclass(frozen=True)
class Library:
    """A library's namespace, and the device on which it puts new arrays; None for its default."""

    xp: Any
    device: Any = None

    def put(self, array: np.ndarray) -> Array:
        """The array in this library; it may share the memory, unless that is read-only, which not every library knows."""
        return self.xp.asarray(array if array.flags.writeable else array.copy(), device=self.device)


NUMPY = Library(array_api_compat.array_namespace(np.empty(0)))


def library(name: str) -> Library:
    """A library by its name in `LIBRARIES`, with a device of PyTorch behind a colon: "numpy", "cupy", "torch:cuda".

    ValueError for another name, and if it is not installed or lacks the device.
    """
    module, _, device = name.partition(":")
    if module not in LIBRARIES or (device and module != "torch"):
        raise ValueError(f"arrays must be one of {', '.join(LIBRARIES)}, or torch:DEVICE such as torch:cuda, not {name!r}")
    try:
        found = importlib.import_module(module)
        xp = array_namespace(found.empty(0))
        xp.asarray(0, device=device or None)
    except (ImportError, RuntimeError, AssertionError) as error:  # PyTorch asserts that it was built with CUDA
        raise ValueError(f"arrays {name}: {' '.join(str(error).split())}") from error
    return Library(xp, device or None)


def library_of(array: Array) -> Library:
    """The library of an array, and its device."""
    return Library(array_namespace(array), array_api_compat.device(array))


def to_numpy(array: Array) -> np.ndarray:
    """The array in NumPy; it may share the memory."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_torch_array(array) or array_api_compat.is_cupy_array(array):
        array = array_api_compat.to_device(array, "cpu")
    return np.asarray(array)
