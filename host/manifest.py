"""The manifest of a folder of generated files: what the accelerator in it is, and which files belong together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bnnedge import isa, registers
from bnnedge.boards.board import Board
from bnnedge.configuration import Configuration
from bnnedge.files import atomic, sha256

MANIFEST = "manifest.json"


def write_manifest(directory: Path, config: Configuration, files: Iterable[str], board: Board | None = None) -> Path:
    """Write manifest.json to `directory`, with the SHA-256 of those of `files` that are there; return its path."""
    about: dict[str, Any] = {
        "configuration": dataclasses.asdict(config),
        "digest": f"{config.digest:#010x}",
        "instruction_set": isa.VERSION,
        "clock_hz": config.clock_hz,
        "registers": {name: register.offset for name, register in registers.REGISTERS.items()},
    }
    if board:
        about["board"] = board.to_dict()
    about["sha256"] = {name: sha256(directory / name) for name in files if (directory / name).exists()}
    path = directory / MANIFEST
    with atomic(path) as file:
        file.write((json.dumps(about, indent=2) + "\n").encode())
    return path
