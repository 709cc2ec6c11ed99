"""Reader of the binary version of CIFAR-10.

A file is a row of records: a byte with the label, then the red, the green and the blue plane of a 32 x 32 image, a byte a
pixel, row by row.
"""

import os
import pathlib

import numpy as np

from bnnedge.data.dataset import DataError

SIDE, CHANNELS = 32, 3
TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
ARCHIVE = "cifar-10-batches-bin"  # the folder that the set's archive unpacks to

_RECORD = 1 + CHANNELS * SIDE * SIDE


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) of a file, uint8.

    Raises DataError, naming the file, if it cannot be read or is not made of whole records.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not data or len(data) % _RECORD:
        raise DataError(f"{path}: not CIFAR-10's binary version: {len(data):,} bytes are no whole records of {_RECORD:,}")
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    planes = records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].copy()


def found(folder: pathlib.Path) -> bool:
    """Whether a folder holds any of the set's files."""
    return any((folder / name).is_file() for name in (*TRAINING, TEST))


def read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The five files of training images and the one of test images in a folder, as `Dataset` takes them; DataError."""
    missing = [name for name in (*TRAINING, TEST) if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder}: no {', '.join(missing)}")
    images, labels = zip(*(read(folder / name) for name in TRAINING), strict=True)
    x_test, y_test = read(folder / TEST)
    return {"x_train": np.concatenate(images), "y_train": np.concatenate(labels), "x_test": x_test, "y_test": y_test}
