"""Reader of idx files, the format of MNIST and its relatives.

byte 0, 1   0
byte 2      type of the elements; 0x08 = unsigned byte, the only one read here
byte 3      number of dimensions, D
4*D bytes   the dimensions, 32 bits each, big-endian
rest        the elements, in C order
"""

import gzip
import math
import os
import pathlib
import zlib

import numpy as np

from bnnedge.data.dataset import DataError

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_PARTS = {
    "x_train": "train-images{}idx3-ubyte",
    "y_train": "train-labels{}idx1-ubyte",
    "x_test": "t10k-images{}idx3-ubyte",
    "y_test": "t10k-labels{}idx1-ubyte",
}


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an idx file, plain or gzip-compressed: uint8, of the shape that its header gives.

    Raises DataError, naming the file, if it cannot be read, is not idx of bytes, or has not the length that its header
    gives.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataError(f"{path}: not an idx file: it starts with {data[:4].hex(' ') or 'nothing'}, not with 00 00")
    if data[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path}: elements are of type 0x{data[2]:02x}; only unsigned bytes (0x08) are read")
    dimensions = data[3]
    start = 4 + 4 * dimensions
    if not dimensions:
        raise DataError(f"{path}: the header gives no dimensions")
    if len(data) < start:
        raise DataError(f"{path}: truncated within the header: {len(data)} bytes, of which {start} should be header")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    expected = math.prod(shape)
    if len(data) - start != expected:
        fault = "truncated" if len(data) - start < expected else "too long"
        raise DataError(f"{path}: {fault}: {len(data) - start} bytes of data, but shape {shape} needs {expected}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def held(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Files of MNIST, or named like them, that lie in a folder, by the names that `Dataset` has for their arrays."""
    found = {array: _find(folder, pattern) for array, pattern in _PARTS.items()}
    return {array: path for array, path in found.items() if path is not None}


def read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The four files of a set, as `Dataset` takes them. Raises DataError if one is missing or cannot be read."""
    paths = held(folder)
    missing = [pattern.format("-") for array, pattern in _PARTS.items() if array not in paths]
    if missing:
        raise DataError(f"{folder}: no {', '.join(missing)} (nor with .gz)")
    return {array: read(path) for array, path in paths.items()}


def _find(folder: pathlib.Path, pattern: str) -> pathlib.Path | None:
    """The file of that name, plain or compressed; some copies have a dot where the original has a dash."""
    for mark in "-.":
        for suffix in ("", ".gz"):
            path = folder / (pattern.format(mark) + suffix)
            if os.path.isfile(path):
                return path
    return None
