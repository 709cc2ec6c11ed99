"""Signs, masks and stochastically rounded gradient codes against plain integers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, lanes_of, simulate

from bnnedge import formats
from bnnedge.hw.heads.emit import LATENCY, Emit

LANES = TINY.lanes
SUM = TINY.largest_sum
MEAN = 12 * SUM  # no mean of a batch, nor the sum of two, is larger


class Row(NamedTuple):
    """Sums and signs of activation of a row, and its random bits."""

    values: list[int]
    active: list[bool]
    random: int


class Columns(NamedTuple):
    """What `Parameters` finds for the columns of a group."""

    threshold: list[int] = [0] * LANES
    low: list[int] = [0] * LANES
    high: list[int] = [0] * LANES
    plus: list[int] = [0] * LANES
    minus: list[int] = [0] * LANES


class Codes(NamedTuple):
    """Settings of a backward pass."""

    exponent: int
    planes: int


def signs(row: Row, columns: Columns) -> list[int]:
    """Bit 0: sign, bit 1: mask."""
    limits = zip(row.values, columns.threshold, columns.low, columns.high, strict=True)
    return [(y >= threshold) | (low <= y <= high) << 1 for y, threshold, low, high in limits]


def slopes(row: Row, columns: Columns) -> list[int]:
    """dy, with GRADIENT_MEAN fraction bits."""
    lanes = zip(row.values, row.active, columns.plus, columns.minus, strict=True)
    return [4 * d - (plus if active else minus) for d, active, plus, minus in lanes]


def codes(row: Row, columns: Columns, settings: Codes) -> list[int]:
    """u of dy = (2 u - (2**g - 1)) * 2**e, rounded up with the probability of the fraction."""
    e, g = settings
    found = []
    for dy, draw in zip(slopes(row, columns), lanes_of(row.random, LANES), strict=True):
        noise = draw * 2 ** (e + 1) // 2**16
        found.append(max(0, min((dy - 2**e + noise) // 2 ** (e + 1) + 2 ** (g - 1), 2**g - 1)))
    return found


def lanes_from(planes: Any) -> list[int]:
    """For each lane the number that its bits in all planes make."""
    return [sum((planes[i] >> j & 1) << i for i in range(formats.MAX_PLANES)) for j in range(LANES)]


async def load(ctx: Any, dut: Emit, columns: Columns) -> None:
    for j in range(LANES):
        ctx.set(dut.column, j)
        ctx.set(dut.result, {name: values[j] for name, values in columns._asdict().items()})
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)


async def send(ctx: Any, dut: Emit, rows: Iterable[Row], source: random.Random) -> None:
    """Send the rows with gaps, in which something else stands at the inputs; then wait until the last has left."""
    for row in rows:
        while source.random() < 0.3:
            ctx.set(dut.valid, 0)
            ctx.set(dut.random, source.randrange(1 << 64))
            ctx.set(dut.row, [{"value": source.randint(-SUM, SUM), "active": 0}] * LANES)
            await ctx.tick()
        ctx.set(dut.valid, 1)
        ctx.set(dut.random, row.random)
        ctx.set(dut.row, [{"value": v, "active": a} for v, a in zip(row.values, row.active, strict=True)])
        await ctx.tick()
    ctx.set(dut.valid, 0)
    await ctx.tick().repeat(LATENCY - 1)


async def set_up(ctx: Any, dut: Emit, settings: Codes | None) -> None:
    """Forward, or backward with these settings."""
    ctx.set(dut.backward, settings is not None)
    if settings:
        ctx.set(dut.exponent, settings.exponent)
        ctx.set(dut.gradient_planes, settings.planes)
    ctx.set(dut.clear, 1)
    await ctx.tick()
    ctx.set(dut.clear, 0)


def check(*passes: tuple[Codes | None, Columns, list[Row]]) -> None:
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
        for settings, columns, rows in passes:
            await set_up(ctx, dut, settings)
            await load(ctx, dut, columns)
            await send(ctx, dut, rows, source)
            if settings:
                assert ctx.get(dut.magnitude) == sum(abs(dy) for row in rows for dy in slopes(row, columns))
            await ctx.tick()
            want = [codes(row, columns, settings) if settings else signs(row, columns) for row in rows]
            assert found == want, settings
            found.clear()

    simulate(dut, bench, background=[collect])


def rows_for(columns: Columns, settings: Codes, source: random.Random, count: int) -> list[Row]:
    """Rows whose gradients lie within and around the range of the codes; then the largest that there are."""
    reach = 2 ** (settings.exponent + settings.planes + 1)
    rows = []
    for _ in range(count):
        active = [source.random() < 0.5 for _ in range(LANES)]
        means = [columns.plus[j] if active[j] else columns.minus[j] for j in range(LANES)]
        values = [max(-SUM, min((source.randint(-reach, reach) + mean) // 4, SUM)) for mean in means]
        rows.append(Row(values, active, source.randrange(1 << 64)))
    for value in (-SUM, SUM):
        for active in (False, True):
            rows.append(
                Row([value] * LANES, [active] * LANES, source.choice((0, source.randrange(1 << 64), 2**64 - 1)))
            )
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


@pytest.mark.parametrize("settings", [Codes(0, 1), Codes(3, 4), Codes(14, 8), Codes(16, 2), Codes(23, 8)])
def test_rounding_turns_where_fraction_and_random_number_fill_a_step(settings: Codes) -> None:
    """Gradients between -1 * 2**e and 1 * 2**e with random numbers around the first one that rounds them up."""
    source = random.Random(2)
    step = 2 ** (settings.exponent + 1)
    passes = []
    for fraction in sorted({0, step - 1} | {source.randrange(step) for _ in range(5)}):
        turn = (step - fraction) * 2**16 // step
        draws = sorted({max(0, min(turn + i, 2**16 - 1)) for i in (-1, 0, 1)} | {0, 2**16 - 1})
        rows = [Row([0] * LANES, [False] * LANES, draw) for draw in draws]
        passes.append((settings, Columns(minus=[step // 2 - fraction] * LANES), rows))
    check(*passes)


def test_forward_bits_turn_at_their_limits() -> None:
    source = random.Random(3)
    limits = [SUM + 1, -SUM - 2, 5, -7]
    columns = Columns(
        threshold=limits, low=[limit - 3 for limit in limits[:1]] + [-SUM, 1, -7], high=[SUM, -SUM, 0, -7]
    )
    near = [[limit + i for i in range(-4, 5)] for limit in (SUM - 4, -SUM + 4, 3, -7)]
    rows = [Row([near[j][i] for j in range(LANES)], [False] * LANES, source.randrange(1 << 64)) for i in range(9)]
    rows += [Row([extreme] * LANES, [True] * LANES, 0) for extreme in (-SUM, -1, 0, 1, SUM)]
    check((None, columns, rows))


def test_forward_and_backward_rows_follow_each_other() -> None:
    source = random.Random(4)
    passes: list[tuple[Codes | None, Columns, list[Row]]] = []
    for i in range(6):
        settings = Codes(source.randrange(12), source.randrange(1, 9))
        columns = Columns(*([source.randint(-200, 200) for _ in range(LANES)] for _ in Columns._fields))
        passes.append((settings if i % 2 else None, columns, rows_for(columns, settings, source, 6)))
    check(*passes)


def test_columns_loaded_between_rows_serve_the_rows_behind_them() -> None:
    """The last rows of a group are still on their way when the next group's columns come, one after another."""
    dut = Emit(TINY)
    settings = Codes(2, 8)
    row = Row([20] * LANES, [True] * LANES, 0)
    old, new = Columns(plus=[0] * LANES), Columns(plus=[40] * LANES)
    found: list[list[int]] = []

    async def collect(ctx: Any) -> None:
        async for _, _, shift, planes in ctx.tick().sample(dut.shift, dut.planes):
            if shift:
                found.append(lanes_from(planes))

    async def bench(ctx: Any) -> None:
        await set_up(ctx, dut, settings)
        await load(ctx, dut, old)
        ctx.set(dut.random, row.random)
        ctx.set(dut.row, [{"value": 20, "active": 1}] * LANES)
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await load(ctx, dut, new)
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
            ctx.set(dut.row, [{"value": value, "active": 0} for value in values])
            await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(LATENCY - 1)
        assert ctx.get(dut.shift)
        assert ctx.get(dut.magnitude) == want

    simulate(dut, bench)


def test_a_reset_leaves_no_row_on_its_way() -> None:
    reset = Signal()
    unit = Emit(TINY)

    async def bench(ctx: Any) -> None:
        ctx.set(unit.valid, 1)
        ctx.set(unit.row, [{"value": 5, "active": 0}] * LANES)
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
