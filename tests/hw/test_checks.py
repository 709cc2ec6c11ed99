"""Assertions: each of the units' fires where it should (those of the top: tests/system), and none is synthesised."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from amaranth import Elaboratable, Module, Signal, signed
from amaranth.back import rtlil
from amaranth.lib import stream
from hardware import TINY, simulate

from bnnedge.hw import accelerator, checks, series7
from bnnedge.hw.accelerator import Accelerator
from bnnedge.hw.buffers.tile_buffer import TileBuffer
from bnnedge.hw.buffers.tile_register import TileRegister
from bnnedge.hw.bus.read import QUEUE_BEATS, ReadMaster
from bnnedge.hw.bus.write import WriteMaster
from bnnedge.hw.control.queue import Semaphores
from bnnedge.hw.engine.array import LaneArray
from bnnedge.hw.generate import MODULE, convert, to_verilog
from bnnedge.hw.heads.accumulator import Accumulator
from bnnedge.hw.heads.owners import Owners
from bnnedge.hw.heads.statistics import Statistics
from bnnedge.hw.heads.totals import Totals
from bnnedge.isa import TOKEN_BITS

LANES = TINY.lanes
Inputs = dict[str, Any]  # by path


def fires(dut: Any, message: str, *cycles: Inputs) -> None:
    """Give these inputs (those that are not named again: 0), a set a cycle; at the end of the last cycle an assertion fails."""
    reached = 0

    async def bench(ctx: Any) -> None:
        nonlocal reached
        before: Inputs = {}
        for inputs in cycles:
            for path, value in ({path: 0 if isinstance(value, int) else {} for path, value in before.items()} | inputs).items():
                target = dut
                for part in path.split("."):
                    target = getattr(target, part)
                ctx.set(target, value)
            before = inputs
            reached += 1
            await ctx.tick()
        await ctx.delay(1e-9)

    with pytest.raises(AssertionError, match=f"^Assertion violated: {message}$"):
        simulate(dut, bench)
    assert reached == len(cycles), "it fails too early"


class Offers(Elaboratable):
    """A stream, and a number that is to fit."""

    def __init__(self) -> None:
        self.offer, self.wide = stream.Signature(4).create(), stream.Signature(checks.WIDE).create()
        self.when, self.value = Signal(), Signal(signed(9))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        checks.check_stream(m, platform, "offer", self.offer)
        checks.check_stream(m, platform, "wide", self.wide)
        checks.check_fits(m, platform, self.when, self.value, signed(8), "value")
        return m


OFFER: Inputs = {"offer.valid": 1, "offer.payload": 5}
PUSH: Inputs = {"push": 1, "begins": 1}
TILE: Inputs = {"done": 1, "meta": {"inference": 1}}
KNOWN: Inputs = {"begins": 1, "owner": {"layer": 1, "forward": 1, "channel": 4}}
OTHER: Inputs = {"begins": 1, "owner": {"layer": 2, "forward": 0, "channel": 8}}
WIDE = dataclasses.replace(TINY, accumulator=16)
CASES: dict[str, tuple[Any, str, list[Inputs]]] = {
    "valid falls": (Offers, "offer: valid fell before ready came", [OFFER, {}]),
    "the payload changes": (Offers, "offer: the payload changed before ready came", [OFFER, OFFER | {"offer.payload": 4}]),
    "a wide payload has changed": (
        Offers,
        "wide: the payload changed before ready came",
        [{"wide.valid": 1, "wide.payload": 1 << 255}, {"wide.valid": 1}, {"wide.valid": 1, "wide.ready": 1}],
    ),
    "lanes": (
        lambda: LaneArray(WIDE),
        r"lanes: \d+ valid bits leave 15 bits",
        [{"tag": {"valid": 1, "first": n == 0, "double": n > 0, "high": 16}} for n in range(12)] + [{}] * 3,
    ),
    "rows without room": (
        lambda: TileBuffer(TINY),
        "tile buffer: rows are reserved where there is no room",
        [{"reserve": 1}] * (TINY.tile_rows // LANES + 1),
    ),
    "a row that was not reserved": (
        lambda: TileBuffer(TINY),
        "tile buffer: a row is pushed for which no room was reserved",
        [{"reserve": 1}, *[PUSH] * (LANES + 1)],
    ),
    "a row that is not there": (lambda: TileBuffer(TINY), "tile buffer: a row is popped that is not there", [{}, {"pop": 1}]),
    "a row rewritten": (lambda: TileBuffer(TINY), "tile buffer: a row is rewritten that is not there", [{}, {"rewrite": 1}]),
    "two rows written": (
        lambda: TileBuffer(TINY),
        "tile buffer: a row is rewritten while another one is written",
        [{"reserve": 1}, PUSH, PUSH, {}, {"rewrite": 1}],
    ),
    "a row written while it is read": (
        lambda: TileBuffer(TINY),
        "tile buffer: a row is written while it is read",
        [{"reserve": 1}, PUSH | {"unfinished": 1}, {}, PUSH | {"continues": 1, "unfinished": 1}],
    ),
    "a weight gradient": (
        lambda: TileBuffer(TINY),
        f"tile buffer: sum of column 1: {-(1 << 26) - 1} leaves 27 bits",
        [
            {"reserve": 1},
            PUSH | {"unfinished": 1, "row_in": [{"slope": 0}, {"slope": -(1 << 26)}, {"slope": 0}, {"slope": 0}]},
            *[{}] * 3,
            PUSH | {"continues": 1, "row_in": [{"slope": 0}, {"slope": -1}, {"slope": 0}, {"slope": 0}]},
            *[{}] * 2,
        ],
    ),
    "a tile without room": (
        lambda: TileRegister(TINY),
        "tile register: a tile is started where there is no room",
        [{"start": 1}, {"start": 1}, {"start": 1}],
    ),
    "a pass's sum": (
        lambda: Accumulator(8, 8),
        "statistics: sum of a pass: -129 leaves 8 bits",
        [{"addend": -128, "first": 1, "step": 1}, {"addend": 1, "minus": 1, "step": 1}, {}],
    ),
    "a tile on a tile": (
        lambda: Statistics(TINY),
        "statistics: a tile is finished before the one ahead of it has moved on",
        [TILE, {"meta": {"inference": 1}}, TILE],
    ),
    "a token": (lambda: Semaphores(1, 1), "semaphore 3: a token is taken that is not there", [{}, {"take_0": 8}]),
    "tokens": (lambda: Semaphores(1, 1), "semaphore 3: more tokens than it holds", [{"give_0": 8}] * (1 << TOKEN_BITS)),
    "a read beat": (lambda: ReadMaster(1), "memory port: rvalid without a burst", [{"axi.rvalid": 1}]),
    "a write response": (lambda: WriteMaster(), "memory port: bvalid without a burst", [{"axi.bvalid": 1}]),
    "totals of another": (
        lambda: Owners(TINY),
        "totals: channel 8 of layer 2 needs what is channel 4's of layer 1",
        [KNOWN, {"ends": 1, "fresh": 1}, OTHER, {"ends": 1}],
    ),
    "totals read": (
        lambda: Owners(TINY),
        "totals: channel 8 of layer 1 needs what is channel 4's of layer 1",
        [KNOWN, {"ends": 1, "fresh": 1}, {"reads": 1, "reader": {"layer": 1, "forward": 1, "channel": 8}}],
    ),
}


@pytest.mark.parametrize(("unit", "message", "cycles"), CASES.values(), ids=CASES)
def test_an_assertion_fires(unit: Any, message: str, cycles: list[Inputs]) -> None:
    fires(unit(), message, *cycles)


def test_totals_that_overflow_fire() -> None:
    sums: Inputs = {"added.ready": 1, "group.payload": {"sums": [{"first": 0, "second": -1 << 31}] * LANES, "counts": 1}}
    first = sums | {"group.payload": sums["group.payload"] | {"fresh": 1}}
    # A group waits a cycle, is taken with its fourth column, three cycles later it has been added, and then is told of.
    groups = [first, *[sums] * 256]
    cycles = [cycle for group in groups for cycle in [*[group | {"group.valid": 1}] * (LANES + 1), *[{"added.ready": 1}] * 5]]
    fires(Totals(TINY), f"totals: second: {-(1 << 39) - (1 << 31)} leaves 40 bits", *cycles[:-6])


def test_beats_that_were_not_asked_for_find_no_room() -> None:
    asks: Inputs = {"transfer_0.valid": 1, "transfer_0.payload": {"address": 0, "beats": 1}, "axi.arready": 1}
    beat: Inputs = {"axi.rvalid": 1, "axi.arready": 1}  # and again, as no last one comes
    cycles = [asks, *[{"axi.arready": 1}] * 6, *[beat] * (QUEUE_BEATS + 1)]
    fires(ReadMaster(1), "memory port: a beat that was read finds no room", *cycles)


def test_a_message_shows_its_values_and_counts_only_when_it_is_asked() -> None:
    fires(Offers(), "value: -129 leaves 8 bits", {"value": 200}, {"value": -128, "when": 1}, {"value": -129, "when": 1})


def test_what_is_synthesised_has_no_assertion_and_nothing_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = to_verilog(TINY)
    board = convert(Accelerator(TINY), MODULE, platform=series7.SERIES7, language=rtlil)
    for text in (plain, board):
        assert not any(word in text for word in ("assert", "$check", "$write", "core.owners", "waiting_fetch", "late_bits"))
    assert to_verilog(TINY, checks=True).count("assert (") > 100

    def nothing(*_: Any, **__: Any) -> None:
        """Takes the place of what adds assertions."""

    monkeypatch.setattr(checks, "Assert", nothing)
    monkeypatch.setattr(accelerator, "watch", nothing)
    assert to_verilog(TINY) == plain
    assert convert(Accelerator(TINY), MODULE, platform=series7.SERIES7, language=rtlil) == board
