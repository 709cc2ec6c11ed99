"""Words of one width as words of another: no bit is lost, none is late."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import Stall, never, simulate, stalls, steady, stream_get, stream_put

from bnnedge.hw.gearbox import Gearbox

pytestmark = pytest.mark.usefixtures("left_behind")

SIZES = pytest.mark.parametrize(("wide_in", "wide_out"), [(64, 48), (48, 64), (8, 8), (24, 8), (8, 24), (10, 4), (6, 9)])


def words(bits: int, count: int, size: int) -> list[int]:
    return [bits >> size * i & (1 << size) - 1 for i in range(count)]


def run(wide_in: int, wide_out: int, stall: tuple[Stall, Stall]) -> int:
    """Send as many bits as make 24 words of both sizes, compare; return the cycles."""
    dut, total, cycles = Gearbox(wide_in, wide_out), 24 * wide_in * wide_out, 0
    bits = random.Random(wide_in).getrandbits(total)

    async def send(ctx: Any) -> None:
        await stream_put(ctx, dut.i, words(bits, 24 * wide_out, wide_in), stall[0])

    async def receive(ctx: Any) -> None:
        assert await stream_get(ctx, dut.o, 24 * wide_in, stall[1]) == words(bits, 24 * wide_in, wide_out)

    async def count(ctx: Any) -> None:
        nonlocal cycles
        async for _ in ctx.tick():
            cycles += 1

    simulate(dut, send, receive, background=[steady(dut.o), count])
    return cycles


@SIZES
@pytest.mark.parametrize("seed", [1, 2])
def test_the_bits_stay_in_order_under_stalls(wide_in: int, wide_out: int, seed: int) -> None:
    run(wide_in, wide_out, (stalls(seed, 0.3 * seed), stalls(seed + 7, 0.6 / seed)))


@SIZES
def test_the_narrower_side_moves_every_cycle(wide_in: int, wide_out: int) -> None:
    assert run(wide_in, wide_out, (never, never)) <= 24 * max(wide_in, wide_out) + 2


@pytest.mark.parametrize(("wide_in", "wide_out"), [(64, 48), (48, 64)])
def test_a_reset_forgets_what_is_held(wide_in: int, wide_out: int) -> None:
    reset = Signal()
    dut = Gearbox(wide_in, wide_out)

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.i, [(1 << wide_in) - 1] if wide_in < wide_out else [], never)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.i.payload, 5)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        if wide_in < wide_out:
            await ctx.tick()
        assert ctx.get(dut.o.valid)
        assert ctx.get(dut.o.payload) == (5 if wide_in > wide_out else 5 << 48 & (1 << 64) - 1 | 5)

    simulate(ResetInserter(reset)(dut), bench)
