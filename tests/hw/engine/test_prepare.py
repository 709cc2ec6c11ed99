"""Tiles worked out ahead of the engine, against nested loops."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, Stall, never, simulate, stalls, steady, stream_get
from tiles import ADDRESS, Order, Tile, drawn, tiles_of

from bnnedge.configuration import Configuration
from bnnedge.hw.engine.prepare import Prepare
from bnnedge.isa import Head, Opcode, Pool

CONFIGS = {
    "granules-4": TINY,
    "granules-1": dataclasses.replace(TINY, lanes=16),
    "granules-16": dataclasses.replace(TINY, word=64),
}
CYCLES = 5  # from tile to tile


def expected(order: Order, tile: Tile, config: Configuration) -> dict[str, Any]:
    """What `Prepare` hands on for a tile."""
    rows, columns = ([tap[axis] for tap in tile.taps] for axis in (0, 1))
    values: dict[str, Any] = {
        "empty": int(not tile.taps),
        "side": tile.side,
        "granule": (order["first_group"] + tile.group) % config.granules,
        "column_word": order["first_tile"] % config.granules + tile.tile,
        "columns": tile.columns,
        "channel": (order["channel"] + tile.group * config.lanes) % 4096,
        "group": (order["first_group"] + tile.group) % 1024,
        "shift": tile.shift % 64,
        "ends": int(tile.ends),
        "last_y": max(rows) - min(rows) if rows else 0,
        "last_x": max(columns) - min(columns) if columns else 0,
    }
    if order["opcode"] == Opcode.PASS:
        values["meta"] = tile.meta
    if tile.taps:
        across = 0 if order["window"] else min(columns)
        for side in ("left", "right"):
            first = getattr(tile, side) + min(rows) * order[f"{side}_tap_y"] + across * order[f"{side}_tap_x"]
            values[side] = first % ADDRESS
        if order["window"]:
            values |= {"low": tile.low, "high": tile.high}
    return values


def check(
    orders: list[Order],
    config: Configuration = TINY,
    stall: Stall = never,
    *,
    quiet: bool = True,
    reset_after: int | None = None,
) -> list[Tile]:
    """Go through the orders one by one; the first one, with `reset_after`, again after a reset in that cycle.

    quiet: make sure that nothing follows an order's last tile.
    """
    dut, reset = Prepare(config), Signal()
    tiles = [list(tiles_of(order, config)) for order in orders]

    async def bench(ctx: Any) -> None:
        for number, order in enumerate(orders):
            ctx.set(dut.order, order)
            if reset_after is not None and not number:
                ctx.set(dut.begin, 1)
                ctx.set(dut.tile.ready, 1)
                await ctx.tick()
                ctx.set(dut.begin, 0)
                for _ in range(reset_after):
                    await ctx.tick()
                ctx.set(reset, 1)
                ctx.set(dut.tile.ready, 0)
                await ctx.tick()
                ctx.set(reset, 0)
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            for place, tile in enumerate(tiles[number]):
                (seen,) = await stream_get(ctx, dut.tile, 1, stall)
                wanted = expected(order, tile, config)
                meta = wanted.pop("meta", {})
                assert {name: seen[name] for name in wanted} == wanted, (number, place)
                assert {name: int(seen.meta[name]) for name in meta} == meta, (number, place)
            for _ in range(2 * CYCLES if quiet else 0):
                assert not ctx.get(dut.tile.valid)
                await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench, background=[] if reset_after is not None else [steady(dut.tile)])
    return [tile for found in tiles for tile in found]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_tiles_are_those_of_nested_loops(config: Configuration, seed: int) -> None:
    source = random.Random(seed)
    orders = [drawn(source, config, window=window) for window in (0, 0, 0, source.choice((1, 3, 5)), 0)]
    tiles = check(orders, config, stalls(seed, 0.3))
    assert any(tile.taps for tile in tiles)


def test_a_window_at_every_place_of_a_map() -> None:
    """3 x 3 taps about each pixel of 3 x 4: all corners and edges."""
    order = drawn(random.Random(1), TINY, head=Head.BACKWARD, groups=1, height=3, width=4, tiles=1, y_pitch=0, x_pitch=0)
    order |= {"y_origin": 511, "x_origin": 511, "y_step": 1, "x_step": 1, "taps_y": 3, "taps_x": 3, "y_limit": 3, "x_limit": 4}
    tiles = check([order])
    assert [len(tile.taps) for tile in tiles] == [4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4]


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("pitch", [0, 1])
def test_a_window_at_any_distance_from_the_map(axis: str, pitch: int) -> None:
    """Also with one tap, as many as there can be, and none; and with a map of one row, of as many as can be, of none."""
    orders = []
    for taps, limit in ((1, 1), (3, 2), (2, 255), (255, 255), (255, 1), (3, 0), (0, 3)):
        order = drawn(random.Random(taps), TINY, groups=1, height=1, width=1, tiles=1, pool=Pool.NONE)
        order |= {"y_origin": 0, "taps_y": 2, "y_limit": 2, "x_origin": 0, "taps_x": 2, "x_limit": 2}
        for origin in (-256, -255, -6, -5, -4, -3, -2, -1, 0, 1, 2, 254, 255):
            near = {"origin": origin % 512, "pitch": pitch, "limit": limit}
            orders.append(order | {f"{axis}_{name}": value for name, value in near.items()} | {f"taps_{axis}": taps})
    tiles = check(orders, quiet=False)
    assert {len(tile.taps) for tile in tiles} >= {0, 1, 2}


@pytest.mark.parametrize("pool", [Pool.SIGNS, Pool.SUMS])
def test_places_lie_half_a_step_apart(pool: Pool) -> None:
    orders = []
    for window in (0, 3):
        order = drawn(random.Random(2), TINY, head=Head.FORWARD, pool=pool, height=2, width=3, tiles=2, window=window, strip=2)
        orders.append(order | {"y_step": 2, "x_step": 4, "y_limit": 4, "x_limit": 7, "left_y": 0xFFF6, "strip_shift": 12})
    tiles = check(orders)
    assert {tile.meta["place"] for tile in tiles} == {0, 1, 2, 3}
    assert len({tile.left for tile in tiles}) > 12


@pytest.mark.parametrize("strip", [1, 2, 3, 7])
def test_several_steps_share_a_word(strip: int) -> None:
    fixed = {"head": Head.UPDATE, "window": 5, "taps_x": 3, "strip": strip, "strip_shift": 10, "width": 7}
    order = drawn(random.Random(strip), TINY, **fixed, height=2, groups=2, x_step=2, x_origin=511, x_limit=13)
    tiles = check([order])
    assert [tile.shift // 10 for tile in tiles[:: order["tiles"]]] == [x % strip for x in range(7)] * 4
    assert [(tile.low, tile.high) for tile in tiles[: order["tiles"] * 7 : order["tiles"]]][::6] == [(5, 15), (0, 10)]


def test_a_transpose_goes_over_pixels_and_tiles_alone() -> None:
    source = random.Random(4)
    orders = []
    for window in (0, 3):
        fixed = {"groups": 7, "pool": Pool.SIGNS, "height": 2, "width": 5, "tiles": 3, "window": window, "strip": 2}
        orders.append(drawn(source, TINY, opcode=Opcode.TRANSPOSE, head=Head.FORWARD, **fixed))
    assert len(check(orders)) == 2 * 2 * 5 * 3


@pytest.mark.parametrize("name", ["groups", "height", "width", "tiles"])
def test_numbers_of_groups_and_channels_come_round(name: str) -> None:
    counts = {other: 70 if other == name else 1 for other in ("groups", "height", "width", "tiles")}
    order = drawn(random.Random(5), TINY, **counts, pool=Pool.NONE, first_group=1000, channel=4000, y_step=1, x_step=1)
    assert len(check([order])) == 70


def test_a_tile_comes_every_few_cycles() -> None:
    dut = Prepare(TINY)
    order = drawn(random.Random(6), TINY, groups=2, height=2, width=2, tiles=2)
    count = len(list(tiles_of(order, TINY)))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.order, order)
        ctx.set(dut.begin, 1)
        ctx.set(dut.tile.ready, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        for _ in range(count):
            await ctx.tick().repeat(CYCLES - 1)
            assert ctx.get(dut.tile.valid)
            await ctx.tick()
            assert not ctx.get(dut.tile.valid)

    simulate(dut, bench)


@pytest.mark.parametrize("after", [0, 3, 7, 9])
def test_a_reset_in_the_middle_leaves_nothing_behind(after: int) -> None:
    source = random.Random(after)
    check([drawn(source, TINY, groups=2, tiles=3, window=3, strip=2), drawn(source, TINY)], reset_after=after)
