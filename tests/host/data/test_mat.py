"""MATLAB files: what they hold comes back as scipy reads it, and what is damaged or out of proportion is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from matlab import element, header, matrix, packed
from peak import peak

from bnnedge import bounded
from bnnedge.data import mat

MB = 1 << 20
CODES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
X = np.random.default_rng(1).integers(0, 256, (3, 2, 5), dtype=np.uint8)
READ = "from bnnedge.data import mat"


def write(path: Path, *elements: bytes, order: str = "<") -> Path:
    path.write_bytes(header(order) + b"".join(elements))
    return path


def read(path: Path, *elements: bytes, order: str = "<", most: int = 1000) -> np.ndarray:
    return mat.read(write(path / "a.mat", *elements, order=order), {"X": most})["X"]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", CODES)
def test_matrices_come_back(tmp_path: Path, code: str, order: str, compress: bool):
    limits = np.finfo(code) if code[0] == "f" else np.iinfo(code)
    array = np.array([[0, 1, 2], [3, limits.min, limits.max]], code)
    single = np.array([[7]], code)
    elements = [matrix("X", array, order), matrix("a_long_name_of_31_letters_at_all", array, order), matrix("y", single, order)]
    path = write(tmp_path / "a.mat", *(packed(each, order) if compress else each for each in elements), order=order)
    found = mat.read(path, {"y": 8, "X": 48})
    assert (found["X"] == array).all()
    assert (found["y"], found["X"].dtype, found["y"].dtype) == (single, *2 * [np.dtype(order + code)])
    scipy = pytest.importorskip("scipy.io").loadmat(path)
    assert (scipy["X"] == array).all()
    assert scipy["X"].shape == found["X"].shape


@pytest.mark.parametrize("compress", [True, False])
def test_files_of_scipy(tmp_path: Path, compress: bool):
    others = {"s": {"a": 1}, "text": "words", "logical": X > 9, "complex": X * 1j, "cell": np.array([1, "a"], object)}
    pytest.importorskip("scipy.io").savemat(tmp_path / "a.mat", {**others, "X": X, "y": [[1.5], [2]]}, do_compression=compress)
    found = mat.read(tmp_path / "a.mat", {"X": 30, "y": 16})
    assert (found["X"] == X).all()
    assert found["y"].tolist() == [[1.5], [2]]
    for name in ("s", "text", "complex", "cell", "absent"):
        with pytest.raises(ValueError, match=f"no matrix of real numbers of the name {name}$"):
            mat.read(tmp_path / "a.mat", {name: 1000})


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("count", range(6))
def test_short_elements(tmp_path: Path, count: int, short: bool):
    array = np.arange(count, dtype=np.uint8).reshape(1, count)
    assert (read(tmp_path, matrix("X", array, short=short)) == array).all()


def test_packed_in_many_parts(tmp_path: Path):
    """More than is unpacked at once, and lengths at which the end falls on a part's."""
    for count in (8191, 8192, 8193, 1 << 16, MB, MB + 1, 3 * MB):
        array = np.random.default_rng(count).integers(0, 16, (1, count), dtype=np.uint8)
        assert (read(tmp_path, packed(matrix("X", array)), most=count) == array).all()


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "not a MATLAB file of level 5"),
        (b"<html>" * 100, "not a MATLAB file of level 5"),
        (header()[:-1], "not a MATLAB file of level 5"),
        (header()[:124] + b"\0\2IM" + bytes(900), "not a MATLAB file of level 5, as save -v7 writes them"),
        (header(), "it holds no matrix of real numbers of the name X"),
        (header() + b"text", "truncated within an element"),
        (header() + matrix("X", X)[:-1], "truncated: an element ends at 224, the file at 223 bytes"),
        (header() + 2 * matrix("Y", X) + matrix("x", X), "no matrix of real numbers of the name X"),
        (header() + 100 * matrix("Y", X) + matrix("X", X), "no matrix of real numbers of the name X"),
        (header() + bytes(800), "damaged: an element is of type 0"),
        (header() + packed(packed(matrix("X", X))), "damaged: an element is of type 15"),
        (header() + matrix("X", X, flags=1), "no matrix of real numbers"),  # a cell
        (header() + matrix("X", X, flags=9 | 0x800), "no matrix of real numbers"),
    ],
    ids=range(13),
)
def test_refused(tmp_path: Path, octets: bytes, said: str):
    (tmp_path / "a.mat").write_bytes(octets)
    with pytest.raises(bounded.DAMAGED, match=said):
        mat.read(tmp_path / "a.mat", {"X": 1000})


def parts(*, flags: bytes = struct.pack("<II", 9, 0), sizes: tuple[int, ...] = (2, 3), name: bytes = b"X", tail: bytes) -> bytes:
    """A matrix whose last part is given as it is."""
    dimensions = element(5, struct.pack(f"<{len(sizes)}i", *sizes))
    return element(14, element(6, flags) + dimensions + element(1, name) + tail)


SIX = element(2, bytes(6))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (parts(tail=element(2, bytes(5))), "X has 5 numbers, and should be 2 x 3$"),
        (parts(sizes=(-2, -3), tail=SIX), "X has 6 numbers, and should be -2 x -3$"),
        (parts(sizes=(), tail=SIX), "X has 6 numbers"),
        (parts(sizes=(2**31 - 1,) * 8, tail=SIX), "X has 6 numbers"),
        (parts(sizes=(1,) * 9, tail=SIX), "the dimensions of a matrix: 36 bytes, where 32 are the most that there can be"),
        (parts(name=b"X" * 65, tail=SIX), "the name of a matrix: 65 bytes"),
        (parts(flags=bytes(9), tail=SIX), "the flags of a matrix: 9 bytes"),
        (element(14, element(2, bytes(8))), "the flags of a matrix: of type 2, where 6 can be read"),
        (parts(tail=element(4, bytes(7))), "X: 7 of 7 bytes, which are no whole numbers of type uint16"),
        (parts(tail=element(16, bytes(6))), "X: of type 16, where 1, 2, 3, 4, 5, 6, 7, 9, 12, 13 can be read"),
        (parts(tail=element(2, bytes(1001))), "X: 1,001 bytes, where 1,000 are the most that there can be"),
        (parts(tail=struct.pack("<II", 2, 6)), "X: 6 bytes, where .* are the most|X: 0 of 6 bytes"),
        (parts(tail=struct.pack("<HH4x", 2, 6)), "X: 6 bytes, where 4 are the most"),
        (parts(tail=SIX + SIX), "X takes more or less than its element's 80 bytes|X has more behind it than its 6 bytes"),
    ],
    ids=range(14),
)
@pytest.mark.parametrize("compress", [False, True])
def test_damaged_matrices(tmp_path: Path, content: bytes, said: str, compress: bool):
    with pytest.raises((ValueError, EOFError), match=said):
        read(tmp_path, packed(content) if compress else content)


def test_the_same_name_twice(tmp_path: Path):
    with pytest.raises(ValueError, match="X is there twice"):
        mat.read(write(tmp_path / "a.mat", *2 * [matrix("X", X)], matrix("y", X)), {"X": 1000, "y": 1000})


def test_damaged_compression(tmp_path: Path):
    """A bit of what is compressed makes no other numbers; most make an error."""
    whole, errors = packed(matrix("X", X)), 0
    for i in range(8, len(whole)):
        try:
            assert (read(tmp_path, whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :]) == X).all()
        except (ValueError, EOFError, zlib.error):
            errors += 1
    assert errors >= len(whole) - 10
    for i in range(8, len(whole)):
        with pytest.raises((ValueError, EOFError, zlib.error)):
            read(tmp_path, struct.pack("<II", 15, i - 8) + whole[8:i])


@pytest.mark.parametrize(("name", "claimed"), [("X", 6), ("X", 300 * MB), ("X", 2**32 - 1), ("other", 300 * MB)])
def test_zeros_that_take_300_mb(tmp_path: Path, name: str, claimed: int):
    """In little more than 1 MB: as much as is allowed for such a file is never asked for."""
    squeezer = zlib.compressobj(1)
    numbers = (element(6, struct.pack("<II", 9, 0)), element(5, struct.pack("<ii", 1, 300 * MB)), element(1, name.encode()))
    head = struct.pack("<II", 14, 300 * MB) + b"".join(numbers) + struct.pack("<II", 2, claimed)
    squeezed = [squeezer.compress(head), *(squeezer.compress(bytes(MB)) for _ in range(300)), squeezer.flush()]
    content = b"".join(squeezed)
    path = write(tmp_path / "a.mat", struct.pack("<II", 15, len(content)), content)
    assert len(content) < 2 * MB
    said, memory = peak(READ, "mat.read(sys.argv[1], {'X': 1 << 40})", path)
    assert said.startswith("ValueError: ")
    assert memory < 20
