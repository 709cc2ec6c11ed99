"""Thresholds and centres of a group's columns against plain integers."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from amaranth import Module, ResetInserter, Shape, Signal, signed, unsigned
from hardware import TINY, Stall, never, simulate, stalls, wait_for
from records import BETA, CENTRE, ONE, Record

from bnnedge.hw.heads.thresholds import RECORD_LATENCY, STAGES, Thresholds, column_layout, gradient_bits, saturate

pytestmark = pytest.mark.usefixtures("left_behind")

CONFIG = TINY
LANES = CONFIG.lanes
SUM = CONFIG.largest_sum
LOWEST, HIGHEST = -(1 << CONFIG.accumulator - 1), (1 << CONFIG.accumulator - 1) - 1


class Group(NamedTuple):
    """A run: settings, and what stands in the parameter memory, of one group of columns or of several.

    own: the columns' own centres, where those of the records don't count.
    """

    records: list[Record]
    backward: bool = False
    own: tuple[int, ...] = ()
    shift: int = 0
    channel: int = 0


def within(value: int, low: int = LOWEST, high: int = HIGHEST) -> int:
    return max(low, min(value, high))


def expected(group: Group, column: int) -> dict[str, int]:
    """A column's result; forward, all of it counts."""
    record = group.records[column]
    if group.own:
        return {"mean": (group.own[column] + 32) >> 6}
    if group.backward:
        m = within((record.centre << 8 + group.shift) >> 8, -CENTRE, CENTRE - 1)
        return {"mean": (m + 32) >> 6}
    tau = record.mu - ((record.beta >> 8) * record.psi >> 9)
    threshold, low, high = within(-(-tau // ONE)), within(-((record.psi - tau) // ONE)), within((tau + record.psi) // ONE)
    return {"mean": 4 * threshold, "above": high + 1 - threshold, "below": threshold + 1 - low}


def check(*groups: Group, busy: Stall = never, slow: Stall = never) -> None:
    """Run the groups one after another; compare results, order and timing.

    busy: the parameter memory is not granted; slow: what has been prepared is not taken yet.
    """
    dut = Thresholds(CONFIG)
    memory: list[Record] = [Record()] * CONFIG.channels

    async def parameters(ctx: Any) -> None:
        """The parameter memory; what is not asked for is no record."""
        junk = Record(-1, 1, -1, -1, 1)
        coming = [junk] * (RECORD_LATENCY - 1)
        async for _, _, reading, address in ctx.tick().sample(dut.reading, dut.address):
            coming.append(memory[address] if reading else junk)
            ctx.set(dut.record, coming.pop(0)._asdict())

    async def bench(ctx: Any) -> None:
        for run in groups:
            memory[:] = [Record(1, 2, 3, 4, 5)] * CONFIG.channels
            memory[run.channel : run.channel + len(run.records)] = run.records
            for name in ("backward", "shift", "channel"):
                ctx.set(getattr(dut, name), getattr(run, name))
            ctx.set(dut.own, bool(run.own))
            ctx.set(dut.last_group, len(run.records) // LANES - 1)
            assert not ctx.get(dut.wants)
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            for first in range(0, len(run.records), LANES):
                for column, centre in enumerate(run.own[first : first + LANES]):
                    ctx.set(dut.centred, 1)
                    ctx.set(dut.own_column, column)
                    ctx.set(dut.own_centre, centre)
                    await ctx.tick()
                ctx.set(dut.centred, 0)
                while busy():
                    assert ctx.get(dut.wants)
                    assert not ctx.get(dut.reading)
                    await ctx.tick()
                assert ctx.get(dut.wants)
                ctx.set(dut.granted, 1)
                await ctx.tick()
                ctx.set(dut.granted, 0)
                for cycle in range(LANES + STAGES):
                    assert not ctx.get(dut.wants)
                    assert not ctx.get(dut.prepared)
                    assert ctx.get(dut.reading) == (cycle < LANES)
                    assert ctx.get(dut.valid) == (cycle >= STAGES)
                    assert ctx.get(dut.groups_read) == first // LANES + (cycle >= LANES)
                    if cycle >= STAGES:
                        column, result = first + cycle - STAGES, ctx.get(dut.result)
                        want = expected(run, column)
                        assert {name: getattr(result, name) for name in want} == want, (run, column)
                    await ctx.tick()
                await wait_for(ctx, dut.prepared)
                while slow():
                    assert ctx.get(dut.prepared)
                    await ctx.tick()
                ctx.set(dut.take, 1)
                await ctx.tick()
                ctx.set(dut.take, 0)
                assert not ctx.get(dut.prepared)

    simulate(dut, bench, background=[parameters])


def drawn(seed: int, **settings: Any) -> Group:
    """A group of random records, small and large, at the ends of their ranges too."""
    source = random.Random(seed)

    def record() -> Record:
        largest, gradient = source.choice((3, 1000, SUM * ONE)), source.choice((40, 100_000, CENTRE - 1))
        return Record(
            mu=source.choice((-largest, largest, source.randint(-largest, largest))),
            psi=source.choice((0, 2 * largest, source.randint(0, 2 * largest))),
            beta=source.choice((-BETA, BETA - 1, 0, -1, source.randrange(-BETA, BETA))),
            centre=source.choice((-gradient - 1, gradient, 0, source.randint(-gradient, gradient))),
            size=source.randrange(1 << 40),
        )

    channel = source.randrange(0, CONFIG.channels, LANES)
    return Group([record() for _ in range(LANES)], **{"channel": channel, **settings})


def test_forward_gives_whole_thresholds() -> None:
    check(*(drawn(seed) for seed in range(120)))


@pytest.mark.parametrize("shift", range(-8, 8))
def test_backward_gives_the_centre_in_the_unit_of_this_step(shift: int) -> None:
    check(*(drawn(seed, backward=True, shift=shift) for seed in range(20)))


def test_forward_and_backward_groups_follow_each_other() -> None:
    check(*(drawn(seed, backward=seed % 2 == 1, shift=seed % 16 - 8) for seed in range(30)))


def test_own_centres_take_the_place_of_the_records_in_whatever_unit_these_are() -> None:
    runs = []
    for seed in range(40):
        source, count = random.Random(seed), seed % 3 + 1
        ends = source.choice((40, 100_000, CENTRE - 1))
        own = tuple(source.choice((-ends - 1, ends, source.randint(-ends, ends))) for _ in range(count * LANES))
        records = [record for part in range(count) for record in drawn(seed + part).records]
        runs += [Group(records, backward=True, own=own, shift=seed % 16 - 8), drawn(seed, backward=seed % 2 == 1, shift=3)]
    check(*runs, busy=stalls(1, 0.3), slow=stalls(2, 0.3))


@pytest.mark.parametrize("backward", [False, True])
def test_groups_of_a_pass_are_prepared_one_by_one(backward: bool) -> None:
    runs = []
    for count in (1, 2, 5):
        records = [record for seed in range(count) for record in drawn(seed).records]
        runs.append(Group(records, backward=backward, shift=-1, channel=CONFIG.channels - count * LANES))
    check(*runs, busy=stalls(1, 0.7), slow=stalls(2, 0.7))


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(Record(SUM * ONE, 2 * SUM * ONE, -BETA), id="threshold and high beyond the largest sum"),
        pytest.param(Record(-SUM * ONE, 2 * SUM * ONE, BETA - 1), id="threshold and low beyond the smallest sum"),
        pytest.param(Record(SUM * ONE, 0), id="threshold at the largest sum"),
        pytest.param(Record(-SUM * ONE, 0), id="threshold at the smallest sum"),
        pytest.param(Record((1 << 27) - 1, (1 << 28) - 1, BETA - 1), id="all that a record holds"),
        pytest.param(Record(-(1 << 27), (1 << 28) - 1, -BETA), id="all that a record holds, below"),
        pytest.param(Record(0, 0, -1), id="no deviation"),
        pytest.param(Record(0, 1, 255), id="bits of beta that don't count"),
    ],
)
def test_forward_corners(record: Record) -> None:
    check(Group([record] * LANES), Group([Record(), record, Record(), record]))


@pytest.mark.parametrize("centre", [-CENTRE, CENTRE - 1, 31, 32, -32, -33])
@pytest.mark.parametrize("shift", [-8, -1, 0, 7])
def test_backward_corners(centre: int, shift: int) -> None:
    check(Group([Record(centre=centre)] * LANES, backward=True, shift=shift))


def test_the_last_channels_of_the_memory_are_reached() -> None:
    check(drawn(1, channel=CONFIG.channels - LANES), drawn(2, channel=CONFIG.channels - LANES, backward=True))


def test_the_largest_gradient_less_the_largest_centre_fits() -> None:
    largest = 4 * (SUM + 32) + (1 << 21)
    assert -(1 << gradient_bits(CONFIG) - 1) <= -largest <= largest < 1 << gradient_bits(CONFIG) - 1
    assert column_layout(CONFIG).members["mean"].width == gradient_bits(CONFIG) == 25


@pytest.mark.parametrize("cycles", range(2, STAGES + LANES + 3))
def test_a_reset_ends_the_run(cycles: int) -> None:
    reset = Signal()
    unit = Thresholds(CONFIG)

    async def bench(ctx: Any) -> None:
        ctx.set(unit.granted, 1)
        ctx.set(unit.begin, 1)
        await ctx.tick()
        ctx.set(unit.begin, 0)
        await ctx.tick().repeat(cycles)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(STAGES + LANES + 2):
            for flag in (unit.valid, unit.reading, unit.wants, unit.prepared):
                assert not ctx.get(flag)
            await ctx.tick()

    simulate(ResetInserter(reset)(unit), bench)


@pytest.mark.parametrize("wide", [signed(7), unsigned(7)])
@pytest.mark.parametrize("narrow", [signed(4), signed(6), signed(7), unsigned(4), unsigned(6), unsigned(7)])
def test_saturate_gives_the_nearest_number(wide: Shape, narrow: Shape) -> None:
    m, value, found = Module(), Signal(wide), Signal(narrow)
    m.d.comb += found.eq(saturate(value, narrow))

    def numbers(shape: Shape) -> range:
        return range(-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else range(1 << shape.width)

    async def bench(ctx: Any) -> None:
        for number in numbers(wide):
            ctx.set(value, number)
            assert ctx.get(found) == min(max(number, numbers(narrow)[0]), numbers(narrow)[-1])
            await ctx.delay(1e-9)

    m.d.sync += Signal().eq(0)
    simulate(m, bench)
