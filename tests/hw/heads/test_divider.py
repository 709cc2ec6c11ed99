"""The division against Python's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hardware import simulate

from bnnedge import formats
from bnnedge.hw.heads.divider import Divider

pytestmark = pytest.mark.usefixtures("left_behind")


class TestDivider:
    """floor(log2(e) * 2**30 / divisor)."""

    @staticmethod
    async def divide(ctx: Any, dut: Divider, divisor: int) -> int:
        ctx.set(dut.divisor, divisor)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        await ctx.tick().until(dut.done)
        return int(ctx.get(dut.quotient))

    def test_quotients_are_exact_for_the_smallest_the_largest_and_other_divisors(self) -> None:
        dut = Divider()
        dividend = formats.LOG2_E << formats.RECIPROCAL
        random = np.random.default_rng(1)
        divisors = [64, 65, 2**28 - 1, 2**27, 1477, dividend // 7, *(random.integers(64, 2**28, 10).tolist())]
        divisors += [int(2**exponent) for exponent in random.uniform(6, 28, 20)]

        async def bench(ctx: Any) -> None:
            for divisor in divisors:
                assert await self.divide(ctx, dut, divisor) == dividend // divisor, divisor

        simulate(dut, bench)

    def test_done_comes_once_and_the_quotient_stays(self) -> None:
        dut = Divider()

        async def bench(ctx: Any) -> None:
            quotient = await self.divide(ctx, dut, 100)
            for _ in range(40):
                assert not ctx.get(dut.done)
                assert ctx.get(dut.quotient) == quotient
                await ctx.tick()

        simulate(dut, bench)

    def test_begin_drops_an_unfinished_division(self) -> None:
        dut = Divider()

        async def bench(ctx: Any) -> None:
            ctx.set(dut.begin, 1)
            ctx.set(dut.divisor, 77)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            await ctx.tick().repeat(13)
            assert await self.divide(ctx, dut, 300) == (formats.LOG2_E << formats.RECIPROCAL) // 300

        simulate(dut, bench)
