"""The update of one weight word against plain integers."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any, NamedTuple

import pytest
from amaranth import Cat, Module, Signal
from hardware import TINY, Stall, moved, never, signed, simulate, stalls

from bnnedge.hw.heads.weight import LATENCY, WeightUpdate

WORDS = 1 << 16


class Settings(NamedTuple):
    """What stays while words pass."""

    rate: int
    sign_sgd: bool = False
    latent: int = TINY.latent


class Case(NamedTuple):
    """One word, the sign of its gradient and its random bits."""

    word: int
    positive: bool
    random: int


def expected(case: Case, settings: Settings) -> int:
    """The new word."""
    return moved(*case, settings.rate, sign_sgd=settings.sign_sgd, latent=settings.latent)


def updated(cases: list[Case], settings: Settings, stall: Stall = never) -> list[int]:
    """New words of a pipeline that is fed without gaps and advances when it does not stall."""
    dut = WeightUpdate(dataclasses.replace(TINY, latent=settings.latent))
    found: list[int] = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.rate, settings.rate)
        ctx.set(dut.sign_sgd, settings.sign_sgd)
        for case in (*cases, *[Case(0, False, 0)] * LATENCY):
            for name, value in case._asdict().items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.advance, 0)
            while stall():
                await ctx.tick()
            ctx.set(dut.advance, 1)
            found.append(ctx.get(dut.updated))
            await ctx.tick()

    simulate(dut, bench)
    return found[LATENCY:]


def test_every_word_moves_against_either_sign_at_small_and_large_rates() -> None:
    word, noise = Signal(16), Signal(16)
    dut = Module()
    dut.d.sync += [word.eq(word + 1), noise.eq(noise * 5 + 12345)]
    units = list(itertools.product((37, 65535), (False, True)))
    outputs = []
    for i, (rate, positive) in enumerate(units):
        dut.submodules[f"unit_{i}"] = unit = WeightUpdate(TINY)
        dut.d.comb += [unit.advance.eq(1), unit.rate.eq(rate), unit.positive.eq(positive)]
        dut.d.comb += [unit.word.eq(word), unit.random.eq(noise)]
        outputs.append(unit.updated)
    found: list[int] = []

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(LATENCY)
        while len(found) < WORDS:
            found.append(ctx.get(Cat(outputs)))
            await ctx.tick()

    simulate(dut, bench, limit=WORDS + 10)
    noises = list(itertools.accumulate(range(WORDS - 1), lambda value, _: (value * 5 + 12345) % WORDS, initial=0))
    for i, (rate, positive) in enumerate(units):
        want = [expected(Case(w, positive, r), Settings(rate)) for w, r in enumerate(noises)]
        assert [words >> 16 * i & 0xFFFF for words in found] == want


@pytest.mark.parametrize("latent", [4, 7, 10])
@pytest.mark.parametrize("sign_sgd", [False, True])
@pytest.mark.parametrize("rate", [0, 1, 300, 65535])
def test_words_of_all_widths_move_under_either_optimiser_however_often_the_pipeline_stops(
    rate: int, sign_sgd: bool, latent: int
) -> None:
    source = random.Random(rate)
    settings = Settings(rate, sign_sgd, latent)
    top = 1 << latent - 1
    edges = [weight * 64 + k for weight in (-top, -top + 1, -1, 0, top - 2, top - 1) for k in range(64)]
    words = edges + [source.randrange(-top, top) * 64 + source.randrange(64) for _ in range(100)]
    cases = [Case(w % WORDS, bool(p), r) for w in words for p in (0, 1) for r in (0, source.randrange(WORDS), WORDS - 1)]
    assert updated(cases, settings, stalls(2, 0.2)) == [expected(case, settings) for case in cases]


def test_a_weight_stops_at_the_end_of_its_range() -> None:
    settings = Settings(rate=65535, sign_sgd=True)
    found = updated([Case(0x8000, True, 0), Case(0x7FFF, False, 0xFFFF)], settings)
    assert [signed(word >> 6, 10) for word in found] == [-512, 511]


def test_rate_zero_moves_nothing_but_the_moment() -> None:
    words = [0x1237, 0xFED8, 0x8000, 0x7FFF]
    found = updated([Case(word, True, 0xFFFF) for word in words], Settings(rate=0))
    assert [word >> 6 for word in found] == [word >> 6 for word in words]


def test_a_step_below_one_lsb_is_taken_with_its_probability() -> None:
    settings = Settings(rate=5, sign_sgd=True)  # 63 * 5 / 4096 LSB
    found = updated([Case(0, True, noise << 4) for noise in range(4096)], settings)
    assert sum(-signed(word >> 6, 10) for word in found) == 63 * 5
