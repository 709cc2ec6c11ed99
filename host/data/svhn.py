"""Reader of SVHN's cropped digits, photographs of house numbers: two MATLAB files, each with images X and labels y.

The labels are 1 to 9, and 10 for the digit 0, which becomes 0 here. The half million easier images of extra_32x32.mat are
left alone: with them for training it would be another set.
"""

from __future__ import annotations

import os
import pathlib

import numpy as np

from bnnedge import bounded
from bnnedge.data import mat
from bnnedge.data.arrays import DataError

URL = "http://ufldl.stanford.edu/housenumbers/"
FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}

_IMAGE = (32, 32, 3)
_IMAGES, _LABELS = 640 << 20, 2 << 20  # bytes at most: three times as many as the training images, and a double for each


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) of a file; DataError, naming the file, if it is none of SVHN's."""
    try:
        arrays = mat.read(path, {"X": _IMAGES, "y": _LABELS})
    except bounded.DAMAGED as error:
        raise DataError(f"{os.fspath(path)}: cannot be read: {bounded.shown(error, 200)}; SVHN's own are at {URL}") from error
    images, labels = arrays["X"], arrays["y"]
    count = images.shape[-1]
    if images.dtype != np.uint8 or images.shape != (*_IMAGE, count) or labels.shape != (count, 1):
        held = " and ".join(f"{name} {array.dtype} of shape {array.shape}" for name, array in arrays.items())
        wanted = "X uint8 of shape (32, 32, 3, N) and y of shape (N, 1)"
        raise DataError(f"{os.fspath(path)}: not SVHN's cropped digits: {held}, where those have {wanted}; they are at {URL}")
    return np.ascontiguousarray(np.moveaxis(images, -1, 0)), np.where(labels == 10, 0, labels)[:, 0]


def held(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Those of the set's files that lie in a folder, by their names."""
    return {name: folder / name for name in FILES.values() if os.path.isfile(folder / name)}


def whole(folder: pathlib.Path) -> bool:
    """Whether all of them do."""
    return len(held(folder)) == len(FILES)


def read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The file of training images and the one of test images in a folder, as `Dataset` takes them; DataError."""
    lacking = [name for name in FILES.values() if name not in held(folder)]
    if lacking:
        raise DataError(f"{folder}: no {', '.join(lacking)}")
    arrays: dict[str, np.ndarray] = {}
    for part, name in FILES.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = read(folder / name)
    return arrays
