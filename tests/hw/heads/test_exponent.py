"""The exponents of a backward pass, layer by layer, against plain integers."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import simulate

from bnnedge.hw.heads.exponent import Exponent
from bnnedge.hw.heads.thresholds import RECORD_LATENCY

pytestmark = pytest.mark.usefixtures("left_behind")


class Layer(NamedTuple):
    """A layer's record, and what comes of its gradients."""

    exponent: int  # E
    unit: int  # A
    clips: int = 100
    clipped: int = 50
    large: int = 60


def expected(layer: Layer, above: int) -> tuple[int, int, int]:
    """The exponent e, the shift of the layer's unit, and its next E; the next A is `above`."""
    e = max(0, min(layer.exponent - above, 16))
    change = 1 if layer.clipped > layer.clips else -1 if layer.large <= layer.clips // 2 else 0
    return e, max(-8, min(layer.unit - above, 7)), above + e + change


def check(*steps: list[Layer]) -> None:
    """Run backward passes of several layers, the last layer first."""
    dut = Exponent()
    record: dict[str, int] = {}
    written: list[tuple[int, int]] = []

    async def parameters(ctx: Any) -> None:
        coming = [{"mu": 0x123, "centre": 0x456}] * (RECORD_LATENCY - 1)
        async for _, _, reading, write, new in ctx.tick().sample(dut.reading, dut.write, dut.write_record):
            coming.append(record if reading else {"mu": -5, "centre": -7})
            ctx.set(dut.record, coming.pop(0))
            if write:
                written.append((new.mu, new.centre))

    async def bench(ctx: Any) -> None:
        for layers in steps:
            above = 0
            for number, layer in enumerate(layers):
                record.update(mu=layer.exponent, centre=layer.unit)
                ctx.set(dut.order, {"clips": layer.clips})
                ctx.set(dut.top, number == 0)
                ctx.set(dut.open, 1)
                await ctx.tick()
                ctx.set(dut.open, 0)
                await ctx.tick().until(dut.opened)
                e, shift, following = expected(layer, above)
                for _ in range(3):
                    assert (ctx.get(dut.exponent), ctx.get(dut.shift)) == (e, shift), layer
                    await ctx.tick()
                assert not written
                ctx.set(dut.clipped, 0)
                ctx.set(dut.large, (1 << 32) - 1)
                await ctx.tick()
                ctx.set(dut.clipped, layer.clipped)
                ctx.set(dut.large, layer.large)
                ctx.set(dut.close, 1)
                await ctx.tick()
                ctx.set(dut.close, 0)
                await ctx.tick().until(dut.closed)
                assert written == [(following, above)], layer
                written.clear()
                above += e

    simulate(dut, bench, background=[parameters])


def drawn(source: random.Random) -> Layer:
    clips = source.choice((0, 1, 2, 255, source.randrange(1 << 32)))
    clipped = max(0, min(clips + source.choice((-clips, -1, 0, 1, source.randrange(1 << 20))), (1 << 32) - 1))
    large = max(clipped, min(clips // 2 + source.choice((-1, 0, 1, source.randrange(1 << 20))), (1 << 32) - 1))
    exponent, unit = (source.choice((0, 5, 40, source.randint(-60, 200))) for _ in range(2))
    return Layer(exponent, unit, clips, clipped, large)


@pytest.mark.parametrize("seed", range(6))
def test_layers_follow_each_other(seed: int) -> None:
    source = random.Random(seed)
    check(*([drawn(source) for _ in range(source.randint(1, 9))] for _ in range(5)))


@pytest.mark.parametrize("relative", [-9, -8, -1, 0, 1, 7, 8, 16, 17, 30_000, -30_000])
def test_exponent_and_shift_end_where_they_should(relative: int) -> None:
    top = Layer(3, 0)
    check([top, Layer(3 + relative, 3 + relative)])


MOST = (1 << 32) - 1


@pytest.mark.parametrize(
    ("clips", "clipped", "large"),
    [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 0), (8, 8, 9), (8, 9, 9), (8, 3, 4), (8, 4, 5), (MOST, MOST, MOST)],
)
def test_the_exponent_grows_and_shrinks_at_the_limits(clips: int, clipped: int, large: int) -> None:
    check([Layer(1, 2, clips, clipped, large), Layer(5, 6, clips, clipped, large)])


def test_a_reset_in_the_middle_leaves_nothing_behind() -> None:
    reset = Signal()
    unit = Exponent()

    async def bench(ctx: Any) -> None:
        for begin, waits in ((unit.open, 5), (unit.close, 1)):
            for wait in range(waits):
                ctx.set(begin, 1)
                await ctx.tick()
                ctx.set(begin, 0)
                if wait:
                    await ctx.tick().repeat(wait)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                for _ in range(8):
                    for output in (unit.reading, unit.opened, unit.write, unit.closed):
                        assert not ctx.get(output)
                    await ctx.tick()

    simulate(ResetInserter(reset)(unit), bench)
