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
from bnnedge.hw.heads.emit import LATENCY, SWAP, Emit, counted
from bnnedge.isa import Pool

LANES = TINY.lanes
SUM = TINY.largest_sum
MEAN = 2 ** (formats.CENTRE_BITS - 1 - formats.CENTRE + formats.GRADIENT_MEAN)  # no centre is larger, in the units of dy


class Row(NamedTuple):
    """Sums of a row and the places beside them, its random bits, where it stands in its tile, and that at which place."""

    values: list[int]
    side: list[int]
    random: int
    number: int = 0
    place: int = 0


class Columns(NamedTuple):
    """What the rows need of the columns of a group."""

    threshold: list[int] = [0] * LANES
    above: list[int] = [0] * LANES
    below: list[int] = [0] * LANES
    mean: list[int] = [0] * LANES


class Codes(NamedTuple):
    """Settings of a backward pass."""

    exponent: int
    planes: int
    twin: bool = False


def forward(rows: list[Row], columns: Columns, pool: Pool) -> list[list[int]]:
    """Bit 0: sign, bit 1: mask, above them the route; with pool SIGNS of all places, once the last of them has come."""
    found = []
    places: dict[int, list[list[tuple[bool, bool]]]] = {}  # for each row of a tile the signs and masks of its places
    for row in rows:
        limits = zip(row.values, columns.threshold, columns.above, columns.below, strict=True)
        bits = [(y >= threshold, -below < y - threshold < above) for y, threshold, above, below in limits]
        if pool != Pool.SIGNS:
            found.append([sign | mask << 1 | side << 2 for (sign, mask), side in zip(bits, row.side, strict=True)])
            continue
        seen = places[row.number] = [*(places[row.number] if row.place else []), bits]
        if row.place == 3:
            routes = [next((place for place in range(4) if seen[place][j][0]), 0) for j in range(LANES)]
            found.append([seen[place][j][0] | seen[place][j][1] << 1 | place << 2 for j, place in enumerate(routes)])
    return found


def slopes(row: Row, columns: Columns, pool: Pool = Pool.NONE) -> list[int]:
    """dy, with GRADIENT_MEAN fraction bits."""
    found = []
    for d, side, mean in zip(row.values, row.side, columns.mean, strict=True):
        if pool == Pool.NONE or row.place == side:
            found.append(4 * d - mean)
        else:
            found.append(-mean if pool == Pool.SIGNS else 0)
    return found


def beyond(rows: list[Row], columns: Columns, settings: Codes, pool: Pool) -> tuple[int, int]:
    """How many codes are beyond their range, and how many beyond half of it."""
    e, g, twin = settings
    sizes = []
    for row in rows:
        for dy, draw in zip(slopes(row, columns, pool), lanes_of(row.random, LANES), strict=True):
            u = (dy - 2**e + draw * 2 ** (e + 1) // 2**16) // 2**e
            sizes.append(max(u, -1 - u))
    reach = 2 ** (g - twin)
    return sum(size >= reach for size in sizes), sum(size >= reach // 2 for size in sizes)


def codes(row: Row, columns: Columns, settings: Codes, pool: Pool = Pool.NONE) -> list[int]:
    """u of the codes; a gradient is rounded up with the probability of the fraction."""
    e, g, twin = settings
    step, half = 2 ** (e + (not twin)), 2 ** (g - 1)
    found = []
    for dy, draw in zip(slopes(row, columns, pool), lanes_of(row.random, LANES), strict=True):
        noise = draw * 2 ** (e + 1) // 2**16
        found.append(max(0, min((dy - 2**e + noise) // step + half, 2 * half - 1)))
    return found


def lanes_from(planes: Any) -> list[int]:
    """For each lane the number that its bits in all planes make."""
    return [sum((planes[i] >> j & 1) << i for i in range(formats.MAX_PLANES)) for j in range(LANES)]


async def load(ctx: Any, dut: Emit, columns: Columns, *, backward: bool) -> None:
    """Load the columns of a group, from its first to its last."""
    for j in range(LANES):
        result = {name: getattr(columns, name)[j] for name in ("above", "below")}
        ctx.set(dut.result, result | {"mean": columns.mean[j] if backward else 4 * columns.threshold[j]})
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)


async def swap(ctx: Any, dut: Emit) -> None:
    ctx.set(dut.swap, 1)
    await ctx.tick()
    ctx.set(dut.swap, 0)


def cells(values: Iterable[int], sides: Iterable[int]) -> list[dict[str, Any]]:
    """A row of the tile buffer."""
    return [{"sum": {"value": value, "side": side}} for value, side in zip(values, sides, strict=True)]


def set_row(ctx: Any, dut: Emit, row: Row) -> None:
    ctx.set(dut.random, row.random)
    ctx.set(dut.row, cells(row.values, row.side))
    ctx.set(dut.place, row.place)
    ctx.set(dut.row_number, row.number)


async def send(ctx: Any, dut: Emit, rows: Iterable[Row], source: random.Random) -> None:
    """Send the rows with gaps, in which something else stands at the inputs; then wait until the last has left."""
    for row in rows:
        while source.random() < 0.3:
            ctx.set(dut.valid, 0)
            sides = [source.randrange(4) for _ in range(LANES)]
            number, place = source.randrange(LANES), source.randrange(4)
            set_row(ctx, dut, Row([source.randint(-SUM, SUM)] * LANES, sides, source.randrange(1 << 64), number, place))
            await ctx.tick()
        ctx.set(dut.valid, 1)
        set_row(ctx, dut, row)
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
        ctx.set(dut.twin, settings.twin)
    ctx.set(dut.clear, 1)
    await ctx.tick()
    ctx.set(dut.clear, 0)


def check(*passes: tuple[Codes | None, Columns, list[Row]], pools: Iterable[Pool] = itertools.repeat(Pool.NONE)) -> None:
    """Send rows in one simulation, pass behind pass; compare what leaves LATENCY cycles later, and the counts of large codes."""
    dut = Emit(TINY)
    found: list[list[int]] = []
    due = [0] * LATENCY
    pooling = False

    async def collect(ctx: Any) -> None:
        async for _, _, valid, place, shift, planes in ctx.tick().sample(dut.valid, dut.place, dut.shift, dut.planes):
            assert shift == due[-1]
            due[:] = [valid and (not pooling or place == 3), *due[:-1]]
            if shift:
                found.append(lanes_from(planes))

    async def bench(ctx: Any) -> None:
        nonlocal pooling
        source = random.Random(1)
        for (settings, columns, rows), pool in zip(passes, pools, strict=False):
            pooling = pool == Pool.SIGNS and not settings
            await set_up(ctx, dut, settings, pool)
            await load(ctx, dut, columns, backward=settings is not None)
            await swap(ctx, dut)
            await send(ctx, dut, rows, source)
            if settings:
                await ctx.tick().repeat(counted(LANES))
                assert (ctx.get(dut.clipped), ctx.get(dut.large)) == beyond(rows, columns, settings, pool)
            await ctx.tick()
            used = (1 << settings.planes if settings else 1 << 4 if pool else 1 << 2) - 1
            found[:] = [[code & used for code in row] for row in found]
            want = [codes(row, columns, settings, pool) for row in rows] if settings else forward(rows, columns, pool)
            want = [[code & used for code in row] for row in want]
            assert found == want, (settings, pool)
            found.clear()

    simulate(dut, bench, background=[collect])


def rows_for(columns: Columns, settings: Codes, source: random.Random, count: int) -> list[Row]:
    """Rows whose gradients lie within and around the range of the codes; then the largest that there are."""
    reach = 2 ** (settings.exponent + settings.planes + 1)
    rows = []
    for _ in range(count):
        side = [source.randrange(4) for _ in range(LANES)]
        values = [max(-SUM, min((source.randint(-reach, reach) + mean) // 4, SUM)) for mean in columns.mean]
        rows.append(Row(values, side, source.randrange(1 << 64)))
    for value in (-SUM, SUM):
        for draw in (0, source.randrange(1 << 64), 2**64 - 1):
            rows.append(Row([value] * LANES, [0] * LANES, draw))
    return rows


def tiles_for(columns: Columns, settings: Codes, source: random.Random) -> list[Row]:
    """The tiles of four places, twice."""
    rows = []
    for place in (*range(4), *range(4)):
        for number, row in enumerate(rows_for(columns, settings, source, LANES)[:LANES]):
            rows.append(row._replace(number=number, place=place))
    return rows


def formats_of_codes() -> list[tuple[int, bool]]:
    """All planes, plain and twin."""
    return [(planes, twin) for planes in range(1, formats.MAX_PLANES + 1) for twin in (False, True) if planes > twin]


@pytest.mark.parametrize("exponent", range(formats.MAX_EXPONENT + 1))
def test_codes_of_every_number_of_planes_are_rounded_and_clipped(exponent: int) -> None:
    source = random.Random(exponent)
    passes = []
    for planes, twin in formats_of_codes():
        settings = Codes(exponent, planes, twin)
        scale = min(2 ** (exponent + planes), MEAN)
        for mean in ([source.randint(-scale, scale) for _ in range(LANES)], [MEAN, -MEAN] * 2):
            columns = Columns(mean=mean)
            passes.append((settings, columns, rows_for(columns, settings, source, 6)))
    check(*passes)


@pytest.mark.parametrize(
    "settings",
    [
        *(Codes(0, 1), Codes(3, 4), Codes(14, 8), Codes(15, 2), Codes(16, 8)),
        *(Codes(0, 2, True), Codes(0, 8, True), Codes(4, 6, True), Codes(16, 2, True), Codes(16, 8, True)),
    ],
)
def test_rounding_turns_where_fraction_and_random_number_fill_a_step(settings: Codes) -> None:
    """Gradients between -1 * 2**e and 1 * 2**e with random numbers around the first one that rounds them up."""
    source = random.Random(2)
    step = 2 ** (settings.exponent + 1)
    passes = []
    for fraction in sorted({0, step - 1} | {source.randrange(step) for _ in range(5)}):
        turn = (step - fraction) * 2**16 // step
        draws = sorted({max(0, min(turn + i, 2**16 - 1)) for i in (-1, 0, 1)} | {0, 2**15 - 1, 2**15, 2**16 - 1})
        rows = [Row([0] * LANES, [0] * LANES, draw) for draw in draws]
        passes.append((settings, Columns(mean=[step // 2 - fraction] * LANES), rows))
    check(*passes)


@pytest.mark.parametrize("planes", [2, 5, 8])
@pytest.mark.parametrize("exponent", [0, 1, formats.MAX_EXPONENT])
def test_a_twin_code_of_no_gradient_is_no_gradient(planes: int, exponent: int) -> None:
    """Plane 0 may be either bit, the number above it makes up for it."""
    settings = Codes(exponent, planes, True)
    rows = [Row([0] * LANES, [0] * LANES, draw) for draw in (0, 2**15 - 1, 2**15, 2**16 - 1, 2**64 - 1)]
    check((settings, Columns(), rows))
    found = {u for row in rows for u in codes(row, Columns(), settings)}
    assert len(found) == 2
    assert {2 * (u >> 1) + 2 * (u % 2) - 2 ** (planes - 1) for u in found} == {0}


def test_forward_bits_turn_at_their_limits() -> None:
    source = random.Random(3)
    limits = [2 ** (TINY.accumulator - 1) - 1, -(2 ** (TINY.accumulator - 1)), 5, -7]
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
    ranges = (signed, range(reach + 2), range(1, reach + 2), signed)
    return Columns(*([source.choice(values) for _ in range(LANES)] for values in ranges))


@pytest.mark.parametrize("pool", Pool)
@pytest.mark.parametrize("backward", [False, True])
def test_tiles_of_four_places(pool: Pool, backward: bool) -> None:
    """Thresholds are such that signs and masks of all kinds meet at the four places of an output."""
    source = random.Random(5)
    passes: list[tuple[Codes | None, Columns, list[Row]]] = []
    for _ in range(8):
        settings = Codes(source.randrange(8), *source.choice(formats_of_codes()))
        reach = 2 ** (settings.exponent + settings.planes - 1)
        columns = random_columns(source, reach)
        passes.append((settings if backward else None, columns, tiles_for(columns, settings, source)))
    check(*passes, pools=itertools.repeat(pool))


@pytest.mark.parametrize("pool", [Pool.SIGNS, Pool.SUMS])
@pytest.mark.parametrize(("planes", "twin"), [(1, False), (8, False), (2, True), (8, True)])
def test_a_gradient_that_goes_elsewhere_is_none_whatever_the_sum(pool: Pool, planes: int, twin: bool) -> None:
    """With pool SIGNS the mean is subtracted all the same."""
    rows = [
        Row([value] * LANES, list(range(4)), draw, place=place)
        for value in (-SUM, 0, SUM)
        for draw in (0, 2**15 - 1, 2**15, 2**16 - 1, 2**64 - 1)
        for place in range(4)
    ]
    passes = [(Codes(e, planes, twin), Columns(mean=[MEAN, -MEAN, 3, -3]), rows) for e in (0, 5, formats.MAX_EXPONENT)]
    check(*passes, pools=itertools.repeat(pool))


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
                rows.append(Row([value] * LANES, [source.randrange(4)] * LANES, 0, number, place))
    check((None, columns, rows), pools=[Pool.SIGNS])


def test_forward_and_backward_rows_and_kinds_of_pooling_follow_each_other() -> None:
    source = random.Random(4)
    passes: list[tuple[Codes | None, Columns, list[Row]]] = []
    pools = []
    for i in range(12):
        settings = Codes(source.randrange(12), *source.choice(formats_of_codes()))
        columns = random_columns(source, 200)
        passes.append((settings if i % 2 else None, columns, tiles_for(columns, settings, source)))
        pools.append(Pool(i % 3))
    check(*passes, pools=pools)


@pytest.mark.parametrize("backward", [True, False])
def test_rows_before_a_swap_are_of_the_old_group_and_rows_behind_it_of_the_new(backward: bool) -> None:
    """Rows come in every cycle, also in those in which columns are loaded and swapped, as early as they may be."""
    dut = Emit(TINY)
    settings = Codes(2, 8)
    source = random.Random(7)
    groups = [random_columns(source, 200) for _ in range(4)]
    sent: list[tuple[Row, int]] = []
    found: list[list[int]] = []
    current = 0

    async def rows(ctx: Any) -> None:
        ctx.set(dut.valid, 1)
        while True:
            row = rows_for(groups[0], settings, source, 1)[0]
            set_row(ctx, dut, row)
            _, _, swaps, shift, planes = await ctx.tick().sample(dut.swap, dut.shift, dut.planes)
            nonlocal current
            sent.append((row, current))
            current += swaps
            if shift:
                found.append(lanes_from(planes))

    async def bench(ctx: Any) -> None:
        await set_up(ctx, dut, settings if backward else None)
        for columns in groups:
            await load(ctx, dut, columns, backward=backward)
            await swap(ctx, dut)
            await ctx.tick().repeat(SWAP - 1)
        await ctx.tick().repeat(2 * LATENCY)
        first = next(i for i, (_, group) in enumerate(sent) if group)
        want = []
        for row, group in sent[first : len(found)]:
            columns = groups[group - 1]
            want.append(codes(row, columns, settings) if backward else forward([row], columns, Pool.NONE)[0])
        used = 255 if backward else 3
        assert len(want) > 4 * LANES
        assert [[u & used for u in row] for row in found[first:]] == [[u & used for u in row] for row in want]

    simulate(dut, bench, background=[rows])


def test_sixteen_lanes_are_counted() -> None:
    lanes = 16
    config = dataclasses.replace(TINY, lanes=lanes)
    dut = Emit(config)

    async def bench(ctx: Any) -> None:
        await set_up(ctx, dut, Codes(0, 8, 0))
        await ctx.tick()
        ctx.set(dut.valid, 1)
        clipped = large = 0
        for i in range(5):
            clips, more = min(lanes, 4 * i), min(lanes, 5 * i)  # 4 d is 256 or more, 128 or more
            clipped, large = clipped + clips, large + more
            values = [(-1) ** j * (66 if j < clips else 34 if j < more else 30) for j in range(lanes)]
            ctx.set(dut.row, cells(values, [0] * lanes))
            await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(LATENCY - 1)
        assert ctx.get(dut.shift)
        assert ctx.get(dut.large) < large
        await ctx.tick().repeat(counted(lanes))
        assert (ctx.get(dut.clipped), ctx.get(dut.large)) == (clipped, large)

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
            await ctx.tick()

    simulate(ResetInserter(reset)(unit), bench)
