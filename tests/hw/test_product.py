"""Products in parts against Python's."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import Module, Signal, signed
from amaranth.hdl import Shape
from hardware import simulate

from bnnedge.hw.product import LATENCY, product


def ends(shape: Shape) -> tuple[int, int]:
    """The smallest and the largest number."""
    return (-(1 << shape.width - 1), (1 << shape.width - 1) - 1) if shape.signed else (0, (1 << shape.width) - 1)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [(signed(40), signed(18)), (signed(48), Shape(17)), (Shape(28), signed(12)), (signed(25), signed(5))],
)
def test_all_corners_and_random_numbers(wide: Shape, narrow: Shape) -> None:
    source, m = random.Random(wide.width), Module()
    a, b = Signal(wide), Signal(narrow)
    found = product(m, a, b, "product")
    cases = [(x, y) for x in (*ends(wide), 0, 1, (1 << 22) - 1, 1 << 22) for y in (*ends(narrow), 0, 1)]
    cases += [(source.randint(*ends(wide)), source.randint(*ends(narrow))) for _ in range(200)]

    async def bench(ctx: Any) -> None:
        for x, y in cases:
            ctx.set(a, x)
            ctx.set(b, y)
            await ctx.tick().repeat(LATENCY)
            assert ctx.get(found) == x * y

    simulate(m, bench)
