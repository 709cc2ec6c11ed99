"""Semaphores count; a queue lets an instruction go when all its tokens are there, and takes each once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import Module
from hardware import simulate, stalls, steady, stream_get, stream_put

from bnnedge import isa
from bnnedge.hw.control.queue import DEPTHS, Queue, Semaphores
from bnnedge.hw.layouts import TRANSFER

pytestmark = pytest.mark.usefixtures("left_behind")


def test_semaphores_count_what_all_units_give_and_queues_take() -> None:
    dut, source = Semaphores(takers=3, givers=4), random.Random(1)
    most = (1 << isa.TOKEN_BITS) - 1
    counts = [0] * isa.SEMAPHORES

    async def bench(ctx: Any) -> None:
        for _ in range(1000):
            takes, gives = [0] * 3, [0] * 4
            for bit in range(isa.SEMAPHORES):
                if counts[bit] and source.random() < 0.6:
                    takes[source.randrange(3)] |= 1 << bit
                    counts[bit] -= 1
                for i in range(4):
                    if counts[bit] < most and source.random() < 0.2:
                        gives[i] |= 1 << bit
                        counts[bit] += 1
            for i, value in enumerate(takes):
                ctx.set(getattr(dut, f"take_{i}"), value)
            for i, value in enumerate(gives):
                ctx.set(getattr(dut, f"give_{i}"), value)
            await ctx.tick()
            assert ctx.get(dut.there) == sum((count > 0) << bit for bit, count in enumerate(counts))

    simulate(dut, bench)


def test_a_semaphore_holds_fifteen_tokens() -> None:
    dut, taken = Semaphores(takers=1, givers=3), 0

    async def bench(ctx: Any) -> None:
        nonlocal taken
        for i in range(3):
            ctx.set(getattr(dut, f"give_{i}"), 0x80)
        await ctx.tick().repeat(5)
        for i in range(3):
            ctx.set(getattr(dut, f"give_{i}"), 0)
        while ctx.get(dut.there):
            ctx.set(dut.take_0, ctx.get(dut.there))
            await ctx.tick()
            taken += 1

    simulate(dut, bench)
    assert taken == 15


@pytest.mark.parametrize("seed", range(4))
def test_an_instruction_leaves_with_all_its_tokens(seed: int) -> None:
    dut, source = Queue(TRANSFER, depth=2 + seed), random.Random(seed)
    sent = [{"base": i, "wait": source.choice((0, 0, 1, 0x81, 0xFF, source.getrandbits(8)))} for i in range(40)]
    counts = [0] * isa.SEMAPHORES
    taken: list[int] = []

    async def tokens(ctx: Any) -> None:
        while True:
            for bit in range(isa.SEMAPHORES):
                counts[bit] += source.random() < 0.2
            ctx.set(dut.there, sum((count > 0) << bit for bit, count in enumerate(counts)))
            _, _, take, waiting, valid = await ctx.tick().sample(dut.take, dut.waiting, dut.order.valid)
            for bit in range(isa.SEMAPHORES):
                counts[bit] -= take >> bit & 1
            assert min(counts) >= 0
            assert not (waiting and valid)
            if take:
                assert waiting
                taken.append(take)

    async def send(ctx: Any) -> None:
        await stream_put(ctx, dut.instruction, sent, stalls(seed + 10, 0.3))

    async def receive(ctx: Any) -> None:
        for number, (instruction, order) in enumerate(
            zip(sent, await stream_get(ctx, dut.order, len(sent), stalls(seed + 20)), strict=True)
        ):
            assert (order.base, order.wait) == (number, instruction["wait"])

    simulate(dut, send, receive, background=[tokens, steady(dut.order)])
    assert taken == [instruction["wait"] for instruction in sent if instruction["wait"]]


@pytest.mark.parametrize("depth", sorted(set(DEPTHS.values())))
def test_a_queue_holds_its_instructions_and_says_when_it_is_empty(depth: int) -> None:
    dut = Queue(TRANSFER, depth)

    async def bench(ctx: Any) -> None:
        assert ctx.get(dut.empty)
        await stream_put(ctx, dut.instruction, [{"wait": 2, "base": 0}])
        for _ in range(depth + 1):  # it is held wherever it stands on its way to the front
            assert not ctx.get(dut.empty)
            await ctx.tick()
        await stream_put(ctx, dut.instruction, ({"wait": 2, "base": i} for i in range(1, depth)))
        assert not ctx.get(dut.instruction.ready)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.waiting)
        assert not ctx.get(dut.order.valid)
        for i in range(depth):
            ctx.set(dut.there, 2)
            await ctx.tick()
            assert ctx.get(dut.order.valid)
            ctx.set(dut.there, 0)
            (order,) = await stream_get(ctx, dut.order, 1)
            assert order.base == i
            await ctx.tick().repeat(5)
            assert not ctx.get(dut.order.valid)  # the token was for one alone
            assert ctx.get(dut.empty) == (i == depth - 1)
        assert not ctx.get(dut.waiting)

    simulate(dut, bench)


def test_two_queues_take_turns_by_semaphores() -> None:
    top = Module()
    top.submodules.semaphores = semaphores = Semaphores(takers=2, givers=2)
    queues, turns = (Queue(TRANSFER, depth=2), Queue(TRANSFER, depth=4)), []
    for i, queue in enumerate(queues):
        top.submodules[f"queue_{i}"] = queue
        done = queue.order.valid & queue.order.ready
        top.d.comb += [
            queue.there.eq(semaphores.there),
            getattr(semaphores, f"take_{i}").eq(queue.take),
            getattr(semaphores, f"give_{i}").eq(done.replicate(isa.SEMAPHORES) & queue.order.payload.signal),
        ]
    # Each waits for the other's token; the first instruction of queue 0 needs none.
    programs = [
        [{"wait": 2 if i else 0, "signal": 1, "base": i} for i in range(10)],
        [{"wait": 1, "signal": 2, "base": i} for i in range(10)],
    ]
    benches = []
    for i, queue in enumerate(queues):

        async def send(ctx: Any, i: int = i, queue: Queue = queue) -> None:
            await stream_put(ctx, queue.instruction, programs[i], stalls(i, 0.3))

        async def work(ctx: Any, i: int = i, queue: Queue = queue) -> None:
            for _ in range(10):
                (order,) = await stream_get(ctx, queue.order, 1, stalls(i + 5, 0.7))
                turns.append((order.base, i))

        benches += [send, work]
    simulate(top, *benches)
    assert turns == [(number, i) for number in range(10) for i in range(2)]
