"""Encoding of instructions."""

from __future__ import annotations

import random

import pytest

from bnnedge.isa import FORMATS, HEADER, INSTRUCTION_BYTES, UNITS, Instruction, Opcode, decode, layout


@pytest.mark.parametrize("opcode", Opcode)
def test_every_format_fits_and_every_field_comes_back(opcode: Opcode) -> None:
    largest = {name: (1 << field.bits) - 1 for name, field in layout(opcode).items() if name != "opcode"}
    again = decode(Instruction(opcode, largest).encode())
    assert (again.opcode, again.fields) == (opcode, largest)
    assert opcode in UNITS
    assert opcode in FORMATS


@pytest.mark.parametrize("opcode", Opcode)
def test_fields_lie_side_by_side_from_bit_0(opcode: Opcode) -> None:
    source, place, expected = random.Random(opcode), 0, 0
    fields = {name: source.getrandbits(field.bits) for name, field in layout(opcode).items()} | {"opcode": int(opcode)}
    for name, field in layout(opcode).items():
        expected |= fields[name] << place
        place += field.bits
    del fields["opcode"]
    data = Instruction(opcode, fields).encode()
    assert len(data) == INSTRUCTION_BYTES == 128
    assert int.from_bytes(data, "little") == expected
    assert decode(data).fields == fields


def test_the_header_is_where_hardware_expects_it() -> None:
    word = int.from_bytes(Instruction(Opcode.STORE, {"wait": 0x81, "signal": 0x42}).encode(), "little")
    assert list(HEADER) == ["opcode", "wait", "signal"]
    assert (word & 15, word >> 4 & 255, word >> 12 & 255) == (Opcode.STORE, 0x81, 0x42)


@pytest.mark.parametrize(("field", "value"), [("rate", 1 << 16), ("head", -1), ("colour", 1), ("opcode", 2), ("repeats", 1)])
def test_values_and_fields_that_do_not_exist_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        Instruction(Opcode.PASS, {field: value})


def test_unknown_opcodes_are_refused() -> None:
    with pytest.raises(ValueError, match="no opcode 15"):
        decode(b"\xff" * INSTRUCTION_BYTES)
