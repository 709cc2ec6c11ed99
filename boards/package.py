"""One archive with all that a board needs: overlay, wheel, checksums and an installer."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from bnnedge.boards.board import Board
from bnnedge.devices import bitstream
from bnnedge.files import atomic
from bnnedge.manifest import MANIFEST
from bnnedge.underway import underway

TREE = Path(__file__).resolve().parents[1]
SOURCES = ("boards", "host", "hw", "sim", "LICENSE", "README.md", "pyproject.toml", "setup.py")
INSTALLER, SUMS = "install.sh", "SHA256SUMS"
SETUPTOOLS = 77  # the oldest that builds this project, see pyproject.toml
EPOCH = "315532800"  # seconds: 1980, where a wheel's times begin


class PackageError(RuntimeError):
    """The archive cannot be made; the text says what to do."""


def package(board: Board, folder: Path, archive: Path) -> list[str]:
    """Write a .tar.gz of the overlay in `folder` and of this package; return the names in it, below bnnedge-BOARD.

    The overlay is what `generate` and `build` leave, with or without a bitstream. Equal sources give equal bytes.
    DeviceError if the overlay's files do not belong together, PackageError if it is another board's, or without a wheel.
    """
    files = [bitstream.METADATA, MANIFEST]
    config = bitstream.described(folder)
    if (folder / bitstream.BIT).exists():
        files.insert(0, bitstream.BIT)
        made_for = bitstream.check(folder, config).board
    else:
        made_for, _ = bitstream.check_files(folder, config, (bitstream.METADATA,))
    if made_for != board:
        raise PackageError(f"{folder} is for {made_for.title}, not for {board.title}: package it with --board {made_for.name}")
    content = {f"overlays/{config.name}/{name}": (folder / name).read_bytes() for name in files}
    content[INSTALLER] = Path(__file__).with_name(INSTALLER).read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        built = wheel(Path(temporary))
        content[built.name] = built.read_bytes()
    content = dict(sorted(content.items()))
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items())
    content[SUMS] = sums.encode()
    with (
        atomic(archive) as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in content.items():
            about = tarfile.TarInfo(f"bnnedge-{board.name}/{name}")
            about.size, about.mode = len(data), 0o755 if name == INSTALLER else 0o644
            tar.addfile(about, io.BytesIO(data))
    return list(content)


def wheel(folder: Path) -> Path:
    """Build a wheel of the source tree that this module is of, in `folder`; PackageError if there is no such tree.

    From a copy, as setuptools would leave files in the tree, and pack what it left there earlier.
    """
    missing = [name for name in SOURCES if not (TREE / name).exists()]
    if missing:
        raise PackageError(
            f"the wheel is built from the source tree, and {TREE} is none (it lacks {', '.join(missing)}): "
            "run this in a clone of the repository, after pip install -e ."
        )
    copy = folder / "tree"
    copy.mkdir()
    for name in SOURCES:
        for path in (TREE / name, *(TREE / name).rglob("*")):
            place = copy / path.relative_to(TREE)
            if path.is_file() and "__pycache__" not in path.parts:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
                place.chmod(0o644)  # it ends up in the wheel
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    if _can_build():
        command.insert(4, "--no-build-isolation")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    with underway("packing this package into a wheel", "10 seconds to a minute"):
        ended = subprocess.run(command, env=environment, umask=0o022, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = list(folder.glob("*.whl"))
    if ended.returncode or not found:
        raise PackageError(f"pip built no wheel (exit status {ended.returncode}):\n{ended.stdout.strip()}")
    return found[0]


def _can_build() -> bool:
    """Whether this environment can build the project; otherwise pip downloads what that takes."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return False
    return int(version.split(".")[0]) >= SETUPTOOLS and any(map(importlib.util.find_spec, ("tomllib", "tomli")))
