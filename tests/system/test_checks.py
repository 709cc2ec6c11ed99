"""Programs that no compiler makes: each does what an assertion of the hardware forbids, and stops with what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from exact import Pair

from bnnedge import Settings
from bnnedge.cli import main
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.isa import Buffer, Head, Instruction, Opcode
from bnnedge.registers import REGISTERS
from bnnedge.sim.verilated import ProtocolError, VerilatedBus

# One group, one tile, one word: the smallest pass there is.
ONE = {"groups": 1, "height": 1, "width": 1, "tiles": 1, "words": 1, "tail": 32, "columns": 8, "row_last": 15, "strip": 1}
ONE |= {"taps_y": 1, "taps_x": 1, "y_limit": 1, "x_limit": 1, "left_planes": 1, "right_planes": 1}
ONE |= {"images": 64, "reciprocal": 1 << 16, "mean_log2": 6, "clips": 64}
EMITS = ONE | {"inference": 1, "rows_planes": 1}
SUMS = ONE | {"fresh": 1}
MOVES = SUMS | {"commit": 1}
LOSS = ONE | {"head": int(Head.LOSS), "inference": 1}
MOVE = {"buffer": int(Buffer.LEFT), "count": 1, "repeats": 1}
RECORDS = MOVE | {"buffer": int(Buffer.PARAMETERS)}
RIGHT = MOVE | {"buffer": int(Buffer.RIGHT)}


@pytest.fixture
def bus(small: AcceleratorDevice) -> Iterator[VerilatedBus]:
    """The bus behind `small`, which trains as before at the end."""
    assert isinstance(small.bus, VerilatedBus)
    yield small.bus
    small.bus.reset()
    Pair.of(small, [20, 24, 10], Settings(batch=64)).train(1)


def run(bus: VerilatedBus, *program: tuple[Opcode, dict[str, int]]) -> None:
    """Run it to its end. LOADs and STOREs without an address move something that is there."""
    address, view = bus.allocate(1 << 16)
    try:
        view[:] = 0
        moved = {"address": address + (1 << 15)}
        fields = [(opcode, moved | given if opcode in (Opcode.LOAD, Opcode.STORE) else given) for opcode, given in program]
        code = b"".join(Instruction(opcode, given).encode() for opcode, given in [*fields, (Opcode.HALT, {})])
        view[: len(code)] = list(code)
        bus.write(REGISTERS["PROGRAM"].offset, address)
        bus.write(REGISTERS["CONTROL"].offset, 1)
        assert bus.run(100_000)
    finally:
        bus.release(address)


PASS, LOAD, STORE, TRANSPOSE = Opcode.PASS, Opcode.LOAD, Opcode.STORE, Opcode.TRANSPOSE
LEGAL = {
    "emits": [(PASS, EMITS)],
    "sums": [(PASS, SUMS)],
    "averages move": [(PASS, MOVES)],
    "transposes": [(TRANSPOSE, ONE)],
    "last addresses": [
        (PASS, EMITS | {"left_base": 1023, "right_base": 2047, "rows_base": 1023, "channel": 1016}),
        (LOAD, MOVE | {"base": 1023}),
        (LOAD, RIGHT | {"base": 2047}),
        (LOAD, RECORDS | {"base": 1023}),
        (STORE, RECORDS | {"base": 1023}),
        (TRANSPOSE, ONE | {"columns_base": 1023}),
    ],
    "totals in turn": [(PASS, SUMS), (PASS, SUMS | {"channel": 256, "first_group": 32})],
}
ILLEGAL = {
    "left operand": ([(PASS, EMITS | {"left_base": 1024})], "left buffer: the engine reads address 1024, beyond its 1024 words"),
    "right operand": ([(PASS, EMITS | {"right_base": 2048})], "right buffer: the engine reads address 2048, beyond its 2048"),
    "rows": ([(PASS, EMITS | {"rows_base": 1024})], "left buffer: a tile is written to address 1024, beyond its depth"),
    "rows to the right": (
        [(PASS, EMITS | {"rows_base": 2048, "rows_buffer": 1})],
        "right buffer: a tile is written to address 2048, beyond its depth",
    ),
    "columns": ([(TRANSPOSE, ONE | {"columns_base": 1024})], "left buffer: columns are written to address 1024, beyond"),
    "load": ([(LOAD, MOVE | {"base": 1024})], "left buffer: a load goes to address 1024, beyond its depth"),
    "load to the right": ([(LOAD, RIGHT | {"base": 2048})], "right buffer: a load goes to address 2048, beyond its depth"),
    "records": ([(LOAD, RECORDS | {"base": 1024})], "parameter memory: a load goes to address 1024, beyond its depth"),
    "store": ([(STORE, MOVE | {"base": 1024})], "left buffer: a store reads address 1024, beyond its depth"),
    "store of the right": ([(STORE, RIGHT | {"base": 2048})], "right buffer: a store reads address 2048, beyond its depth"),
    "records stored": ([(STORE, RECORDS | {"base": 1024})], "parameter memory: a store reads address 1024, beyond its depth"),
    "half a beat": ([(LOAD, MOVE | {"address": 4})], "memory port: a transfer begins within a beat, at 4"),
    "pivots": (  # while the head has rows of the pass before
        [(PASS, EMITS | {"height": 100}), (PASS, SUMS | {"channel": 1020})],
        "parameter memory: the statistics read address 1027, beyond its depth",
    ),
    "channels": ([(PASS, EMITS | {"channel": 1020})], "parameter memory: the head reaches address 1027, beyond its depth"),
    "exponent": (
        [(PASS, EMITS | {"head": int(Head.BACKWARD), "exponent": 1024, "opens": 1})],
        "parameter memory: the head reaches address 1024, beyond its depth",
    ),
    "classes": ([(PASS, LOSS | {"groups": 17})], "softmax: 136 classes are too many"),
    "images of a batch": ([(PASS, LOSS | {"images": 528})], "softmax: a batch of 528 images is too large"),
    "rows of a batch": ([(PASS, LOSS | {"images": 272})], "softmax: the batch takes 272 rows of the tile buffer"),
    "tokens": ([(LOAD, MOVE | {"signal": 1})] * 16, "semaphore 0: more tokens than it holds"),
    "totals that another channel has begun": (
        [*LEGAL["totals in turn"], (PASS, SUMS | {"fresh": 0})],
        "totals: channel 0 of layer 0 needs what is channel 256's of layer 0",
    ),
    "totals of another layer": (
        [(PASS, SUMS), (PASS, SUMS | {"layer": 1}), (PASS, SUMS | {"fresh": 0})],
        "totals: channel 0 of layer 0 needs what is channel 0's of layer 1",
    ),
    "totals that nobody has begun": ([(PASS, SUMS | {"fresh": 0})], "totals: channel 0 of layer 0 needs"),
    "a line that is read": (
        [(LOAD, MOVE | {"repeats": 200}), (PASS, EMITS | {"height": 200})],
        "left buffer: address 0 is written while it is read",
    ),
    "a line that is stored": (
        [(LOAD, RIGHT | {"repeats": 200}), (STORE, RIGHT | {"repeats": 200})],
        "right buffer: address 0 is written while it is read",
    ),
    "a record that is stored": (
        [(LOAD, RECORDS | {"repeats": 200}), (STORE, RECORDS | {"repeats": 200})],
        "parameter memory: address 0 is written while it is read",
    ),
    "a record that is read": (
        [(LOAD, RECORDS | {"count": 3, "repeats": 1000}), *[(PASS, SUMS)] * 60],
        "parameter memory: address . is written while it is read",
    ),
    "a record whose averages move": (
        [(STORE, RECORDS | {"repeats": 1000}), *[(PASS, MOVES)] * 30],
        "parameter memory: address 0 is written while it is read",
    ),
}


@pytest.mark.parametrize("program", LEGAL.values(), ids=LEGAL)
def test_what_stays_within_the_limits_runs(bus: VerilatedBus, program: list[tuple[Opcode, dict[str, int]]]) -> None:
    run(bus, *program)


@pytest.mark.parametrize(("program", "message"), ILLEGAL.values(), ids=ILLEGAL)
def test_what_does_not_stops_and_says_where(
    bus: VerilatedBus, program: list[tuple[Opcode, dict[str, int]]], message: str
) -> None:
    with pytest.raises(ProtocolError, match=rf"^the simulated accelerator stopped in cycle \d+: {message}"):
        run(bus, *program)


def test_a_pivot_that_no_sum_can_reach_stops(bus: VerilatedBus) -> None:
    address, view = bus.allocate(4096)
    view[:16] = list(((1 << 27) - 1).to_bytes(8, "little")) + [0] * 8
    with pytest.raises(ProtocolError, match="statistics: pivot: 2097152 leaves 22 bits"):
        run(bus, (LOAD, RECORDS | {"address": address, "signal": 1}), (PASS, SUMS | {"wait": 1}))
    bus.release(address)


def test_training_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    encode = Instruction.encode

    def wrong(self: Instruction) -> bytes:
        """A pass whose operand lies beyond the buffer."""
        fields = {**self.fields, "left_base": 1024} if self.opcode == PASS else self.fields
        return encode(Instruction(self.opcode, fields))

    monkeypatch.setattr(Instruction, "encode", wrong)
    arguments = ["--data", "digits", "--samples", "128", "--config", "sim-small", "--batch", "64", "--steps", "1"]
    assert main(["train", "--device", "rtl", *arguments, "--out", str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "stopped in" in line]
    assert re.search(r"the simulated accelerator stopped in cycle \d+: left buffer: .* beyond its 1024 words$", line)
