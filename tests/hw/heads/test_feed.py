"""Rows of a weight gradient on their way to the update, between a tile buffer and an update that both stall."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, Stall, never, simulate, stalls, steady, stream_get

from bnnedge.hw.heads.feed import ROW_QUEUE, Feed

pytestmark = pytest.mark.usefixtures("left_behind")

LANES = TINY.lanes
LATENCY = 2  # from `take` to `came`
Row = tuple[int, int]


class Surroundings:
    """What a Feed takes rows from, those of all passes, one after another; there is always room for a tile."""

    def __init__(self, dut: Feed, rows: list[Row], stall: Stall) -> None:
        self.dut, self.rows, self.stall = dut, deque(rows), stall
        self.taken = self.left = 0

    async def buffer(self, ctx: Any) -> None:
        coming: deque[Row | None] = deque([None] * (LATENCY - 1))
        ctx.set(self.dut.room, 1)
        while True:
            ctx.set(self.dut.there, bool(self.rows) and not self.stall())
            leaves = self.dut.row.valid & self.dut.row.ready
            _, _, take, there, start, leave = await ctx.tick().sample(self.dut.take, self.dut.there, self.dut.start, leaves)
            assert there or not take
            assert start == (leave and self.left % LANES == 0)
            self.left += leave
            coming.append(self.rows.popleft() if take else None)
            self.taken += take
            assert self.taken - self.left <= ROW_QUEUE
            row = coming.popleft()
            ctx.set(self.dut.came, row is not None)
            positive, noise = row or (0, 0)
            ctx.set(self.dut.positive, positive)
            ctx.set(self.dut.random, noise)


def rows_of(count: int, seed: int) -> list[Row]:
    source = random.Random(seed)
    return [(source.getrandbits(LANES), source.getrandbits(64)) for _ in range(count)]


def check(counts: list[int], stall: Stall, slow: Stall) -> None:
    """Passes of so many rows, all of which are there from the first cycle on."""
    dut, rows = Feed(TINY), rows_of(sum(counts), 1)
    around = Surroundings(dut, rows, stall)

    async def bench(ctx: Any) -> None:
        done = 0
        for count in counts:
            ctx.set(dut.rows, count)
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            ctx.set(dut.active, 1)
            found = await stream_get(ctx, dut.row, count, slow)
            assert [(row.positive, row.random) for row in found] == rows[done : done + count]
            done += count
            assert around.taken == done, "it takes no row of the next pass"
            ctx.set(dut.active, 0)

    simulate(dut, bench, background=[around.buffer, steady(dut.row)])


@pytest.mark.parametrize("seed", range(4))
def test_rows_come_in_order_and_no_others(seed: int) -> None:
    chances = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.9), (0.3, 0.3))[seed]
    stall, slow = (stalls(seed + n, chance) for n, chance in enumerate(chances))
    check([LANES, 4 * LANES, LANES, 9 * LANES], stall, slow)


def test_the_queue_fills_up_behind_a_slow_update() -> None:
    check([8 * LANES], never, stalls(5, 0.97))


def test_a_tile_begins_where_there_is_room_and_then_goes_on() -> None:
    dut, rows = Feed(TINY), rows_of(2 * LANES, 2)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.rows, 2 * LANES)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        for flag in (dut.begin, dut.row.ready):
            ctx.set(flag, 0)
        for flag in (dut.active, dut.there):
            ctx.set(flag, 1)
        for positive, noise in rows[:LANES]:
            ctx.set(dut.positive, positive)
            ctx.set(dut.random, noise)
            ctx.set(dut.came, 1)
            await ctx.tick()
        ctx.set(dut.came, 0)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.row.valid)
        ctx.set(dut.room, 1)
        ctx.set(dut.row.ready, 1)
        assert ctx.get(dut.row.valid)
        assert ctx.get(dut.start)
        await ctx.tick()
        ctx.set(dut.room, 0)
        for _ in range(LANES - 1):
            assert ctx.get(dut.row.valid)
            assert not ctx.get(dut.start)
            await ctx.tick()
        assert not ctx.get(dut.row.valid)

    simulate(dut, bench)


def test_a_reset_ends_a_pass() -> None:
    reset = Signal()
    dut = Feed(TINY)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.rows, 8)
        for flag in (dut.begin, dut.there, dut.active, dut.room):
            ctx.set(flag, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        ctx.set(dut.came, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.came, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(8):
            for flag in (dut.take, dut.row.valid, dut.start):
                assert not ctx.get(flag)
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench)
