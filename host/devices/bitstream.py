"""Bitstreams on disk: where they lie, and whether one is what a driver is about to load."""

from __future__ import annotations

import dataclasses
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnedge import isa
from bnnedge.boards import Board
from bnnedge.configuration import Configuration
from bnnedge.devices.device import DeviceError
from bnnedge.files import sha256
from bnnedge.manifest import MANIFEST
from bnnedge.parsing import parse_json, read_text
from bnnedge.terminal import printable

VARIABLE = "BNNEDGE_BITSTREAM"
OVERLAYS = Path(__file__).parents[1] / "overlays"
BIT, METADATA = "bnnedge.bit", "bnnedge.hwh"
FILES = BIT, METADATA, MANIFEST
LARGEST = 1 << 26  # bytes of a file of an overlay; a Zynq-7020's bitstream has 4 MB
AGAIN = "copy the three files of one build"
NO_USER = 0xFFFF_FFFF  # USERID of a bitstream to which none was given


@dataclasses.dataclass(frozen=True)
class Bitstream:
    """A checked bitstream: `path` of the .bit, the board that it is for, its highest clock in Hz, and its SHA-256."""

    path: Path
    board: Board
    clock_hz: int
    sha256: str


def find(configuration: Configuration) -> Bitstream:
    """The bitstream in the folder that BNNEDGE_BITSTREAM names, else in overlays/CONFIGURATION of the installed package.

    DeviceError says what is missing, or what is wrong with it.
    """
    chosen = os.environ.get(VARIABLE)
    folder = Path(chosen) if chosen else OVERLAYS / configuration.name
    if not folder.is_dir():
        raise DeviceError(
            f"there is no folder {folder}: set {VARIABLE} to one with a bitstream of {configuration.name!r} ({', '.join(FILES)})"
        )
    return check(folder, configuration)


def built() -> Configuration | None:
    """The configuration of the one bitstream that there is; None if there is none, or a choice.

    DeviceError if its manifest cannot be understood.
    """
    chosen = os.environ.get(VARIABLE)
    manifests = [Path(chosen) / MANIFEST] if chosen else sorted(OVERLAYS.glob(f"*/{MANIFEST}"))
    if len(manifests) != 1 or not manifests[0].is_file():
        return None
    return described(manifests[0].parent)


def described(folder: Path) -> Configuration:
    """The configuration that the manifest in `folder` describes; DeviceError if it cannot be understood."""
    path = folder / MANIFEST
    try:
        return Configuration(**_manifest(path)["configuration"])
    except KeyError as error:
        raise DeviceError(f"{path} describes no configuration of this version (it lacks {error}): {AGAIN}") from None
    except (TypeError, ValueError) as error:
        raise DeviceError(f"{path} describes no configuration of this version ({printable(str(error))}): {AGAIN}") from None


def check(folder: Path, configuration: Configuration) -> Bitstream:
    """The bitstream in `folder`; DeviceError unless it is whole and of this configuration and version."""
    target, clock_hz = check_files(folder, configuration, (BIT, METADATA))
    path = folder / BIT
    part, user = part_of(path)
    if user not in (None, NO_USER, configuration.digest):
        raise DeviceError(
            f"{path} is of another configuration than its manifest: its USERID is {user:#010x}, not the digest "
            f"{configuration.digest:#010x}: {AGAIN}"
        )
    if not target.part.name.startswith("xc" + part.removeprefix("xc")):  # some tools leave the xc away
        raise DeviceError(
            f"{path} is for the part {part}, and {target.title} has {target.part.name}: take a bitstream for this board"
        )
    return Bitstream(path.resolve(), target, clock_hz, sha256(path))


def check_files(folder: Path, configuration: Configuration, files: Sequence[str]) -> tuple[Board, int]:
    """Board and highest clock (Hz) of what lies in `folder`.

    DeviceError unless `files` and manifest are there, belong together, and are of this configuration and version.
    """
    missing = [file for file in (*files, MANIFEST) if not (folder / file).is_file()]
    if missing:
        raise DeviceError(f"{folder} lacks {', '.join(missing)}: {AGAIN} ({', '.join(FILES)})")
    large = [file for file in files if (folder / file).stat().st_size > LARGEST]
    if large:
        raise DeviceError(f"{folder / large[0]} is larger than {LARGEST:,} bytes, as no file of a bitstream is: {AGAIN}")
    path = folder / MANIFEST
    manifest = _manifest(path)
    try:
        target = Board.from_dict(manifest["board"])
        digest = int(_entry(manifest, "digest", "0x[0-9a-f]{8}"), 16)
        version = manifest["instruction_set"]
        name, clock_hz = (manifest["configuration"][key] for key in ("name", "clock_hz"))
        if not all(type(number) is int and number > 0 for number in (version, clock_hz)):
            raise ValueError("instruction_set and clock_hz must be positive whole numbers")
        hashes = {file: _entry(manifest["sha256"], file, "[0-9a-f]{64}") for file in files}
    except KeyError as error:
        raise DeviceError(f"{path} is not of a bitstream for a board (it lacks {error}): {AGAIN}") from None
    except (TypeError, ValueError) as error:
        raise DeviceError(f"{path} is not of a bitstream for a board ({printable(str(error))}): {AGAIN}") from None
    if digest != configuration.digest:
        raise DeviceError(
            f"{folder} holds configuration {name!r:.80} (digest {digest:#010x}), not {configuration.name!r} "
            f"({configuration.digest:#010x}): choose that configuration, or another folder with {VARIABLE}"
        )
    if version != isa.VERSION:
        raise DeviceError(
            f"{folder} has version {version} of the instruction set, this bnnedge {isa.VERSION}: take a bitstream of this version"
        )
    if configuration.clock_hz > clock_hz:
        raise DeviceError(
            f"{folder} was built for {clock_hz / 1e6:g} MHz, {configuration.name!r} asks for {configuration.clock_hz / 1e6:g} MHz"
        )
    for file, expected in hashes.items():
        if sha256(folder / file) != expected:
            raise DeviceError(f"{folder / file} is not the file that manifest.json describes: {AGAIN}")
    return target, clock_hz


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = parse_json(read_text(path, regular=True))
    except OSError as error:
        raise DeviceError(f"{path} cannot be read ({error.strerror or error}): {AGAIN}") from None
    except ValueError as error:
        raise DeviceError(f"{path} cannot be read ({error}): {AGAIN}") from None
    if not isinstance(manifest, dict):
        raise DeviceError(f"{path} is not of a bitstream for a board (it is no table): {AGAIN}")
    return manifest


def _entry(table: Any, key: str, form: str) -> str:
    """A text of the manifest; ValueError if it is none of this form, KeyError if there is none."""
    value = table[key]
    if not isinstance(value, str) or not re.fullmatch(form, value, re.ASCII):
        raise ValueError(f"{key} is {value!r:.80}")
    return value


def part_of(path: Path) -> tuple[str, int | None]:
    """The part that a .bit names in its header, such as "7z020clg400", and its USERID, if any; DeviceError without a header."""
    with open(path, "rb") as file:
        content = file.read(4096)
    try:
        place = 2 + struct.unpack_from(">H", content)[0] + 2  # a field of sync bytes, and a 1
        user = None
        while True:
            key, length = struct.unpack_from(">cH", content, place)
            text = content[place + 3 : place + 2 + length].decode("ascii")
            if key == b"b":
                if not re.fullmatch(r"[\w-]{1,40}", text):
                    raise ValueError("no part")
                return text, user
            if found := re.search(r";UserID=0X([0-9A-F]{1,8})(;|$)", text, re.IGNORECASE):
                user = int(found[1], 16)
            if key not in b"acd":
                raise ValueError("no part")
            place += 3 + length
    except (struct.error, ValueError):
        raise DeviceError(f"{path} is not a bitstream: it lacks the header of a .bit file. Build or copy it again") from None
