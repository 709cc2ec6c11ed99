"""Element addresses against Python's product."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hardware import simulate

from bnnedge.hw.control.element import ElementAddress

pytestmark = pytest.mark.usefixtures("left_behind")

M = 2**32


def test_all_bits_count_modulo_the_address_space() -> None:
    dut, source = ElementAddress(), random.Random(1)
    corners = (0, 1, 0xFFFF, 0x1_0000, M - 1)
    cases = [(base, number, stride) for base in corners for number in corners for stride in corners]
    cases += [(source.randrange(M), source.randrange(M), source.randrange(M)) for _ in range(50)]

    async def bench(ctx: Any) -> None:
        for base, number, stride in cases:
            for name, value in (("base", base), ("number", number), ("stride", stride)):
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.run, 1)
            assert not ctx.get(dut.done)
            await ctx.tick().repeat(3)
            assert ctx.get(dut.done)
            await ctx.tick()
            ctx.set(dut.run, 0)
            await ctx.tick().repeat(source.randrange(1, 4))
            assert not ctx.get(dut.done)
            assert ctx.get(dut.address) == (base + number * stride) % M

    simulate(dut, bench)
