"""Boards are data that agree with the rest: parts, pins, configurations, memory ports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bnnedge import registers
from bnnedge.boards import BOARDS, Board, Part, board
from bnnedge.configuration import CONFIGURATIONS, configuration


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_consistent(name: str) -> None:
    found = board(name)
    assert found.name == name
    assert found.configuration in CONFIGURATIONS
    assert len({pin for pin, _ in found.pins.values()}) == len(found.pins)
    assert len(set(found.memory_ports)) == 2
    assert set(found.memory_ports) <= {0, 1, 2, 3}
    base, size = found.registers
    assert 0x4000_0000 <= base <= base + size <= 0x8000_0000, "not in the window of GP0"
    assert base % size == 0
    assert max(register.offset for register in registers.REGISTERS.values()) < size


def test_unknown_board() -> None:
    message = r"there is no board 'de10-nano': neither a built-in one \(pynq-z2, pynq-z1\) nor a folder with a board.yaml"
    with pytest.raises(ValueError, match=message):
        board("de10-nano")


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "board.yaml").write_text(text)
    return path


def test_a_board_of_ones_own_needs_a_part(tmp_path: Path) -> None:
    found = board(folder(tmp_path / "mine", "part: xc7z010clg400-1\n"))
    assert found == Board("mine", Part.called("xc7z010clg400-1")) == board(tmp_path / "mine" / "board.yaml")
    assert (found.title, found.configuration, found.part.bram36, found.part.idcode) == ("mine", "pynq-z2", 60, 0x3722093)


WHOLE = """\
name: mine-2
title: My board
part: xc7z007sclg225-2
configuration: small.yaml
pins: {led_busy: [M4, LVCMOS18]}
registers: [0x40000000, 4096]
memory_ports: [1, 3]
"""


def test_a_whole_board(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine", WHOLE)
    (path / "small.yaml").write_text("lanes: 4\nword: 16\n")
    found = board(path)
    part, pins = Part.called("xc7z007sclg225-2"), {"led_busy": ("M4", "LVCMOS18")}
    assert found == Board("mine-2", part, "My board", pins=pins, registers=(1 << 30, 4096), memory_ports=(1, 3))
    assert found.part.pieces == ("7z007s", "clg225", "-2")
    assert configuration(found.configuration).name == "small"
    assert Board.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("name", BOARDS)
def test_built_in_boards_go_through_a_manifest(name: str) -> None:
    assert Board.from_dict(json.loads(json.dumps(board(name).to_dict()))) == board(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it must be a table with a part, such as part: xc7z020clg400-1; there are name, part, title"),
        ("title: mine", "it must be a table with a part"),
        ("part: xczu3eg-sbva484-1", "part must be a Zynq-7000 with package .*, not 'xczu3eg-sbva484-1'; there are xc7z007s"),
        ("part: xc7z020", "part must be a Zynq-7000 with package"),
        ("part: xc7z099clg400-1", "part must be a Zynq-7000 with package"),
        ("part: {name: xc7z020clg400-1}", "part must be a Zynq-7000 with package"),
        ("{part: xc7z020clg400-1, leds: 4}", "there is no 'leds' of a board; there are name"),
        ("{part: xc7z020clg400-1, name: a b}", "name of a board must be letters, digits and hyphens, not 'a b'"),
        ("{part: xc7z020clg400-1, name: pynq-z2}", "its name is that of the built-in board 'pynq-z2', which is another"),
        ('{part: xc7z020clg400-1, title: "a\\nset x"}', "title of a board must be a line of text"),
        ("{part: xc7z020clg400-1, pins: [R14]}", "pins of a board must be a table such as"),
        ("{part: xc7z020clg400-1, pins: {led_busy: R14}}", "pins of a board must be a table such as"),
        ("{part: xc7z020clg400-1, pins: {led: [R14, LVCMOS33]}}", "pins of a board must be a table of led_busy and led_error"),
        ("{part: xc7z020clg400-1, pins: {led_busy: ['R14]', LVCMOS33]}}", "pins: led_busy of a board must be package pin and"),
        ("{part: xc7z020clg400-1, pins: {led_busy: [A1, LVTTL], led_error: [A1, LVTTL]}}", "pins .* a pin of its own for"),
        ("{part: xc7z020clg400-1, registers: 0x43C00000}", "registers of a board must be a list of two numbers"),
        ("{part: xc7z020clg400-1, registers: [0xA0000000, 65536]}", "registers .* address and size in 0x40000000"),
        ("{part: xc7z020clg400-1, registers: [0x43C01000, 65536]}", "registers of a board must be .* divides the address, not"),
        ("{part: xc7z020clg400-1, registers: [0x43C00000, 128]}", "registers of a board must be .* from 4096 on"),
        ("{part: xc7z020clg400-1, memory_ports: [0, 0]}", "memory_ports of a board must be two of 0, 1, 2 and 3, not"),
        ("{part: xc7z020clg400-1, memory_ports: [0, 4]}", "memory_ports of a board must be two of"),
        ("{part: xc7z020clg400-1, memory_ports: [0]}", "memory_ports of a board must be a list of two numbers"),
        ("{part: xc7z020clg400-1, configuration: 4}", "configuration of a board must be a name, or a file, not 4"),
        ("{part: xc7z020clg400-1, configuration: pynq}", "there is no configuration 'pynq': neither a built-in one"),
        ("part: !!python/name:os.system", "tags .* are not read"),
    ],
)
def test_faults_are_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"mine.*: {message}"):
        board(folder(tmp_path / "mine", text))


def test_a_folder_without_a_board(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"board\.yaml: No such file or directory"):
        board(tmp_path)


def test_boards_and_flows_are_known_without_amaranth() -> None:
    code = "import sys, bnnedge.cli, bnnedge.boards.flows; sys.exit('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
