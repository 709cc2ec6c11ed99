"""The window multiplexer against shifts of integers."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from amaranth.sim import Simulator
from hardware import TINY

from bnnedge.formats import WINDOW_BITS
from bnnedge.hw.engine.window import Window


@pytest.mark.parametrize("word", [16, 32, 64])
def test_a_window_is_the_bits_from_shift_on_and_unshifted_words_pass(word: int) -> None:
    config = dataclasses.replace(TINY, word=word)
    source, dut = random.Random(word), Window(config)

    async def bench(ctx: Any) -> None:
        for shift in range(word):
            words = [source.choice((0, (1 << word) - 1, source.getrandbits(word))) for _ in range(config.lanes)]
            ctx.set(dut.words, words)
            ctx.set(dut.shift, shift)
            await ctx.delay(1e-9)
            for found, before in zip(ctx.get(dut.wanted), words, strict=True):
                assert (found ^ before >> shift) % (1 << WINDOW_BITS) == 0
                assert found >> WINDOW_BITS == before >> WINDOW_BITS

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
