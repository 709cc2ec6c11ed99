"""Boards are data that agree with the rest: parts, pins, configurations, memory ports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bnnedge import registers
from bnnedge.boards import BOARDS, board
from bnnedge.configuration import CONFIGURATIONS


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
    with pytest.raises(ValueError, match="there is no board 'de10-nano'; there are pynq-z2, pynq-z1"):
        board("de10-nano")


def test_boards_and_flows_are_known_without_amaranth() -> None:
    code = "import sys, bnnedge.cli, bnnedge.boards.flows; sys.exit('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
