"""Encoding of instructions."""

from __future__ import annotations

import pytest

from bnnedge.isa import FORMATS, HEADER, INSTRUCTION_BYTES, UNITS, Instruction, Opcode, decode, layout


@pytest.mark.parametrize("opcode", Opcode)
def test_every_format_fits_and_every_field_comes_back(opcode: Opcode) -> None:
    largest = {name: (1 << field.bits) - 1 for name, field in layout(opcode).items() if name != "opcode"}
    again = decode(Instruction(opcode, largest).encode())
    assert (again.opcode, again.fields) == (opcode, largest)
    assert opcode in UNITS
    assert opcode in FORMATS


def test_the_header_is_where_hardware_expects_it() -> None:
    word = int.from_bytes(Instruction(Opcode.STORE, {"wait": 0x81, "signal": 0x42}).encode(), "little")
    assert list(HEADER) == ["opcode", "wait", "signal"]
    assert (word & 15, word >> 4 & 255, word >> 12 & 255) == (Opcode.STORE, 0x81, 0x42)


@pytest.mark.parametrize(("field", "value"), [("rate", 1 << 16), ("head", -1), ("colour", 1), ("opcode", 2)])
def test_values_and_fields_that_do_not_exist_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        Instruction(Opcode.PASS, {field: value})


def test_unknown_opcodes_are_refused() -> None:
    with pytest.raises(ValueError, match="no opcode 15"):
        decode(b"\xff" * INSTRUCTION_BYTES)
