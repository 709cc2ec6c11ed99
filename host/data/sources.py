"""Where data sets come from: the one that ships with the package, files found on the machine, and .npz files."""

import os
import pathlib
import zipfile
import zlib

import numpy as np

from bnnedge.data import cifar, idx
from bnnedge.data.dataset import DataError, Dataset

_HOW_TO_GET = {
    "mnist": "its four idx files are at https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "its four idx files are at https://github.com/zalandoresearch/fashion-mnist and in the Debian "
    "package dataset-fashion-mnist",
    "cifar10": "its binary version, six files, is at https://www.cs.toronto.edu/~kriz/cifar.html",
}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_PARTS = {
    "x_train": "train-images{}idx3-ubyte",
    "y_train": "train-labels{}idx1-ubyte",
    "x_test": "t10k-images{}idx3-ubyte",
    "y_test": "t10k-labels{}idx1-ubyte",
}
_CLASSES = 10
_SYSTEM = pathlib.Path("/usr/share/datasets")


def load(name_or_path: str | os.PathLike[str]) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name_or_path: one of

        * "digits": 1,797 images of 8x8 handwritten digits, which ship with the package
        * "mnist", "fashion-mnist": 70,000 images of 28x28, from idx files (plain or .gz) in $BNNEDGE_DATA, in its
          subfolder of that name, or where other tools put them (see `places`)
        * "cifar10": 60,000 images of 32x32x3, from the files of its binary version (the Python version is pickled, and
          not read), looked for likewise
        * a file FILE.npz with the arrays x_train, y_train, x_test, y_test, as `Dataset` takes them
        * a folder with four idx files named as those of MNIST, or with the six of CIFAR-10

    Raises
    ------
    DataError: no such data set, or its files are missing, damaged, or hold no valid data
    """
    if name_or_path == "digits":
        return _read_npz(pathlib.Path(__file__).with_name("digits.npz"), "digits")
    if name_or_path in _HOW_TO_GET:
        name = str(name_or_path)
        place = find(name)
        if place is not None:
            return _read_npz(place, name) if place.is_file() else _read_folder(place, name)
        listed = "\n  ".join(str(place) for place in places(name))
        raise DataError(
            f"{name} was not found; looked at\n  {listed}\nTo get it: {_HOW_TO_GET[name]}; "
            f"put them into a folder of the name {name} and set BNNEDGE_DATA to it"
        )
    path = pathlib.Path(name_or_path)
    if path.is_dir():
        return _read_folder(path, path.name)
    if path.suffix == ".npz":
        return _read_npz(path, path.stem)
    raise DataError(
        f"{os.fspath(name_or_path)!r} is neither 'digits', {', '.join(map(repr, _HOW_TO_GET))}, nor a .npz file, nor a folder"
    )


def find(name: str) -> pathlib.Path | None:
    """The first of the `places` that holds any of the data set's files; None if none does."""
    for place in places(name):
        if place.is_file() or _holds(place, name):
            return place
    return None


def places(name: str) -> list[pathlib.Path]:
    """Folders (and .npz files) in which a data set that does not ship with the package is looked for, first to last."""
    home, given = pathlib.Path.home(), os.environ.get("BNNEDGE_DATA")
    roots = [pathlib.Path(given)] if given else []
    own = home / ".bnnedge/data" / name
    if name == "cifar10":
        folders = [place for root in roots for place in (root, root / name)] + [own, pathlib.Path("data")]
        return [place for folder in folders for place in (folder, folder / cifar.ARCHIVE)]
    torchvision = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    found = []
    for root in roots:
        # The two sets' files bear the same names: loose files count as Fashion-MNIST only in a folder named so.
        if ("fashion" in root.name.lower()) == (name == "fashion-mnist"):
            found.append(root)
        found += [root / name, root / torchvision / "raw"]
    found += [own, pathlib.Path("data") / torchvision / "raw"]
    if name == "mnist":
        found.append(home / ".keras/datasets/mnist.npz")
    else:
        found += [home / ".keras/datasets/fashion-mnist", _SYSTEM / "fashion-mnist"]
    return found


def _holds(folder: pathlib.Path, name: str) -> bool:
    if name == "cifar10":
        return cifar.found(folder)
    return any(_find(folder, pattern) for pattern in _PARTS.values())


def _find(folder: pathlib.Path, pattern: str) -> pathlib.Path | None:
    """The idx file of that name, plain or compressed; some copies have a dot where the original has a dash."""
    for mark in "-.":
        for suffix in ("", ".gz"):
            path = folder / (pattern.format(mark) + suffix)
            if path.is_file():
                return path
    return None


def _read_folder(folder: pathlib.Path, name: str) -> Dataset:
    classes = _CLASSES if name in _HOW_TO_GET else 0
    if name == "cifar10" or (name not in _HOW_TO_GET and cifar.found(folder)):
        return _checked(folder, name, cifar.read_folder(folder), classes)
    paths = {array: _find(folder, pattern) for array, pattern in _PARTS.items()}
    missing = [pattern.format("-") for array, pattern in _PARTS.items() if paths[array] is None]
    if missing:
        raise DataError(f"{folder}: no {', '.join(missing)} (nor with .gz)")
    return _checked(folder, name, {array: idx.read(path) for array, path in paths.items() if path is not None}, classes)


def _read_npz(path: pathlib.Path, name: str) -> Dataset:
    try:
        # NumPy would parse a damaged header before it comes to the checksum.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DataError(f"{path}: damaged: {damaged} fails its checksum")
        with np.load(path, allow_pickle=False) as file:
            missing = [array for array in _ARRAYS if array not in file]
            if missing:
                raise DataError(f"{path}: no {', '.join(missing)}; it holds {', '.join(file.files) or 'nothing'}")
            arrays = {array: file[array] for array in _ARRAYS}
    except DataError:
        raise
    # RuntimeError: encrypted, or of an unknown compression. ValueError: pickled objects, or a malformed array.
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return _checked(path, name, arrays, _CLASSES if name in _HOW_TO_GET else 0)


def _checked(path: pathlib.Path, name: str, arrays: dict[str, np.ndarray], classes: int) -> Dataset:
    try:
        return Dataset(name, **arrays, classes=classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
