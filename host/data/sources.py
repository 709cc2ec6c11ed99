"""Where data sets come from: the one that ships with the package, files found on the machine or downloaded, and .npz."""

import os
import pathlib

import numpy as np

from bnnedge import bounded
from bnnedge.data import cifar, published, svhn
from bnnedge.data.arrays import DataError
from bnnedge.data.dataset import Dataset
from bnnedge.data.download import fetch
from bnnedge.data.places import NAMES, READERS, find, own_root, places, whole
from bnnedge.terminal import nearest

__all__ = ["find", "load", "places"]

_HOW_TO_GET = {
    "mnist": "its four idx files are at https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "its four idx files are at https://github.com/zalandoresearch/fashion-mnist and in the Debian "
    "package dataset-fashion-mnist",
    "cifar10": "its archives are at https://www.cs.toronto.edu/~kriz/cifar.html, and the binary or the Python version, "
    "unpacked or not, will do",
    "svhn": f"{' and '.join(svhn.FILES.values())}, its cropped digits, are at {svhn.URL}",
}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_CLASSES = 10
_RECIPE = "bring its arrays into an .npz file: np.savez('mine.npz', x_train=..., y_train=..., x_test=..., y_test=...)"


def load(name_or_path: str | os.PathLike[str], *, download: bool = False) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name_or_path: one of

        * "digits": 1,797 images of 8x8 handwritten digits, which ship with the package
        * "mnist", "fashion-mnist": 70,000 images of 28x28, from idx files (plain or .gz) in $BNNEDGE_DATA, in its
          subfolder of that name, or where torchvision, Keras or Debian put them (see `places`); Keras's mnist.npz too
        * "cifar10": 60,000 images of 32x32x3, from the files of its binary or its Python version or from their archives,
          looked for likewise; of the pickles of the Python version nothing is executed
        * "svhn": 99,289 images of 32x32x3, house numbers, from train_32x32.mat and test_32x32.mat, looked for likewise
        * a file FILE.npz with the arrays x_train, y_train, x_test, y_test, as `Dataset` takes them
        * a folder with four idx files named as those of MNIST, with the six of CIFAR-10 or the two of SVHN, or an archive
          (.tar.gz) of CIFAR-10
    download: fetch a named set that is not on the machine into $BNNEDGE_DATA or the cache folder (see
        `places.own_root`). Without it nothing ever goes over the network.

    Raises
    ------
    DataError: no such data set, or its files are missing, damaged, or hold no valid data, or the download failed; or the
        folder of downloads has something else under a published file's name, which of other folders is warned of (`DataWarning`)
    """
    if name_or_path == "digits":
        return _read_npz(pathlib.Path(__file__).with_name("digits.npz"), "digits")
    if name_or_path in NAMES:
        return _named(str(name_or_path), download)
    if download:
        raise DataError(f"{os.fspath(name_or_path)!r} cannot be downloaded: only {', '.join(NAMES)} can")
    path = pathlib.Path(name_or_path)
    if path.is_dir():
        return _read(path, path.name)
    for suffix in (".npz", ".tar.gz"):
        if path.name.lower().endswith(suffix):
            return _read(path, path.name[: -len(suffix)])
    if path.exists():
        raise DataError(f"{path}: not a file that is read here; {_RECIPE}")
    raise DataError(
        f"{os.fspath(name_or_path)!r} is neither 'digits', {', '.join(map(repr, NAMES))}, nor a .npz file, nor a folder"
        f"{nearest(os.fspath(name_or_path), ('digits', *NAMES))}"
    )


def _named(name: str, download: bool) -> Dataset:
    place = _place(name, download)
    try:
        found = _read(place, name)
        published.check(name, place, vars(found))
    except DataError:
        # A file that is not the published one, and cannot be read or holds something else.
        if not download or not published.wrong_files(name, place):
            raise
        fetch(name, own_root() / name)
        found = _read(place, name)
        published.check(name, place, vars(found))
    return found


def _place(name: str, download: bool) -> pathlib.Path:
    """Where a named set is, once it has been fetched if need be; DataError."""
    place = find(name)
    if download and (place is None or not whole(place, name)):
        fetch(name, own_root() / name)
        place = find(name)
    if place is None:
        listed = "\n  ".join(str(place) for place in places(name))
        kinds = ", ".join((*cifar.FOLDERS, *cifar.ARCHIVES))
        inside = f"\nfor its files and for {kinds}" if name == "cifar10" else ""
        raise DataError(
            f"{name} was not found; looked at\n  {listed}{inside}\nTo get it: ask for the download (--download, or "
            f"download=True in Python), which puts it into {own_root() / name}. By hand: {_HOW_TO_GET[name]}; "
            f"put them into a folder of the name {name} and set BNNEDGE_DATA to it"
        )
    return place


def _read(place: pathlib.Path, name: str) -> Dataset:
    if place.suffix.lower() == ".npz" and not place.is_dir():
        return _read_npz(place, name)
    if place.is_dir():
        # Of a folder that bears a set's name first as this set.
        readers = [READERS[each] for each in (name, "cifar10", "svhn", "mnist") if each in READERS]
        reader = next((each for each in readers if each.held(place)), None)
        if reader is None:
            kinds = "four idx files named as MNIST's, nor the six of CIFAR-10, nor the two of SVHN"
            raise DataError(f"{place}: holds neither {kinds}; read what it holds, pictures say, and {_RECIPE}")
        arrays = reader.read_folder(place)
    else:
        arrays = cifar.read_archive(place)
    return _checked(place, name, arrays)


def _read_npz(path: pathlib.Path, name: str) -> Dataset:
    try:
        with bounded.Npz(path) as file:
            missing = [array for array in _ARRAYS if array not in file.names]
            if missing:
                held = bounded.listed([bounded.shown(array) for array in file.names])
                raise DataError(f"{path}: no {', '.join(missing)}; it holds {held or 'nothing'}; {_RECIPE}")
            arrays = {array: file.read(array) for array in _ARRAYS}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or bounded.shown(error, 200)}") from error
    except bounded.DAMAGED as error:
        raise DataError(f"{path}: cannot be read: {bounded.shown(error, 200)}; is it whole? If so, {_RECIPE}") from error
    return _checked(path, name, arrays)


def _checked(path: pathlib.Path, name: str, arrays: dict[str, np.ndarray]) -> Dataset:
    try:
        return Dataset(name, **arrays, classes=_CLASSES if name in NAMES else 0)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
