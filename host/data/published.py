"""Whether a named data set is the published one: by the SHA-256 of its files where we put them, else by what is in them.

Of SVHN only the SHA-256 of the files is known, so that it tells everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from bnnedge.data.arrays import DataError, note
from bnnedge.data.download import FILES
from bnnedge.data.places import READERS, own_root
from bnnedge.files import sha256

# Of the images of a part with their labels, whatever their order: `digest`.
DIGESTS = {
    "mnist": {
        "train": "3655811c0e1223700a4714a92a51f55bd215ed7dc1fa2baa4326a2b58042d82d",
        "test": "634538fb34c5277fce98470b8b285d1e8419eb87f328da42ef1faf690d2c3911",
    },
    "fashion-mnist": {
        "train": "0c69d5cdeb902b69084012f812f066de080317bb3c64f43ca87f910d8ec86906",
        "test": "90c92c0507755a7d443edde8297ce4d0f131e42884e2e87e7fc9b81ffe215258",
    },
    "cifar10": {
        "train": "d59acf989e068e709ce686cda292672c7b212c08d29d3d3e6d8c3aa99eba6a85",
        "test": "899683d46c3a8c66fd56e1af12202e69fe5a4517be10b0f68e04c78fe585c57c",
    },
}

_PARTS = {"train": "training", "test": "test"}


def check(name: str, place: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Look at a set that was read from a folder or a file that `places.find` gave.

    Raises DataError if a file in the folder of downloads has a published one's name, but neither its SHA-256 nor its
    content. Other differences are warned of (`DataWarning`): files elsewhere are the user's own.
    """
    wrong = wrong_files(name, place)
    if wrong == []:
        return
    if name in DIGESTS:
        parts = [part for part in _PARTS if digest(arrays[f"x_{part}"], arrays[f"y_{part}"]) != DIGESTS[name][part]]
        different = f"the {' and '.join(_PARTS[part] for part in parts)} images with their labels" if parts else ""
    else:
        files = [path.name for path in _other(name, READERS[name].held(place).values())]
        different = f"the contents of {' and '.join(files)}" if files else ""
    if different and wrong:
        images = ", and so do the images" if name in DIGESTS else ""
        raise DataError(
            f"{wrong[0]}: not the published file: its SHA-256 differs{images}; ask for the download (--download, "
            "or download=True in Python), which replaces it, or load the folder by its path if it is meant"
        )
    if different:
        note(f"{place}: {different} are not those of {name} as published")


def wrong_files(name: str, place: pathlib.Path) -> list[pathlib.Path] | None:
    """Of a place in the folder of downloads, the files that are not the published ones by their SHA-256.

    None of any other place, and if what is read from there are files that no download brings, such as unpacked ones.
    """
    own = own_root() / name
    used = [place] if os.path.isfile(place) else list(READERS[name].held(place).values())
    known = {file.name for file in FILES[name]}
    if any(path.parent != own or path.name not in known for path in used) or not used:
        return None
    return _other(name, used)


def _other(name: str, paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """Those of the files, of published names, that are not the published ones."""
    known = {file.name: file.sha256 for file in FILES[name]}
    return [path for path in paths if _digest_of(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) != known[path.name]]


@functools.lru_cache(maxsize=32)
def _digest_of(path: pathlib.Path, size: int, modified: int) -> str:
    """A file's SHA-256, once for as long as it is not changed."""
    return sha256(path)


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256, hexadecimal, of the sorted SHA-256 of all labels (a byte each) with their images: their order does not count."""
    if len(images) != len(labels):
        return ""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    octets = np.asarray(labels).astype(np.uint8)
    each = sorted(hashlib.sha256(octets[i : i + 1].tobytes() + rows[i].tobytes()).digest() for i in range(len(rows)))
    return hashlib.sha256(b"".join(each)).hexdigest()
