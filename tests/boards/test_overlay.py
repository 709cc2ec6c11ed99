"""The folder that a board's driver starts with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bnnedge import configuration, isa
from bnnedge.boards import BOARDS
from bnnedge.boards.hwh import to_hwh
from bnnedge.boards.overlay import write_overlay

CONFIG = configuration("pynq-z2")


def test_it_holds_bitstream_handoff_and_manifest(tmp_path: Path) -> None:
    board = BOARDS["pynq-z1"]
    files = write_overlay(board, CONFIG, b"bits", tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["bnnedge.bit", "bnnedge.hwh", "manifest.json"]
    assert files[0].read_bytes() == b"bits"
    assert files[1].read_text() == to_hwh(board, CONFIG)
    manifest = json.loads(files[2].read_text())
    assert (manifest["board"], manifest["part"], manifest["instruction_set"]) == ("pynq-z1", "xc7z020clg400-1", isa.VERSION)
    assert int(manifest["digest"], 16) == CONFIG.digest
    assert manifest["configuration"]["clock_hz"] == CONFIG.clock_hz
    assert manifest["sha256"]["bnnedge.bit"] == hashlib.sha256(b"bits").hexdigest()
