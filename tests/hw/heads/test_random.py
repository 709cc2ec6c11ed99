"""Random rows against the golden model's matrices."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from hardware import TINY, lanes_of, simulate, stalls, steady, stream_get

from bnnedge.formats import Kind
from bnnedge.hw.heads.random import RandomRows, lane_bits
from bnnedge.sim.golden import Random

SEED = 0xFEDC_BA98_7654_3210
ONES = (1 << 32) - 1


def expected(
    seed: int, step: int, layer: int, kind: Kind, tiles: int, groups: int, height: int
) -> list[list[int]]:
    """16 bits of each lane, row by row in the order of a pass: the tiles of a group, then the next group."""
    lanes = TINY.lanes
    drawn = Random(seed, lanes).draw(step, layer, kind, (tiles * height if height == lanes else 1, groups * lanes))
    groups_of_rows = drawn.reshape(tiles * height, groups, lanes).transpose(1, 0, 2)
    return groups_of_rows.reshape(-1, lanes).tolist()


async def begin(ctx: Any, dut: RandomRows, **values: int) -> None:
    for name, value in {"seed": SEED, "height": TINY.lanes - 1, **values, "begin": 1}.items():
        ctx.set(getattr(dut, name), value)
    await ctx.tick()
    ctx.set(dut.begin, 0)


@pytest.mark.parametrize("kind", [Kind.CODE, Kind.WEIGHT])
@pytest.mark.parametrize(("seed", "step", "layer"), [(SEED, 5, 3), (0, 0, 0), (2**64 - 1, ONES, 63)])
def test_rows_of_all_tiles_are_those_of_the_golden_matrix(kind: Kind, seed: int, step: int, layer: int) -> None:
    dut = RandomRows(TINY)
    tiles, groups = 3, 4

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, seed=seed, step=step, layer=layer, kind=kind, tiles=tiles)
        rows = await stream_get(ctx, dut.row, tiles * groups * TINY.lanes, stalls(1, 0.3))
        want = expected(seed, step, layer, kind, tiles, groups, TINY.lanes)
        assert [lanes_of(row, TINY.lanes) for row in rows] == want

    simulate(dut, bench, background=[steady(dut.row)])


def test_a_tile_may_have_one_row() -> None:
    dut = RandomRows(TINY)

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, step=9, layer=2, kind=Kind.BETA, tiles=1, height=0)
        rows = await stream_get(ctx, dut.row, 5, stalls(2))
        assert [lanes_of(row, TINY.lanes) for row in rows] == expected(SEED, 9, 2, Kind.BETA, 1, 5, 1)

    simulate(dut, bench, background=[steady(dut.row)])


@pytest.mark.parametrize("taken", [0, 1, 4, 6, 13])
def test_begin_starts_anew_wherever_the_last_run_stopped(taken: int) -> None:
    dut = RandomRows(TINY)

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, step=1, layer=1, kind=Kind.CODE, tiles=2)
        await stream_get(ctx, dut.row, taken)
        await ctx.tick().repeat(1 + taken % 5)
        await begin(ctx, dut, step=2, layer=1, kind=Kind.WEIGHT, tiles=5)
        rows = await stream_get(ctx, dut.row, 24)
        want = expected(SEED, 2, 1, Kind.WEIGHT, 5, 2, TINY.lanes)
        assert [lanes_of(row, TINY.lanes) for row in rows] == want[:24]

    simulate(dut, bench)


def test_tile_and_group_numbers_count_to_the_end_of_their_range() -> None:
    """Tiles of one row each, so that the last tile of 1,023 and the group behind it come soon."""
    dut = RandomRows(TINY)

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, step=7, layer=1, kind=Kind.CODE, tiles=1023, height=0)
        rows = await stream_get(ctx, dut.row, 1025)
        seeds = Random(SEED, TINY.lanes).seeds(7, 1, Kind.CODE, 1023, 2)
        assert rows == np.concatenate([seeds[:, 0], seeds[:2, 1]]).tolist()

    simulate(dut, bench)


def test_the_next_seed_is_ready_when_a_tile_of_sixteen_rows_has_been_taken() -> None:
    dut = RandomRows(dataclasses.replace(TINY, lanes=16))

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, step=1, layer=1, kind=Kind.CODE, tiles=4, height=15)
        ctx.set(dut.row.ready, 1)
        await ctx.tick().until(dut.row.valid)
        for _ in range(100):
            assert ctx.get(dut.row.valid)
            await ctx.tick()

    simulate(dut, bench)


def test_a_reset_stops_the_rows_until_begin() -> None:
    reset = Signal()
    rows = RandomRows(TINY)
    dut = ResetInserter(reset)(rows)

    async def bench(ctx: Any) -> None:
        await begin(ctx, rows, step=1, layer=1, kind=Kind.CODE, tiles=2)
        await stream_get(ctx, rows.row, 6)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(rows.row.valid)
        await begin(ctx, rows, step=3, layer=1, kind=Kind.CODE, tiles=2)
        again = await stream_get(ctx, rows.row, 8)
        assert [lanes_of(row, TINY.lanes) for row in again] == expected(SEED, 3, 1, Kind.CODE, 2, 1, TINY.lanes)

    simulate(dut, bench)


def test_lanes_read_overlapping_windows_of_the_row() -> None:
    state = Signal(64)
    outputs = [Signal(16, name=f"lane_{i}") for i in range(16)]
    dut = Module()
    dut.d.sync += [output.eq(lane_bits(state, i)) for i, output in enumerate(outputs)]

    async def bench(ctx: Any) -> None:
        for value in (SEED, 1 << 63, 1, 2**64 - 1):
            ctx.set(state, value)
            await ctx.tick()
            assert [ctx.get(output) for output in outputs] == lanes_of(value, 16)

    simulate(dut, bench)
