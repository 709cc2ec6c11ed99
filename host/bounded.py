"""Compressed files and arrays: what is in them is measured before it is unpacked.

A compressed byte can stand for a thousand. Here it may stand for `RATIO`, or less, and small files for `FLOOR` in all; sizes
come from headers, are compared with these limits and with each other, and no more is unpacked than they say.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import types
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from bnnedge.terminal import printable

RATIO, FLOOR = 100, 64 << 20
# What reading a damaged archive may raise; RuntimeError: encrypted, or compressed in an unknown way.
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)

_CHUNK = 1 << 20
_DIRECTORY = 1 << 20  # bytes of an archive's list of members
_END, _LOCATOR = b"PK\5\6", b"PK\6\7"
_NPY = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?[a-zA-Z]\d{0,9})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d, ]{0,999})\),?\s*\}\s*"
)


def allowed(packed: int, ratio: int = RATIO, floor: int = FLOOR) -> int:
    """Bytes to which that many bytes of a file may unpack."""
    return max(floor, ratio * packed)


def fill(stream: Any, size: int) -> np.ndarray:
    """The next bytes of a stream, (size,) uint8; fewer if it ends before."""
    octets, come = np.empty(size, np.uint8), 0
    while come < size and (count := stream.readinto(octets.data[come : come + _CHUNK])):
        come += count
    return octets[:come]


def opened(path: str | os.PathLike[str], most: int | None = None) -> BinaryIO:
    """Open a regular file for reading; ValueError for any other, and for one of more than `most` bytes."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        raise IsADirectoryError("Is a directory")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a regular file")
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        raise ValueError(f"too long: {size:,} bytes, where {most:,} are the most that it can need")
    return file


class Limited(io.BufferedIOBase):
    """A stream of which at most `most` bytes are ever unpacked; then ValueError."""

    def __init__(self, stream: Any, most: int) -> None:
        super().__init__()
        self._stream, self._most, self._left = stream, most, most

    def read(self, size: int | None = -1) -> bytes:
        """As of any binary file."""
        data: bytes = self._stream.read(self._left + 1 if size is None or size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {self._most:,} bytes, which is out of proportion")
        return data


def archive(path: str | os.PathLike[str], ratio: int = RATIO, floor: int = FLOOR) -> zipfile.ZipFile:
    """Open a zip archive whose members, unpacked all together, keep to `allowed`.

    Raises ValueError, BadZipFile or OSError if it is none, has a name twice, or is encrypted or compressed otherwise than by
    deflate.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - (1 << 16) - 100))
        tail = file.read()
    # Both places where `zipfile` may find the end of the list.
    for end in {tail.rfind(_END), len(tail) - 22}:
        listed = int.from_bytes(tail[end + 12 : end + 16], "little")
        if end >= 0 and tail[end:].startswith(_END) and (listed > _DIRECTORY or _LOCATOR in tail[max(0, end - 20) : end]):
            raise ValueError("its list of members is out of proportion: a few thousand, and 4 GiB in all, can be read")
    opened_archive = zipfile.ZipFile(path)
    try:
        _check(opened_archive, allowed(size, ratio, floor))
    except BaseException:
        opened_archive.close()
        raise
    return opened_archive


def _check(opened_archive: zipfile.ZipFile, most: int) -> None:
    members = opened_archive.infolist()
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has several members of one name")
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown(member.filename)} is encrypted, or compressed otherwise than by deflate")
    total = sum(member.file_size for member in members)
    if total > most:
        raise ValueError(f"it unpacks to {total:,} bytes, which is out of proportion: {most:,} are the most for its length")


class Npz:
    """The arrays of an .npz file, of which none is read before it is asked for; to be used in a `with` statement.

    names: theirs, in order. Of pickled objects nothing is loaded.
    Raises what `DAMAGED` lists, here and from its methods.
    """

    def __init__(self, path: str | os.PathLike[str], ratio: int = RATIO, floor: int = FLOOR) -> None:
        self._archive = archive(path, ratio, floor)
        names = self._archive.namelist()
        self.names = tuple(name[: -len(".npy")] for name in names if name.endswith(".npy"))
        foreign = [shown(name) for name in names if not name.endswith(".npy")]
        if foreign:
            self._archive.close()
            raise ValueError(f"it holds {listed(foreign)}, which are no arrays")

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self._archive.close()

    def read(self, name: str, most: int | None = None) -> np.ndarray:
        """An array of booleans, integers or floats; ValueError before it is unpacked if it takes more than `most` bytes."""
        member = self._archive.getinfo(f"{name}.npy")
        try:
            with self._archive.open(member) as stream:
                dtype, fortran, shape, start = _header(name, stream)
                size = math.prod(shape) * dtype.itemsize
                if start + size != member.file_size:
                    raise ValueError(f"{name}: {member.file_size - start:,} bytes, but {dtype} of shape {shape} takes {size:,}")
                if most is not None and size > most:
                    raise ValueError(f"{name} takes {size:,} bytes, where {most:,} are the most that it can need")
                octets = fill(stream, size)
                stream.read(1)  # which compares the checksum
        except zipfile.BadZipFile as error:
            raise ValueError(f"damaged: {member.filename} fails its checksum ({shown(error, 100)})") from error
        if len(octets) < size:
            raise ValueError(f"damaged: {member.filename} ends early")
        return octets.view(dtype).reshape(shape, order="F" if fortran else "C")


def _header(name: str, stream: Any) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Dtype, order and shape of an .npy file, and where its elements begin."""
    begin = stream.read(10)
    extra = stream.read(2) if begin[6:7] in (b"\2", b"\3") else b""
    length = int.from_bytes(begin[8:10] + extra, "little")
    # NumPy's own way would evaluate it as Python.
    text = stream.read(length) if begin.startswith(b"\x93NUMPY") and length < 1 << 16 else b""
    found = _NPY.fullmatch(text)
    if found is None:
        raise ValueError(f"{name} is no array of plain numbers, or its header is damaged")
    code, fortran, shape = found.groups()
    if code.lstrip(b"<>|=")[:1] == b"O":
        raise ValueError(f"{name} holds Python objects, which are never loaded: it must be an array of numbers")
    if not re.fullmatch(rb"[<>|=]?([biuf][1248]|\?)", code):
        raise ValueError(f"{name} is of type {code.decode()}, not of integers or floats")
    numbers = tuple(int(number) for number in shape.split(b",") if number.strip())
    return np.dtype(code.decode()), fortran == b"True", numbers, 10 + len(extra) + length


def shown(text: object, most: int = 80) -> str:
    """What comes from a file, for a message of one line: what cannot be printed is escaped, what is too long is cut."""
    cut = str(text)[: most + 1]
    escaped = printable(cut)
    return escaped if len(cut) <= most else f"{escaped[:most]}..."


def listed(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
