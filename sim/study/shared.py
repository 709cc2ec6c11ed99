"""One image of a data set in memory, which all workers of this machine map.

It is a file without a name, which this process holds open and others reach through its number: it takes no room on a disk, and is
gone when the last of them is, however they end.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
from typing import Any, NamedTuple

import numpy as np

from bnnedge.data import Dataset

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_ALIGNED = 64  # bytes


class Images(NamedTuple):
    """A data set as a run takes it; see `Dataset`, which has checked it. The arrays may be read-only."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    name: str


@dataclasses.dataclass(frozen=True)
class Shared:
    """Where another process finds a data set.

    path: of the file. arrays: dtype, shape and first byte of each. classes, name: of the set.
    """

    path: str
    arrays: dict[str, tuple[str, tuple[int, ...], int]]
    classes: int
    name: str

    def images(self) -> Images:
        """Map it; OSError if it is not there, as on another machine."""
        found: dict[str, Any] = {}
        for name, (dtype, shape, start) in self.arrays.items():
            found[name] = np.memmap(self.path, dtype, "r", start, shape).view(np.ndarray)
        return Images(**found, classes=self.classes, name=self.name)


class Sharing:
    """Holds data sets for others to map; to be used in a `with` statement."""

    def __init__(self) -> None:
        self._files: list[int] = []

    def __enter__(self) -> Sharing:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            os.close(self._files.pop())

    def share(self, dataset: Dataset) -> Shared:
        """Put a data set there; OSError, or AttributeError, where the system has no such files or no room."""
        self._files.append(os.memfd_create("bnnedge"))
        file, size, arrays = self._files[-1], 0, {}
        for name in _ARRAYS:
            array = getattr(dataset, name)
            arrays[name] = array.dtype.str, array.shape, size
            size += -(-array.nbytes // _ALIGNED) * _ALIGNED
        os.ftruncate(file, size)
        with mmap.mmap(file, size) as memory:
            for name, (dtype, shape, start) in arrays.items():
                np.ndarray(shape, dtype, memory, start)[...] = getattr(dataset, name)
        return Shared(f"/proc/{os.getpid()}/fd/{file}", arrays, dataset.classes, dataset.name)
