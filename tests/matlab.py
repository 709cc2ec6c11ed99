"""MATLAB files of level 5, written as its manual describes them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

CLASSES = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "i8": 14, "u8": 15}
TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}


def element(kind: int, content: bytes, order: str = "<", short: bool = False) -> bytes:
    if short:
        return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(name: str, array: np.ndarray, order: str = "<", flags: int | None = None, short: bool = True) -> bytes:
    """An element with a matrix; of its parts those that can be are short."""
    code = array.dtype.str[1:]
    dimensions = struct.pack(f"{order}{array.ndim}i", *array.shape)
    content = np.asarray(array, order + code).tobytes(order="F")
    parts = [
        element(6, struct.pack(f"{order}II", CLASSES[code] if flags is None else flags, 0), order),
        element(5, dimensions, order),
        element(1, name.encode(), order, short and len(name) <= 4),
        element(TYPES[code], content, order, short and len(content) <= 4),
    ]
    return element(14, b"".join(parts), order)


def packed(content: bytes, order: str = "<") -> bytes:
    """An element, compressed."""
    squeezed = zlib.compress(content)
    return struct.pack(f"{order}II", 15, len(squeezed)) + squeezed


def header(order: str = "<") -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack(f"{order}HH", 0x0100, int.from_bytes(b"MI", "big"))
