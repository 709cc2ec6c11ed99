"""Counts of agreeing bits against counting in Python."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hardware import simulate

from bnnedge.hw.popcount import Popcount, latency


def counts(word: int, pairs: list[tuple[int, int]]) -> list[int]:
    """What the unit answers to operands that come one pair a cycle, each `latency(word)` cycles later."""
    dut = Popcount(word)
    seen = []

    async def bench(ctx: Any) -> None:
        for left, right in pairs + [(0, 0)] * latency(word):
            ctx.set(dut.left, left)
            ctx.set(dut.right, right)
            _, _, count = await ctx.tick().sample(dut.count)
            seen.append(count)

    simulate(dut, bench)
    return seen[latency(word) :]


def agreeing(left: int, right: int, word: int) -> int:
    return word - (left ^ right).bit_count()


@pytest.mark.parametrize("word", [16, 32, 64])
def test_counts_agreeing_bits_of_random_words_back_to_back(word: int) -> None:
    source = random.Random(word)
    pairs = [(source.getrandbits(word), source.getrandbits(word)) for _ in range(100)]
    assert counts(word, pairs) == [agreeing(*pair, word) for pair in pairs]


@pytest.mark.parametrize("word", [16, 32, 64])
def test_counts_from_none_to_all(word: int) -> None:
    ones = (1 << word) - 1
    assert counts(word, [(0, 0), (ones, 0), (ones, ones), (0, ones)]) == [word, 0, word, 0]


@pytest.mark.parametrize("word", [16, 32, 64])
def test_every_bit_counts_once(word: int) -> None:
    ones = (1 << word) - 1
    assert counts(word, [(0, 1 << i) for i in range(word)]) == [word - 1] * word
    assert counts(word, [(1 << i, ones) for i in range(word)]) == [1] * word


@pytest.mark.parametrize("word", range(1, 13))
def test_other_widths_keep_the_stated_latency(word: int) -> None:
    source = random.Random(word)
    pairs = [(source.getrandbits(word), source.getrandbits(word)) for _ in range(10)]
    assert counts(word, pairs) == [agreeing(*pair, word) for pair in pairs]
