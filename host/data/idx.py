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
