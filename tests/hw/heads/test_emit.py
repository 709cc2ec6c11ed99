"""Signs, masks and stochastically rounded gradient codes against plain integers."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, lanes_of, simulate

from bnnedge import formats
from bnnedge.hw.heads.emit import LATENCY, Emit
from bnnedge.isa import Pool

LANES = TINY.lanes
SUM = TINY.largest_sum
MEAN = 12 * SUM  # no mean of a batch, nor the sum of two, is larger


class Row(NamedTuple):
    """Sums of a row and what stands beside them, its random bits, where it stands in its tile, and that at which place."""

    values: list[int]
    side: list[int]
    random: int
    number: int = 0
    place: int = 0


class Columns(NamedTuple):
    """What `Parameters` finds for the columns of a group."""

    threshold: list[int] = [0] * LANES
    above: list[int] = [0] * LANES
    below: list[int] = [0] * LANES
    plus: list[int] = [0] * LANES
    minus: list[int] = [0] * LANES


class Codes(NamedTuple):
    """Settings of a backward pass."""

    exponent: int
    planes: int


def forward(rows: list[Row], columns: Columns, pool: Pool) -> list[list[int]]:
    """Bit 0: sign, bit 1: mask; SUMS: place of the maximum; SIGNS: sign, pooled sign and mask of the places so far."""
    found = []
    places: dict[int, list[list[tuple[bool, bool]]]] = {}  # for each row of a tile the signs and masks of its places
    for row in rows:
        limits = zip(row.values, columns.threshold, columns.above, columns.below, strict=True)
        bits = [(y >= threshold, -below < y - threshold < above) for y, threshold, above, below in limits]
        seen = places[row.number] = [*(places[row.number] if row.place else []), bits]
        codes = []
        for j, (sign, mask) in enumerate(bits):
            code = sign | mask << 1
            if pool == Pool.SUMS:
                code |= (row.side[j] >> 1 & 3) << 2
            if pool == Pool.SIGNS:
                masks = [place[j][1] for place in seen if place[j][0]]
                code = sign | bool(masks) << 1 | (masks[0] if masks else seen[0][j][1]) << 2
            codes.append(code)
        found.append(codes)
    return found


def slopes(row: Row, columns: Columns, pool: Pool = Pool.NONE) -> list[int | None]:
    """dy, with GRADIENT_MEAN fraction bits; None: a random code."""
    found: list[int | None] = []
    for d, side, plus, minus in zip(row.values, row.side, columns.plus, columns.minus, strict=True):
        active = side & 1
        if pool == Pool.SIGNS:
            active = side >> row.place & 1
            routed = next((place for place in range(4) if side >> place & 1), 0)
            d = d if row.place == routed else 0
        there = pool != Pool.SUMS or row.place == side >> 1 & 3
        found.append(4 * d - (plus if active else minus) if there else None)
    return found


def magnitude(rows: list[Row], columns: Columns, pool: Pool) -> int:
    """Sum of |dy|."""
    return sum(abs(dy) for row in rows for dy in slopes(row, columns, pool) if dy is not None)


def codes(row: Row, columns: Columns, settings: Codes, pool: Pool = Pool.NONE) -> list[int]:
    """u of dy = (2 u - (2**g - 1)) * 2**e, rounded up with the probability of the fraction."""
    e, g = settings
    found = []
    for dy, draw in zip(slopes(row, columns, pool), lanes_of(row.random, LANES), strict=True):
        if dy is None:
            found.append(2 ** (g - 1) - (draw < 2**15))
            continue
        noise = draw * 2 ** (e + 1) // 2**16
        found.append(max(0, min((dy - 2**e + noise) // 2 ** (e + 1) + 2 ** (g - 1), 2**g - 1)))
    return found


def lanes_from(planes: Any) -> list[int]:
    """For each lane the number that its bits in all planes make."""
    return [sum((planes[i] >> j & 1) << i for i in range(formats.MAX_PLANES)) for j in range(LANES)]


async def load(ctx: Any, dut: Emit, columns: Columns, *, backward: bool) -> None:
    names = ("plus", "minus") if backward else ("above", "below")
    for j in range(LANES):
        result = {name: getattr(columns, name)[j] for name in names}
        if not backward:
            result |= dict.fromkeys(("plus", "minus"), 4 * columns.threshold[j])
        ctx.set(dut.column, j)
        ctx.set(dut.result, result)
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)


def cells(values: Iterable[int], sides: Iterable[int]) -> list[dict[str, Any]]:
    """A row of the tile buffer."""
    return [{"sum": {"value": value, "side": side}} for value, side in zip(values, sides, strict=True)]


async def send(ctx: Any, dut: Emit, rows: Iterable[Row], source: random.Random) -> None:
    """Send the rows with gaps, in which something else stands at the inputs; then wait until the last has left."""
    for row in rows:
        while source.random() < 0.3:
            ctx.set(dut.valid, 0)
            ctx.set(dut.random, source.randrange(1 << 64))
            ctx.set(dut.row, cells([source.randint(-SUM, SUM)] * LANES, [source.randrange(16)] * LANES))
            ctx.set(dut.place, source.randrange(4))
            ctx.set(dut.row_number, source.randrange(LANES))
            await ctx.tick()
        ctx.set(dut.valid, 1)
        ctx.set(dut.random, row.random)
        ctx.set(dut.row, cells(row.values, row.side))
        ctx.set(dut.place, row.place)
        ctx.set(dut.row_number, row.number)
        await ctx.tick()
    ctx.set(dut.valid, 0)
    await ctx.tick().repeat(LATENCY - 1)


async def set_up(ctx: Any, dut: Emit, settings: Codes | None, pool: Pool = Pool.NONE) -> None:
    """Forward, or backward with these settings."""
    ctx.set(dut.backward, settings is not None)
    ctx.set(dut.pool, pool)
    if settings:
        ctx.set(dut.exponent, settings.exponent)
        ctx.set(dut.gradient_planes, settings.planes)
    ctx.set(dut.clear, 1)
    await ctx.tick()
    ctx.set(dut.clear, 0)


def check(*passes: tuple[Codes | None, Columns, list[Row]], pools: Iterable[Pool] = itertools.repeat(Pool.NONE)) -> None:
    """Send rows in one simulation, pass behind pass; compare what leaves LATENCY cycles later, and the sum of |dy|."""
    dut = Emit(TINY)
    found: list[list[int]] = []
    due = [0] * LATENCY

    async def collect(ctx: Any) -> None:
        async for _, _, valid, shift, planes in ctx.tick().sample(dut.valid, dut.shift, dut.planes):
            assert shift == due[-1]
            due[:] = [valid, *due[:-1]]
            if shift:
                found.append(lanes_from(planes))

    async def bench(ctx: Any) -> None:
        source = random.Random(1)
        for (settings, columns, rows), pool in zip(passes, pools, strict=False):
            await set_up(ctx, dut, settings, pool)
            await load(ctx, dut, columns, backward=settings is not None)
            await send(ctx, dut, rows, source)
            await ctx.tick()
            if settings:
                assert ctx.get(dut.magnitude) == magnitude(rows, columns, pool)
            want = [codes(row, columns, settings, pool) for row in rows] if settings else forward(rows, columns, pool)
            assert found == want, (settings, pool)
            found.clear()

    simulate(dut, bench, background=[collect])


def rows_for(columns: Columns, settings: Codes, source: random.Random, count: int) -> list[Row]:
    """Rows whose gradients lie within and around the range of the codes; then the largest that there are."""
    reach = 2 ** (settings.exponent + settings.planes + 1)
    rows = []
    for _ in range(count):
        side = [source.randrange(16) for _ in range(LANES)]
        means = [columns.plus[j] if side[j] & 1 else columns.minus[j] for j in range(LANES)]
        values = [max(-SUM, min((source.randint(-reach, reach) + mean) // 4, SUM)) for mean in means]
        rows.append(Row(values, side, source.randrange(1 << 64)))
    for value in (-SUM, SUM):
        for active in (0, 1):
            draw = source.choice((0, source.randrange(1 << 64), 2**64 - 1))
            rows.append(Row([value] * LANES, [active] * LANES, draw))
    return rows


def tiles_for(columns: Columns, settings: Codes, source: random.Random) -> list[Row]:
    """The tiles of four places, twice, with all kinds of sides."""
    rows = []
    for place in (*range(4), *range(4)):
        for number, row in enumerate(rows_for(columns, settings, source, LANES)[:LANES]):
            side = [source.choice((0, 15, 1 << source.randrange(4), source.randrange(16))) for _ in range(LANES)]
            rows.append(row._replace(side=side, number=number, place=place))
    return rows


@pytest.mark.parametrize("exponent", range(formats.MAX_EXPONENT + 1))
def test_codes_of_every_number_of_planes_are_rounded_and_clipped(exponent: int) -> None:
    source = random.Random(exponent)
    passes = []
    for planes in range(1, formats.MAX_PLANES + 1):
        settings = Codes(exponent, planes)
        scale = min(2 ** (exponent + planes), MEAN)
        means = [[source.randint(-scale, scale) for _ in range(LANES)] for _ in range(2)]
        for columns in (
            Columns(plus=means[0], minus=means[1]),
            Columns(plus=[MEAN, -MEAN] * 2, minus=[-MEAN, MEAN] * 2),
        ):
            passes.append((settings, columns, rows_for(columns, settings, source, 6)))
    check(*passes)


@pytest.mark.parametrize("settings", [Codes(0, 1), Codes(3, 4), Codes(14, 8), Codes(15, 2), Codes(16, 8)])
def test_rounding_turns_where_fraction_and_random_number_fill_a_step(settings: Codes) -> None:
    """Gradients between -1 * 2**e and 1 * 2**e with random numbers around the first one that rounds them up."""
    source = random.Random(2)
    step = 2 ** (settings.exponent + 1)
    passes = []
    for fraction in sorted({0, step - 1} | {source.randrange(step) for _ in range(5)}):
        turn = (step - fraction) * 2**16 // step
        draws = sorted({max(0, min(turn + i, 2**16 - 1)) for i in (-1, 0, 1)} | {0, 2**16 - 1})
        rows = [Row([0] * LANES, [0] * LANES, draw) for draw in draws]
        passes.append((settings, Columns(minus=[step // 2 - fraction] * LANES), rows))
    check(*passes)


def test_forward_bits_turn_at_their_limits() -> None:
    source = random.Random(3)
    limits = [SUM + 1, -SUM - 2, 5, -7]
    columns = Columns(threshold=limits, above=[0, 3, 0, 1], below=[4, 1, 5, 1])
    near = [[limit + i for i in range(-6, 5)] for limit in (SUM - 4, -SUM + 6, 3, -7)]
    rows = [Row([near[j][i] for j in range(LANES)], [0] * LANES, source.randrange(1 << 64)) for i in range(11)]
    rows += [Row([extreme] * LANES, [1] * LANES, 0) for extreme in (-SUM, -1, 0, 1, SUM)]
    check((None, columns, rows))


def test_masks_of_the_largest_distances() -> None:
    ends, top = (-SUM, SUM), 2 * SUM
    for above, below in itertools.product((top, top + 1, 2**TINY.accumulator), repeat=2):
        columns = Columns(threshold=[-SUM, SUM, -SUM, SUM], above=[above] * LANES, below=[below] * LANES)
        check((None, columns, [Row([value] * LANES, [0] * LANES, 0) for value in ends]))


def random_columns(source: random.Random, reach: int) -> Columns:
    """Thresholds and means within `reach` of 0, masks up to it away from them."""
    signed = range(-reach, reach + 1)
    ranges = (signed, range(reach + 2), range(1, reach + 2), signed, signed)
    return Columns(*([source.choice(values) for _ in range(LANES)] for values in ranges))


@pytest.mark.parametrize("pool", Pool)
@pytest.mark.parametrize("backward", [False, True])
def test_tiles_of_four_places(pool: Pool, backward: bool) -> None:
    """Thresholds are such that signs and masks of all kinds meet at the four places of an output."""
    source = random.Random(5)
    passes: list[tuple[Codes | None, Columns, list[Row]]] = []
    for _ in range(8):
        settings = Codes(source.randrange(8), source.randrange(1, 9))
        reach = 2 ** (settings.exponent + settings.planes - 1)
        columns = random_columns(source, reach)
        passes.append((settings if backward else None, columns, tiles_for(columns, settings, source)))
    check(*passes, pools=itertools.repeat(pool))


@pytest.mark.parametrize("planes", [1, 4, 8])
def test_a_code_without_gradient_is_the_upper_random_bit_whatever_the_sum(planes: int) -> None:
    rows = [
        Row([value] * LANES, [4] * LANES, draw, place=place)
        for value in (-SUM, 0, SUM)
        for draw in (0, 2**15 - 1, 2**15, 2**16 - 1, 2**64 - 1)
        for place in range(4)
    ]
    for exponent in (0, 5, formats.MAX_EXPONENT):
        check((Codes(exponent, planes), Columns(plus=[MEAN] * LANES, minus=[-MEAN] * LANES), rows), pools=[Pool.SUMS])


def test_every_pattern_of_four_signs_is_pooled() -> None:
    """Rows are patterns of signs, columns of masks; each of the tiles begins where the one before has left its bits."""
    columns = Columns(threshold=[0] * LANES, above=[1, 10, 10, 0], below=[1, 10, 1, 2])
    source = random.Random(6)
    rows = []
    for first in range(0, 16, LANES):
        for place in range(4):
            for number in range(LANES):
                size = source.randrange(3)
                value = size if first + number >> place & 1 else -1 - size
                rows.append(Row([value] * LANES, [0] * LANES, 0, number, place))
    check((None, columns, rows), pools=[Pool.SIGNS])


def test_forward_and_backward_rows_and_kinds_of_pooling_follow_each_other() -> None:
    source = random.Random(4)
    passes: list[tuple[Codes | None, Columns, list[Row]]] = []
    pools = []
    for i in range(12):
        settings = Codes(source.randrange(12), source.randrange(1, 9))
        columns = random_columns(source, 200)
        passes.append((settings if i % 2 else None, columns, tiles_for(columns, settings, source)))
        pools.append(Pool(i % 3))
    check(*passes, pools=pools)


def test_columns_loaded_between_rows_serve_the_rows_behind_them() -> None:
    """The last rows of a group are still on their way when the next group's columns come, one after another."""
    dut = Emit(TINY)
    settings = Codes(2, 8)
    row = Row([20] * LANES, [1] * LANES, 0)
    old, new = Columns(plus=[0] * LANES), Columns(plus=[40] * LANES)
    found: list[list[int]] = []

    async def collect(ctx: Any) -> None:
        async for _, _, shift, planes in ctx.tick().sample(dut.shift, dut.planes):
            if shift:
                found.append(lanes_from(planes))

    async def bench(ctx: Any) -> None:
        await set_up(ctx, dut, settings)
        await load(ctx, dut, old, backward=True)
        ctx.set(dut.random, row.random)
        ctx.set(dut.row, cells(row.values, row.side))
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await load(ctx, dut, new, backward=True)
        await send(ctx, dut, [row], random.Random(1))
        await ctx.tick()
        assert found == [codes(row, old, settings), codes(row, new, settings)]

    simulate(dut, bench, background=[collect])


def test_sixteen_lanes_add_up_their_sizes() -> None:
    config = dataclasses.replace(TINY, lanes=16)
    dut = Emit(config)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.valid, 1)
        want = 0
        for i in range(5):
            values = [(-1) ** j * (SUM - i * j) for j in range(16)]
            want += sum(4 * abs(value) for value in values)
            ctx.set(dut.row, cells(values, [0] * 16))
            await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(LATENCY - 1)
        assert ctx.get(dut.shift)
        await ctx.tick()
        assert ctx.get(dut.magnitude) == want

    simulate(dut, bench)


def test_a_reset_leaves_no_row_on_its_way() -> None:
    reset = Signal()
    unit = Emit(TINY)

    async def bench(ctx: Any) -> None:
        ctx.set(unit.valid, 1)
        ctx.set(unit.row, cells([5] * LANES, [0] * LANES))
        await ctx.tick().repeat(6)
        ctx.set(unit.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(8):
            assert not ctx.get(unit.shift)
            assert ctx.get(unit.magnitude) == 0
            await ctx.tick()

    simulate(ResetInserter(reset)(unit), bench)
