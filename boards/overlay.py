"""An overlay: the folder with which a board's driver starts, made from a bitstream."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from bnnedge import isa
from bnnedge.boards.board import Board
from bnnedge.boards.hwh import to_hwh
from bnnedge.configuration import Configuration
from bnnedge.devices.bitstream import FILES
from bnnedge.files import atomic


def write_overlay(board: Board, config: Configuration, bitstream: bytes, directory: Path) -> list[Path]:
    """Write bnnedge.bit, bnnedge.hwh and manifest.json to `directory`, which is made if need be; return the files.

    `bitstream` is the .bit of this configuration on this board. `bnnedge.devices.bitstream` reads and checks the folder.
    """
    bit, hwh, about = FILES
    files = {bit: bitstream, hwh: to_hwh(board, config).encode()}
    manifest = {
        "board": board.name,
        "part": board.part.name,
        "configuration": dataclasses.asdict(config),
        "digest": f"{config.digest:#010x}",
        "instruction_set": isa.VERSION,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files[about] = (json.dumps(manifest, indent=2) + "\n").encode()
    for name, content in files.items():
        with atomic(directory / name) as file:
            file.write(content)
    return [directory / name for name in files]
