"""The bit buffer against arrays of integers."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate

from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY, BankedBuffer, replicate

pytestmark = pytest.mark.usefixtures("left_behind")

CONFIGS = {
    "granules-4": TINY,
    "granules-1": dataclasses.replace(TINY, lanes=16),
    "granules-8": dataclasses.replace(TINY, lanes=8, word=64),
}
DEPTH = 24  # no power of two


def merged(old: int, new: int, mask: int, config: Configuration) -> int:
    """A word after a write of the granules in `mask`."""
    for granule in range(config.granules):
        if mask >> granule & 1:
            bits = (1 << config.lanes) - 1 << granule * config.lanes
            old = old & ~bits | new & bits
    return old


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_random_granules_go_to_their_banks_and_come_back(config: Configuration) -> None:
    source = random.Random(config.granules)
    dut = BankedBuffer(config, DEPTH)
    banks = [[0] * DEPTH for _ in range(config.lanes)]

    async def bench(ctx: Any) -> None:
        due: list[list[int] | None] = [None] * READ_LATENCY
        for _ in range(300):
            to, at = source.sample(range(DEPTH), 2)
            data = [source.getrandbits(config.word) for _ in banks]
            masks = [source.choice((0, source.getrandbits(config.granules))) for _ in banks]
            ctx.set(dut.address, at)
            ctx.set(dut.write.address, to)
            ctx.set(dut.write.data, data)
            ctx.set(dut.write.granules, masks)
            due.append([bank[at] for bank in banks])
            for bank, new, mask in zip(banks, data, masks, strict=True):
                bank[to] = merged(bank[to], new, mask, config)
            _, _, words = await ctx.tick().sample(dut.words)
            expected = due.pop(0)
            assert expected is None or list(words) == expected

    simulate(dut, bench)


def test_a_write_is_there_for_a_read_in_the_next_cycle() -> None:
    dut = BankedBuffer(TINY, DEPTH)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.address, DEPTH - 1)
        ctx.set(dut.write.address, DEPTH - 1)
        ctx.set(dut.write.data, [1, 2, 3, 0xFFFF])
        ctx.set(dut.write.granules, [15] * 4)
        await ctx.tick()
        ctx.set(dut.write.granules, [0] * 4)
        await ctx.tick().repeat(READ_LATENCY)
        assert list(ctx.get(dut.words)) == [1, 2, 3, 0xFFFF]

    simulate(dut, bench)


def test_a_reset_keeps_the_contents() -> None:
    reset = Signal()
    dut = BankedBuffer(TINY, DEPTH)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.write.data, [5, 6, 7, 8])
        ctx.set(dut.write.granules, [15] * 4)
        await ctx.tick()
        ctx.set(dut.write.granules, [0] * 4)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        await ctx.tick().repeat(READ_LATENCY)
        assert list(ctx.get(dut.words)) == [5, 6, 7, 8]

    simulate(ResetInserter(reset)(dut), bench)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_replicate_puts_a_granule_in_every_place(config: Configuration) -> None:
    assert len(replicate(Signal(config.lanes), config)) == config.word
