"""SVHN: its two MATLAB files, where they are looked for, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matlab import header, matrix, packed
from peak import peak

from bnnedge.cli import main
from bnnedge.data import DataError, DataWarning, download, load, places, svhn
from bnnedge.files import sha256


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """As SVHN has them: the pixel (y, x) of channel c of image n is 7 n + 50 c + 3 y + x, modulo 256; its label n modulo 10."""
    y, x, c, n = np.indices((32, 32, 3, count))
    labels = np.arange(count, dtype=np.uint8)[:, None] % 10
    return (7 * n + 50 * c + 3 * y + x).astype(np.uint8), np.where(labels == 0, 10, labels).astype(np.uint8)


def mat_file(images: np.ndarray, labels: np.ndarray, compress: bool = True, order: str = "<") -> bytes:
    elements = [matrix("X", images, order), matrix("y", labels, order)]
    return header(order) + b"".join(packed(each, order) if compress else each for each in elements)


def write(folder: Path, **options: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train_32x32.mat", 40), ("test_32x32.mat", 10)):
        (folder / name).write_bytes(mat_file(*digits(count), **options))
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, beside a home and a folder for BNNEDGE_DATA; all empty. What `write` makes is the published set."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    files = [download.File(path.name, path.stat().st_size, sha256(path), ()) for path in write(tmp_path / "published").iterdir()]
    monkeypatch.setitem(download.FILES, "svhn", tuple(files))
    return tmp_path / "work"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compress", [True, False])
def test_content(tmp_path: Path, compress: bool, order: str):
    (tmp_path / "a.mat").write_bytes(mat_file(*digits(23), compress, order))
    images, labels = svhn.read(tmp_path / "a.mat")
    assert (images.shape, images.dtype, images.flags.c_contiguous) == ((23, 32, 32, 3), np.uint8, True)
    assert labels.tolist() == [*range(10), *range(10), 0, 1, 2]
    for n, y, x, c in [(0, 0, 0, 0), (22, 31, 30, 2), (4, 2, 17, 1)]:
        assert images[n, y, x, c] == (7 * n + 50 * c + 3 * y + x) % 256


@pytest.mark.parametrize(
    "place", ["store", "store/svhn", "home/.cache/bnnedge/svhn", "home/.bnnedge/data/svhn", "work/data", "data"]
)
@pytest.mark.filterwarnings("error")
def test_places(work: Path, place: str):
    write(work.parent / place)
    data = load("svhn")
    assert (data.name, data.classes, data.x_train.shape, data.x_test.shape) == ("svhn", 10, (40, 32, 32, 3), (10, 32, 32, 3))
    assert data.y_test.tolist() == list(range(10))


def test_files_that_are_not_the_published_ones(work: Path):
    """Refused in the folder of downloads, noted elsewhere."""
    (write(work / "data") / "test_32x32.mat").write_bytes(mat_file(*digits(9)))
    with pytest.warns(DataWarning, match=r"^data: the contents of test_32x32\.mat are not those of svhn as published$"):
        load("svhn")
    write(work / "data", compress=False)
    with pytest.warns(
        DataWarning, match=r"^data: the contents of train_32x32\.mat and test_32x32\.mat are not those of svhn as published$"
    ):
        load("svhn")
    write(work.parent / "store/svhn", compress=False)
    with pytest.raises(
        DataError, match=r"svhn/train_32x32\.mat: not the published file: its SHA-256 differs; ask for the download"
    ):
        load("svhn")
    assert load(work.parent / "store/svhn").name == "svhn"


def test_path(tmp_path: Path):
    data = load(write(tmp_path / "own"))
    assert (data.name, len(data.x_train), data.y_test.tolist()) == ("own", 40, list(range(10)))


def test_beside_other_sets(work: Path):
    """Loose files of two sets in one folder are told apart, and a set with its name is not taken for another."""
    store = write(work.parent / "store")
    for i in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (store / f"{i}.bin").write_bytes(bytes([1]) + bytes([200]) * 3072)
    assert len(load("svhn").x_train) == 40
    with pytest.warns(DataWarning, match="not those of cifar10 as published"):
        assert len(load("cifar10").x_train) == 5


def test_not_found(work: Path):
    with pytest.raises(DataError) as caught:
        load("svhn")
    text = str(caught.value)
    assert text.startswith(f"svhn was not found; looked at\n  {work.parent}/store\n  {work.parent}/store/svhn\n")
    assert [str(place) for place in places.places("svhn")][-2:] == ["data", "../data"]
    assert (
        f"which puts it into {work.parent}/store/svhn. By hand: train_32x32.mat and test_32x32.mat, its cropped digits, " in text
    )
    assert "are at http://ufldl.stanford.edu/housenumbers/; put them into a folder of the name svhn" in text


def test_a_missing_file(work: Path):
    (write(work.parent / "store/svhn") / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"store/svhn: no test_32x32\.mat$"):
        load("svhn")
    write(work / "data")
    assert len(load("svhn").x_test) == 10


X, Y = digits(4)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (
            X[..., 0],
            Y,
            r"X uint8 of shape \(32, 32, 3\) and y uint8 of shape \(4, 1\), where those have X uint8 of shape \(32, 32, 3",
        ),
        (np.moveaxis(X, -1, 0), Y, r"X uint8 of shape \(4, 32, 32, 3\)"),
        (X[:28, :28], Y, r"X uint8 of shape \(28, 28, 3, 4\)"),
        (X.astype("i2"), Y, r"X int16 of shape \(32, 32, 3, 4\)"),
        (X, Y[:3], r"y uint8 of shape \(3, 1\)"),
        (X, Y.T, r"y uint8 of shape \(1, 4\)"),
    ],
)
def test_other_matrices(tmp_path: Path, images: np.ndarray, labels: np.ndarray, said: str):
    (tmp_path / "a.mat").write_bytes(mat_file(images, labels))
    with pytest.raises(DataError, match=rf"a\.mat: not SVHN's cropped digits: .*{said}.* they are at http://ufldl"):
        svhn.read(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full((40, 1), 11, np.uint8), "y_train holds the label 11; the 10 classes are"),
        (np.full((40, 1), -1, np.int8), "y_train holds the negative label -1"),
        (np.full((40, 1), np.nan), "y_train holds NaN"),
        (np.full((40, 1), 1.5), "y_train must be integers, not float64 such as 1.5"),
    ],
)
def test_labels_that_are_none(work: Path, labels: np.ndarray, said: str):
    (write(work / "data") / "train_32x32.mat").write_bytes(mat_file(digits(40)[0], labels))
    with pytest.raises(DataError, match=f"data: {said}"):
        load("svhn")


def test_labels_in_doubles(tmp_path: Path):
    (tmp_path / "a.mat").write_bytes(mat_file(X, Y.astype(float)))
    assert svhn.read(tmp_path / "a.mat")[1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("octets", [b"", b"<html>", header() + matrix("X", X), mat_file(X, Y)[:-1], mat_file(X, Y, False)[:-1]])
def test_unreadable(tmp_path: Path, octets: bytes):
    (tmp_path / "a.mat").write_bytes(octets)
    with pytest.raises(
        DataError, match=r"a\.mat: cannot be read: .*; SVHN's own are at http://ufldl\.stanford\.edu/housenumbers/$"
    ):
        svhn.read(tmp_path / "a.mat")


def test_absent(tmp_path: Path):
    with pytest.raises(DataError, match=r"absent: cannot be read: .*No such file"):
        svhn.read(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read: "):
        svhn.read(tmp_path)


def test_memory(tmp_path: Path):
    """Twice what the images take: as they lie in the file, and as they are used."""
    count = 20_000
    images = np.zeros((32, 32, 3, count), np.uint8, "F")
    images[0] = 255
    (tmp_path / "a.mat").write_bytes(mat_file(images, np.ones((count, 1), np.uint8)))
    said, memory = peak("from bnnedge.data import svhn", "svhn.read(sys.argv[1])", tmp_path / "a.mat")
    assert said == "read"
    assert memory < 2.2 * images.nbytes / (1 << 20)


def test_command(work: Path, capsys: pytest.CaptureFixture[str]):
    write(work.parent / "store")
    (work / "small.json").write_text('{"name": "small", "input_shape": [32, 32, 3], "layers": [{"dense": 16}, {"dense": 10}]}')
    words = ["train", "--data", "svhn", "--network", "small.json", "--device", "golden", "--steps", "1"]
    assert main([*words, "--batch", "32", "--out", "run"]) == 0
    assert "data svhn: 40 training and 10 test images" in capsys.readouterr().out
