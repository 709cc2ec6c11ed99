"""The libraries that the golden model and the float references can compute with: any of the Python array API standard.

Their functions find the library in their arguments (`array_namespace`); here is how arrays get into one, and back. NumPy needs
nothing beside it, as a board has nothing else, and there it may be as old as 1.21; the others need `array_api_compat`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
from typing import Any

import numpy as np

from bnnedge.sim import precision

Array = Any
"""An array of any of the libraries: the standard has no type for it."""

LIBRARIES = ("numpy", "torch", "cupy", "array_api_strict")


@dataclasses.dataclass(frozen=True)
class Library:
    """A library's namespace, and the device on which it puts new arrays; None for its default."""

    xp: Any
    device: Any = None

    def put(self, array: np.ndarray | Array) -> Array:
        """The array in this library; it may share the memory, unless that is read-only, which not every library knows."""
        if isinstance(array, np.ndarray) and not array.flags.writeable and self.xp is not NUMPY.xp:
            array = array.copy()
        return self.xp.asarray(array, device=self.device)

    def on_processor(self) -> bool:
        """Whether these are PyTorch's arrays in the processor's memory, which NumPy's can share."""
        return self._name == "torch" and str(self.put(np.zeros(1, np.int8)).device) == "cpu"

    @property
    def _name(self) -> str:
        return getattr(self.xp, "__name__", "").rpartition(".")[2]

    def exact(self) -> contextlib.AbstractContextManager[None]:
        """Around products that must be exact: whatever a user of PyTorch has set, float32 is computed as float32 there.

        ValueError for CuPy, if it has been told to round.
        """
        if self._name == "cupy" and os.environ.get("CUPY_TF32", "0") not in ("", "0"):
            raise ValueError("CUPY_TF32 lets CuPy round the factors of products: unset it, or compute with another library")
        if self._name != "torch":
            return contextlib.nullcontext()
        return precision.exact(str(self.device or "cpu").partition(":")[0])


class _NumPy:
    """NumPy by the names of the standard, where older versions have others."""

    bool = np.bool_
    concat = staticmethod(np.concatenate)
    permute_dims = staticmethod(np.transpose)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def astype(self, a: Array, dtype: Any, *, copy: Any = True) -> Array:
        return a.astype(dtype, copy=copy)

    def clip(self, a: Array, low: float, high: float | None) -> Array:
        """What `numpy.clip` takes some microseconds longer for."""
        clipped = np.maximum(a, low)
        return clipped if high is None else np.minimum(clipped, high, out=clipped)

    def take(self, a: Array, indices: Array, *, axis: int | None = None) -> Array:
        """As `numpy.take`, which on a machine of 32 bits refuses indices of 64."""
        return np.take(a, indices.astype(np.intp, copy=False), axis)

    def asarray(self, a: Any, dtype: Any = None, device: Any = None) -> Array:
        return np.asarray(a, dtype)

    def arange(self, *bounds: int, dtype: Any = None, device: Any = None) -> Array:
        return np.arange(*bounds, dtype=dtype)

    def empty(self, shape: Any, dtype: Any = None, device: Any = None) -> Array:
        return np.empty(shape, dtype)

    def zeros(self, shape: Any, dtype: Any = None, device: Any = None) -> Array:
        return np.zeros(shape, dtype)

    def ones(self, shape: Any, dtype: Any = None, device: Any = None) -> Array:
        return np.ones(shape, dtype)

    def full(self, shape: Any, value: Any, dtype: Any = None, device: Any = None) -> Array:
        return np.full(shape, value, dtype)


NUMPY = Library(_NumPy())


def array_namespace(array: Array) -> Any:
    """The functions of an array's library, by the names of the standard."""
    if isinstance(array, np.ndarray):
        return NUMPY.xp
    return importlib.import_module("array_api_compat").array_namespace(array)


def library(name: str) -> Library:
    """A library by its name in `LIBRARIES`, with a device of PyTorch behind a colon: "numpy", "cupy", "torch:cuda".

    ValueError for another name, and if it is not installed or lacks the device.
    """
    if name == "numpy":
        return NUMPY
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
    if isinstance(array, np.ndarray):
        return NUMPY
    return Library(array_namespace(array), importlib.import_module("array_api_compat").device(array))


def to_numpy(array: Array) -> np.ndarray:
    """The array in NumPy; it may share the memory."""
    if isinstance(array, np.ndarray):
        return array
    compat = importlib.import_module("array_api_compat")
    if compat.is_torch_array(array) or compat.is_cupy_array(array):
        array = compat.to_device(array, "cpu")
    return np.asarray(array)
