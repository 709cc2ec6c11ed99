"""Thresholds, moving averages and means of a group's columns against plain integers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, lanes_of, moved, signed, simulate

from bnnedge.hw.heads.parameters import STAGES, SUMS_LATENCY, Parameters

CONFIG = dataclasses.replace(TINY, latent=10)
LANES, LATENT, TOP = CONFIG.lanes, CONFIG.latent, CONFIG.latent_top
SUM = CONFIG.largest_sum
TOTAL = (1 << 39) - 1  # the largest total
ONE = 64  # mu, psi and tau have 6 fraction bits
LOWEST, HIGHEST = -(1 << CONFIG.accumulator - 1), (1 << CONFIG.accumulator - 1) - 1


SETTINGS = ("backward", "inference", "commit", "reciprocal", "mean_log2", "decay", "rate", "sign_sgd", "random", "channel")


class Sums(NamedTuple):
    """Totals of a column."""

    first: int
    second: int
    signs: int


class Record(NamedTuple):
    """An entry of the parameter memory; `beta` is a weight word."""

    mu: int
    psi: int
    beta: int

    @property
    def latent(self) -> int:
        """Beta itself."""
        return self.beta >> 4


class Group(NamedTuple):
    """One run: settings, the sums of its columns, and what stands in the parameter memory."""

    sums: list[Sums]
    records: list[Record]
    backward: bool = False
    inference: bool = False
    commit: bool = True
    samples: int = 64
    decay: int = 3
    rate: int = 0
    sign_sgd: bool = False
    random: int = 0
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

    def nearest_mean(self, total: int) -> int:
        """total / n with two fraction bits, rounded to the nearest."""
        one = 2 ** (16 + self.mean_log2)
        return (total * 4 * self.reciprocal + one // 2) // one


def within(value: int) -> int:
    return max(LOWEST, min(value, HIGHEST))


def forward(group: Group, sums: Sums, record: Record) -> tuple[dict[str, int], Record]:
    """A column's thresholds, and its new record."""
    mu, psi = group.mean(sums.first, 6), group.mean(sums.second, 6)
    weight, half = 1 << group.decay, (1 << group.decay) // 2
    new = Record(record.mu + (mu - record.mu + half) // weight, record.psi + (psi - record.psi + half) // weight, record.beta)
    if group.inference:
        mu, psi, new = record.mu, record.psi, record
    tau = mu - record.latent * psi // TOP
    threshold, low, high = within(-(-tau // ONE)), within(-((psi - tau) // ONE)), within((tau + psi) // ONE)
    result = {
        **dict.fromkeys(("plus", "minus"), 4 * threshold),
        "above": high + 1 - threshold,
        "below": threshold + 1 - low,
        "mu": mu,
        "psi": psi,
        "beta": record.latent,
    }
    return result, new


def backward(group: Group, sums: Sums, record: Record, noise: int) -> tuple[dict[str, int], Record]:
    """What a column subtracts from its gradients, with two fraction bits, and its new record."""
    c1 = group.nearest_mean(sums.first - (group.mean(sums.signs, 16) * sums.second >> 16))
    c2 = group.nearest_mean(sums.second)
    beta = moved(record.beta, sums.first >= 0, noise, group.rate // 4, sign_sgd=group.sign_sgd, latent=LATENT)
    return {"plus": c1 + c2, "minus": c1 - c2}, record._replace(beta=signed(beta, 16))


def check(*groups: Group) -> None:
    """Run the groups one after another; compare results, order, timing and memory."""
    dut = Parameters(CONFIG)
    memory: list[Record] = []
    sums: list[Sums] = []

    async def memories(ctx: Any) -> None:
        """The group's sums, SUMS_LATENCY behind their number, and the parameter memory, 2 behind its address."""
        numbers, read = [0] * SUMS_LATENCY, Record(0, 0, 0)
        ports = (dut.column_needed, dut.address, dut.write, dut.write_address, dut.write_record)
        async for _, _, number, address, write, to, record in ctx.tick().sample(*ports):
            numbers = [number, *numbers[:-1]]
            ctx.set(dut.sums, sums[numbers[-1]]._asdict())
            ctx.set(dut.record, read._asdict())
            read = memory[address]
            if write:
                memory[to] = Record(record.mu, record.psi, record.beta)

    async def bench(ctx: Any) -> None:
        for group in groups:
            memory[:] = [Record(-1, 1, -1)] * CONFIG.channels
            memory[group.channel : group.channel + LANES] = group.records
            sums[:] = group.sums
            for name in SETTINGS:
                ctx.set(getattr(dut, name), getattr(group, name))
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            await ctx.tick().repeat(STAGES)
            want_memory = [Record(-1, 1, -1)] * CONFIG.channels
            noises = lanes_of(group.random, LANES)
            for column in range(LANES):
                given = group.sums[column], group.records[column]
                want, record = backward(group, *given, noises[column]) if group.backward else forward(group, *given)
                written = group.commit and not group.inference
                want_memory[group.channel + column] = record if written else group.records[column]
                assert ctx.get(dut.valid)
                assert not ctx.get(dut.done)
                assert ctx.get(dut.column) == column
                result = ctx.get(dut.result)
                assert {name: getattr(result, name) for name in want} == want, (group, column)
                await ctx.tick()
            assert ctx.get(dut.done)
            assert not ctx.get(dut.valid)
            assert memory == want_memory
            await ctx.tick()
            assert not ctx.get(dut.done)

    memory[:], sums[:] = [Record(0, 0, 0)] * CONFIG.channels, [Sums(0, 0, 0)] * LANES
    simulate(dut, bench, background=[memories])


def drawn(seed: int, **settings: Any) -> Group:
    """A group of random sums that some batch could have, small ones and large ones, and random records."""
    source = random.Random(seed)
    samples = settings.setdefault("samples", source.choice((64, 512, 64 * 49, source.randint(64, 1 << 18))))

    def total(largest: int) -> int:
        return min(samples * largest, TOTAL)

    def sums() -> Sums:
        largest = source.choice((3, 100, 10_000, largest_mean(samples)))
        first = source.randint(-total(largest), total(largest))
        signs = samples - 2 * source.randint(0, samples)
        if settings.get("backward"):
            return Sums(first, source.randint(-total(largest), total(largest)), signs)
        return Sums(first, source.randint(0, total(2 * largest)), 0)

    def record() -> Record:
        largest = source.choice((3, 1000, SUM * ONE))
        beta = source.choice((-TOP, TOP - 1, 0, source.randrange(-TOP, TOP)))
        return Record(source.randint(-largest, largest), source.randint(0, 2 * largest), beta * 16 + source.randrange(16))

    fields = {
        "decay": source.randrange(4),
        "rate": source.randrange(1 << 16),
        "sign_sgd": source.randrange(2),
        "random": source.randrange(1 << 64),
        "channel": source.randrange(0, CONFIG.channels, LANES),
    }
    return Group([sums() for _ in range(LANES)], [record() for _ in range(LANES)], **{**fields, **settings})


def largest_mean(samples: int) -> int:
    """Of sums: a reciprocal that is rounded up makes means larger by one in 2**17, and they must fit 28 bits."""
    return SUM if samples & samples - 1 == 0 else SUM - 32


SMALL = [Sums(TOTAL, TOTAL, 1 << 18), Sums(-TOTAL, 0, -(1 << 18)), Sums(-1, 1, -1), Sums(500_000, 500_001, 1)]
SAMPLES = [64, 65, 96, 512, 64 * 196, 127 * 1024, 1 << 18]


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("decay", [0, 1, 2, 3])
def test_forward_gives_thresholds_of_the_batch_and_moves_the_averages(samples: int, decay: int) -> None:
    check(*(drawn(seed, samples=samples, decay=decay) for seed in range(20)))


def test_inference_uses_the_moving_averages_and_leaves_them() -> None:
    check(*(drawn(seed, inference=True) for seed in range(30)))


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("sign_sgd", [False, True])
def test_backward_gives_the_means_to_subtract_and_moves_beta(samples: int, sign_sgd: bool) -> None:
    check(*(drawn(seed, backward=True, samples=samples, sign_sgd=sign_sgd) for seed in range(20)))


@pytest.mark.parametrize("backward", [False, True])
def test_without_commit_the_memory_stays_and_the_results_are_the_same(backward: bool) -> None:
    check(*(drawn(seed, backward=backward, commit=seed % 2) for seed in range(20)))


@pytest.mark.parametrize("backward", [False, True])
def test_the_most_samples(backward: bool) -> None:
    """A million samples, whose totals still fit."""
    check(*(drawn(seed, backward=backward, samples=1_000_000 + seed)._replace(sums=SMALL) for seed in range(5)))


def test_forward_and_backward_groups_follow_each_other() -> None:
    check(*(drawn(seed, backward=seed % 3 == 1, inference=seed % 3 == 2) for seed in range(30)))


Corner = Callable[[int], Group]


def forward_corner(first: int, deviation: int, beta: int, **settings: int) -> Corner:
    """All columns with the same mean and deviation, for any number of samples; SUM stands for the largest there is."""

    def group(samples: int) -> Group:
        less = SUM - largest_mean(samples)
        mu, psi = (value - less * value // SUM for value in (first, deviation))
        sums = [Sums(mu * samples, psi * samples, 0)] * LANES
        return Group(sums, [Record(-SUM * ONE, 0, beta)] * LANES, samples=samples, **settings)

    return group


@pytest.mark.parametrize("samples", [64, 65, 127 * 1024, 1 << 17])
@pytest.mark.parametrize(
    "corner",
    [
        pytest.param(forward_corner(SUM, 2 * SUM, -TOP * 16), id="threshold and high beyond the largest sum"),
        pytest.param(forward_corner(-SUM, 2 * SUM, (TOP - 1) * 16), id="threshold and low beyond the smallest sum"),
        pytest.param(forward_corner(SUM, 0, 0), id="threshold at the largest sum"),
        pytest.param(forward_corner(-SUM, 0, 0), id="threshold at the smallest sum"),
        pytest.param(forward_corner(0, 0, -1), id="no deviation"),
        pytest.param(forward_corner(SUM, SUM, -16, decay=0), id="averages jump across their whole range"),
        pytest.param(forward_corner(SUM, 2 * SUM, 0x7FF, decay=1), id="averages halve the way"),
    ],
)
def test_forward_corners(corner: Corner, samples: int) -> None:
    check(corner(samples))


@pytest.mark.parametrize("samples", [64, 96, 512, 127 * 1024, 1 << 18])
@pytest.mark.parametrize("s1", [-1, 1])
@pytest.mark.parametrize("s2", [-1, 1])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_largest_gradients_have_exact_means(samples: int, s1: int, s2: int, share: float) -> None:
    largest = samples * largest_mean(samples)
    sums = Sums(s1 * largest, s2 * largest, 2 * int(samples * share) - samples)
    record = Record(SUM * ONE, 2 * SUM * ONE, -TOP * 16 if s1 > 0 else TOP * 16 - 1)
    group = Group([sums] * LANES, [record] * LANES, backward=True, samples=samples, rate=65535)
    check(group, group._replace(rate=0))


def test_beta_of_a_channel_without_gradients_moves_as_if_they_were_positive() -> None:
    """A channel whose images are all masked, or a lane without a channel."""
    group = drawn(3, backward=True, rate=5000)
    check(group._replace(sums=[Sums(0, 0, signs) for signs in (-64, -62, 62, 64)], samples=64))


def test_the_last_channels_of_the_memory_are_reached() -> None:
    check(drawn(1, channel=CONFIG.channels - LANES), drawn(2, channel=CONFIG.channels - LANES, backward=True))


def test_a_reset_ends_the_run() -> None:
    reset = Signal()
    unit = Parameters(CONFIG)

    async def bench(ctx: Any) -> None:
        ctx.set(unit.begin, 1)
        await ctx.tick()
        ctx.set(unit.begin, 0)
        await ctx.tick().repeat(STAGES - 2)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(STAGES + LANES + 2):
            assert not ctx.get(unit.valid)
            assert not ctx.get(unit.write)
            assert not ctx.get(unit.done)
            await ctx.tick()

    simulate(ResetInserter(reset)(unit), bench)
