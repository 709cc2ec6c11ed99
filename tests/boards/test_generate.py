"""Generation for a board: whole files that belong together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest
from hardware import TINY
from pretend import BOARD

from bnnedge.boards import BOARDS, Board
from bnnedge.boards.generate import constraints, generate
from bnnedge.boards.hwh import to_hwh
from bnnedge.configuration import Configuration
from bnnedge.registers import REGISTERS

FILES = ["bnnedge.v", "bnnedge.xdc", "bnnedge.hwh", "bnnedge.tcl", "manifest.json"]
pytestmark = pytest.mark.usefixtures("converted")


def test_files_and_manifest(tmp_path: Path, verilog: str) -> None:
    files = generate(BOARD, TINY, tmp_path / "new" / "folder")
    assert [path.name for path in files] == FILES
    assert sorted(path.name for path in files[0].parent.iterdir()) == sorted(FILES)
    assert files[0].read_text() == verilog
    assert files[2].read_text() == to_hwh(BOARD, TINY)
    manifest = json.loads(files[4].read_text())
    assert manifest["configuration"] == dataclasses.asdict(TINY)
    assert manifest["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (files[0], files[2])}
    assert Board.from_dict(manifest["board"]) == BOARD
    assert (manifest["board"]["part"], manifest["clock_hz"]) == ("xc7z020clg400-1", 100_000_000)
    assert manifest["registers"] == {name: register.offset for name, register in REGISTERS.items()}
    assert {"digest", "instruction_set"} <= manifest.keys()


def test_constraints_name_exactly_the_ports(verilog: str) -> None:
    (header,) = re.findall(r"^module bnnedge\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)
    ports = sorted(header.replace(" ", "").split(","))
    text = constraints(BOARD)
    for key in ("PACKAGE_PIN", "IOSTANDARD"):
        assert sorted(re.findall(rf"^set_property {key} \w+ \[get_ports (\w+)\]$", text, re.MULTILINE)) == ports
    assert {line.split()[0] for line in text.splitlines()} == {"#", "set_property"}, "openXC7 knows no other command"


@pytest.mark.parametrize("change", ["verilog", "clock", "board"])
def test_a_bitstream_stays_only_beside_its_sources(tmp_path: Path, change: str) -> None:
    generate(BOARD, TINY, tmp_path)
    for name in ("bnnedge.bit", "build.json"):
        (tmp_path / name).write_bytes(b"bits")
    files = generate(BOARD, TINY, tmp_path)
    assert json.loads(files[-1].read_text())["sha256"]["bnnedge.bit"] == hashlib.sha256(b"bits").hexdigest()
    board, config = BOARD, TINY
    if change == "verilog":
        (tmp_path / "bnnedge.v").write_text("module bnnedge; endmodule")
    elif change == "clock":
        config = dataclasses.replace(TINY, clock_hz=120_000_000)
    else:
        board = BOARDS["pynq-z1"]
    files = generate(board, config, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert "bnnedge.bit" not in json.loads(files[-1].read_text())["sha256"]


def test_a_bitstream_stays_while_only_lines_of_the_source_move(tmp_path: Path) -> None:
    generate(BOARD, TINY, tmp_path)
    (tmp_path / "bnnedge.bit").write_bytes(b"bits")
    text = (tmp_path / "bnnedge.v").read_text()
    moved = re.sub(r'(src = "bnnedge/hw/heads/[^:]*:)', r"\g<1>1", text)
    assert moved != text
    (tmp_path / "bnnedge.v").write_text(moved)
    generate(BOARD, TINY, tmp_path)
    assert (tmp_path / "bnnedge.bit").exists()
    assert (tmp_path / "bnnedge.v").read_text() == text


def test_too_large_a_configuration(tmp_path: Path) -> None:
    large = Configuration(name="large", left_depth=8192)
    message = (
        "configuration 'large' does not fit TUL PYNQ-Z2: it needs 197 block RAMs, xc7z020clg400-1 has 140 (57 too few); "
        "the left buffer takes 128 of them; with left_depth 4096 and right_depth 1536 it fits"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        generate(BOARD, large, tmp_path / "out")
    assert not (tmp_path / "out").exists()
