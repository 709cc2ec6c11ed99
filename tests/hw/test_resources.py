"""The list of memories is that of the hardware; their block RAMs are counted as synthesis does."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import pytest
from hardware import TINY

from bnnedge.configuration import CONFIGURATIONS
from bnnedge.hw.generate import to_verilog
from bnnedge.hw.resources import SMALLEST, Memory, block_rams, memories

CONFIG = dataclasses.replace(TINY, left_depth=320, right_depth=576, tile_rows=512, channels=2048)


def test_every_large_memory_of_the_hardware_is_listed() -> None:
    declared = re.findall(r"^ *reg \[(\d+):0\] (\S+) +\[(\d+):0\];", to_verilog(CONFIG), re.MULTILINE)
    found = Counter(
        (int(words) + 1, int(bits) + 1)
        for bits, name, words in declared
        if int(words) + 1 >= SMALLEST and name not in ("exp2", "log2", "reciprocals")
    )
    expected: Counter[tuple[int, int]] = Counter()
    for memory in memories(CONFIG):
        expected[memory.words, memory.bits] += memory.count
    assert found == expected


def test_small_memories_take_no_block_ram() -> None:
    large = {memory.name for memory in memories(TINY) if not memory.name.startswith("softmax")}
    assert large == {"labels"}


@pytest.mark.parametrize(
    ("words", "bits", "expected"),
    [(512, 36, 0.5), (512, 37, 1), (513, 36, 1), (1024, 18, 0.5), (4096, 32, 4), (3072, 32, 3), (1536, 64, 3), (512, 432, 6)],
)
def test_block_rams_of_a_memory(words: int, bits: int, expected: float) -> None:
    assert Memory("some", words, bits).block_rams == expected
    assert Memory("some", words, bits, count=3, ports=2).block_rams == 6 * expected


def test_block_rams_of_the_configurations() -> None:
    assert block_rams(CONFIGURATIONS["pynq-z2"]) == 133
    assert block_rams(CONFIGURATIONS["pynq-z2-x64"]) == 139
