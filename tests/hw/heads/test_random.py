"""Random rows against the hash and the generator of docs/arithmetic.md in plain integers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from hardware import TINY, lanes_of, simulate, stalls, steady, stream_get

from bnnedge.formats import HASH_ROUNDS, Kind
from bnnedge.hw.heads.random import RandomRows, lane_bits

pytestmark = pytest.mark.usefixtures("left_behind")

SEED = 0xFEDC_BA98_7654_3210
WORD = (1 << 32) - 1


def hashed(seed: int, x: int, y: int) -> int:
    """The state of a tile's first row."""
    for i in range(8):
        x = (((x >> 8 | x << 24) + y) ^ seed >> 32 * (i % 2) ^ i) & WORD
        y = ((y << 3 | y >> 29) ^ x) & WORD
    return y << 32 | x


def stepped(state: int) -> int:
    """One step of xorshift64."""
    state ^= state << 13 & 2**64 - 1
    state ^= state >> 7
    return state ^ state << 17 & 2**64 - 1


@dataclasses.dataclass(frozen=True)
class Draw:
    """A pass, and what is drawn for it."""

    order: dict[str, int]
    kind: Kind = Kind.CODE
    places: bool = False
    height: int = TINY.lanes - 1
    seed: int = SEED

    def tiles(self) -> Iterator[tuple[int, int, int]]:
        """Group, tile and place, in the order of the pass."""
        order = {"random_base": 0, "random_y": 0, "random_x": 0, "first_group": 0, "first_tile": 0, **self.order}
        counts = [order[name] for name in ("groups", "height", "width", "tiles")] + [4 if self.places else 1]
        for group, y, x, tile, i in np.ndindex(*counts):
            place = order["random_base"] + y * order["random_y"] + x * order["random_x"]
            place += i // 2 * order["random_y"] // 2 + i % 2 * order["random_x"] // 2
            yield order["first_group"] + group, order["first_tile"] + tile, place

    def rows(self) -> list[int]:
        """64 bits of each row."""
        found = []
        for group, tile, place in self.tiles():
            x = self.order["layer"] << 26 | self.kind << 24 | group << 12 | tile
            state = hashed(self.seed, x, (self.order["step"] ^ place << 20) & WORD)
            for _ in range(self.height + 1):
                found.append(state)
                state = stepped(state)
        return found


def drawn(seed: int, **settings: Any) -> Draw:
    """A short pass of any numbers; its places are those of a map."""
    source = random.Random(seed)
    places = settings.setdefault("places", source.random() < 0.5)
    order = {name: source.randrange(1, 4) for name in ("groups", "height", "width", "tiles")}
    stride = source.randrange(1, 20) << places
    order |= {"random_base": source.randrange(1000), "random_x": 1 << places, "random_y": 30 * stride}
    order |= {"step": source.randrange(1 << 32), "layer": source.randrange(64)}
    order |= {"first_group": source.randrange(1021), "first_tile": source.randrange(1021)}
    return Draw(order, **{"kind": source.choice(list(Kind)), "seed": source.getrandbits(64), **settings})


async def begin(ctx: Any, dut: RandomRows, draw: Draw) -> None:
    for field in dataclasses.fields(draw):
        ctx.set(getattr(dut, field.name), getattr(draw, field.name))
    ctx.set(dut.begin, 1)
    await ctx.tick()
    ctx.set(dut.begin, 0)


def check(*draws: Draw, stall: float = 0.3) -> None:
    """Draw all rows of each, one after another."""
    dut = RandomRows(TINY)

    async def bench(ctx: Any) -> None:
        for draw in draws:
            await begin(ctx, dut, draw)
            want = draw.rows()
            assert await stream_get(ctx, dut.row, len(want), stalls(1, stall)) == want, draw

    simulate(dut, bench)


def test_the_first_row_shows_itself_to_a_head_that_does_not_ask() -> None:
    """It starts a tile only when it sees the row's random bits."""
    dut, draw = RandomRows(TINY), drawn(1)

    async def bench(ctx: Any) -> None:
        for _ in range(2):  # the second time a row of the draw before is taken back
            await begin(ctx, dut, draw)
            await ctx.tick().repeat(2 * HASH_ROUNDS)
            assert ctx.get(dut.row.valid)
            assert ctx.get(dut.row.payload) == draw.rows()[0]

    simulate(dut, bench)


@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_tiles_come_in_the_order_of_the_pass(seed: int, places: bool) -> None:
    check(drawn(seed, places=places), drawn(seed + 100, height=seed % TINY.lanes))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("seed", "step", "layer"), [(0, 0, 0), (2**64 - 1, WORD, 63)])
def test_all_coordinates_enter_the_hash_in_their_places(kind: Kind, seed: int, step: int, layer: int) -> None:
    order = {"groups": 2, "tiles": 2, "height": 2, "width": 2, "step": step, "layer": layer}
    far = {"first_group": 1022, "first_tile": 1022, "random_base": 4090, "random_y": 4, "random_x": 1}
    check(Draw(order, kind, seed=seed), Draw(order | far, kind, seed=seed))


def test_a_row_stands_until_it_is_taken() -> None:
    dut = RandomRows(TINY)
    draw = drawn(1)

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, draw)
        want = draw.rows()
        assert await stream_get(ctx, dut.row, len(want), stalls(2, 0.7)) == want

    simulate(dut, bench, background=[steady(dut.row)])


@pytest.mark.parametrize("taken", [0, 1, 4, 6, 13])
@pytest.mark.parametrize("wait", [0, 1, 4, 8, 9, 20])
def test_begin_starts_anew_wherever_the_last_run_stopped(taken: int, wait: int) -> None:
    dut = RandomRows(TINY)
    old, new = drawn(2), drawn(3)

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, old)
        await stream_get(ctx, dut.row, taken)
        await ctx.tick().repeat(wait) if wait else None
        await begin(ctx, dut, new)
        assert await stream_get(ctx, dut.row, 12) == (new.rows() * 3)[:12]

    simulate(dut, bench)


def test_tile_and_group_numbers_count_to_the_end_of_their_range() -> None:
    """Tiles of one row each, so that the last tile of 1,023 and the group behind it come soon."""
    check(Draw({"groups": 2, "height": 1, "width": 1, "tiles": 1023, "step": 7, "layer": 1}, height=0), stall=0)


def test_the_next_seed_is_ready_when_a_tile_of_sixteen_rows_has_been_taken() -> None:
    dut = RandomRows(dataclasses.replace(TINY, lanes=16))
    draw = dataclasses.replace(drawn(4), height=15)

    async def bench(ctx: Any) -> None:
        await begin(ctx, dut, draw)
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
    old, new = drawn(5), drawn(6)

    async def bench(ctx: Any) -> None:
        await begin(ctx, rows, old)
        await stream_get(ctx, rows.row, 6)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(rows.row.valid)
        await begin(ctx, rows, new)
        assert await stream_get(ctx, rows.row, 8) == (new.rows() * 2)[:8]

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
