"""What the tests of hardware units share: a tiny configuration, a simulator that ends, streams with random stalls."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from amaranth import Module
from amaranth.hdl import Fragment, Value
from amaranth.sim import Simulator

from bnnedge.configuration import Configuration
from bnnedge.hw.checks import CHECKED

TINY = Configuration(name="tiny", lanes=4, word=16, left_depth=64, right_depth=64, tile_rows=64, channels=64)

Bench = Callable[[Any], Awaitable[None]]
Stall = Callable[[], bool]


def never() -> bool:
    """A stall that never comes."""
    return False


def stalls(seed: int, chance: float = 0.5) -> Stall:
    """A stall that comes with this chance in each cycle; equal seeds give equal stalls."""
    source = random.Random(seed)
    return lambda: source.random() < chance


def simulate(dut: Any, *benches: Bench, background: Iterable[Bench] = (), limit: int = 20_000, checked: bool = True) -> None:
    """Run the benches to their end, or fail after `limit` cycles. The design has its assertions, if `checked`.

    `background` benches go on until then. In each cycle they act before the others, all in the order given.
    """

    async def watchdog(ctx: Any) -> None:
        for _ in range(limit):
            await ctx.tick()
        raise AssertionError(f"the simulation has not ended after {limit} cycles")

    top = Module()
    top.submodules.dut = dut
    simulator = Simulator(Fragment.get(top, CHECKED if checked else None))
    simulator.add_clock(1e-8)
    for bench in (watchdog, *background):
        simulator.add_testbench(bench, background=True)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


async def wait_for(ctx: Any, condition: Any, *samples: Any) -> list[Any]:
    """Let cycles pass until `condition` holds at a clock edge; return the samples of that edge.

    For `ctx.tick().sample(...).until(...)`, which, like `repeat`, complains when a bench left running is dropped.
    """
    while True:
        _, _, holds, *values = await ctx.tick().sample(condition, *samples)
        if holds:
            return values


async def stream_put(ctx: Any, stream: Any, values: Iterable[Any], stall: Stall = never) -> None:
    """Send all values."""
    for value in values:
        while stall():
            await ctx.tick()
        ctx.set(stream.payload, value)
        ctx.set(stream.valid, 1)
        await wait_for(ctx, stream.ready)
        ctx.set(stream.valid, 0)


async def stream_get(ctx: Any, stream: Any, count: int, stall: Stall = never) -> list[Any]:
    """Receive `count` values."""
    values = []
    for _ in range(count):
        while stall():
            await ctx.tick()
        ctx.set(stream.ready, 1)
        (value,) = await wait_for(ctx, stream.valid, stream.payload)
        ctx.set(stream.ready, 0)
        values.append(value)
    return values


def steady(stream: Any) -> Bench:
    """A background bench: once valid, the stream must stay so, with the same payload, until it is accepted."""

    async def watch(ctx: Any) -> None:
        waiting, before = False, None
        bits = Value.cast(stream.payload)
        async for _, _, valid, ready, payload in ctx.tick().sample(stream.valid, stream.ready, bits):
            if waiting:
                assert valid, "valid dropped before ready came"
                assert payload == before, "the payload changed before ready came"
            waiting, before = valid and not ready, payload

    return watch


def signed(value: int, bits: int) -> int:
    """The two's complement number in the low `bits` bits."""
    return (value & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)


def lanes_of(row: int, lanes: int) -> list[int]:
    """Random bits of the lanes in a row's 64: lane i reads the 16 that start at bit 4*i, cyclic."""
    return [(row | row << 64) >> 4 * i & 0xFFFF for i in range(lanes)]


def moved(word: int, positive: bool, noise: int, rate: int, *, sign_sgd: bool = False, latent: int = 10) -> int:
    """A weight word after its update, in plain integers, as an unsigned 16-bit number.

    The moment k goes an eighth of the way to 31 or -32, then the weight moves by (2k + 1) * rate / 2**12 against it.
    """
    k, weight = signed(word, 6), signed(word >> 6, latent)
    target = 31 if positive else -32
    k = target if sign_sgd else k + (target - k + noise % 8) // 8
    weight -= ((2 * k + 1) * rate + noise // 16) // 4096
    top = 1 << latent - 1
    return (max(-top, min(weight, top - 1)) * 64 + k % 64) % (1 << 16)
