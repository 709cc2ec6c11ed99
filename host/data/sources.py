"""Where data sets come from: the one that ships with the package, idx files found on the machine, and .npz files."""
import os
import pathlib
import zipfile
import zlib

import numpy as np

from bnnedge.data import idx
from bnnedge.data.dataset import DataError, Dataset

_HOW_TO_GET = {
    "mnist": "its four idx files are at https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "its four idx files are at https://github.com/zalandoresearch/fashion-mnist and in the Debian "
                     "package dataset-fashion-mnist",
}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_PARTS = {"x_train": "train-images{}idx3-ubyte", "y_train": "train-labels{}idx1-ubyte",
          "x_test": "t10k-images{}idx3-ubyte", "y_test": "t10k-labels{}idx1-ubyte"}
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
        * a file FILE.npz with the arrays x_train, y_train, x_test, y_test, as `Dataset` takes them
        * a folder with four idx files named as those of MNIST

    Raises
    ------
    DataError: no such data set, or its files are missing, damaged, or hold no valid data
    """
    if name_or_path == "digits":
        return _read_npz(pathlib.Path(__file__).with_name("digits.npz"), "digits")
    if name_or_path in _HOW_TO_GET:
        name = str(name_or_path)
        looked_at = places(name)
        for place in looked_at:
            if place.is_file():
                return _read_npz(place, name)
            if any(_find(place, pattern) for pattern in _PARTS.values()):
                return _read_folder(place, name)
        listed = "\n  ".join(str(place) for place in looked_at)
        raise DataError(f"{name} was not found; looked at\n  {listed}\nTo get it: {_HOW_TO_GET[name]}; "
                        f"put them into a folder of the name {name} and set BNNEDGE_DATA to it")
    path = pathlib.Path(name_or_path)
    if path.is_dir():
        return _read_folder(path, path.name)
    if path.suffix == ".npz":
        return _read_npz(path, path.stem)
    raise DataError(f"{os.fspath(name_or_path)!r} is neither 'digits', 'mnist' or 'fashion-mnist', nor a .npz file, "
                    "nor a folder")


def places(name: str) -> list[pathlib.Path]:
    """Folders (and .npz files) in which "mnist" or "fashion-mnist" is looked for, first to last."""
    torchvision = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    home, given = pathlib.Path.home(), os.environ.get("BNNEDGE_DATA")
    found = []
    if given:
        root = pathlib.Path(given)
        found += [root / name, root / torchvision / "raw"]
        # The two sets' files bear the same names: loose files count as Fashion-MNIST only in a folder named so.
        if ("fashion" in root.name.lower()) == (name == "fashion-mnist"):
            found.insert(0, root)
    found += [home / ".bnnedge/data" / name, pathlib.Path("data") / torchvision / "raw"]
    if name == "mnist":
        found.append(home / ".keras/datasets/mnist.npz")
    else:
        found += [home / ".keras/datasets/fashion-mnist", _SYSTEM / "fashion-mnist"]
    return found


def _find(folder: pathlib.Path, pattern: str) -> pathlib.Path | None:
    """The idx file of that name, plain or compressed; some copies have a dot where the original has a dash."""
    for mark in "-.":
        for suffix in ("", ".gz"):
            path = folder / (pattern.format(mark) + suffix)
            if path.is_file():
                return path
    return None


def _read_folder(folder: pathlib.Path, name: str) -> Dataset:
    paths = {array: _find(folder, pattern) for array, pattern in _PARTS.items()}
    missing = [pattern.format("-") for array, pattern in _PARTS.items() if paths[array] is None]
    if missing:
        raise DataError(f"{folder}: no {', '.join(missing)} (nor with .gz)")
    return _checked(folder, name, {array: idx.read(path) for array, path in paths.items() if path is not None},
                    _CLASSES if name in _HOW_TO_GET else 0)


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
