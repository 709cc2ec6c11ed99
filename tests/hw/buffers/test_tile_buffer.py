"""The ring of rows against a Python list, over several turns of the ring."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate

from bnnedge.hw.buffers.tile_buffer import READ_LATENCY, TileBuffer

LANES, DEPTH = TINY.lanes, TINY.tile_rows
Row = list[dict[str, int]]


def random_row(source: random.Random) -> Row:
    """Sums over the whole range of the accumulator, its ends among them."""
    top = 1 << TINY.accumulator - 1
    values = [source.choice((-top, top - 1, source.randrange(-top, top))) for _ in range(LANES)]
    return [{"value": value, "active": source.getrandbits(1)} for value in values]


def plain(row: Any) -> Row:
    return [{"value": item.value, "active": item.active} for item in row]


class Model:
    """A producer that reserves and pushes, a consumer that looks, rewrites and pops, and what must be in between.

    fill: how eager the producer is, against a consumer of 1.
    """

    def __init__(self, seed: int, fill: float) -> None:
        self.source, self.fill = random.Random(seed), fill
        self.dut = TileBuffer(TINY)
        self.rows: list[Row] = []
        self.owed = 0  # rows reserved and not pushed
        self.was_full = self.popped = 0
        self.due: list[Row | None] = [None] * READ_LATENCY

    async def cycles(self, ctx: Any, count: int) -> None:
        dut, source = self.dut, self.source
        for _ in range(count):
            free = DEPTH - self.owed - len(self.rows)
            assert ctx.get(dut.room) == (free >= LANES)
            assert ctx.get(dut.available) == len(self.rows)
            self.was_full += free < LANES

            reserve = free >= LANES and source.random() < self.fill
            push = self.owed > 0 and source.random() < 0.9
            pop = bool(self.rows) and source.random() < 0.5
            row, new = random_row(source), random_row(source)
            offset = source.randrange(max(1, len(self.rows)))
            target = source.randrange(max(1, len(self.rows)))
            rewrite = not push and bool(self.rows) and target != offset and source.random() < 0.3
            for name, value in (("reserve", reserve), ("push", push), ("pop", pop), ("rewrite", rewrite)):
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.row_in, row)
            ctx.set(dut.offset, offset)
            ctx.set(dut.rewrite_offset, target)
            ctx.set(dut.rewrite_row, new)

            self.due.append(self.rows[offset] if self.rows else None)
            if rewrite:
                self.rows[target] = new
            if push:
                self.rows.append(row)
            if pop:
                self.rows.pop(0)
            self.popped += pop
            self.owed += LANES * reserve - push
            _, _, out = await ctx.tick().sample(dut.row_out)
            expected = self.due.pop(0)
            assert expected is None or plain(out) == expected


@pytest.mark.parametrize("fill", [0.05, 0.12, 0.5])
def test_random_use_over_several_turns(fill: float) -> None:
    model = Model(seed=int(fill * 100), fill=fill)

    async def bench(ctx: Any) -> None:
        await model.cycles(ctx, 800)

    simulate(model.dut, bench)
    assert model.popped > 2 * DEPTH or fill < 0.1
    assert model.was_full or fill < 0.5


def test_holds_as_many_rows_as_it_is_deep() -> None:
    source = random.Random(1)
    dut = TileBuffer(TINY)
    rows = [random_row(source) for _ in range(DEPTH)]

    async def bench(ctx: Any) -> None:
        for turn in range(2):
            for number, row in enumerate(rows):
                ctx.set(dut.reserve, number % LANES == 0)
                assert ctx.get(dut.room) or number % LANES
                ctx.set(dut.push, 1)
                ctx.set(dut.row_in, row)
                await ctx.tick()
            ctx.set(dut.push, 0)
            assert not ctx.get(dut.room)
            assert ctx.get(dut.available) == DEPTH
            for number, row in enumerate(rows):
                ctx.set(dut.offset, number)
                await ctx.tick().repeat(READ_LATENCY)
                assert plain(ctx.get(dut.row_out)) == row, (turn, number)
            ctx.set(dut.pop, 1)
            for number in range(DEPTH):
                assert ctx.get(dut.room) == (number >= LANES)
                await ctx.tick()
            ctx.set(dut.pop, 0)
            assert ctx.get(dut.available) == 0

    simulate(dut, bench)


def test_a_reset_empties_it() -> None:
    reset = Signal()
    model = Model(seed=2, fill=1.0)

    async def bench(ctx: Any) -> None:
        await model.cycles(ctx, 50)
        for name in ("reserve", "push", "pop", "rewrite"):
            ctx.set(getattr(model.dut, name), 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        model.rows.clear()
        model.owed, model.due = 0, [None] * READ_LATENCY
        await model.cycles(ctx, 300)

    simulate(ResetInserter(reset)(model.dut), bench)
