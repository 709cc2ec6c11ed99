"""The stream of latent weights through the update against plain integers."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, Stall, lanes_of, moved, never, simulate, stalls, steady, stream_get, stream_put

from bnnedge.configuration import Configuration
from bnnedge.hw.heads.update import Update

CONFIGS = {
    (lanes, word): dataclasses.replace(TINY, lanes=lanes, latent=latent)
    for lanes in (4, 8, 16)
    for word, latent in ((16, 10), (12, 6))
}
by_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=[f"{lanes} lanes, {word} bits" for lanes, word in CONFIGS])


class Row(NamedTuple):
    """Q weight words, the signs of their gradients, and the row's random bits."""

    words: list[int]
    positive: int
    random: int

    def moved(self, rate: int, sign_sgd: bool, latent: int) -> Row:
        """The row with its new words."""
        lanes = len(self.words)
        noises = lanes_of(self.random, lanes)
        signs = [bool(self.positive >> j & 1) for j in range(lanes)]
        words = [moved(*one, rate, sign_sgd=sign_sgd, latent=latent) for one in zip(self.words, signs, noises, strict=True)]
        return self._replace(words=words)

    @property
    def signs(self) -> int:
        """The binary weights: 1 where the weight is not negative."""
        return sum((word >> 15 ^ 1) << j for j, word in enumerate(self.words))


def beats(rows: list[Row], size: int) -> list[int]:
    """The words of the rows, `size` bits each, side by side from the lowest bit on."""
    words = [word & (1 << size) - 1 for row in rows for word in row.words]
    bits = sum(word << size * i for i, word in enumerate(words))
    return [bits >> start & (1 << 64) - 1 for start in range(0, len(words) * size, 64)]


def drawn(count: int, config: Configuration, source: random.Random) -> list[Row]:
    """Random rows; every third weight is about to change its sign."""
    lanes, top = config.lanes, 64 * config.latent_top

    def word(j: int) -> int:
        return source.choice((0x001F, 0xFFE0, 0x0040)) if j % 3 == 0 else source.randrange(-top, top) % (1 << 16)

    def row() -> Row:
        return Row([word(j) for j in range(lanes)], source.randrange(1 << lanes), source.randrange(1 << 64))

    return [row() for _ in range(count)]


def collector(dut: Update, found: list[int]) -> Any:
    """A background bench that keeps the signs of finished rows."""

    async def collect(ctx: Any) -> None:
        async for _, _, shift, signs in ctx.tick().sample(dut.shift, dut.signs):
            if shift:
                found.append(signs)

    return collect


def check(
    config: Configuration,
    rows: list[Row],
    rate: int,
    *,
    sign_sgd: bool = False,
    stall: tuple[Stall, Stall, Stall] = (never, never, never),
) -> int:
    """Send rows and beats, compare words and signs; return the cycles from the first beat sent to the last received."""
    dut = Update(config)
    found: list[int] = []
    cycles = 0

    async def send_rows(ctx: Any) -> None:
        payloads = ({"positive": row.positive, "random": row.random} for row in rows)
        await stream_put(ctx, dut.rows, payloads, stall[0])

    async def send_beats(ctx: Any) -> None:
        await stream_put(ctx, dut.old, beats(rows, config.weight_word), stall[1])

    async def receive(ctx: Any) -> None:
        ctx.set(dut.rate, rate)
        ctx.set(dut.sign_sgd, sign_sgd)
        want = [row.moved(rate, sign_sgd, config.latent) for row in rows]
        found_beats = await stream_get(ctx, dut.new, len(rows) // config.lanes * config.tile_beats, stall[2])
        assert found_beats == beats(want, config.weight_word)
        assert found == [row.signs for row in want]

    async def count(ctx: Any) -> None:
        nonlocal cycles
        async for _ in ctx.tick():
            cycles += 1

    simulate(dut, send_rows, send_beats, receive, background=[collector(dut, found), steady(dut.new), count])
    return cycles


@by_config
@pytest.mark.parametrize("sign_sgd", [False, True])
@pytest.mark.parametrize("rate", [0, 200, 65535])
def test_rows_move(config: Configuration, sign_sgd: bool, rate: int) -> None:
    rows = drawn(16, config, random.Random(rate))
    check(config, rows, rate, sign_sgd=sign_sgd)


@by_config
@pytest.mark.parametrize("slowest", [0, 1, 2])
def test_nothing_is_lost_under_stalls_of_rows_memory_and_writer(config: Configuration, slowest: int) -> None:
    chances = [0.8 if i == slowest else 0.3 for i in range(3)]
    first, second, third = (stalls(10 * slowest + i, chance) for i, chance in enumerate(chances))
    check(config, drawn(32, config, random.Random(slowest)), 3000, stall=(first, second, third))


@by_config
def test_four_words_move_every_cycle(config: Configuration) -> None:
    rows = drawn(32, config, random.Random(1))
    assert check(config, rows, 500) <= 32 * config.lanes // 4 + 5


def test_a_row_that_waits_for_memory_counts_as_stalled() -> None:
    config = CONFIGS[8, 16]
    dut = Update(config)
    row = drawn(1, config, random.Random(2))[0]

    async def bench(ctx: Any) -> None:
        assert not ctx.get(dut.stalled)
        ctx.set(dut.rows.payload, {"positive": row.positive, "random": row.random})
        ctx.set(dut.rows.valid, 1)
        assert ctx.get(dut.stalled)
        assert not ctx.get(dut.rows.ready)
        ctx.set(dut.old.valid, 1)
        assert not ctx.get(dut.stalled)
        await ctx.tick().repeat(3)
        ctx.set(dut.rows.valid, 0)
        assert ctx.get(dut.new.valid)
        assert not ctx.get(dut.stalled)
        ctx.set(dut.rows.valid, 1)
        assert ctx.get(dut.stalled), "there is no room for another beat"

    simulate(dut, bench)


@pytest.mark.parametrize("word", [16, 12])
def test_a_reset_forgets_the_beats_of_an_unfinished_row(word: int) -> None:
    config, reset = CONFIGS[16, word], Signal()
    dut = Update(config)
    found: list[int] = []
    broken, whole = drawn(2, config, random.Random(3))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.rate, 100)
        ctx.set(dut.rows.payload, {"positive": broken.positive, "random": broken.random})
        ctx.set(dut.rows.valid, 1)
        ctx.set(dut.old.valid, 1)
        await ctx.tick().repeat(3)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(dut.new.valid)
        ctx.set(dut.rows.payload, {"positive": whole.positive, "random": whole.random})
        ctx.set(dut.new.ready, 1)
        await stream_put(ctx, dut.old, beats([whole], word), never)
        await ctx.tick()
        ctx.set(dut.rows.valid, 0)
        await ctx.tick().repeat(5)
        assert found == [whole.moved(100, False, config.latent).signs]

    simulate(ResetInserter(reset)(dut), bench, background=[collector(dut, found)])
