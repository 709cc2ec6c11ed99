"""The new records of a group's columns, and what the softmax takes of them, against plain integers."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, Stall, never, signed, simulate, stalls
from records import BETA, CENTRE, ONE, Record

from bnnedge.hw.heads.averages import MEANS, STAGES, SUMS_LATENCY, Averages
from bnnedge.hw.heads.thresholds import RECORD_LATENCY

pytestmark = pytest.mark.usefixtures("left_behind")

CONFIG = TINY
LANES = CONFIG.lanes
SUM = CONFIG.largest_sum
TOTAL = (1 << 39) - 1  # the largest total
SIZE = 1 << 40
SETTINGS = (
    *("walks", "backward", "last", "inference", "commit"),
    *("reciprocal", "mean_log2", "step", "rate", "decay", "shift", "channel"),
)


class Sums(NamedTuple):
    """Totals of a column."""

    first: int = 0
    second: int = 0


class Group(NamedTuple):
    """A run: settings, the sums of its columns, of one group or of several, and what stands in the parameter memory."""

    sums: list[Sums]
    records: list[Record]
    walks: bool = True
    backward: bool = False
    last: bool = False
    inference: bool = False
    commit: bool = True
    samples: int = 64
    step: int = 1000
    rate: int = 0
    decay: int = 3
    shift: int = 0
    channel: int = 0

    @property
    def mean_log2(self) -> int:
        """L."""
        return (self.samples - 1).bit_length()

    @property
    def reciprocal(self) -> int:
        """R: 1/n with 16 + L fraction bits, to the nearest."""
        return (2 ** (16 + self.mean_log2) + self.samples // 2) // self.samples

    def mean(self, total: int, fraction: int) -> int:
        """total / n with this many fraction bits, rounded down."""
        return total * self.reciprocal // 2 ** (16 + self.mean_log2 - fraction)

    def average(self, old: int, new: int, most: int) -> int:
        """A moving average behind this step."""
        decay = min(most, self.step >> 2)
        return old + ((new - old + ((1 << decay) >> 1)) >> decay)


def within(value: int, bits: int) -> int:
    """Clipped to a signed number of so many bits."""
    return max(-(1 << bits - 1), min(value, (1 << bits - 1) - 1))


def expected(group: Group, sums: Sums, record: Record) -> tuple[Record, tuple[int, int, int, int]]:
    """A column's new record; forward, mu, psi, beta and c2 for the softmax."""
    if group.backward:
        m, v = within(record.centre << 8 + group.shift >> 8, 28), min(record.size << 8 + group.shift >> 8, SIZE - 1)
        s, q = group.mean(sums.first, 8), signed(v, 40)
        m, v = within(group.average(m, s, 3), 28), group.average(v, abs(s) << 10, 10)
        bits = (v >> 10).bit_length()
        if group.last:
            v, bits = group.average(q, group.mean(sums.second, 8) << 10, 3) % SIZE, 16
        step = within((m << 8) >> bits, 12)
        beta = within(record.beta - (group.rate * step + 64 >> 7), 20)
        return record._replace(beta=beta, centre=m, size=v), (0, 0, 0, 0)
    mu, psi = group.mean(sums.first, 6), group.mean(sums.second, 6)
    beta, c2 = record.beta >> 8, max(-4095, min(signed(record.size, 40) + 2**17 >> 18, 4095))
    if group.inference:
        return record, (record.mu, record.psi, beta, c2)
    moved = record._replace(mu=group.average(record.mu, mu, group.decay), psi=group.average(record.psi, psi, group.decay))
    return moved, (mu, psi, beta, c2)


def check(*groups: Group, stall: Stall = never) -> None:
    """Run the groups one after another; compare classes, order, timing and memory.

    stall: sums are not complete yet, or the parameter memory is not granted.
    """
    dut = Averages(CONFIG)
    memory: list[Record] = [Record()] * CONFIG.channels
    sums: list[Sums] = [Sums()] * LANES

    async def memories(ctx: Any) -> None:
        """The group's sums and the parameter memory, each a few cycles behind what asks for it, and junk in between."""
        junk, none = Record(-1, 1, -1, -1, 1), Sums(-1, 1)
        found, read = [none] * (SUMS_LATENCY - 1), [junk] * (RECORD_LATENCY - 1)
        numbers = (dut.reading, dut.group, dut.column)
        ports = (dut.claims, dut.reading_record, dut.address, dut.write, dut.write_address, dut.write_record)
        async for _, _, reading, group, column, claims, record, address, write, to, new in ctx.tick().sample(*numbers, *ports):
            assert claims or not record
            found.append(sums[group * LANES + column] if reading else none)
            read.append(memory[address] if record else junk)
            ctx.set(dut.sums, found.pop(0)._asdict())
            ctx.set(dut.record, read.pop(0)._asdict())
            if write:
                memory[to] = Record(*(getattr(new, name) for name in Record._fields))

    async def bench(ctx: Any) -> None:
        for run in groups:
            memory[:] = [Record(1, 2, 3, 4, 5)] * CONFIG.channels
            memory[run.channel : run.channel + len(run.records)] = run.records
            want = memory.copy()
            sums[:] = run.sums
            for name in SETTINGS:
                ctx.set(getattr(dut, name), getattr(run, name))
            ctx.set(dut.waits, not run.inference)
            ctx.set(dut.last_group, len(run.records) // LANES - 1)
            assert ctx.get(dut.done)
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            for first in range(0, len(run.records), LANES):
                await one_group(ctx, run, first)
            await ctx.tick()
            assert ctx.get(dut.done)
            if run.commit and run.walks and not run.inference:
                for column, record in enumerate(run.records):
                    want[run.channel + column], _ = expected(run, run.sums[column], record)
            assert memory == want, run

    async def one_group(ctx: Any, run: Group, first: int) -> None:
        assert not ctx.get(dut.done)
        while not run.inference and stall():
            assert not ctx.get(dut.wants)
            await ctx.tick()
        ctx.set(dut.added.valid, not run.inference)
        await ctx.tick()
        if run.walks:
            while stall():
                assert ctx.get(dut.wants)
                assert not ctx.get(dut.claims)
                await ctx.tick()
            assert ctx.get(dut.wants)
            ctx.set(dut.granted, 1)
            await ctx.tick()
            ctx.set(dut.granted, 0)
        for cycle in range(LANES + STAGES if run.walks else 1):
            taken = run.walks * LANES  # the cycle in which the totals may go on
            assert not ctx.get(dut.done)
            assert ctx.get(dut.reading) == (cycle < taken)
            assert ctx.get(dut.added.ready) == (cycle == taken and not run.inference)
            column = cycle - MEANS - 1
            assert ctx.get(dut.valid) == (run.walks and not run.backward and 0 <= column < LANES)
            if ctx.get(dut.valid):
                _, classes = expected(run, run.sums[first + column], run.records[first + column])
                found = ctx.get(dut.of_class)
                assert ctx.get(dut.class_column) == column
                assert (found.mu, found.psi, found.beta, found.slope) == classes, (run, first + column)
            assert ctx.get(dut.centred) == (run.walks and run.backward and 0 <= column < LANES)
            if ctx.get(dut.centred):
                assert ctx.get(dut.class_column) == column
                assert ctx.get(dut.own_centre) == within(run.mean(run.sums[first + column].first, 8), 28), (run, first + column)
            await ctx.tick()
            if cycle == taken:
                ctx.set(dut.added.valid, 0)
        await ctx.tick()

    simulate(dut, bench, background=[memories], limit=100_000)


def drawn(seed: int, **settings: Any) -> Group:
    """A group of random sums that some batch could have, small ones and large ones, and random records."""
    source = random.Random(seed)
    samples = settings.setdefault("samples", source.choice((16, 48, 512, 64 * 49, source.randint(64, 1 << 17))))

    def sums() -> Sums:
        largest = min(samples * source.choice((3, 100, 10_000, largest_mean(samples))), TOTAL)
        return Sums(source.randint(-largest, largest), source.randint(0, min(2 * largest, TOTAL)))

    def record() -> Record:
        largest, gradient = source.choice((3, 1000, SUM * ONE)), source.choice((3, 40, 100_000, CENTRE - 1))
        return Record(
            mu=source.choice((-largest, largest, source.randint(-largest, largest))),
            psi=source.choice((0, 2 * largest, source.randint(0, 2 * largest))),
            beta=source.choice((-BETA, BETA - 1, 0, -1, source.randrange(-BETA, BETA))),
            centre=source.choice((-gradient - 1, gradient, 0, source.randint(-gradient, gradient))),
            size=source.choice((0, 1, gradient << 10, SIZE - 1, source.randrange(gradient + 1 << 10))),
        )

    fields = {
        "step": source.choice((0, 3, 4, 11, 12, 15, 16, 39, 40, 44, source.randrange(60), (1 << 32) - 1)),
        "rate": source.choice((0, 1, 65535, source.randrange(1 << 16), source.randrange(100))),
        "decay": source.randrange(3, 7),
        "shift": source.randrange(-8, 8) * source.randrange(2),
        "channel": source.randrange(0, CONFIG.channels, LANES),
    }
    return Group([sums() for _ in range(LANES)], [record() for _ in range(LANES)], **{**fields, **settings})


def largest_mean(samples: int) -> int:
    """Of sums: a reciprocal that is rounded up makes means larger by one in 2**17, and they must fit 28 bits."""
    return SUM if samples & samples - 1 == 0 else SUM - 32


SAMPLES = [16, 65, 96, 512, 64 * 196, 127 * 1024, 1 << 18]


@pytest.mark.parametrize("samples", SAMPLES)
def test_forward_averages_move_and_the_softmax_gets_the_batchs_own(samples: int) -> None:
    check(*(drawn(seed, samples=samples) for seed in range(30)))


@pytest.mark.parametrize("samples", SAMPLES)
def test_backward_averages_and_beta_move(samples: int) -> None:
    check(*(drawn(seed, samples=samples, backward=True) for seed in range(60)))


@pytest.mark.parametrize("samples", [16, 48, 128, 512])
def test_in_the_last_layer_the_slope_takes_the_place_of_the_size(samples: int) -> None:
    """Its sums are of gradients times logits, up to 4096 times 8191 / log2 e; a shift there is none."""
    runs = []
    for seed in range(40):
        source, run = random.Random(seed), drawn(seed, samples=samples, backward=True, last=True, shift=0)
        largest = samples * source.choice((3, 1000, 4096 * 8191 * 710 >> 18))
        sums = [Sums(source.randint(-8191, 8191) * samples, source.randint(-largest, largest)) for _ in range(LANES)]
        slopes = [source.choice((0, -1, SIZE // 2 - 1, -SIZE // 2, source.randint(-(1 << 30), 1 << 30))) for _ in range(LANES)]
        records = [record._replace(size=slope % SIZE) for record, slope in zip(run.records, slopes, strict=True)]
        runs.append(run._replace(sums=sums, records=records, last=True))
        runs.append(drawn(seed, samples=samples, last=True)._replace(records=records))
    check(*runs)


@pytest.mark.parametrize("rest", [-1, 0, 1])
def test_the_softmax_gets_the_slope_rounded_and_clipped(rest: int) -> None:
    """Around each half, and at the ends."""
    slopes = [(2 * whole - 1 << 17) + rest for whole in (-4097, -4095, -4094, -1, 0, 1, 2, 4095, 4096)]
    slopes += [min(max(end + rest, -SIZE // 2), SIZE // 2 - 1) for end in (-SIZE // 2, SIZE // 2 - 1, 0)]
    records = [Record(size=slope % SIZE) for slope in slopes]
    check(*(Group([Sums()] * LANES, records[i : i + LANES]) for i in range(0, len(records), LANES)))


@pytest.mark.parametrize("shift", range(-8, 8))
def test_backward_averages_are_taken_in_the_unit_of_this_step(shift: int) -> None:
    check(*(drawn(seed, backward=True, shift=shift) for seed in range(20)))


@pytest.mark.parametrize("backward", [False, True])
def test_averages_become_slower_in_the_first_steps(backward: bool) -> None:
    check(*(drawn(step, backward=backward, step=step) for step in range(48)))


def test_inference_gives_the_softmax_the_averages_and_leaves_them() -> None:
    check(*(drawn(seed, inference=True) for seed in range(30)), stall=stalls(3))


@pytest.mark.parametrize("backward", [False, True])
def test_without_commit_the_memory_stays(backward: bool) -> None:
    check(*(drawn(seed, backward=backward, commit=seed % 2 == 1) for seed in range(10)))


def test_forward_and_backward_groups_follow_each_other() -> None:
    check(*(drawn(seed, backward=seed % 3 == 1, inference=seed % 3 == 2) for seed in range(30)))


@pytest.mark.parametrize("backward", [False, True])
def test_groups_of_a_pass_follow_their_sums(backward: bool) -> None:
    """The last one is passed over."""
    runs = []
    for count in (1, 2, 5):
        parts = [drawn(10 * count + n) for n in range(count)]
        records, sums = ([x for part in parts for x in getattr(part, name)] for name in ("records", "sums"))
        settings = {"channel": CONFIG.channels - count * LANES, "rate": 99, "samples": 1 << 17, "walks": count < 5}
        runs.append(Group(sums, records, backward=backward, **settings))
    check(*runs, stall=stalls(1, 0.7))


@pytest.mark.parametrize("samples", [16, 65, 127 * 1024, 1 << 17])
@pytest.mark.parametrize("step", [0, 4, 8, 100])
@pytest.mark.parametrize("sign", [-1, 1])
def test_averages_cross_their_whole_range(samples: int, step: int, sign: int) -> None:
    largest = largest_mean(samples) * samples
    sums = Sums(sign * largest, 2 * largest)
    record = Record(-sign * SUM * ONE, 0, sign * 1000, -sign * (CENTRE - 1), 0)
    group = Group([sums] * LANES, [record, record._replace(psi=2 * SUM * ONE, size=SIZE - 1)] * (LANES // 2), samples=samples)
    check(*(group._replace(step=step, rate=rate, backward=backward) for rate in (0, 65535) for backward in (False, True)))


def test_beta_steps_by_the_quotient_of_m_and_the_power_of_2_above_v() -> None:
    """Clipped where m is much larger than v."""
    pairs = [
        (0, 0),
        (1, 0),
        (-1, 0),
        (7, 0),
        (8, 0),
        (-8, 0),
        (-9, 0),
        (255, 255),
        (256, 256),
        (-256, 255),
        (-CENTRE, 1),
        (-1, 5),
    ]
    records = [Record(beta=5, centre=centre, size=size << 10) for centre, size in pairs]
    for rate in (1, 16, 65535):
        check(*(Group([Sums()] * LANES, records[i : i + LANES], backward=True, rate=rate) for i in range(0, len(records), LANES)))


@pytest.mark.parametrize("cycles", range(2, STAGES + LANES + 3, 3))
def test_a_reset_ends_the_run(cycles: int) -> None:
    reset = Signal()
    unit = Averages(CONFIG)

    async def bench(ctx: Any) -> None:
        for flag in (unit.commit, unit.walks, unit.granted, unit.begin):
            ctx.set(flag, 1)
        await ctx.tick()
        ctx.set(unit.begin, 0)
        await ctx.tick().repeat(cycles)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(STAGES + LANES + 2):
            assert ctx.get(unit.done)
            for flag in (unit.valid, unit.write, unit.reading, unit.reading_record, unit.claims, unit.wants):
                assert not ctx.get(flag)
            await ctx.tick()

    simulate(ResetInserter(reset)(unit), bench)
