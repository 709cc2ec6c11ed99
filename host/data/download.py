"""Downloads of the named data sets: only when asked for, and only files that have the published checksum.

What has come of a file lies beside its place as FILE.part, from which the next try goes on. It takes its place when its
length and its SHA-256 are right; no reader ever sees anything else.
"""

import dataclasses
import http.client
import os
import pathlib
import shutil
import sys
import urllib.error
import urllib.request
from typing import BinaryIO

from bnnedge.data import svhn
from bnnedge.data.arrays import DataError
from bnnedge.files import sha256
from bnnedge.terminal import bare

TIMEOUT = 30  # seconds without a byte

_CHUNK = 1 << 18
_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_CIFAR = ("https://www.cs.toronto.edu/~kriz/",)
_SVHN = (svhn.URL,)


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a data set.

    name: as it is kept, and as the mirrors have it. size: bytes. sha256: hexadecimal. mirrors: what comes before the
    name in its URLs, tried in turn.
    """

    name: str
    size: int
    sha256: str
    mirrors: tuple[str, ...]


FILES = {
    "mnist": (
        File("train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", _MNIST),
        File("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", _MNIST),
        File("t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", _MNIST),
        File("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", _MNIST),
    ),
    "fashion-mnist": (
        File(
            "train-images-idx3-ubyte.gz", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", _FASHION
        ),
        File("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", _FASHION),
        File(
            "t10k-images-idx3-ubyte.gz", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", _FASHION
        ),
        File("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", _FASHION),
    ),
    # Read as it is: see `cifar.read_archive`.
    "cifar10": (
        File("cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", _CIFAR),
    ),
    # As TensorFlow Datasets and torchvision have them.
    "svhn": (
        File("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8", _SVHN),
        File("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b", _SVHN),
    ),
}


def fetch(name: str, folder: pathlib.Path) -> None:
    """Bring the files of a set into a folder, which is made if need be; those that are there and right stay.

    Says on stderr what it does. Raises DataError if a file cannot be had from any mirror or not be kept; what has come is
    there for the next try.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES[name]:
            target = folder / file.name
            if not target.is_file() or sha256(target) != file.sha256:
                target.unlink(missing_ok=True)  # a wrong file must not be there if the download fails
                print(f"downloading {name}: {file.name}, {file.size:,} bytes, into {folder}", file=sys.stderr, flush=True)
                _fetch(file, target, f"{name} could not be downloaded: {file.name}")
    except OSError as error:
        raise DataError(
            f"{name} could not be downloaded into {folder}: {error.strerror or error}; "
            "make room there, or set BNNEDGE_DATA to another folder"
        ) from error


class _MirrorError(Exception):
    """One mirror failed; another may do."""


def _fetch(file: File, target: pathlib.Path, failed: str) -> None:
    part = target.with_name(target.name + ".part")
    free = shutil.disk_usage(target.parent).free
    if free < file.size - _length(part):
        raise DataError(
            f"{failed}: {file.size - _length(part):,} bytes are to come, and {target.parent} has room for {free:,}; "
            "make room there, or set BNNEDGE_DATA to another folder"
        )
    problems = []
    for mirror in file.mirrors:
        try:
            _complete(mirror + file.name, part, file)
        except _MirrorError as error:
            problems.append(f"{mirror}{file.name}: {error}")
        else:
            os.replace(part, target)
            return
    come = _length(part)
    kept = f"; {come:,} of {file.size:,} bytes are kept in {part}, and the next try goes on from there" if come else ""
    raise DataError(f"{failed}: {'; '.join(problems)}{kept}")


def _complete(url: str, part: pathlib.Path, file: File) -> None:
    """Bring `part` to the whole, right file, from what it holds already."""
    resumed = _length(part) > 0
    while (before := _length(part)) < file.size:
        try:
            _receive(url, part, file.size)
        except _MirrorError:
            # A mirror that breaks off is asked again as long as that brings more.
            if _length(part) <= before:
                raise
    if sha256(part) != file.sha256:
        part.unlink()
        if not resumed:
            raise _MirrorError("not the published file: its SHA-256 differs; it has been deleted")
        _complete(url, part, file)  # what was there before may have been wrong


def _receive(url: str, part: pathlib.Path, size: int) -> None:
    """Append to `part` what it lacks of `size` bytes, or begin anew if the server cannot send a rest only."""
    start = _length(part)
    request = urllib.request.Request(url, headers={"User-Agent": "bnnedge", **({"Range": f"bytes={start}-"} if start else {})})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            return _receive(url, part, size)
        raise _MirrorError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _MirrorError(f"no connection: {reason or type(error).__name__}") from error
    with response:
        rest = response.status == http.client.PARTIAL_CONTENT
        if rest and not str(response.headers.get("Content-Range")).startswith(f"bytes {start}-"):
            raise _MirrorError(f"the server sends {response.headers.get('Content-Range')} instead of bytes from {start} on")
        with open(part, "ab" if rest else "wb") as file:
            _copy(response, file, size)


def _copy(response: http.client.HTTPResponse, file: BinaryIO, size: int) -> None:
    come = file.tell()
    while True:
        try:
            data = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _MirrorError(f"broke off after {come:,} of {size:,} bytes: {error or type(error).__name__}") from error
        if not data:
            break
        # Of what is too long a byte more than there should be is enough for the checksum to differ.
        file.write(data[: size + 1 - come])
        come += len(data)
        if sys.stderr.isatty():
            done = min(100, 100 * come // size)
            print(f"\r{done:3} %", end="" if come < size else "\n", file=bare(sys.stderr), flush=True)
        if come > size:
            break
    if come < size:
        raise _MirrorError(f"broke off after {come:,} of {size:,} bytes")


def _length(path: pathlib.Path) -> int:
    return path.stat().st_size if path.is_file() else 0
