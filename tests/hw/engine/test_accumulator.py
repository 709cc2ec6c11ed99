"""Two accumulators against Python's integers."""

from __future__ import annotations

import random
from typing import Any

from hardware import simulate

from bnnedge.hw.engine.accumulator import PairAccumulator

WIDTH, COUNT = 12, 6


def test_sums_begin_double_add_and_wait() -> None:
    dut = PairAccumulator(WIDTH, COUNT)
    source = random.Random(1)

    async def bench(ctx: Any) -> None:
        sums, pending = [0, 0], None
        for cycle in range(500):
            step = source.random() < 0.7
            ctx.set(dut.step, step)
            counts = [source.choice([0, source.getrandbits(COUNT), (1 << COUNT) - 1]) for _ in range(2)]
            first = cycle == 0 or source.random() < 0.2
            double = source.random() < 0.3  # counts for nothing beside `first`
            for port, count in zip(dut.counts, counts, strict=True):
                ctx.set(port, count)
            ctx.set(dut.first, first)
            ctx.set(dut.double, double)
            await ctx.tick()
            if pending and step:  # what stood at the inputs a cycle before
                begins, doubles, before = pending
                sums = [(0 if begins else 2 * s if doubles else s) + c for s, c in zip(sums, before, strict=True)]
                sums = [value % (1 << WIDTH) for value in sums]
            assert [ctx.get(port) for port in dut.sums] == sums
            pending = (first, double, counts)

    simulate(dut, bench)
