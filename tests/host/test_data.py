"""Data sets: what is accepted, what is refused with which words, and where files are looked for."""

import contextlib
import gzip
import io
import pathlib
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnedge.data import DataError, Dataset, DataWarning, cifar, idx, load, places, sources

# Sets made up here are not the published ones.
pytestmark = pytest.mark.filterwarnings("ignore:.*as published:bnnedge.data.DataWarning")

NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


RANDOM = np.random.RandomState(3)
BYTES = RANDOM.randint(0, 256, (64, 4, 5)).astype(np.uint8)
BYTES[0, 0, :2] = 0, 255
NUMBERS = np.arange(64) % 4


def encode_idx(array):
    return struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def small_arrays(fill=207):
    return {
        "x_train": np.full((4, 3, 3), fill, np.uint8),
        "y_train": np.array([0, 1, 2, 1]),
        "x_test": np.zeros((2, 3, 3), np.uint8),
        "y_test": np.array([2, 0]),
    }


def spaced(low, high):
    return np.linspace(low, high, 36).reshape(4, 3, 3)


def write_folder(folder, *, compress=True, fill=207, rename=lambda name: name):
    folder.mkdir(parents=True, exist_ok=True)
    for array, values in small_arrays(fill).items():
        data, name = encode_idx(values), rename(NAMES[array])
        if compress:
            data, name = gzip.compress(data), name + ".gz"
        (folder / name).write_bytes(data)


def write_cifar(folder, *, records=2):
    """Six files; the pixel (y, x) of channel c of the image of label n has the value 10 n + 50 c + 3 y + x, modulo 256."""
    folder.mkdir(parents=True, exist_ok=True)
    c, y, x = np.indices((3, 32, 32))
    for i, name in enumerate((*cifar.TRAINING, cifar.TEST)):
        labels = (np.arange(records) + records * i) % 10
        images = [10 * label + 50 * c + 3 * y + x for label in labels]
        octets = [bytes([label]) + image.astype(np.uint8).tobytes() for label, image in zip(labels, images, strict=True)]
        (folder / name).write_bytes(b"".join(octets))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A home and a working folder that hold no data; the path of the home."""
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
    for name in ("BNNEDGE_DATA", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


class TestDataset:
    def test_members(self):
        data = Dataset("small", **small_arrays())
        assert data.name == "small"
        assert data.classes == 3
        assert data.x_train.dtype == data.x_test.dtype == np.uint8
        assert data.y_train.dtype == data.y_test.dtype == np.int64
        assert (data.y_train == [0, 1, 2, 1]).all()

    def test_wide_integers_are_kept(self):
        data = Dataset("wide", **{**small_arrays(), "x_train": np.full((4, 3, 3), 200, np.int32)})
        assert (data.x_train == 200).all()

    def test_floats_up_to_one(self):
        x = np.array([0, 0.5, 1, 1 / 255, 0.499 / 255, 0.501 / 255]).reshape(2, 3)
        data = Dataset("unit", x, np.array([0, 1]), x, np.array([0, 1]))
        assert data.x_train.ravel().tolist() == [0, 128, 255, 1, 0, 1]

    def test_floats_up_to_255(self):
        x = np.array([0, 0.5, 1.5, 254.6, 255, 3]).reshape(2, 3)
        data = Dataset("byte", x, np.array([0, 1]), x, np.array([0, 1]))
        assert data.x_train.ravel().tolist() == [0, 0, 2, 255, 255, 3]

    def test_both_parts_share_a_scale(self):
        data = Dataset("dim", np.full((2, 3), 190.0), np.array([0, 1]), np.full((2, 3), 2.4), np.array([0, 1]))
        assert (data.x_test == 2).all()
        with pytest.raises(DataError, match=r"^x_train lies in 0..255 \(float64\), x_test in 0..1 \(float64\): bring"):
            Dataset("two", BYTES * 1.0, NUMBERS, BYTES / 255, NUMBERS)
        with pytest.raises(DataError, match=r"^x_train lies in 0..1 \(float64\), x_test in 0..255 \(float64\): bring"):
            Dataset("two", BYTES / 255, NUMBERS, BYTES * 1.0, NUMBERS)

    @pytest.mark.parametrize(
        "change",
        [lambda x: x // 16, lambda x: x > 127, lambda x: x // 64 + 200, lambda x: np.zeros_like(x)],
        ids=["sixteenth", "bits", "bright", "black"],
    )
    @pytest.mark.parametrize("divisor", [1, 255.0])
    def test_a_narrow_test_set_is_refused(self, change, divisor):
        other = change(BYTES).astype(np.uint8)
        with pytest.raises(DataError, match=r"^x_test lies in .*, x_train in |^x_train lies in .*, x_test in .*: bring both to"):
            Dataset("narrow", BYTES / divisor, NUMBERS, other / divisor, NUMBERS)

    def test_half_the_range_is_noted(self):
        with pytest.warns(DataWarning, match=r"^x_train lies in 0..255 \(uint8\), x_test in 0..102 \(uint8\): bring both to one"):
            Dataset("percent", BYTES, NUMBERS, (BYTES * 0.4).astype(np.uint8), NUMBERS)

    def test_a_narrow_test_set_that_may_be_chance_is_taken(self):
        """A bit less bright, or dark as half of the training images are, or too few to tell."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Dataset("less", BYTES, NUMBERS, (BYTES * 0.6).astype(int), NUMBERS)
            Dataset("few", BYTES, NUMBERS, BYTES[:1] // 16, NUMBERS[:1])
            dark = np.concatenate([BYTES, BYTES // 16])
            Dataset("dark", dark, np.tile(NUMBERS, 2), BYTES[:5] // 16, NUMBERS[:5])

    def test_floats_of_two_scales_in_one_array_are_noted(self):
        x = BYTES * 1.0
        x[::4] /= 255
        with pytest.warns(DataWarning, match=r"^x_test holds 16 images up to 1 among others up to 25\d: bring all to one scale$"):
            Dataset("mixed", BYTES * 1.0, NUMBERS, x, NUMBERS)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Dataset("bits", np.concatenate([BYTES * 1.0, BYTES // 128]), np.tile(NUMBERS, 2), BYTES * 1.0, NUMBERS)

    def test_booleans_are_black_and_white(self):
        data = Dataset("bits", BYTES > 127, NUMBERS, BYTES > 100, NUMBERS)
        assert set(np.unique(data.x_train)) == set(np.unique(data.x_test)) == {0, 255}

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", float])
    def test_floats_of_bytes_come_back(self, dtype):
        x = (np.arange(256) / 255).astype(dtype).reshape(2, 128)
        assert Dataset("back", x, NUMBERS[:2], x, NUMBERS[:2]).x_train.ravel().tolist() == list(range(256))

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("high", [1.001, 1.002, 200, 255.4, 256, 60000])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_limits_of_narrow_floats(self, high, dtype):
        """What rounds beyond 255 is refused, and never becomes black."""
        x = np.array([0, high / 2, high], dtype).reshape(1, 3).repeat(2, 0)
        if high in (1.002, 256, 60000):
            with pytest.raises(DataError, match="x_train "):
                Dataset("high", x, NUMBERS[:2], x, NUMBERS[:2])
        else:
            most = 200 if high == 200 else 255
            assert Dataset("high", x, NUMBERS[:2], x, NUMBERS[:2]).x_train[0].tolist() == [0, (most + 1) // 2, most]

    def test_rounding_slack_is_taken(self):
        x = np.array([-1e-7, 0.5, 1.0000001, 1.0019, -0.0019, 0.9]).reshape(2, 3)
        assert Dataset("slack", x, NUMBERS[:2], x, NUMBERS[:2]).x_train.ravel().tolist() == [0, 128, 255, 255, 0, 230]
        x = np.array([-0.4, 0.5, 255.4]).reshape(1, 3).repeat(2, 0)
        assert Dataset("slack", x, NUMBERS[:2], x, NUMBERS[:2]).x_train[0].tolist() == [0, 0, 255]

    def test_dim_floats_are_refused(self):
        arrays = {"y_train": np.array([0, 1]), "x_test": np.ones((2, 3)), "y_test": np.array([0, 1])}
        with pytest.raises(DataError, match=r"x_train holds floats up to 16 only.* or give floats in \[0, 1\] \(x / 16\)$"):
            Dataset("dim", np.full((2, 3), 16.0), **{**arrays, "x_test": np.full((2, 3), 12.0)})
        with pytest.raises(DataError, match=r"x_train holds floats up to 0\.4 only.* or give floats in \[0, 1\] \(x / 0\.4\)$"):
            Dataset("dim", np.full((2, 3), 0.4), **arrays)

    def test_classes_without_examples(self):
        assert Dataset("sparse", **small_arrays(), classes=10).classes == 10

    @pytest.mark.parametrize(
        ("array", "value", "text"),
        [
            ("x_train", np.zeros((0, 3, 3), np.uint8), "x_train is empty: its shape is (0, 3, 3)"),
            ("x_train", np.zeros((4, 0), np.uint8), "x_train is empty: its shape is (4, 0)"),
            ("x_test", np.zeros(2, np.uint8), "x_test must have shape (N, ...) with one or more axes per image, not (2,): one"),
            ("x_test", np.zeros((2, 3, 4), np.uint8), "x_train holds images of shape (3, 3), x_test of (3, 4)"),
            ("x_train", np.zeros((4, 3, 3), bool), "x_train lies in 0..0 (bool), x_test in 0..0 (uint8): bring both to one type"),
            ("x_train", np.zeros((4, 3, 3), complex), "x_train must be integers in 0..255 or floats"),
            ("x_train", np.full((4, 3, 3), "a"), "x_train must be integers in 0..255 or floats"),
            ("x_train", np.full((4, 3, 3), 256), "x_train must lie in 0..255"),
            ("x_train", np.full((4, 3, 3), -1), "x_train must lie in 0..255"),
            ("x_train", np.full((4, 3, 3), -0.5), "x_train must lie in 0..255"),
            ("x_train", np.full((4, 3, 3), np.nan), "x_train holds NaN or infinite values"),
            ("x_test", np.full((2, 3, 3), np.inf), "x_test holds NaN or infinite values"),
            ("x_test", np.zeros((2, 3, 3)), "x_train lies in 207..207 (uint8), x_test in 0..0 (float64): bring both"),
            ("x_train", np.full((4, 3, 3), -1.5), "x_train must lie in 0..255 (or, floats, in [0, 1]), not -1.5..-1.5: give f"),
            ("x_train", spaced(-1, 1), "x_train must lie in 0..255 (or, floats, in [0, 1]), not -1..1: give (x + 1) / 2"),
            ("x_train", spaced(-0.5, 0.5), "x_train must lie in 0..255 (or, floats, in [0, 1]), not -0.5..0.5: give floats in"),
            ("x_train", spaced(-0.05, 1), "x_train must lie in 0..255 (or, floats, in [0, 1]), not -0.05..1: give np.c"),
            ("x_train", np.zeros((4, 3, 3), np.uint8), "x_train holds integers up to 0 only, and the first layer learns"),
            ("x_train", np.zeros((4, 1, 9, 9), np.uint8), "x_train holds images of shape (1, 9, 9): channels first? move"),
            ("x_test", np.zeros((4, 3, 9, 9), np.uint8), "x_test holds images of shape (3, 9, 9): channels first? move"),
            ("x_train", np.full((4, 3, 3), 127), "x_train holds integers up to 127 only, and the first layer learns"),
            ("y_train", np.array([0, 1, 2**63, 2], np.uint64), "y_train holds the label 9223372036854775808; class numbers"),
            ("y_test", np.array([0, 2**31]), "y_test holds the label 2147483648; class numbers must be less than 2**31"),
            ("y_train", np.zeros(3, int), "y_train has 3 labels for 4 images"),
            ("y_train", np.zeros(4), "A data set needs at least 2 classes, not 1"),
            ("y_train", np.array([0, 1, -1, 2]), "y_train holds the negative label -1"),
            ("y_train", np.zeros(4, int), "A data set needs at least 2 classes, not 1"),
            ("y_test", np.array([3, 0]), "y_test holds the label 3; the 3 classes are 0..2"),
        ],
    )
    def test_refused(self, array, value, text):
        with pytest.raises(DataError) as caught:
            Dataset("bad", **{**small_arrays(), array: value})
        assert str(caught.value).startswith(text)

    @pytest.mark.parametrize("classes", [3.0, True, "3", None])
    def test_classes_are_a_whole_number(self, classes):
        with pytest.raises(DataError, match=f"^classes must be a whole number, not {classes!r}$"):
            Dataset("bad", **small_arrays(), classes=classes)

    def test_labels_beyond_given_classes(self):
        with pytest.raises(DataError, match=r"^y_train holds the label 2; the 2 classes are 0\.\.1$"):
            Dataset("bad", **small_arrays(), classes=2)

    def test_is_a_value_error(self):
        assert issubclass(DataError, ValueError)


class TestIdx:
    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    @pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3)])
    def test_round_trip(self, tmp_path, shape, pack):
        array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        path = tmp_path / "file"
        path.write_bytes(pack(encode_idx(array)))
        result = idx.read(path)
        assert result.dtype == np.uint8
        assert result.shape == shape
        assert (result == array).all()

    GOOD = encode_idx(np.zeros((2, 3)))

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", "not an idx file: it starts with nothing"),
            (b"PK\3\4", "not an idx file: it starts with 50 4b 03 04"),
            (b"\0\0\x0d\1" + bytes(8), "elements are of type 0x0d; only unsigned bytes"),
            (b"\0\0\x08\0" + bytes(1), "the header gives no dimensions"),
            (GOOD[:7], "truncated within the header: 7 bytes, of which 12 should be header"),
            (GOOD[:-1], r"truncated: 5 bytes of data, but shape \(2, 3\) needs 6"),
            (GOOD + b"\0", r"too long: more data than the 6 bytes of shape \(2, 3\)"),
            (b"\0\0\x08\3" + b"\xff" * 12, r"truncated: shape \(4294967295, .* needs 79,228,162,458,924,105,385,300,197,375 b"),
            (gzip.compress(GOOD, mtime=0)[:-9], "cannot be read: "),
            (gzip.compress(GOOD, mtime=0)[:-4] + b"abcd", "cannot be read: "),
            (b"\x1f\x8bnot gzip at all", "cannot be read: "),
        ],
    )
    def test_refused(self, tmp_path, data, text):
        path = tmp_path / "broken"
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"broken: {text}"):
            idx.read(path)

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="absent: cannot be read: "):
            idx.read(tmp_path / "absent")


class TestDigits:
    def test_content(self):
        data = load("digits")
        assert data.x_train.shape == (1437, 8, 8)
        assert data.x_test.shape == (360, 8, 8)
        assert data.classes == 10
        assert set(data.y_test) == set(range(10))
        values = set(np.unique(data.x_train))
        assert values == {min(16 * v, 255) for v in range(17)}

    def test_against_scikit_learn(self):
        datasets = pytest.importorskip("sklearn.datasets")
        images, labels = datasets.load_digits(return_X_y=True)
        order = np.random.default_rng(7).permutation(len(images))
        data = load("digits")
        assert (np.concatenate([data.y_train, data.y_test]) == labels[order]).all()
        pixels = np.concatenate([data.x_train, data.x_test]).reshape(-1, 64)
        assert (pixels == np.minimum(images[order] * 16, 255)).all()


class TestFolders:
    @pytest.mark.parametrize("compress", [True, False])
    def test_path(self, tmp_path, compress):
        write_folder(tmp_path / "own", compress=compress)
        data = load(tmp_path / "own")
        assert data.name == "own"
        assert data.classes == 3
        assert (data.x_train == 207).all()

    def test_dotted_names(self, tmp_path):
        write_folder(tmp_path, rename=lambda name: name.replace("-idx", ".idx"))
        assert len(load(tmp_path).x_train) == 4

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("mnist", ""),
            ("mnist", "mnist"),
            ("mnist", "MNIST/raw"),
            ("fashion-mnist", "fashion-mnist"),
            ("fashion-mnist", "FashionMNIST/raw"),
        ],
    )
    def test_environment(self, nowhere, tmp_path, monkeypatch, name, place):
        monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
        write_folder(tmp_path / "store" / place, compress=False)
        data = load(name)
        assert data.name == name
        assert data.classes == 10

    def test_sets_of_the_same_file_names_are_told_apart(self, nowhere, tmp_path, monkeypatch):
        for folder, fill in (("store", 201), ("Fashion", 202)):
            write_folder(tmp_path / folder, fill=fill)
        monkeypatch.setattr(places, "_SYSTEM", tmp_path / "none")
        monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
        assert load("mnist").x_train.max() == 201
        with pytest.raises(DataError, match="fashion-mnist was not found"):
            load("fashion-mnist")
        monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "Fashion"))
        assert load("fashion-mnist").x_train.max() == 202
        with pytest.raises(DataError, match="mnist was not found"):
            load("mnist")

    @pytest.mark.parametrize("place", [".bnnedge/data/fashion-mnist", ".keras/datasets/fashion-mnist"])
    def test_home(self, nowhere, place):
        write_folder(nowhere / place)
        assert (load("fashion-mnist").x_train == 207).all()

    def test_keras_archive(self, nowhere):
        (nowhere / ".keras/datasets").mkdir(parents=True)
        np.savez(nowhere / ".keras/datasets/mnist.npz", **small_arrays())
        assert (load("mnist").x_train == 207).all()

    def test_not_found(self, nowhere, tmp_path, monkeypatch):
        monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
        with pytest.raises(DataError) as caught:
            load("mnist")
        text = str(caught.value)
        assert all(str(place) in text for place in sources.places("mnist"))
        assert str(tmp_path / "store") in text
        assert "To get it: " in text
        assert "BNNEDGE_DATA" in text

    def test_missing_file(self, tmp_path):
        write_folder(tmp_path)
        (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(DataError, match="no t10k-labels-idx1-ubyte"):
            load(tmp_path)

    def test_swapped_files(self, tmp_path):
        write_folder(tmp_path, compress=False)
        (tmp_path / NAMES["y_train"]).write_bytes((tmp_path / NAMES["x_train"]).read_bytes())
        with pytest.raises(DataError, match=r"y_train must have shape \(N,\)"):
            load(tmp_path)


class TestCifar:
    def test_content(self, tmp_path):
        write_cifar(tmp_path / "own")
        data = load(tmp_path / "own")
        assert data.name == "own"
        assert data.x_train.shape == (10, 32, 32, 3)
        assert data.x_test.shape == (2, 32, 32, 3)
        assert data.y_train.tolist() == list(range(10))
        assert data.y_test.tolist() == [0, 1]
        for n, y, x, c in [(0, 0, 0, 0), (9, 31, 30, 2), (4, 2, 17, 1)]:
            assert data.x_train[n, y, x, c] == (10 * n + 50 * c + 3 * y + x) % 256

    @pytest.mark.parametrize("place", ["", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
    def test_environment(self, nowhere, tmp_path, monkeypatch, place):
        monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
        write_cifar(tmp_path / "store" / place, records=1)
        data = load("cifar10")
        assert (data.name, data.classes) == ("cifar10", 10)

    @pytest.mark.parametrize("place", [".bnnedge/data/cifar10", ".bnnedge/data/cifar10/cifar-10-batches-bin"])
    def test_home(self, nowhere, place):
        write_cifar(nowhere / place)
        assert len(load("cifar10").x_train) == 10

    def test_beside_other_sets(self, nowhere, tmp_path, monkeypatch):
        """Loose files of two sets in one folder are told apart."""
        monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
        write_cifar(tmp_path / "store")
        write_folder(tmp_path / "store")
        assert load("mnist").x_train.shape == (4, 3, 3)
        assert load("cifar10").x_train.shape == (10, 32, 32, 3)

    def test_not_found(self, nowhere):
        with pytest.raises(DataError, match=r"^cifar10 was not found; looked at\n") as caught:
            load("cifar10")
        assert "\nTo get it: ask for the download" in str(caught.value)
        assert "By hand: its archives are at https://" in str(caught.value)
        assert all(str(place) in str(caught.value) for place in sources.places("cifar10"))

    def test_missing_file(self, nowhere):
        folder = nowhere / ".bnnedge/data/cifar10"
        write_cifar(folder)
        (folder / "data_batch_3.bin").unlink()
        with pytest.raises(DataError, match=r"cifar10: no data_batch_3.bin$"):
            load("cifar10")

    @pytest.mark.parametrize("octets", [b"", bytes(3072), bytes(2 * 3073 + 1)])
    def test_refused(self, tmp_path, octets):
        (tmp_path / "broken.bin").write_bytes(octets)
        with pytest.raises(DataError, match=r"broken.bin: not CIFAR-10's binary version: .* no whole records of 3,073$"):
            cifar.read(tmp_path / "broken.bin")

    def test_unreadable(self, tmp_path):
        with pytest.raises(DataError, match="absent: cannot be read: "):
            cifar.read(tmp_path / "absent")

    def test_label_outside_the_classes(self, nowhere):
        folder = nowhere / ".bnnedge/data/cifar10"
        write_cifar(folder)
        (folder / "data_batch_1.bin").write_bytes(bytes([10]) + bytes(3072))
        with pytest.raises(DataError, match="cifar10: y_train holds the label 10; the 10 classes are"):
            load("cifar10")


class TestArchives:
    def test_path(self, tmp_path):
        np.savez(tmp_path / "own.npz", **small_arrays())
        data = load(str(tmp_path / "own.npz"))
        assert data.name == "own"
        assert (data.x_train == 207).all()

    def test_missing_array(self, tmp_path):
        arrays = small_arrays()
        del arrays["y_test"]
        np.savez(tmp_path / "own.npz", **arrays)
        with pytest.raises(DataError, match=r"own.npz: no y_test; it holds x_train, y_train, x_test; bring its arrays into"):
            load(tmp_path / "own.npz")

    def test_pickled_objects_are_not_loaded(self, tmp_path):
        np.savez(tmp_path / "own.npz", **{**small_arrays(), "x_train": np.array([{}], object)})
        with pytest.raises(DataError, match=r"own.npz: cannot be read: x_train holds Python objects, which are never loaded"):
            load(tmp_path / "own.npz")

    def test_invalid_content(self, tmp_path):
        np.savez(tmp_path / "own.npz", **{**small_arrays(), "y_train": np.array([0, 1, 2, -1])})
        with pytest.raises(DataError, match=r"own.npz: y_train holds the negative label -1: class numbers begin at 0$"):
            load(tmp_path / "own.npz")

    @pytest.mark.parametrize("data", [b"", b"no archive", encode_idx(np.zeros(3))])
    def test_no_archive(self, tmp_path, data):
        (tmp_path / "own.npz").write_bytes(data)
        with pytest.raises(DataError, match=r"own.npz: cannot be read: "):
            load(tmp_path / "own.npz")

    def test_member_that_is_no_array(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
            for name in NAMES:
                archive.writestr(f"{name}.npy", b"text")
        with pytest.raises(DataError, match=r"own.npz: "):
            load(tmp_path / "own.npz")

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match=r"absent.npz: cannot be read: "):
            load(tmp_path / "absent.npz")

    @pytest.mark.parametrize(
        ("name", "hint"),
        [("cifar-10", "; did you mean 'cifar10'?"), ("MNIST", "; did you mean 'mnist'?"), ("file.csv", "nor a folder")],
    )
    def test_unknown(self, nowhere, name, hint):
        with pytest.raises(DataError, match=f"is neither 'digits'.*{re.escape(hint)}$"):
            load(name)

    @pytest.mark.parametrize("name", ["own.npy", "own.csv", "own.mat", "own"])
    def test_files_of_other_kinds(self, nowhere, name):
        pathlib.Path(name).write_text("1,2,3")
        with pytest.raises(DataError, match=rf"^{name}: not a file that is read here; bring .*np.savez\('mine.npz', x_train="):
            load(name)

    def test_a_folder_of_pictures(self, tmp_path):
        (tmp_path / "cats").mkdir()
        with pytest.raises(DataError, match=r": holds neither four idx .* pictures say, and bring its .*np.savez\("):
            load(tmp_path)

    def test_a_name_in_capitals(self, tmp_path):
        np.savez(tmp_path / "own.npz", **small_arrays())
        (tmp_path / "own.npz").rename(tmp_path / "OWN.NPZ")
        assert load(tmp_path / "OWN.NPZ").name == "OWN"


class TestDamage:
    """Whatever happens to a file, the error is a DataError."""

    @staticmethod
    def read_damaged(tmp_path_factory, read, name, data):
        path = tmp_path_factory.mktemp("damaged") / name
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            read(path)

    @given(st.data())
    def test_archive(self, tmp_path_factory, data):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **small_arrays())
        octets = bytearray(buffer.getvalue())
        for _ in range(data.draw(st.integers(1, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        self.read_damaged(tmp_path_factory, load, "own.npz", bytes(octets[: data.draw(st.integers(0, len(octets)))]))

    @given(st.binary(max_size=64))
    def test_idx(self, tmp_path_factory, octets):
        self.read_damaged(tmp_path_factory, idx.read, "own.idx", octets)
