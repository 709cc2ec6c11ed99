"""Reader of CIFAR-10, its binary version and its Python version, from their folders or from the archives they come in.

A file of the binary version is a row of records: a byte with the label, then the red, the green and the blue plane of a
32 x 32 image, a byte a pixel, row by row. A file of the Python version is a pickled dictionary, whose "data" (N, 3072)
holds such planes, and whose "labels" is a list.
"""

import gzip
import os
import pathlib
import tarfile
from collections.abc import Collection

import numpy as np

from bnnedge import bounded
from bnnedge.data import pickled
from bnnedge.data.arrays import DataError

SIDE, CHANNELS = 32, 3
TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")  # that the archives unpack to
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz", "cifar-10-batches-py.tar.gz")  # the last is Keras's name

_BINARY = (*TRAINING, TEST)
_PYTHON = tuple(name[: -len(".bin")] for name in _BINARY)
_PIXELS = CHANNELS * SIDE * SIDE
_RECORD = 1 + _PIXELS
_MEMBERS = 1000  # some wrap the six into folders, with a page about them
_FILE, _ARCHIVE = 100 << 20, 300 << 20  # bytes at most: three times as many as a file of CIFAR-10's own, half as many as all

Batch = tuple[np.ndarray, np.ndarray]


def read(path: str | os.PathLike[str]) -> Batch:
    """Images (N, 32, 32, 3) and labels (N,) of a file, uint8; one whose name ends with .bin is of the binary version.

    Raises DataError, naming the file, if it cannot be read or is not what its version demands.
    """
    path = pathlib.Path(path)
    try:
        with bounded.opened(path, _FILE) as file:
            data = file.read()
    except bounded.DAMAGED as error:
        raise DataError(f"{path}: cannot be read: {bounded.shown(error, 200)}") from error
    return _decode(str(path), path.name, data)


def held(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Those of the set's files, of either version, that lie in a folder, by their names."""
    return {name: folder / name for name in (*_BINARY, *_PYTHON) if os.path.isfile(folder / name)}


def whole(folder: pathlib.Path) -> bool:
    """Whether all files of one version do."""
    return not _missing(held(folder))


def read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The five files of training images and the one of test images in a folder, as `Dataset` takes them; DataError."""
    names = held(folder)
    _check_complete(folder, names)
    version = _BINARY if set(_BINARY) <= set(names) else _PYTHON
    return _joined({name: read(folder / name) for name in version})


def read_archive(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The same from a .tar.gz archive, of which nothing is unpacked to the disk."""
    batches: dict[str, Batch] = {}
    try:
        with bounded.opened(path) as file, gzip.GzipFile(fileobj=file) as unpacked:
            size = os.fstat(file.fileno()).st_size
            stream = bounded.Limited(unpacked, min(_ARCHIVE, bounded.allowed(size)))
            # As a stream, in which nothing can point back.
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for count, member in enumerate(archive):
                    if count == _MEMBERS:
                        raise ValueError(f"it holds more than {_MEMBERS:,} files")
                    name = pathlib.PurePosixPath(member.name).name
                    if not member.isfile() or name not in (*_BINARY, *_PYTHON):
                        continue
                    if member.size > _FILE or member.issparse() or name in batches:
                        raise ValueError(f"{name} is there twice, sparse, or longer than {_FILE:,} bytes")
                    content = archive.extractfile(member)
                    batches[name] = _decode(f"{path}: {name}", name, content.read() if content else b"")
            # The checksum comes last, behind what tarfile has use for.
            while stream.read(1 << 20):
                pass
    except DataError:
        raise
    except (*bounded.DAMAGED, tarfile.TarError) as error:
        raise DataError(f"{path}: cannot be read: {bounded.shown(error, 200)}") from error
    _check_complete(path, batches)
    return _joined(batches)


def _missing(names: Collection[str]) -> list[str]:
    """Which files are lacking if those of `names` are there: none if one version is complete."""
    return min(([name for name in version if name not in names] for version in (_BINARY, _PYTHON)), key=len)


def _check_complete(where: pathlib.Path, names: Collection[str]) -> None:
    lacking = _missing(names)
    if lacking:
        raise DataError(f"{where}: no {', '.join(lacking)}")


def _joined(batches: dict[str, Batch]) -> dict[str, np.ndarray]:
    names = _BINARY if TEST in batches else _PYTHON
    images, labels = zip(*(batches[name] for name in names[:-1]), strict=True)
    x_test, y_test = batches[names[-1]]
    return {"x_train": np.concatenate(images), "y_train": np.concatenate(labels), "x_test": x_test, "y_test": y_test}


def _decode(where: str, name: str, data: bytes) -> Batch:
    if name.endswith(".bin"):
        if not data or len(data) % _RECORD:
            raise DataError(f"{where}: not CIFAR-10's binary version: {len(data):,} bytes are no whole records of {_RECORD:,}")
        records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
        return _images(records[:, 1:]), records[:, 0].copy()
    content = pickled.read(where, data)
    planes, labels = content.get("data"), content.get("labels")
    if not isinstance(planes, np.ndarray) or planes.ndim != 2 or planes.shape[1] != _PIXELS:
        raise DataError(f"{where}: not CIFAR-10's Python version: no array 'data' of shape (N, {_PIXELS:,})")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise DataError(f"{where}: not CIFAR-10's Python version: no list 'labels' of class numbers")
    return _images(planes), np.array(labels, np.uint8)


def _images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1))
