"""Write master: data reaches memory in order; `done`, `idle` and errors tell the truth."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from axi import AxiMemory
from hardware import simulate, stalls, stream_put

from bnnedge.hw.bus.write import OUTSTANDING, QUEUE_BEATS, WriteMaster

pytestmark = pytest.mark.usefixtures("left_behind")

Transfer = tuple[int, int]
CORNERS = [(0x1000, 16), (0xF8, 1), (0x0, 1), (0x2FF8, 34), (0x4000, 0), (0x5008, 15)]


def as_payload(transfer: Transfer) -> dict[str, int]:
    return {"address": transfer[0], "beats": transfer[1]}


def values(transfers: list[Transfer], seed: int = 1) -> list[int]:
    source = random.Random(seed)
    return [source.getrandbits(64) for _, beats in transfers for _ in range(beats)]


def places(transfers: list[Transfer]) -> list[int]:
    return [address + 8 * i for address, beats in transfers for i in range(beats)]


async def write(ctx: Any, dut: WriteMaster, transfers: list[Transfer], seed: int = 1) -> None:
    """Send transfers with their data behind them, 32 beats at a time."""
    data = values(transfers, seed)
    for transfer in transfers:
        await stream_put(ctx, dut.transfer, [as_payload(transfer)])
        await stream_put(ctx, dut.beat, data[: transfer[1]])
        data = data[transfer[1] :]


@pytest.mark.parametrize(("memory_stall", "client_stall"), [(0, 0), (0.6, 0), (0, 0.8), (0.5, 0.5)])
def test_data_reach_memory(memory_stall: float, client_stall: float) -> None:
    dut, source = WriteMaster(), random.Random(7)
    memory = AxiMemory(dut.axi, stalls(1, memory_stall))
    transfers = CORNERS + [(0x10000 + 0x1000 * i + 8 * source.randrange(256), source.randrange(60)) for i in range(8)]

    async def requests(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer, map(as_payload, transfers), stalls(2, client_stall))
        await ctx.tick()
        await ctx.tick().until(dut.done)

    async def beats(ctx: Any) -> None:
        await stream_put(ctx, dut.beat, values(transfers), stalls(3, client_stall))

    simulate(dut, requests, beats, background=memory.benches())
    assert memory.words == dict(zip(places(transfers), values(transfers), strict=True))
    assert memory.pending == 0


def test_an_address_waits_for_all_data_of_its_burst() -> None:
    dut = WriteMaster()
    memory = AxiMemory(dut.axi)

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer, [as_payload((0x1000, 20))])
        await stream_put(ctx, dut.beat, range(15))
        await ctx.tick().repeat(20)
        assert memory.writes == []
        assert not ctx.get(dut.done)
        await stream_put(ctx, dut.beat, [15])
        await ctx.tick().repeat(30)
        assert memory.writes == [(0x1000, 16)]
        assert not ctx.get(dut.done)
        assert ctx.get(dut.idle)

    simulate(dut, bench, background=memory.benches())


def test_data_may_come_before_their_transfer_until_the_queue_is_full() -> None:
    dut = WriteMaster()
    memory = AxiMemory(dut.axi)
    data = values([(0, 2 * QUEUE_BEATS)])

    async def beats(ctx: Any) -> None:
        await stream_put(ctx, dut.beat, data[: QUEUE_BEATS + 2])
        await ctx.tick().repeat(100)
        # No address without the data of its burst, though the last beats had to wait.
        assert memory.writes == [(0x1008, 15), (0x1080, 16), (0x1100, 16), (0x1180, 16)]
        await stream_put(ctx, dut.beat, data[QUEUE_BEATS + 2 :])

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(QUEUE_BEATS + 100)
        assert not ctx.get(dut.beat.ready)
        await stream_put(ctx, dut.transfer, [as_payload((0x1008, 2 * QUEUE_BEATS))])
        await ctx.tick().until(dut.done)

    simulate(dut, beats, bench, background=memory.benches())
    assert [memory.words[0x1008 + 8 * i] for i in range(2 * QUEUE_BEATS)] == data


def test_a_beat_is_written_every_cycle_without_stalls() -> None:
    dut = WriteMaster()
    memory = AxiMemory(dut.axi)
    first = last = cycle = 0

    async def watch(ctx: Any) -> None:
        nonlocal first, last, cycle
        async for _, _, valid in ctx.tick().sample(dut.axi.wvalid):
            cycle += 1
            if valid:
                first, last = first or cycle, cycle

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer, [as_payload((0, 800))])
        await stream_put(ctx, dut.beat, range(800))
        await ctx.tick().until(dut.done)

    simulate(dut, bench, background=[*memory.benches(), watch])
    assert last - first < 800 + 8


def test_no_more_than_the_promised_bursts_are_outstanding() -> None:
    dut = WriteMaster()
    memory = AxiMemory(dut.axi)
    benches = memory.benches()
    benches.remove(memory._responses)

    async def beats(ctx: Any) -> None:
        await stream_put(ctx, dut.beat, range(400))

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer, [as_payload((0, 400))])
        await ctx.tick().repeat(400)
        assert len(memory.writes) == OUTSTANDING

    simulate(dut, bench, background=[*benches, beats])


def test_done_comes_with_the_last_response() -> None:
    dut = WriteMaster()
    memory = AxiMemory(dut.axi, stalls(8, 0.6))

    async def bench(ctx: Any) -> None:
        assert ctx.get(dut.done)
        for number, transfer in enumerate([(0x100, 1), (0x178, 2), (0x200, 16), (0x288, 40)]):
            await write(ctx, dut, [transfer], number)
            await ctx.tick().until(dut.done)
            assert [memory.word(place) for place in places([transfer])] == values([transfer], number)

    async def watch(ctx: Any) -> None:
        axi = dut.axi
        async for _, _, idle, done, *valids in ctx.tick().sample(dut.idle, dut.done, axi.awvalid, axi.wvalid, axi.bvalid):
            assert not idle or not (any(valids) or memory.pending)
            assert idle or not done

    simulate(dut, bench, background=[watch, *memory.benches()])


@pytest.mark.parametrize("stall", [0, 0.7])
@pytest.mark.parametrize("before", [3, 16, 17, 33, 40])
def test_flush_ends_what_is_outstanding_and_starts_nothing(before: int, stall: float) -> None:
    reset = Signal()
    dut = WriteMaster()
    memory = AxiMemory(dut.axi, stalls(5, stall))

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer, [as_payload((0x1000, 200))])
        await stream_put(ctx, dut.beat, range(1, before + 1))
        issued, waiting = len(memory.writes), ctx.get(dut.axi.awvalid)
        ctx.set(dut.flush, 1)
        await stream_put(ctx, dut.beat, range(before + 1, QUEUE_BEATS + 1))
        while not ctx.get(dut.idle):
            await ctx.tick()
        await ctx.tick().repeat(50)
        assert ctx.get(dut.idle)
        assert memory.pending == 0
        assert len(memory.writes) == issued + waiting
        assert memory.words == {0x1000 + 8 * i: i + 1 for i in range(16 * len(memory.writes))}
        # A reset makes a fresh one of it.
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.flush, 0)
        await write(ctx, dut, [(0x8000, 50)])
        await ctx.tick().until(dut.done)
        assert [memory.word(place) for place in places([(0x8000, 50)])] == values([(0x8000, 50)])

    simulate(ResetInserter(reset)(dut), bench, background=memory.benches())


def test_errors_tell_the_address_of_their_burst() -> None:
    dut, found = WriteMaster(), []
    memory = AxiMemory(dut.axi, stalls(6, 0.3), failing=(0x1080, 0x2000))

    async def bench(ctx: Any) -> None:
        await write(ctx, dut, [(0x1008, 40), (0x2000, 3), (0x3000, 5)])
        await ctx.tick().until(dut.done)
        await ctx.tick().repeat(3)

    async def watch(ctx: Any) -> None:
        async for _, _, error, address in ctx.tick().sample(dut.error, dut.error_address):
            if error:
                found.append(address)

    simulate(dut, bench, background=[*memory.benches(), watch])
    assert found == [0x1080, 0x2000]
