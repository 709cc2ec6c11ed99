"""The manifest tells what lies in a folder, and nothing of what does not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from pretend import BOARD

from bnnedge import configuration, isa
from bnnedge.manifest import write_manifest
from bnnedge.registers import REGISTERS

CONFIG = configuration("sim-small")


def test_of_a_board(tmp_path: Path) -> None:
    (tmp_path / "a.v").write_bytes(b"module")
    (tmp_path / "other").write_bytes(b"")
    path = write_manifest(tmp_path, CONFIG, ["a.v", "a.bit"], BOARD)
    assert path == tmp_path / "manifest.json"
    assert json.loads(path.read_text()) == {
        "configuration": dataclasses.asdict(CONFIG),
        "digest": f"{CONFIG.digest:#010x}",
        "instruction_set": isa.VERSION,
        "clock_hz": 100_000_000,
        "registers": {name: register.offset for name, register in REGISTERS.items()},
        "board": {
            "name": "pynq-z2",
            "part": "xc7z020clg400-1",
            "title": "TUL PYNQ-Z2",
            "pins": {"led_busy": ["R14", "LVCMOS33"], "led_error": ["P14", "LVCMOS33"]},
            "registers": [0x43C0_0000, 0x1_0000],
            "memory_ports": [0, 2],
        },
        "sha256": {"a.v": hashlib.sha256(b"module").hexdigest()},
    }


def test_without_a_board(tmp_path: Path) -> None:
    manifest = json.loads(write_manifest(tmp_path, CONFIG, []).read_text())
    assert manifest["sha256"] == {}
    assert not {"board", "part"} & set(manifest)
