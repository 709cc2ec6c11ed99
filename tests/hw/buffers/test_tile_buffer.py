"""The ring of rows against Python lists, over several turns of the ring."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, signed, simulate

from bnnedge.hw.buffers.tile_buffer import READ_LATENCY, TileBuffer
from bnnedge.hw.layouts import tile_row

pytestmark = pytest.mark.usefixtures("left_behind")

LANES, DEPTH = TINY.lanes, TINY.tile_rows
BITS = tile_row(TINY).elem_shape.size
Row = list[int]


def random_row(source: random.Random, onto: Row | None = None) -> Row:
    """Slopes over the whole range, its ends among them, that are themselves or, added to `onto`, sums within it."""
    top, found = 1 << BITS - 1, []
    for old in onto or [0] * LANES:
        low, high = max(-top, -top - old), min(top - 1, top - 1 - old)
        found.append(source.choice((low, high, source.randint(low, high))))
    return found


def added(a: Row, b: Row) -> Row:
    return [x + y for x, y in zip(a, b, strict=True)]


def packed(row: Row) -> int:
    return sum((value & (1 << BITS) - 1) << j * BITS for j, value in enumerate(row))


def plain(row: int) -> Row:
    return [signed(row >> j * BITS, BITS) for j in range(LANES)]


async def push(ctx: Any, dut: TileBuffer, rows: list[Row], *, continues: bool = False, unfinished: bool = False) -> None:
    """A pass: one row a cycle."""
    for number, row in enumerate(rows):
        ctx.set(dut.reserve, number % LANES == 0 and not continues)
        assert ctx.get(dut.room) or continues or number % LANES
        ctx.set(dut.push, 1)
        ctx.set(dut.continues, continues)
        ctx.set(dut.unfinished, unfinished)
        ctx.set(dut.begins, number == 0)
        ctx.set(dut.row_in.as_value(), packed(row))
        await ctx.tick()
    ctx.set(dut.reserve, 0)
    ctx.set(dut.push, 0)


class Model:
    """A producer that goes through passes of any kind, a consumer that looks, rewrites and pops, and what is in between.

    fill, drain: chances that a tile gets room, and that a row is popped, in a cycle in which they could be.
    """

    def __init__(self, seed: int, fill: float, drain: float = 0.5) -> None:
        self.source, self.fill, self.drain = random.Random(seed), fill, drain
        self.dut = TileBuffer(TINY)
        self.clear()
        self.was_full = self.popped = self.continued = self.taken = 0

    def clear(self) -> None:
        self.rows: list[Row] = []
        self.coming: deque[tuple[int, Row]] = deque()  # rows that join the queue, and when
        self.behind: list[Row] = []  # of unfinished passes
        self.left = self.number = 0  # rows of the present pass: to come, and pushed
        self.continues = self.unfinished = False
        self.owed = self.time = self.quiet = 0  # rows reserved and not pushed; cycles without a push
        self.due: list[Row | None] = [None] * READ_LATENCY

    def begin_pass(self) -> None:
        self.continues = bool(self.behind)
        self.unfinished = self.source.random() < 0.5
        self.left, self.number = len(self.behind) or LANES * self.source.randint(1, 3), 0
        if self.unfinished and not self.continues:
            self.behind = [[0] * LANES for _ in range(self.left)]
        self.continued += self.continues

    def pushed(self, row: Row) -> None:
        """The model's side of a row."""
        if self.continues:
            row = added(row, self.behind[self.number if self.unfinished else 0])
        if self.unfinished:
            self.behind[self.number] = row
        else:
            self.coming.append((self.time + READ_LATENCY + 1, row))
            del self.behind[:1]
        self.left, self.number = self.left - 1, self.number + 1

    async def cycles(self, ctx: Any, count: int) -> None:
        dut, source = self.dut, self.source
        for _ in range(count):
            while self.coming and self.coming[0][0] == self.time:
                self.rows.append(self.coming.popleft()[1])
            if not self.left:
                self.begin_pass()
            reserved = 0 if self.continues else self.owed
            kept = self.behind if self.continues or not self.unfinished else self.behind[: self.number]
            free = DEPTH - reserved - len(kept) - len(self.coming) - len(self.rows)
            assert ctx.get(dut.room) == (free >= LANES)
            assert ctx.get(dut.available) == len(self.rows)
            self.was_full += free < LANES

            wanted = not self.continues and self.owed < self.left
            reserve = wanted and free >= LANES and source.random() < self.fill
            push = self.left > 0 and (self.continues or self.owed > 0) and source.random() < 0.9
            pop = bool(self.rows) and source.random() < self.drain
            onto = self.behind[self.number if self.unfinished else 0] if push and self.continues else None
            row, new = random_row(source, onto), source.randrange(-1 << TINY.accumulator - 1, 1 << TINY.accumulator - 1)
            offset = source.randrange(max(1, len(self.rows)))
            target = source.randrange(max(1, len(self.rows)))
            self.quiet = 0 if push else self.quiet + 1
            rewrite = self.quiet > READ_LATENCY and bool(self.rows) and target != offset and source.random() < 0.5
            columns = source.choice((1 << source.randrange(LANES), source.randrange(1, 1 << LANES))) if rewrite else 0
            for name, value in (("reserve", reserve), ("push", push), ("pop", pop), ("rewrite", columns)):
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.continues, self.continues)
            ctx.set(dut.unfinished, self.unfinished)
            ctx.set(dut.begins, self.number == 0)
            ctx.set(dut.row_in.as_value(), packed(row))
            ctx.set(dut.offset, offset)
            ctx.set(dut.rewrite_offset, target)
            ctx.set(dut.rewrite_sum, new)

            assert ctx.get(dut.busy) == (push and self.continues)
            self.taken += push and self.continues
            self.due.append(self.rows[offset] if self.rows and not (push and self.continues) else None)
            if rewrite:
                cell = new & (1 << TINY.accumulator) - 1
                self.rows[target] = [cell if columns >> j & 1 else old for j, old in enumerate(self.rows[target])]
            if push:
                self.owed -= not self.continues
                self.pushed(row)
            if pop:
                self.rows.pop(0)
            self.popped += pop
            self.owed += LANES * reserve
            _, _, out = await ctx.tick().sample(dut.row_out.as_value())
            expected = self.due.pop(0)
            assert expected is None or plain(out) == expected
            self.time += 1


@pytest.mark.parametrize(("fill", "drain"), [(0.05, 0.9), (0.5, 0.5), (0.9, 0.15)])
def test_random_use_over_several_turns(fill: float, drain: float) -> None:
    model = Model(int(fill * 100), fill, drain)

    async def bench(ctx: Any) -> None:
        await model.cycles(ctx, 2000)

    simulate(model.dut, bench)
    assert model.popped > 3 * DEPTH
    assert model.was_full or drain > fill / 2
    assert model.continued > 10
    assert model.taken > 100


def test_holds_as_many_rows_as_it_is_deep() -> None:
    source = random.Random(1)
    dut = TileBuffer(TINY)
    rows = [random_row(source) for _ in range(DEPTH)]

    async def bench(ctx: Any) -> None:
        for turn in range(2):
            await push(ctx, dut, rows)
            await ctx.tick().repeat(READ_LATENCY)
            assert not ctx.get(dut.room)
            assert ctx.get(dut.available) == DEPTH
            for number, row in enumerate(rows):
                ctx.set(dut.offset, number)
                await ctx.tick().repeat(READ_LATENCY)
                assert plain(ctx.get(dut.row_out.as_value())) == row, (turn, number)
            ctx.set(dut.pop, 1)
            for number in range(DEPTH):
                assert ctx.get(dut.room) == (number >= LANES)
                await ctx.tick()
            ctx.set(dut.pop, 0)
            assert ctx.get(dut.available) == 0

    simulate(dut, bench)


@pytest.mark.parametrize("count", [LANES, DEPTH])
def test_passes_add_up_in_place(count: int) -> None:
    """One tile, whose rows come again as soon as can be, and as many as there is room for: without a pause."""
    source = random.Random(count)
    dut = TileBuffer(TINY)

    async def bench(ctx: Any) -> None:
        for _ in range(3):
            totals = [[0] * LANES for _ in range(count)]
            for number in range(4):
                rows = [random_row(source, total) for total in totals]
                totals = [added(a, b) for a, b in zip(totals, rows, strict=True)]
                assert ctx.get(dut.available) == 0
                await push(ctx, dut, rows, continues=number > 0, unfinished=number < 3)
            await ctx.tick().repeat(READ_LATENCY)
            assert ctx.get(dut.available) == count
            for row in totals:
                ctx.set(dut.offset, 0)
                await ctx.tick().repeat(READ_LATENCY)
                assert plain(ctx.get(dut.row_out.as_value())) == row
                ctx.set(dut.pop, 1)
                await ctx.tick()
                ctx.set(dut.pop, 0)

    simulate(dut, bench)


def test_a_reset_empties_it() -> None:
    reset = Signal()
    model = Model(2, fill=1.0)

    async def bench(ctx: Any) -> None:
        for _ in range(3):
            await model.cycles(ctx, 50)
            for name in ("reserve", "push", "pop", "rewrite"):
                ctx.set(getattr(model.dut, name), 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            model.clear()
        await model.cycles(ctx, 300)

    simulate(ResetInserter(reset)(model.dut), bench)
