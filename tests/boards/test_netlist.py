"""Control sets, and paths past a block RAM or multiplier block without a register, in netlists of a few cells."""

from __future__ import annotations

from typing import Any

import pytest

from bnnedge.boards.netlist import control_sets, unregistered


def cell(kind: str, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], **parameters: str) -> dict[str, Any]:
    """A cell as Yosys writes it; parameters are binary."""
    return {
        "type": kind,
        "parameters": parameters,
        "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
        "connections": inputs | outputs,
    }


RAM = cell("RAMB18E1", {"ADDRARDADDR": [1, "0"]}, {"DOADO": [10, 11]})
MULTIPLIER = cell("DSP48E1", {"A": [1]}, {"P": [10, 11]}, MREG="1", PREG="0")


def flip_flop(kind: str, clock: Any, enable: Any, port: str, reset: Any) -> dict[str, Any]:
    """One with these three controls; its data are a net of its own."""
    return cell(kind, {"C": [clock], "CE": [enable], port: [reset], "D": [90]}, {"Q": [91]})


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (flip_flop("FDRE", 1, 2, "R", 3), 1),
        (flip_flop("FDSE", 1, 2, "S", 3), 1),  # a slice's flip-flops have one net for both
        (flip_flop("FDCE", 1, 2, "CLR", 3), 1),
        (flip_flop("FDPE", 1, 2, "PRE", 3), 1),
        (flip_flop("FDRE", 4, 2, "R", 3), 2),
        (flip_flop("FDRE", 1, 4, "R", 3), 2),
        (flip_flop("FDRE", 1, 2, "R", 4), 2),
        (flip_flop("FDSE", 1, 2, "S", 4), 2),
        (flip_flop("FDRE", 1, "1", "R", 3), 2),
        (flip_flop("FDRE", 1, 2, "R", "0"), 2),
        (flip_flop("FDRE", 1, 3, "R", 2), 2),
        (MULTIPLIER, 1),
    ],
)
def test_control_sets(second: dict[str, Any], found: int) -> None:
    assert control_sets([flip_flop("FDRE", 1, 2, "R", 3), second]) == found


def test_constants_are_no_control() -> None:
    free = [flip_flop("FDRE", 1, "1", "R", "0"), flip_flop("FDSE", 1, "x", "S", "x"), flip_flop("FDRE", 1, "1", "R", "1")]
    assert control_sets(free) == 1
    assert control_sets([RAM]) == 0


@pytest.mark.parametrize(
    ("reader", "found"),
    [
        (cell("FDRE", {"D": [10]}, {"Q": [20]}), []),
        (cell("FDRE", {"CE": [10], "D": [30]}, {"Q": [20]}), ["ram -> FDRE.CE"]),
        (cell("SRL16E", {"D": [10], "A0": ["0"]}, {"Q": [20]}), []),
        (cell("SRL16E", {"D": [30], "A0": [10]}, {"Q": [20]}), ["ram -> SRL16E.A0"]),
        (cell("LUT2", {"I0": [11], "I1": [30]}, {"O": [20]}), ["ram -> LUT2.I0"]),
        (cell("DSP48E1", {"A": [10], "B": [11]}, {"P": [20]}, AREG="10", BREG="01", PREG="1"), []),
        (cell("DSP48E1", {"A": [10], "B": [11]}, {"P": [20]}, AREG="01", BREG="0", PREG="1"), ["ram -> DSP48E1.B"]),
        (cell("RAMB36E1", {"ADDRARDADDR": [10]}, {"DOADO": [20]}), ["ram -> RAMB36E1.ADDRARDADDR"]),
    ],
)
def test_what_reads_a_block_ram(reader: dict[str, Any], found: list[str]) -> None:
    assert unregistered({"ram": RAM, "reader": reader}) == found


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (cell("DSP48E1", {"C": [21]}, {"P": [30]}, CREG="1", PREG="1"), []),
        (cell("DSP48E1", {"C": [21]}, {"P": [30]}, CREG="0", PREG="1"), ["first -> DSP48E1.C"]),
        (cell("DSP48E1", {"PCIN": [10]}, {"P": [30]}, CREG="1", PREG="1"), ["first -> DSP48E1.PCIN"]),
        (cell("FDRE", {"D": [21]}, {"Q": [30]}), []),
    ],
)
def test_from_one_multiplier_block_to_another_through_logic(second: dict[str, Any], found: list[str]) -> None:
    logic = {"lut": cell("LUT1", {"I0": [11]}, {"O": [20]}), "carry": cell("CARRY4", {"S": [20, "0"]}, {"O": [21], "CO": [22]})}
    loop = {"loop": cell("LUT2", {"I0": [22], "I1": [23]}, {"O": [23]})}
    assert unregistered({"first": MULTIPLIER, **logic, **loop, "second": second}) == found


def test_a_multiplier_block_with_an_output_register_ends_every_path() -> None:
    first = cell("DSP48E1", {"A": [1]}, {"P": [10]}, PREG="1")
    assert unregistered({"first": first, "second": cell("DSP48E1", {"B": [10]}, {"P": [20]}, PREG="0")}) == []
