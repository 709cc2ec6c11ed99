"""Reader of matrices in MATLAB's files of level 5, which `save -v6` and `save -v7` write.

byte 0..123     text, and the place of what belongs to MATLAB alone
byte 124..127   version 0x0100 and the letters "MI", 16 bits each, in the byte order of the file
rest            elements: type and length in bytes, 32 bits each; then the content, filled up to a multiple of 8 bytes

If the upper half of the type is not 0, it is the length, and up to four bytes of content stand where the length would.
An element of type 15 is another one, packed by zlib. One of type 14 is a matrix, made of elements: flags with its class,
dimensions, name, and its numbers, column by column, of the smallest type that holds them.

scipy.io reads such files, too; but on a board NumPy must do, and scipy unpacks whatever a file asks for.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from bnnedge import bounded

_HEADER = 128
_ORDERS = {b"\0\1IM": "<", b"\1\0MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_FLAGS, _SIZES, _LETTERS = {6: "u4"}, {5: "i4"}, {1: "i1"}  # types of parts of a matrix
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC, _COMPLEX = range(6, 16), 0x800  # classes of matrices, and a flag
_DIMENSIONS = 8
_NAME = 64  # bytes; MATLAB's own have 63 at most
_ELEMENTS = 100
_CHUNK = 1 << 16


def read(path: str | os.PathLike[str], wanted: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Matrices of integers or floats by name, of the type in which the file has them.

    wanted: their names, and how many bytes each may take at most. What else is in the file is passed over.

    Raises what `bounded.DAMAGED` lists if the file cannot be read, is of another kind, is damaged, or lacks one of the
    matrices, or if one takes more.
    """
    found: dict[str, np.ndarray] = {}
    with bounded.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        order = _ORDERS.get(file.read(_HEADER)[-4:])
        if order is None:
            raise ValueError("not a MATLAB file of level 5, as save -v7 writes them")
        for _ in range(_ELEMENTS):
            if len(found) == len(wanted) or file.tell() == size:
                break
            kind, length, _ = _tag(file, order)
            end = file.tell() + length
            if end > size:
                raise ValueError(f"truncated: an element ends at {end:,}, the file at {size:,} bytes")
            name, array = _matrix(file, kind, length, order, wanted)
            if name in found:
                raise ValueError(f"{name} is there twice")
            if array is not None:
                if file.tell() != end:
                    raise ValueError(f"{name} takes more or less than its element's {length:,} bytes")
                found[name] = array
            file.seek(end)
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise ValueError(f"it holds no matrix of real numbers of the name {' or '.join(lacking)}")
    return found


def _matrix(file: BinaryIO, kind: int, length: int, order: str, wanted: Mapping[str, int]) -> tuple[str, np.ndarray | None]:
    """Name of the matrix in an element of this type and length, and its numbers if they are wanted; "", None if it has none."""
    stream: Any = file
    if kind == _COMPRESSED:
        stream, most = io.BufferedReader(_Unpacked(file, length)), bounded.allowed(length)
        kind, length, _ = _tag(stream, order)
        length = min(length, most)
    if kind != _MATRIX:
        raise ValueError(f"damaged: an element is of type {kind}, where a matrix should be")
    flags = _numbers(stream, order, "the flags of a matrix", _FLAGS, 8)
    if len(flags) != 2 or (flags[0] & 0xFF) not in _NUMERIC or flags[0] & _COMPLEX:
        return "", None
    dimensions = _numbers(stream, order, "the dimensions of a matrix", _SIZES, 4 * _DIMENSIONS).tolist()
    name = _numbers(stream, order, "the name of a matrix", _LETTERS, _NAME).tobytes().decode("latin-1")
    if name not in wanted:
        return name, None
    numbers = _numbers(stream, order, name, _NUMBERS, min(length, wanted[name]))
    if min(dimensions, default=-1) < 0 or math.prod(dimensions) != len(numbers):
        raise ValueError(f"{name} has {len(numbers):,} numbers, and should be {' x '.join(map(str, dimensions))}")
    # At the end of what was packed its checksum is compared.
    if stream is not file and stream.read(1):
        raise ValueError(f"{name} has more behind it than its {numbers.nbytes:,} bytes")
    return name, numbers.reshape(dimensions, order="F")


def _numbers(stream: Any, order: str, what: str, types: Mapping[int, str], most: int) -> np.ndarray:
    """Content of the next element, (N,), if it is of one of these types, and of that many bytes at most."""
    kind, length, short = _tag(stream, order)
    if kind not in types:
        raise ValueError(f"{what}: of type {kind}, where {', '.join(map(str, types))} can be read")
    dtype = np.dtype(order + types[kind])
    if length > (len(short) or most):
        raise ValueError(f"{what}: {length:,} bytes, where {len(short) or most:,} are the most that there can be")
    octets = np.frombuffer(short, np.uint8, length) if short else bounded.fill(stream, length)
    if len(octets) < length or length % dtype.itemsize:
        raise ValueError(f"{what}: {len(octets):,} of {length:,} bytes, which are no whole numbers of type {dtype}")
    if not short:
        stream.read(-length % 8)
    return octets.view(dtype)


def _tag(stream: Any, order: str) -> tuple[int, int, bytes]:
    """Type and length of an element, and the four bytes with its content if it is short."""
    octets = stream.read(8)
    if len(octets) < 8:
        raise EOFError("truncated within an element")
    kind, length = struct.unpack(f"{order}II", octets)
    return (kind & 0xFFFF, kind >> 16, octets[4:]) if kind >> 16 else (kind, length, b"")


class _Unpacked(io.RawIOBase):
    """What the next `length` bytes of a file unpack to."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        super().__init__()
        self._file, self._left, self._zlib = file, length, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As of any binary file; EOFError or zlib.error if it is damaged."""
        octets = b""
        while not octets and not self._zlib.eof:
            packed = self._zlib.unconsumed_tail
            if not packed:
                packed = self._file.read(min(_CHUNK, self._left))
                self._left -= len(packed)
            octets = self._zlib.decompress(packed, len(buffer))
            if not packed and not octets and not self._zlib.eof:
                raise EOFError("truncated within what is compressed")
        buffer[: len(octets)] = octets
        return len(octets)
