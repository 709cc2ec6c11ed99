"""The hardware handoff: the same each time, and understood by both of pynq's parsers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bnnedge import configuration, isa
from bnnedge.boards import BOARDS, Board
from bnnedge.boards.hwh import VLNV, divisors, to_hwh
from bnnedge.registers import REGISTERS, Access

CONFIG = configuration("pynq-z2")


def classic(path: Path) -> Any:
    """What pynq 3.0's parser makes of a .hwh."""
    parsers = pytest.importorskip("pynq.pl_server.hwh_parser", reason="pynq is not installed")
    return parsers._HWHZynq(hwh_name=str(path))


def current(path: Path) -> Any:
    """What pynqmetadata, which later versions use, makes of it."""
    views = pytest.importorskip("pynqmetadata.views.runtime", reason="pynq is not installed")
    from pynqmetadata.frontends import Metadata

    return views.RuntimeMetadataParser(Metadata(input=str(path)))


@pytest.mark.parametrize("parse", [classic, current])
@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_pynq_finds_the_accelerator_and_its_registers(tmp_path: Path, board: Board, parse: Any) -> None:
    path = tmp_path / "bnnedge.hwh"
    path.write_text(to_hwh(board, CONFIG))
    parsed = parse(path)
    ip = parsed.ip_dict["bnnedge"]
    assert (ip["phys_addr"], ip["addr_range"], ip["type"]) == (*board.registers, VLNV)
    assert int(ip["parameters"]["DIGEST"], 16) == CONFIG.digest
    assert int(ip["parameters"]["INSTRUCTION_SET"]) == isa.VERSION
    assert list(ip["registers"]) == list(REGISTERS)
    for name, register in REGISTERS.items():
        found = ip["registers"][name]
        assert (found["address_offset"], found["size"], found["access"]) == (register.offset, 32, register.access.value)
        fields = {field: (part["bit_offset"], part["bit_width"]) for field, part in found["fields"].items()}
        assert fields == {field: (low, bits) for field, low, bits in register.fields}
    assert [parsed.clock_dict[i]["enable"] for i in range(4)] == [1, 0, 0, 0]
    assert parsed.clock_dict[0]["divisor0"] * parsed.clock_dict[0]["divisor1"] == 10
    assert parsed.clock_dict[0].get("frequency", 100.0) == 100.0
    assert parsed.ip_dict[parsed.ps_name]["parameters"]["PCW_S_AXI_HP2_DATA_WIDTH"] == "64"


def test_two_writings_are_equal() -> None:
    board = BOARDS["pynq-z2"]
    assert to_hwh(board, CONFIG) == to_hwh(board, CONFIG)
    assert to_hwh(board, CONFIG) != to_hwh(board, dataclasses.replace(CONFIG, lanes=8))


@pytest.mark.parametrize(("mhz", "product"), [(100, 10), (125, 8), (80, 13), (50, 20), (1, 1000), (0.252, 3969)])
def test_a_clock_is_never_faster_than_asked_for(mhz: float, product: int) -> None:
    first, second = divisors(round(mhz * 1e6))
    assert first * second == product
    assert max(first, second) < 64


def test_a_clock_too_slow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a clock of 1000 Hz is too slow: the processor can give \d+ Hz and more"):
        divisors(1000)


def test_read_only_registers_are_marked() -> None:
    assert to_hwh(BOARDS["pynq-z2"], CONFIG).count('NAME="ACCESS" VALUE="read-only"') >= sum(
        register.access is Access.READ for register in REGISTERS.values()
    )
