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
from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.data.arrays import DataError

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_DIMENSIONS = 8
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
    try:
        with bounded.opened(path) as file:
            packed = file.read(2) == _GZIP_MAGIC
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            if not packed:
                return _array(file, size)
            with gzip.GzipFile(fileobj=file) as stream:
                return _array(stream, bounded.allowed(size))
    except bounded.DAMAGED as error:
        said = str(error) if type(error) is ValueError else f"cannot be read: {bounded.shown(error, 200)}"
        raise DataError(f"{os.fspath(path)}: {said}") from error


def _array(stream: Any, most: int) -> np.ndarray:
    """The array in a stream of at most that many bytes; ValueError, EOFError or zlib.error."""
    data = stream.read(4)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"not an idx file: it starts with {data.hex(' ') or 'nothing'}, not with 00 00")
    if data[2] != _UNSIGNED_BYTE:
        raise ValueError(f"elements are of type 0x{data[2]:02x}; only unsigned bytes (0x08) are read")
    dimensions = data[3]
    start = 4 + 4 * dimensions
    if not 0 < dimensions <= _DIMENSIONS:
        raise ValueError(f"the header gives {dimensions or 'no'} dimensions: 1 to {_DIMENSIONS} can be read")
    data += stream.read(start - 4)
    if len(data) < start:
        raise ValueError(f"truncated within the header: {len(data)} bytes, of which {start} should be header")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    expected = math.prod(shape)
    if expected > most:
        raise ValueError(f"truncated: shape {shape} needs {expected:,} bytes, which is out of all proportion to the file")
    octets = bounded.fill(stream, expected)
    if len(octets) < expected:
        raise ValueError(f"truncated: {len(octets)} bytes of data, but shape {shape} needs {expected}")
    # At the end of a compressed file its checksum is compared.
    if stream.read(1):
        raise ValueError(f"too long: more data than the {expected} bytes of shape {shape}")
    return octets.reshape(shape)


def held(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Files of MNIST, or named like them, that lie in a folder, by the names that `Dataset` has for their arrays."""
    found = {array: _find(folder, pattern) for array, pattern in _PARTS.items()}
    return {array: path for array, path in found.items() if path is not None}


def whole(folder: pathlib.Path) -> bool:
    """Whether all four do."""
    return len(held(folder)) == len(_PARTS)


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
