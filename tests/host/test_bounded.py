"""Files that would unpack to far more than they are: refused by what their headers say, in little memory."""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from peak import peak

from bnnedge import bounded

MB = 1 << 20
READ = "from bnnedge.data import load, DataError"


def npy(header: str, octets: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + octets


def plain(dtype: str, shape: str) -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


def write(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 MB of zeros in little more than 1 MB, as members of a checkpoint and of a data set."""
    path = tmp_path_factory.mktemp("bombs") / "zeros.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("header", "x_train", "y_train", "x_test", "y_test"):
            with archive.open(f"{name}.npy", "w") as member:
                member.write(npy(plain("|u1", f"({60 * MB},)")))
                for _ in range(60):
                    member.write(bytes(MB))
    return path


def squeezed(path: Path, head: bytes, count: int, tail: bytes = b"") -> Path:
    with gzip.open(path, "wb", 1) as file:
        file.write(head)
        for _ in range(count):
            file.write(bytes(MB))
        file.write(tail)
    return path


@pytest.mark.parametrize("dtype", [">i2", "<f4", "|u1", "|b1", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(tmp_path: Path, dtype: str, order: str):
    array = np.array([[1, 0, 1], [1, 1, 0]]).astype(dtype, order=order)
    np.savez_compressed(tmp_path / "a.npz", array=array, number=np.int64(7), empty=np.zeros((0, 3)))
    with bounded.Npz(tmp_path / "a.npz") as file:
        assert file.names == ("array", "number", "empty")
        assert (file.read("array") == array).all()
        assert (file.read("array").dtype, file.read("number"), file.read("empty").shape) == (array.dtype, 7, (0, 3))
        assert file.read("array").flags.writeable
        with pytest.raises(ValueError, match=f"array takes {array.nbytes} bytes, where {array.nbytes - 1} are the most"):
            file.read("array", array.nbytes - 1)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (plain("<f4", "(3,)"), "8 bytes, but float32 of shape (3,) takes 12"),
        (plain("<f4", "(10000000000, 10000000000)"), "takes 400,000,000,000,000,000,000"),
        (plain("|O", "(2,)"), "holds Python objects, which are never loaded"),
        (plain("<U2", "(1,)"), "is of type <U2, not of integers or floats"),
        (plain("<f16", "(1,)"), "is of type <f16"),
        (plain("<c8", "(1,)"), "is of type <c8"),
        (plain("<f4", "(-2,)"), "is no array of plain numbers, or its header is damaged"),
        (plain("<f4", "(2,)").replace("<f4", "__import__('os')"), "is no array of plain numbers"),
        ("(" * 9000, "is no array of plain numbers"),
        (plain("<f4", "(2,)") + " " * 65000, "is of|takes|read"),
    ],
)  # fmt: skip
def test_headers(tmp_path: Path, header: str, said: str):
    path = write(tmp_path / "a.npz", {"array.npy": npy(header, bytes(8))})
    with bounded.Npz(path) as file:
        try:
            file.read("array")
        except ValueError as error:
            assert any(part in str(error) for part in said.split("|"))  # noqa: PT017
        else:
            assert "read" in said


def test_archives(tmp_path: Path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"text")
    with pytest.raises(zipfile.BadZipFile, match="not a zip file"):
        bounded.Npz(path)
    cases = {"which are no arrays": {"a.npy": b"", "evil\x1b[2J\n.txt": b""}, "otherwise than by deflate": {"a": b""}}
    for said, members in cases.items():
        write(path, members, zipfile.ZIP_LZMA if "deflate" in said else zipfile.ZIP_STORED)
        with pytest.raises(ValueError, match=said) as caught:
            bounded.Npz(path)
        assert str(caught.value).isprintable()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", b"")
    with pytest.raises(ValueError, match="several members of one name"):
        bounded.Npz(path)


def test_a_list_of_members_is_bounded(tmp_path: Path):
    path = write(tmp_path / "a.npz", {f"{i:0100}.npy": b"" for i in range(8000)})
    with pytest.raises(ValueError, match="list of members is out of proportion"):
        bounded.Npz(path)


def test_only_regular_files(tmp_path: Path):
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="not a regular file"):
        bounded.opened(tmp_path / "link")
    with pytest.raises(IsADirectoryError):
        bounded.opened(tmp_path)
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(ValueError, match="too long: 11 bytes, where 10 are"):
        bounded.opened(tmp_path / "long", 10)


def test_archives_of_zeros(zeros: Path):
    said, data = peak(READ, "load(sys.argv[1])", zeros)
    assert "unpacks to 314,573,170 bytes, which is out of proportion" in said
    said, checkpoint = peak("from bnnedge import checkpoint", "checkpoint.load(sys.argv[1])", zeros)
    assert "out of proportion" in said
    assert max(data, checkpoint) < 20


def test_a_checkpoint_needs_what_its_network_needs(tmp_path: Path):
    """Arrays in proportion to the file, but not to the network; and a header that would take the room."""
    from bnnedge import Configuration, Dense, Network, Settings, checkpoint
    from bnnedge.state import TrainingState

    network = Network((4,), [Dense(8), Dense(2)])
    state = TrainingState.initial(network, 10, 8, 1)
    path = tmp_path / "run.npz"
    checkpoint.save(path, checkpoint.Checkpoint(network, Settings(), Configuration("x"), state, 0.1, "cosine"))
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez_compressed(path, **{**arrays, "1.weight": np.zeros((4, MB), np.int16)})
    said, memory = peak("from bnnedge import checkpoint", "checkpoint.load(sys.argv[1])", path)
    assert "1.weight takes 8,388,608 bytes, where 256 are the most that it can need" in said
    assert memory < 20
    header = json.loads(arrays["header"].tobytes())
    faults = {"[" * MB: "more lists", "[" * 9000: "more than 20 deep", " " * 9 * MB: "header takes", "1" * 9999: "9999 digits"}
    for text, fault in faults.items():
        text = json.dumps({**header, "step": 0})[:-1] + f', "more": {text}}}'
        np.savez_compressed(path, **{**arrays, "header": np.frombuffer(text.encode(), np.uint8)})
        said, memory = peak("from bnnedge import checkpoint", "checkpoint.load(sys.argv[1])", path)
        assert str(path) in said
        assert fault in said
        assert memory < 100


def test_idx_files_of_zeros(tmp_path: Path):
    path = squeezed(tmp_path / "train-images-idx3-ubyte.gz", struct.pack(">2xBBIII", 8, 3, 300 * MB, 1, 1), 300)
    said, memory = peak("from bnnedge.data import idx", "idx.read(sys.argv[1])", path)
    assert "needs 314,572,800 bytes, which is out of all proportion" in said
    assert memory < 20
    # What is behind the array stays packed.
    squeezed(path, struct.pack(">2xBBI", 8, 1, 5), 300)
    said, memory = peak("from bnnedge.data import idx", "idx.read(sys.argv[1])", path)
    assert "too long: more data than the 5 bytes" in said
    assert memory < 20


@pytest.mark.parametrize("kind", ["member", "other", "name", "sparse", "behind", "header"])
def test_archives_of_cifar(tmp_path: Path, kind: str):
    """300 MB of zeros as a batch, as another file, as a file's name, as holes, behind the archive, as one huge header."""
    member = tarfile.TarInfo("data_batch_1.bin" if kind in ("member", "sparse") else "readme")
    member.size = 300 * MB
    head = b""
    if kind == "sparse":
        member.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        block[386:482] = bytes(96)
        block[483:495] = b"77777777777\0"
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
        head, count = bytes(block) + bytes(1024), 0
    elif kind == "behind":
        head, count = bytes(1024), 300
    else:
        member.type = {"name": tarfile.GNUTYPE_LONGNAME, "header": tarfile.XHDTYPE}.get(kind, tarfile.REGTYPE)
        head, count = member.tobuf(tarfile.GNU_FORMAT), 300
    path = squeezed(tmp_path / "cifar-10-binary.tar.gz", head, count)
    said, memory = peak(READ, "load(sys.argv[1])", path)
    assert said.startswith(f"ValueError: {path}: ")
    assert memory < 150, "CIFAR-10 itself has 184"


def test_archives_of_many_files(tmp_path: Path):
    """Of each file `tarfile` keeps three times as much as its header takes."""
    heads = b"".join(tarfile.TarInfo(f"{i}").tobuf() for i in range(100_000))
    path = squeezed(tmp_path / "own.tar.gz", heads, 0)
    said, memory = peak(READ, "load(sys.argv[1])", path)
    assert "it holds more than 1,000 files" in said
    assert memory < 20


def test_floats_need_no_room_once_more(tmp_path: Path):
    """Images as float64 take 256 MB; bringing them to bytes takes an eighth of it, not the same again."""
    prepared = """
import numpy as np
from bnnedge.data import Dataset
x, y = np.ones((32_000, 1000)), np.arange(32_000) % 10
x[:, 1] = 0.5
"""
    said, memory = peak(prepared, "Dataset('wide', x, y, x[:10], y[:10])")
    assert said == "read"
    assert memory < 100


def test_what_comes_from_files_is_shown_in_one_line():
    assert bounded.shown("é \x1b[2J\n\udc80") == "é \\x1b[2J\\n\\udc80"
    assert bounded.shown("x" * 99) == "x" * 80 + "..."
    assert bounded.listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"
