"""The instruction set: formats, fields and their encoding. The one description of what a program is made of.

An instruction is 128 bytes, little-endian: a header that all formats share, then the fields of its format, packed from
the least significant bit. Compiler, hardware (`bnnedge.hw.control`) and docs/instruction-set.md take the layout from
here.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

VERSION = 4
INSTRUCTION_BYTES = 128
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

    FORWARD = 0  # sign and mask of each output; sums for its moving averages
    LOSS = 1  # last layer: statistics of the batch, softmax, loss, gradient codes
    BACKWARD = 2  # mask, gradient codes; sums for the moving averages of the gradient
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


class Pool(enum.IntEnum):
    """What becomes of 2 x 2 neighbouring outputs: FORWARD multiplies, BACKWARD emits codes at each of the four places."""

    NONE = 0
    SIGNS = 1  # +1 if any of the four signs is +1, with the first place where it is
    SUMS = 2  # the largest of the four sums goes on, with its place


def _walk(prefix: str, what: str, *loops: str) -> dict[str, Field]:
    """An address that follows loops: where it begins, and what it moves by when one of them advances.

    A loop that begins anew takes its contribution back. A step to a neighbouring place is half a step of `y` or `x`.
    """
    strides = {f"{prefix}_{loop}": Field(16, f"from {loop} to {loop} (modulo 2**16)") for loop in loops}
    return {f"{prefix}_base": Field(16, what), **strides}


# Loops of a PASS, outermost first: group, y, x, tile, place (with `pool`: row by row). Inside a tile: pairs of planes, then
# the taps tap_y, tap_x of the contraction, then words.
_PASS: dict[str, Field] = {
    "head": Field(2, "Head"),
    "inference": Field(1, "nothing is summed, no average moves; LOSS takes the moving averages and stops after the logits"),
    "sign_sgd": Field(1, "moment = sign of the gradient (sign-SGD)"),
    "fresh": Field(1, "the sums of these channels begin at 0; if not, they are added to those of the passes before"),
    "commit": Field(1, "the sums are complete: behind the pass the moving averages and, BACKWARD and LOSS, beta move"),
    "own_centre": Field(1, "BACKWARD, LOSS: a group's gradients wait for all its sums, whose means centre them"),
    "opens": Field(1, "BACKWARD: first pass of the layer: its exponent is set"),
    "closes": Field(1, "BACKWARD: last pass of the layer: the next step's exponent follows"),
    "continues": Field(1, "UPDATE: sums are added to those that the pass before left unfinished"),
    "unfinished": Field(1, "UPDATE: the sums stay in the tile buffer for the pass that continues"),
    "pool": Field(2, "Pool"),
    "groups": Field(10, "groups of Q columns"),
    "height": Field(8, "rows of outputs (of pooled ones, if `pool`); UPDATE: of the window"),
    "width": Field(8, "columns of outputs; UPDATE: of the window"),
    "tiles": Field(10, "tiles of P vectors"),
    "first_group": Field(10, "number in its layer of the first group"),
    "first_tile": Field(10, "number in its layer of the first tile"),
    "words": Field(11, "words of S bits of the contraction, for each tap and pair of planes"),
    "tail": Field(7, "valid bits of the last of these words, 1..S"),
    "columns": Field(5, "valid columns of the last group, 1..Q"),
    "row_first": Field(4, "first row of sums that counts, modulo 16 from tile to tile; the others are 0"),
    "row_last": Field(4, "last row of sums that counts, likewise"),
    "taps_y": Field(8, "rows of taps; UPDATE: of pixels to sum over"),
    "taps_x": Field(8, "columns of taps"),
    "y_origin": Field(9, "row of the input under the first tap of the first output (modulo 2**9, signed)"),
    "y_step": Field(3, "rows of the input from output to output (FORWARD with `pool`: from pair to pair)"),
    "y_pitch": Field(1, "log2 of the rows of the input from tap to tap"),
    "y_limit": Field(8, "rows of the input: taps outside are skipped"),
    "x_origin": Field(9, "likewise, columns"),
    "x_step": Field(3, ""),
    "x_pitch": Field(1, ""),
    "x_limit": Field(8, ""),
    "strip": Field(5, "steps of x that share a word of the left buffer (behind the last of them `left_x` is added), 1 at least"),
    "strip_shift": Field(6, "bits of that word from step to step"),
    "window": Field(5, "bits of a pixel, if all columns of taps lie side by side in that word; 0: they have words of their own"),
    "left_planes": Field(4, "planes of the left operand"),
    "left_twin": Field(1, "its two least significant planes weigh the same"),
    **_walk("left", "left buffer address of the first output's first tap, most significant plane", "y", "x", "tile"),
    "left_tap_y": Field(16, "from row to row of taps (modulo 2**16)"),
    "left_tap_x": Field(16, "from column to column of taps (modulo 2**16)"),
    "left_plane": Field(16, "from plane to the next less significant plane (modulo 2**16)"),
    "right_planes": Field(4, "planes of the right operand"),
    "right_twin": Field(1, "its two least significant planes weigh the same"),
    **_walk("right", "right buffer address of the first group's first tap, most significant plane", "group"),
    "right_tap_y": Field(16, "from row to row of taps (modulo 2**16)"),
    "right_tap_x": Field(16, "from column to column of taps (modulo 2**16)"),
    "right_plane": Field(16, "from plane to the next less significant plane (modulo 2**16)"),
    **_walk("side", "BACKWARD: left buffer address of the layer's masks, as rows", "y", "x", "tile"),
    "side_plane": Field(16, "with `pool`, from the masks to the lower bits of the routes, and on to the upper ones"),
    "rows_planes": Field(4, "planes written as rows; FORWARD: sign, mask, with `pool` the route (2 planes); 0: none"),
    "rows_buffer": Field(1, "LEFT or RIGHT"),
    **_walk("rows", "buffer address of plane 0 of the first tile", "y", "x", "tile"),
    "rows_plane": Field(16, "from plane to plane (modulo 2**16)"),
    "columns_planes": Field(4, "planes written as columns; FORWARD: sign; 0: none"),
    "columns_buffer": Field(1, "LEFT or RIGHT"),
    **_walk("columns", "buffer address of plane 0 of the first tile", "group", "y", "x"),
    "columns_plane": Field(16, "from plane to plane"),
    "twin": Field(1, "LOSS, BACKWARD: the codes' two lowest planes weigh the same"),
    "random_base": Field(12, "place of the first tile for the random generator"),
    "random_y": Field(12, "from y to y"),
    "random_x": Field(12, "from x to x"),
    "channel": Field(12, "parameter memory address of the first group's first channel"),
    "exponent": Field(12, "parameter memory address of the layer's exponent record"),
    "images": Field(10, "LOSS: images of the batch"),
    "reciprocal": Field(17, "1/n, n samples of a channel, with `formats.MEAN` + `mean_log2` fraction bits"),
    "mean_log2": Field(5, "ceil(log2 n)"),
    "clips": Field(32, "LOSS, BACKWARD: codes that may be clipped before the exponent grows"),
    "layer": Field(6, "layer number for the random generator"),
    "rate": Field(16, "learning rate"),
    "decay": Field(3, "FORWARD, LOSS: of the moving averages behind the first steps"),
    "rows": Field(24, "UPDATE: rows of sums: groups x height x width x tiles x P"),
    "address": Field(32, "UPDATE: DDR address of the latent weights, in the order of the loops"),
    "step": Field(32, "added to the step register by the sequencer: the training step, for decay and random numbers"),
}

_TRANSFER: dict[str, Field] = {
    "buffer": Field(3, "Buffer"),
    "base": Field(16, "buffer address"),
    "count": Field(16, "LOAD, STORE: buffer addresses (SCORES: 64-bit beats, REPORT: 1); GATHER: samples"),
    "repeats": Field(10, "LOAD, STORE: how often that is done, 1 at least (PARAMETERS, SCORES, REPORT: 1)"),
    "base_stride": Field(16, "added to the buffer address each time"),
    "address_stride": Field(32, "added to the DDR address each time"),
    "labels": Field(1, "GATHER: the labels go to the label queue"),
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
        """Return the instruction's bytes."""
        word, place = 0, 0
        values = {**self.fields, "opcode": int(self.opcode)}
        for name, field in layout(self.opcode).items():
            word |= values.get(name, 0) << place
            place += field.bits
        return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(data: bytes) -> Instruction:
    """Return the instruction of that many bytes; ValueError if it is none."""
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
