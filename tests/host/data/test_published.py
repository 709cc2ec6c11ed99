"""Named sets that are not the published ones: refused in the folder of downloads, noted elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from bnnedge.cli import main
from bnnedge.data import DataError, DataWarning, download, load, places, published

NAMES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}


def arrays(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = {f"x_{part}": rng.integers(0, 256, (count, 6, 6), dtype=np.uint8) for part, count in (("train", 90), ("test", 30))}
    return {**images, "y_train": np.arange(90, dtype=np.uint8) % 10, "y_test": np.arange(30, dtype=np.uint8) % 10}


def idx(array: np.ndarray, level: int = 9) -> bytes:
    return gzip.compress(struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + array.tobytes(), level, mtime=0)


def write(folder: Path, content: dict[str, np.ndarray], level: int = 9) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in content.items():
        (folder / NAMES[name]).write_bytes(idx(array, level))
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloads; small arrays take the published ones' place, and no mirror answers."""
    for name in ("XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BNNEDGE_DATA", str(tmp_path / "store"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(places, "_SYSTEM", tmp_path / "system")
    monkeypatch.chdir(tmp_path)
    files = [
        download.File(NAMES[name], len(idx(array)), hashlib.sha256(idx(array)).hexdigest(), ("http://127.0.0.1:9/",))
        for name, array in arrays().items()
    ]
    monkeypatch.setitem(download.FILES, "mnist", tuple(files))
    parts = {part: published.digest(arrays()[f"x_{part}"], arrays()[f"y_{part}"]) for part in ("train", "test")}
    monkeypatch.setitem(published.DIGESTS, "mnist", parts)
    return tmp_path / "store"


@pytest.mark.filterwarnings("error")
def test_the_published_files_are_taken_without_a_word(store: Path, capsys: pytest.CaptureFixture[str]):
    write(store / "mnist", arrays())
    assert (load("mnist").x_train == arrays()["x_train"]).all()
    assert capsys.readouterr() == ("", "")


def test_each_file_is_hashed_once(store: Path, monkeypatch: pytest.MonkeyPatch):
    write(store / "mnist", arrays())
    hashed: list[Path] = []
    whole = download.sha256
    monkeypatch.setattr(published, "sha256", lambda path: (hashed.append(path), whole(path))[1])
    load("mnist")
    load("mnist")
    assert len(hashed) == 4
    (store / "mnist" / NAMES["y_test"]).write_bytes(idx(arrays()["y_test"][::-1]))
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: not the published file"):
        load("mnist")


@pytest.mark.filterwarnings("error")
def test_files_that_were_compressed_anew_are_taken(store: Path):
    write(store / "mnist", arrays(), level=1)
    load("mnist")


@pytest.mark.parametrize("name", list(NAMES))
def test_a_wrong_file_in_the_folder_of_downloads_is_refused(store: Path, name: str, capsys: pytest.CaptureFixture[str]):
    wrong = {**arrays(), name: arrays(2)[name][::-1].copy()}
    write(store / "mnist", wrong)
    text = rf"store/mnist/{NAMES[name]}: not the published file: its SHA-256 differs, .*--download, .* load the folder by its p"
    with pytest.raises(DataError, match=text):
        load("mnist")
    assert load(store / "mnist").name == "mnist"
    command = ["train", "--device", "golden", "--data", "mnist", "--network", "digits", "--batch", "64", "--steps", "1"]
    assert main([*command, "--out", str(store / "run")]) == 1
    assert "not the published file" in capsys.readouterr().err
    # Nor does it come to use when a download fails.
    for _ in range(2):
        with pytest.raises(DataError, match=rf"mnist could not be downloaded: {NAMES[name]}|mnist was not found"):
            load("mnist", download=True)
        assert not (store / "mnist" / NAMES[name]).exists()
    with pytest.raises(DataError, match="mnist: no "):
        load("mnist")


def test_a_damaged_file_is_downloaded_anew(store: Path):
    write(store / "mnist", arrays())
    (store / "mnist" / NAMES["x_test"]).write_bytes(b"text")
    with pytest.raises(DataError, match="not an idx file"):
        load("mnist")
    with pytest.raises(DataError, match="mnist could not be downloaded: t10k-images"):
        load("mnist", download=True)


@pytest.mark.parametrize(
    "place", ["store", "store/MNIST/raw", "home/.keras/datasets/mnist.npz", "home/.bnnedge/data/mnist", "data/MNIST/raw"]
)
def test_other_images_elsewhere_are_noted(store: Path, place: str):
    others = {**arrays(), "x_test": arrays(2)["x_test"]}
    for content, parts in ((arrays(), None), (others, "test"), (arrays(3), "training and test")):
        path = Path(place)
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **content)
        else:
            write(path, content)
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            load("mnist")
        shown = os.path.abspath(path) if place.startswith(("store", "home")) else place
        wanted = [f"{shown}: the {parts} images with their labels are not those of mnist as published"] if parts else []
        assert [str(each.message) for each in noted] == wanted


def test_unpacked_files_in_the_folder_of_downloads_are_noted(store: Path):
    write(store / "mnist", arrays(4))
    for path in (store / "mnist").iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    with pytest.warns(DataWarning, match="the training and test images"):
        load("mnist")


def test_digests_do_not_depend_on_the_order():
    content = arrays()
    images, labels = content["x_train"], content["y_train"]
    order = np.random.default_rng(0).permutation(len(labels))
    assert published.digest(images[order], labels[order].astype(np.int64)) == published.digest(images, labels)
    assert published.digest(images[order], labels) != published.digest(images, labels)
    assert published.digest(images[1:], labels[1:]) != published.digest(images, labels)


def test_every_set_has_digests():
    assert {*published.DIGESTS, "svhn"} == set(places.NAMES), "SVHN is told by its files alone: test_svhn.py"
    assert all(len(bytes.fromhex(digest)) == 32 for parts in published.DIGESTS.values() for digest in parts.values())
    assert {tuple(parts) for parts in published.DIGESTS.values()} == {("train", "test")}
