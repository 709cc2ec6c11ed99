"""The accumulator of a group's sums against plain integers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import simulate

from bnnedge.hw.heads.accumulator import Accumulator

pytestmark = pytest.mark.usefixtures("left_behind")


@pytest.mark.parametrize(("width", "addend"), [(32, 22), (32, 23)])
def test_rows_add_up_with_their_signs_between_rows_that_do_not_count(width: int, addend: int) -> None:
    source, top = random.Random(addend), 1 << addend - 1
    reset = Signal()
    unit = Accumulator(width, addend)
    dut = ResetInserter(reset)(unit)

    async def bench(ctx: Any) -> None:
        for _ in range(2):  # the second time behind a reset in the middle of a sum
            total, due = 0, [0, 0]
            for cycle in range(300):
                first, step = cycle == 0 or source.random() < 0.05, cycle == 0 or source.random() < 0.7
                value, minus = source.choice((-top, top - 1, source.randrange(-top, top))), source.randrange(2)
                ctx.set(unit.addend, value)
                ctx.set(unit.first, first)
                ctx.set(unit.minus, minus)
                ctx.set(unit.step, step)
                if step:
                    total = (0 if first else total) + (-value if minus else value)
                await ctx.tick()
                due = [*due[1:], total]
                if cycle:
                    assert ctx.get(unit.sum) == due[0]
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)

    simulate(dut, bench)
