"""Data sets where torchvision and Keras keep them, and pickles in which nothing runs."""

import gzip
import io
import os
import pathlib
import pickle
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnedge.data import DataError, cifar, load, pickled, places

# Sets made up here are not the published ones.
pytestmark = pytest.mark.filterwarnings("ignore:.*as published:bnnedge.data.DataWarning")

IDX = {
    "train-images-idx3-ubyte": np.full((4, 3, 3), 207, np.uint8),
    "train-labels-idx1-ubyte": np.array([0, 1, 2, 1], np.uint8),
    "t10k-images-idx3-ubyte": np.zeros((2, 3, 3), np.uint8),
    "t10k-labels-idx1-ubyte": np.array([2, 0], np.uint8),
}


def write_idx(folder, compress, fill=207):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in IDX.items():
        values = np.minimum(array, fill) if array.ndim == 3 else array
        data = struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + values.tobytes()
        (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)


def text(value):
    """A string in a pickle of Python 2."""
    octets = value if isinstance(value, bytes) else value.encode()
    return b"T" + struct.pack("<I", len(octets)) + octets


def array_pickle(values, kind="u1"):
    """How Python 2 pickled an array of bytes with protocol 2."""
    shape = b"".join(b"J" + struct.pack("<i", n) for n in values.shape)
    return b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"K\0\x85", text("b"), b"\x87R",
            b"(K\1", b"(", shape, b"t", b"cnumpy\ndtype\n", text(kind), b"K\0K\1\x87R",
            b"(K\3", text("|"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb", b"\x89", text(values.tobytes()), b"tb",
        ]
    )  # fmt: skip


def doubled(count, between=b""):
    """Tuples, each of which holds the one before twice."""
    return b"K\0" + b"".join(b"q%ch%c\x86" % (n, n) + between for n in range(count))


def lists(count):
    """The same of lists."""
    return b"]q\x000" + b"".join(b"(h%ch%clq%c0" % (n, n, n + 1) for n in range(count)) + b"h%c" % count


def batch_pickle(data, labels):
    """A file of CIFAR-10's Python version, as its authors wrote it."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    items = text("batch_label") + text("a batch") + text("labels") + b"](" + numbers + b"e" + text("data") + array_pickle(data)
    return b"\x80\2}(" + items + text("filenames") + b"](" + text("a.png") + b"eu."


def batches():
    """Six files by name; the pixel (y, x) of channel c of the image of label n is 10 n + 50 c + 3 y + x, modulo 256."""
    c, y, x = np.indices((3, 32, 32))
    files = {}
    for i, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
        labels = [(2 * i) % 10, (2 * i + 1) % 10]
        data = np.stack([(10 * n + 50 * c + 3 * y + x).astype(np.uint8).ravel() for n in labels])
        files[name] = batch_pickle(data, labels)
    return files


def write_python(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in batches().items():
        (folder / name).write_bytes(data)


def write_archive(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def check_cifar(data):
    assert (data.x_train.shape, data.x_test.shape) == ((10, 32, 32, 3), (2, 32, 32, 3))
    assert (data.y_train.tolist(), data.y_test.tolist()) == (list(range(10)), [0, 1])
    for n, y, x, c in [(0, 0, 0, 0), (9, 31, 30, 2), (4, 2, 17, 1)]:
        assert data.x_train[n, y, x, c] == (10 * n + 50 * c + 3 * y + x) % 256


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home and a working folder beside it that hold no data; the path of the home."""
    for name in ("BNNEDGE_DATA", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(places, "_SYSTEM", tmp_path / "none")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


class TestTorchvision:
    @pytest.mark.parametrize("compress", [True, False])
    @pytest.mark.parametrize("root", ["store", "work/data", "data", "home/.cache/bnnedge", "home/.bnnedge/data"])
    @pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
    def test_idx(self, home, monkeypatch, name, folder, root, compress):
        monkeypatch.setenv("BNNEDGE_DATA", str(home.parent / "store"))
        write_idx(home.parent / root / folder, compress)
        assert (load(name).x_train == 207).all()
        with pytest.raises(DataError, match="was not found"):
            load("mnist" if name == "fashion-mnist" else "fashion-mnist")

    @pytest.mark.parametrize("root", ["store", "work/data", "data"])
    def test_cifar(self, home, monkeypatch, root):
        monkeypatch.setenv("BNNEDGE_DATA", str(home.parent / "store"))
        write_python(home.parent / root / "cifar-10-batches-py")
        check_cifar(load("cifar10"))

    def test_archive_alone(self, home):
        write_archive(pathlib.Path("data/cifar-10-python.tar.gz"), batches())
        check_cifar(load("cifar10"))


class TestKeras:
    def test_mnist(self, home, monkeypatch):
        arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), IDX.values(), strict=True))
        (home / ".keras/datasets").mkdir(parents=True)
        np.savez(home / ".keras/datasets/mnist.npz", **arrays)
        assert (load("mnist").x_train == 207).all()
        monkeypatch.setenv("KERAS_HOME", "elsewhere")
        with pytest.raises(DataError, match="mnist was not found"):
            load("mnist")
        pathlib.Path("elsewhere").mkdir()
        os.rename(home / ".keras/datasets", "elsewhere/datasets")
        assert len(load("mnist").x_train) == 4

    def test_fashion(self, home):
        write_idx(home / ".keras/datasets/fashion-mnist", True)
        assert (load("fashion-mnist").x_train == 207).all()

    @pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py"])
    def test_cifar(self, home, folder):
        write_python(home / ".keras/datasets" / folder)
        check_cifar(load("cifar10"))

    def test_archive(self, home):
        path = home / ".keras/datasets/cifar-10-batches-py.tar.gz"
        write_archive(path, batches())
        check_cifar(load("cifar10"))
        assert os.listdir(path.parent) == [path.name]
        assert load(path).name == "cifar-10-batches-py"


class TestSearch:
    def test_a_whole_set_is_preferred_to_a_part(self, home, monkeypatch):
        monkeypatch.setenv("BNNEDGE_DATA", str(home.parent / "store"))
        write_idx(home.parent / "store/mnist", True)
        (home.parent / "store/mnist/t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(DataError, match="store/mnist: no t10k-labels-idx1-ubyte"):
            load("mnist")
        write_idx(home / ".bnnedge/data/mnist", True, fill=150)
        assert load("mnist").x_train.max() == 150

    def test_not_found(self, home, monkeypatch):
        monkeypatch.setenv("BNNEDGE_DATA", "/store")
        for name, also in (
            ("mnist", ".keras/datasets/mnist.npz"),
            ("fashion-mnist", "none/fashion-mnist"),
            ("cifar10", "for its files and for cifar-10-batches-bin, cifar-10-batches-py, cifar-10-binary.tar.gz, "),
            ("svhn", "\n  ../data\n"),
        ):
            with pytest.raises(DataError) as caught:
                load(name)
            message = str(caught.value)
            assert message.startswith(f"{name} was not found; looked at\n  /store\n" if name != "fashion-mnist" else name)
            for place in places.places(name):
                assert f"\n  {place}\n" in message
            assert also in message
            assert f"--download, or download=True in Python), which puts it into /store/{name}. By hand: " in message
            assert message.endswith(f"put them into a folder of the name {name} and set BNNEDGE_DATA to it")


class TestArchives:
    def test_missing_file(self, tmp_path):
        files = batches()
        del files["data_batch_3"]
        write_archive(tmp_path / "own.tar.gz", files)
        with pytest.raises(DataError, match=r"own.tar.gz: no data_batch_3$"):
            load(tmp_path / "own.tar.gz")

    def test_damaged(self, tmp_path):
        path = tmp_path / "own.tar.gz"
        write_archive(path, batches())
        whole = path.read_bytes()
        for octets in (b"", b"text", whole[:300], whole[:-9], whole[:600] + bytes(50) + whole[650:]):
            path.write_bytes(octets)
            with pytest.raises(DataError, match=r"own\.tar\.gz: "):
                load(path)

    def test_links_are_not_followed(self, tmp_path):
        path = tmp_path / "own.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            link = tarfile.TarInfo("data_batch_1.bin")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        with pytest.raises(DataError, match=r"own.tar.gz: no data_batch_1.bin, "):
            load(path)


ENCODE = b"c_codecs\nencode\n"
LONG_TEXT = b"X" + struct.pack("<I", 1000) + b"a" * 1000
TIMES_A_HUNDRED = ENCODE + b"q\0" + LONG_TEXT + b"q\1X\6\0\0\0latin1q\2\x86R" + b"h\0h\1h\2\x86R" * 100


class Call:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestPickled:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_own_python(self, protocol):
        values = np.arange(200, 212, dtype=np.uint8).reshape(3, 4)
        for array in (values, np.asfortranarray(values)):
            found = pickled.read("own", pickle.dumps({b"data": array, "labels": [1, 2.5, None, ("a", b"b")]}, protocol))
            assert set(found) == {"data", "labels"}
            assert (found["data"] == values).all()
            assert found["data"].dtype == np.uint8
            assert found["labels"] == [1, 2.5, None, ("a", b"b")]

    @pytest.mark.parametrize("module", ["numpy.core.numeric", "numpy._core.numeric"])
    def test_buffers_of_both_numpys(self, module):
        kind = b"cnumpy\ndtype\n" + text("u1") + b"K\0K\1\x87R"
        octets = b"\x96" + struct.pack("<Q", 6) + bytes(range(6))
        call = b"c" + module.encode() + b"\n_frombuffer\n(" + octets + kind + b"K\2K\3\x86" + text("C") + b"tR"
        found = pickled.read("own", b"\x80\5}" + text("data") + call + b"s.")
        assert found["data"].tolist() == [[0, 1, 2], [3, 4, 5]]

    @pytest.mark.parametrize("protocol", [0, 2, 5])
    def test_six_files_written_anew(self, tmp_path, protocol):
        written = {name: pickled.read(name, octets) for name, octets in batches().items()}
        for name, content in written.items():
            (tmp_path / name).write_bytes(pickle.dumps({key.encode(): value for key, value in content.items()}, protocol))
        write_python(tmp_path / "as published")
        found, wanted = load(tmp_path), load(tmp_path / "as published")
        np.testing.assert_array_equal(found.x_train, wanted.x_train)
        np.testing.assert_array_equal(found.y_test, wanted.y_test)

    @pytest.mark.parametrize("protocol", [0, 2, 5])
    def test_as_many_names_as_a_file_has(self, protocol):
        names = [b"%d.png" % i for i in range(10_000)]
        assert pickled.read("own", pickle.dumps({b"filenames": names}, protocol)) == {"filenames": names}

    def test_code_is_not_run(self, tmp_path):
        octets = pickle.dumps({"data": Call(tmp_path / "made")}, 2)
        with pytest.raises(DataError, match=r"^own: not a pickle of plain data: it names posix.mkdir, which data have no need"):
            pickled.read("own", octets)
        path = tmp_path / "data_batch_1"
        path.write_bytes(octets)
        with pytest.raises(DataError, match=r"it names posix\.mkdir"):
            cifar.read(path)
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize(
        ("octets", "message"),
        [
            (b"cos\nsystem\n(S'true'\ntR.", "it names os.system"),
            (b"cbuiltins\neval\n(S'1'\ntR.", "it names builtins.eval"),
            (b"c__builtin__\ngetattr\n(tR.", "it names __builtin__.getattr"),
            (b"cnumpy\nload\n(tR.", "it names numpy.load"),
            (b"\x80\4\x8c\5numpy\x8c\x0bndarray.ctypes\x93.".replace(b"\x0b", b"\x0e"), "it names numpy.ndarray.ctypes"),
            (b"\x80\2}(" + text("data") + array_pickle(np.zeros(2, np.uint8), "O8") + b"u.", "an array of type b'O8'; only"),
            (b"\x80\2}(" + text("data") + array_pickle(np.zeros(2, np.uint8)).replace(b"J\2", b"J\3") + b"u.", "an array that"),
            (pickle.dumps({"data": np.zeros(3)}, 4), "an array of type 'f8'; only unsigned bytes"),
            (b"", "pickle exhausted before seeing STOP"),
            (b"\x80\2}", "pickle exhausted before seeing STOP"),
            (b"\x80\2}r\xff\xff\xff\x7f.", "more parts than data"),  # would make room for 2**31 things to come back to
            (b"\x80\5\x96" + b"\xff" * 7 + b"\0.", "it uses BYTEARRAY8|expected .* bytes"),
            (b"\x80\2}" + doubled(60) + b"K\1s.", "comes back to a tuple"),  # 2**60 things to hash, as a key
            (b"\x80\2}" + doubled(60, between=b"(u") + b"K\1s.", "comes back to a tuple"),
            (b"\x80\2cnumpy\ndtype\n" + lists(60) + b"\x85R.", "an array of a type without a name; only"),  # or to print
            (
                b"\x80\2}N" + array_pickle(np.zeros(2, np.uint8)).replace(b"\2\0\0\0t", b"\0\0\0\x7fC\1xt") + b"s.",
                "an array whose shape is not made of",  # 2 GB: a number times a text
            ),
            (
                b"\x80\2}N" + array_pickle(np.zeros(2, np.uint8)).replace(b"J\2\0\0\0t", b"K\xff" * 500_000 + b"t") + b"s.",
                "an array whose shape is not made of a few",  # minutes for their product
            ),
            (b"\x80\2)" + b"\x85" * 100_000 + b"K\1s.", "more parts than data"),  # too deep for the hash of a key
            (b"\x80\2}" + ENCODE + text("ab") + text("latin1") + b"\x86Rs.", "it encodes something else"),  # no str, but bytes
            (b"\x80\2}" + ENCODE + b"X\2\0\0\0abX\4\0\0\0utf8\x86Rs.", "it encodes something else"),
            (b"\x80\2}" + TIMES_A_HUNDRED + b"s.", "it encodes something else than bytes, or more than it has"),
            (b"\x80\2Pgone\n.", "it uses PERSID"),
            (b"\x80\2\x82\1.", "it uses EXT1"),
            (b"text", "not a pickle of plain data"),
        ],
    )
    def test_refused(self, octets, message):
        with pytest.raises(DataError, match=message):
            pickled.read("own", octets)

    @pytest.mark.parametrize("octets", [pickle.dumps([1]), array_pickle(np.zeros(2, np.uint8)) + b"."])
    def test_no_dictionary(self, octets):
        with pytest.raises(DataError, match=r"^own: holds no dictionary$"):
            pickled.read("own", octets)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"labels": [1]}, "no array 'data' of shape"),
            ({"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]}, r"no array 'data' of shape \(N, 3,072\)"),
            ({"data": np.zeros((1, 3072), np.uint8)}, "no list 'labels' of class numbers"),
            ({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, "no list 'labels'"),
            ({"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}, "no list 'labels'"),
            ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [1]}, "no list 'labels'"),  # CIFAR-100
        ],
    )
    def test_other_content(self, tmp_path, content, message):
        (tmp_path / "test_batch").write_bytes(pickle.dumps(content, 4))
        with pytest.raises(DataError, match=f"test_batch: not CIFAR-10's Python version: {message}"):
            cifar.read(tmp_path / "test_batch")

    @given(st.data())
    def test_damage(self, data):
        """The error is a DataError, whatever happens to a file."""
        octets = bytearray(batch_pickle(np.zeros((1, 4), np.uint8), [3]))
        for _ in range(data.draw(st.integers(1, 4))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        try:
            pickled.read("own", bytes(octets))
        except DataError as error:
            assert str(error).startswith("own: ")  # noqa: PT017
