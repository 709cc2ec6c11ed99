"""The instruction set: formats, fields and their encoding. The one description of what a program is made of.

An instruction is 64 bytes, little-endian: a header that all formats share, then the fields of its format, packed from
the least significant bit. Compiler, hardware (`bnnedge.hw.control`) and docs/instruction-set.md take the layout from
here.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

VERSION = 1
INSTRUCTION_BYTES = 64
SEMAPHORES = 8
TOKEN_BITS = 4  # of the count of a semaphore


class Opcode(enum.IntEnum):
    """What an instruction does."""

    HALT = 0
    LOOP = 1
    PASS = 2
    TRANSPOSE = 3
    LOAD = 4
    GATHER = 5
    STORE = 6
    SYNC = 7


class Unit(enum.IntEnum):
    """The in-order queues that instructions go to; the sequencer itself carries out HALT, LOOP and SYNC."""

    SEQUENCER = 0
    EXECUTE = 1
    LOAD = 2
    STORE = 3


UNITS: dict[Opcode, Unit] = {
    Opcode.HALT: Unit.SEQUENCER,
    Opcode.LOOP: Unit.SEQUENCER,
    Opcode.SYNC: Unit.SEQUENCER,
    Opcode.PASS: Unit.EXECUTE,
    Opcode.TRANSPOSE: Unit.EXECUTE,
    Opcode.LOAD: Unit.LOAD,
    Opcode.GATHER: Unit.LOAD,
    Opcode.STORE: Unit.STORE,
}


class Head(enum.IntEnum):
    """What becomes of the sums of a PASS."""

    FORWARD = 0  # batch norm statistics; sign and mask of each output
    LOSS = 1  # last layer: statistics, softmax, loss, batch norm backward, gradient codes
    BACKWARD = 2  # mask, batch norm backward, gradient codes
    UPDATE = 3  # sign of the weight gradient moves the latent weights in DDR; new binary weights


class Buffer(enum.IntEnum):
    """Where LOAD writes and STORE reads."""

    LEFT = 0
    RIGHT = 1
    PARAMETERS = 2
    SCORES = 3  # STORE only: logits of an inference LOSS pass
    REPORT = 4  # STORE only: loss, hits and cycle of the batch


@dataclasses.dataclass(frozen=True)
class Field:
    """A field: `bits` wide, unsigned; `text` for people."""

    bits: int
    text: str


HEADER: dict[str, Field] = {
    "opcode": Field(4, "Opcode"),
    "wait": Field(SEMAPHORES, "semaphores to take, one token each, before the instruction starts"),
    "signal": Field(SEMAPHORES, "semaphores that get a token when its last effect has taken place"),
}

_PASS: dict[str, Field] = {
    "head": Field(2, "Head"),
    "inference": Field(1, "thresholds from the moving averages, which stay; LOSS stops after the logits"),
    "sign_sgd": Field(1, "moment = sign of the gradient (sign-SGD)"),
    "groups": Field(10, "groups of Q columns (outer loop)"),
    "tiles": Field(10, "tiles of P rows in a group (inner loop)"),
    "words": Field(13, "words of S bits of the contraction, for each pair of planes"),
    "tail": Field(7, "valid bits of the last of these words, 1..S"),
    "columns": Field(5, "valid columns of the last group, 1..Q"),
    "left_planes": Field(4, "planes of the left operand"),
    "left_base": Field(16, "left buffer address of its most significant plane, of tile 0"),
    "left_tile_stride": Field(16, "from tile to tile"),
    "left_plane_stride": Field(16, "from plane to the next less significant plane (modulo 2**16)"),
    "right_planes": Field(4, "planes of the right operand"),
    "right_base": Field(16, "right buffer address of its most significant plane, of group 0"),
    "right_group_stride": Field(16, "from group to group"),
    "right_plane_stride": Field(16, "from plane to the next less significant plane (modulo 2**16)"),
    "side_active": Field(16, "BACKWARD: left buffer address of the layer's signs, as rows"),
    "side_mask": Field(16, "BACKWARD: left buffer address of its masks, as rows"),
    "side_stride": Field(16, "from tile to tile, of both"),
    "rows_planes": Field(4, "planes written as rows; FORWARD: plane 0 is the sign, plane 1 the mask; 0: none"),
    "rows_buffer": Field(1, "LEFT or RIGHT"),
    "rows_base": Field(16, "buffer address of plane 0 of tile 0, group 0"),
    "rows_tile_stride": Field(16, "from tile to tile"),
    "rows_plane_stride": Field(16, "from plane to plane (modulo 2**16)"),
    "columns_planes": Field(4, "planes written as columns; 0: none"),
    "columns_buffer": Field(1, "LEFT or RIGHT"),
    "columns_base": Field(16, "buffer address of plane 0 of tile 0, group 0"),
    "columns_group_stride": Field(16, "from group to group"),
    "columns_plane_stride": Field(16, "from plane to plane"),
    "channel": Field(14, "first channel of the layer in the parameter memory"),
    "exponent": Field(14, "parameter memory address of the layer's exponent record"),
    "batch_log2": Field(4, "log2 of the batch"),
    "count": Field(24, "LOSS, BACKWARD: gradients in the tensor, the divisor of mean |dy|"),
    "layer": Field(6, "layer number for the random generator"),
    "headroom": Field(3, "bits between the largest code and the mean"),
    "rate": Field(16, "learning rate"),
    "address": Field(32, "UPDATE: DDR address of the latent weights, in tile order"),
    "step": Field(32, "added to the step register by the sequencer: the training step, for decay and random numbers"),
}

_TRANSFER: dict[str, Field] = {
    "buffer": Field(3, "Buffer"),
    "base": Field(16, "buffer address"),
    "count": Field(16, "LOAD, STORE: buffer addresses (SCORES: 64-bit beats, REPORT: 1); GATHER: samples"),
    "address": Field(32, "DDR address, a multiple of 8; GATHER: of the index list, 32-bit words"),
    "stride": Field(32, "the sequencer adds it to `address` for each LOOP that has been taken"),
    "sample_address": Field(32, "GATHER: DDR address of sample 0"),
    "sample_bytes": Field(32, "GATHER: from sample to sample, a multiple of 8"),
    "sample_words": Field(16, "GATHER: words of S bits in a sample, behind its 8 bytes of label"),
}

FORMATS: dict[Opcode, dict[str, Field]] = {
    Opcode.HALT: {},
    Opcode.LOOP: {
        "count": Field(32, "iterations in all"),
        "target": Field(32, "first instruction of the body, in bytes from the program's first"),
    },
    Opcode.PASS: _PASS,
    Opcode.TRANSPOSE: _PASS,
    Opcode.LOAD: _TRANSFER,
    Opcode.GATHER: _TRANSFER,
    Opcode.STORE: _TRANSFER,
    Opcode.SYNC: {},
}


def layout(opcode: Opcode) -> dict[str, Field]:
    """All fields of an instruction in order of their bits, the header first."""
    return {**HEADER, **FORMATS[opcode]}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction: an opcode and values of its fields (0 where not given)."""

    opcode: Opcode
    fields: Mapping[str, int]
    comment: str = ""

    def __post_init__(self) -> None:
        known = layout(self.opcode)
        for name, value in self.fields.items():
            if name not in known or name == "opcode":
                raise ValueError(f"{self.opcode.name} has no field {name!r}")
            if not 0 <= value < 1 << known[name].bits:
                raise ValueError(f"{self.opcode.name}: {name} = {value} does not fit {known[name].bits} bits")

    def encode(self) -> bytes:
        """Return the instruction's 64 bytes."""
        word, place = 0, 0
        values = {**self.fields, "opcode": int(self.opcode)}
        for name, field in layout(self.opcode).items():
            word |= values.get(name, 0) << place
            place += field.bits
        return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(data: bytes) -> Instruction:
    """Return the instruction of 64 bytes; ValueError if it is none."""
    word = int.from_bytes(data, "little")
    try:
        opcode = Opcode(word & (1 << HEADER["opcode"].bits) - 1)
    except ValueError:
        raise ValueError(f"there is no opcode {word & 15}") from None
    fields = {}
    for name, field in layout(opcode).items():
        fields[name] = word & (1 << field.bits) - 1
        word >>= field.bits
    del fields["opcode"]
    return Instruction(opcode, fields)


for _opcode in Opcode:
    assert sum(field.bits for field in layout(_opcode).values()) <= 8 * INSTRUCTION_BYTES, _opcode
