"""Where the named data sets lie on a machine: in our own folders, or where torchvision, Keras and Debian put them."""

import os
import pathlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from bnnedge import caches
from bnnedge.data import cifar, idx, svhn


class Reader(Protocol):
    """What the module of a set's files has."""

    def held(self, folder: pathlib.Path) -> Mapping[str, pathlib.Path]:
        """Those of the files that lie in a folder."""

    def whole(self, folder: pathlib.Path) -> bool:
        """Whether all that are needed do."""

    def read_folder(self, folder: pathlib.Path) -> dict[str, np.ndarray]:
        """What they hold, as `Dataset` takes it; DataError."""


READERS: dict[str, Reader] = {"mnist": idx, "fashion-mnist": idx, "cifar10": cifar, "svhn": svhn}
NAMES = tuple(READERS)

_RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}  # torchvision's folders, in the root given to it
_SYSTEM = pathlib.Path("/usr/share/datasets")


def own_root() -> pathlib.Path:
    """Where downloads go, each set into a folder of its name: $BNNEDGE_DATA, by default the cache folder.

    That is $XDG_CACHE_HOME/bnnedge or, without that variable, ~/.cache/bnnedge.
    """
    return _given() or caches.user_folder()


def places(name: str) -> list[pathlib.Path]:
    """Folders (and .npz files) in which a set of `NAMES` is looked for, first to last.

    $BNNEDGE_DATA itself counts too: of the sets whose files bear the same names, Fashion-MNIST is taken from it only if
    "fashion" is in the folder's name, and MNIST only if it is not.
    """
    given, home = _given(), caches.home() or caches.user_folder()
    roots = [*([given] if given else []), caches.user_folder(), home / ".bnnedge/data"]
    # The roots of torchvision's data in PyTorch's tutorials and examples.
    theirs = [pathlib.Path("data"), pathlib.Path("../data")]
    keras = pathlib.Path(os.environ.get("KERAS_HOME") or home / ".keras") / "datasets"
    if name in ("cifar10", "svhn"):
        found = [*([given] if given else []), *(root / name for root in roots), *theirs]
        return [*found, keras, keras / f"{cifar.FOLDERS[1]}-target"] if name == "cifar10" else found
    found = [given] if given and ("fashion" in given.name.lower()) == (name == "fashion-mnist") else []
    found += [place for root in roots for place in (root / name, root / _RAW[name])]
    found += [root / _RAW[name] for root in theirs]
    return [*found, keras / "mnist.npz"] if name == "mnist" else [*found, keras / name, _SYSTEM / name]


def find(name: str) -> pathlib.Path | None:
    """The first folder or file among the `places`, or directly in one, that holds a set; None if none does.

    One that holds the whole set is preferred to one that holds some of its files.
    """
    found = [inner for place in places(name) for inner in _inside(place, name)]
    some = [place for place in found if os.path.isfile(place) or READERS[name].held(place)]
    return next((place for place in some if whole(place, name)), some[0] if some else None)


def whole(place: pathlib.Path, name: str) -> bool:
    """Whether a folder or file that `find` returned holds the whole set."""
    return os.path.isfile(place) or READERS[name].whole(place)


def _inside(place: pathlib.Path, name: str) -> list[pathlib.Path]:
    """A place, and where else in it a set may be."""
    if name != "cifar10":
        return [place]
    archives = [place / archive for archive in cifar.ARCHIVES]
    return [place, *(place / folder for folder in cifar.FOLDERS), *(path for path in archives if os.path.isfile(path))]


def _given() -> pathlib.Path | None:
    given = os.environ.get("BNNEDGE_DATA")
    return pathlib.Path(os.path.expanduser(given)) if given else None
