"""Read master: each client gets its data in order, whatever memory and the other clients do."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from axi import AxiMemory
from hardware import simulate, stalls, steady, stream_get, stream_put

from bnnedge.hw.bus.read import OUTSTANDING, QUEUE_BEATS, ReadMaster

pytestmark = pytest.mark.usefixtures("left_behind")

Transfer = tuple[int, int]


def as_payload(transfer: Transfer) -> dict[str, int]:
    return {"address": transfer[0], "beats": transfer[1]}


def content(transfers: list[Transfer]) -> list[int]:
    return [AxiMemory.initial(address + 8 * i) for address, beats in transfers for i in range(beats)]


def always_ready(dut: ReadMaster) -> Any:
    async def watch(ctx: Any) -> None:
        async for _, _, valid, ready in ctx.tick().sample(dut.axi.rvalid, dut.axi.rready):
            assert ready or not valid, "the port holds back data"

    return watch


@pytest.mark.parametrize("clients", [1, 2, 3])
@pytest.mark.parametrize(("memory_stall", "client_stall"), [(0, 0), (0.6, 0), (0, 0.8), (0.5, 0.5)])
def test_each_client_gets_its_data_in_order(clients: int, memory_stall: float, client_stall: float) -> None:
    dut, source = ReadMaster(clients), random.Random(clients)
    memory = AxiMemory(dut.axi, stalls(1, memory_stall))
    transfers = [[(8 * source.randrange(1 << 16), source.randrange(40)) for _ in range(8)] for _ in range(clients)]
    transfers[0] += [(0xF8, 1), (0x0, 1), (0x1000, 16), (0x1000, 100)]
    found: dict[int, list[int]] = {}
    benches, background = [], [*memory.benches(), always_ready(dut)]
    for i in range(clients):
        requests, beats = getattr(dut, f"transfer_{i}"), getattr(dut, f"beat_{i}")

        async def send(ctx: Any, i: int = i, requests: Any = requests) -> None:
            await stream_put(ctx, requests, map(as_payload, transfers[i]), stalls(10 + i, client_stall))

        async def receive(ctx: Any, i: int = i, beats: Any = beats) -> None:
            found[i] = await stream_get(ctx, beats, len(content(transfers[i])), stalls(20 + i, client_stall))

        benches += [send, receive]
        background.append(steady(beats))
    simulate(dut, *benches, background=background)
    assert found == {i: content(transfers[i]) for i in range(clients)}
    assert memory.pending == 0


def test_a_client_that_does_not_read_fills_its_queue_and_stops_no_other() -> None:
    dut = ReadMaster(2)
    memory = AxiMemory(dut.axi)

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer_0, [as_payload((0, 200))])
        await ctx.tick().repeat(200)
        assert sum(beats for _, beats in memory.reads) == QUEUE_BEATS
        await stream_put(ctx, dut.transfer_1, [as_payload((0x8000, 150))])
        assert await stream_get(ctx, dut.beat_1, 150) == content([(0x8000, 150)])
        assert await stream_get(ctx, dut.beat_0, 200) == content([(0, 200)])

    simulate(dut, bench, background=[*memory.benches(), always_ready(dut)])


def test_the_lowest_client_goes_first() -> None:
    dut = ReadMaster(2)
    memory = AxiMemory(dut.axi)

    async def bench(ctx: Any) -> None:
        for i, stream in enumerate((dut.transfer_0, dut.transfer_1)):
            ctx.set(stream.payload, as_payload((0x1000 * i, 48)))
            ctx.set(stream.valid, 1)
        await ctx.tick()
        for stream in (dut.transfer_0, dut.transfer_1):
            ctx.set(stream.valid, 0)
        await ctx.tick().repeat(30)
        assert [address for address, _ in memory.reads] == [0, 0x80, 0x100, 0x1000, 0x1080, 0x1100]

    simulate(dut, bench, background=memory.benches())


def test_a_burst_is_fetched_every_other_cycle_without_stalls() -> None:
    dut = ReadMaster(1)
    memory = AxiMemory(dut.axi)
    cycles = 0

    async def count(ctx: Any) -> None:
        nonlocal cycles
        async for _ in ctx.tick():
            cycles += 1

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer_0, [as_payload((0, 1600))])
        await stream_get(ctx, dut.beat_0, 1600)

    simulate(dut, bench, background=[*memory.benches(), count])
    assert cycles < 1600 + 20  # the data channel never waits for an address


@pytest.mark.parametrize("answers", [False, True])
def test_no_more_bursts_than_promised_are_outstanding(answers: bool) -> None:
    dut = ReadMaster(3)  # two clients can have 8 bursts of 16 beats together
    memory = AxiMemory(dut.axi, stall=lambda: False)
    benches = memory.benches()
    if not answers:
        benches.remove(memory._read_data)

    async def bench(ctx: Any) -> None:
        for i in range(3):
            await stream_put(ctx, getattr(dut, f"transfer_{i}"), [as_payload((0x1000 * i, 200))])
        await ctx.tick().repeat(100)
        assert len(memory.reads) == (3 * QUEUE_BEATS // 16 if answers else OUTSTANDING)

    simulate(dut, bench, background=benches)


@pytest.mark.parametrize("stall", [0, 0.7])
def test_flush_ends_what_is_outstanding_and_starts_nothing(stall: float) -> None:
    reset = Signal()
    dut = ReadMaster(2)
    memory = AxiMemory(dut.axi, stalls(5, stall))

    async def bench(ctx: Any) -> None:
        assert ctx.get(dut.idle)
        for i in range(2):
            await stream_put(ctx, getattr(dut, f"transfer_{i}"), [as_payload((0x1000 * i, 200))])
        await ctx.tick().repeat(9)
        assert not ctx.get(dut.idle)
        issued, waiting = len(memory.reads), ctx.get(dut.axi.arvalid)
        ctx.set(dut.flush, 1)
        await ctx.tick().until(dut.idle)
        await ctx.tick().repeat(50)
        assert memory.pending == 0
        assert len(memory.reads) == issued + waiting
        assert ctx.get(dut.idle)
        # A reset makes a fresh one of it.
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.flush, 0)
        await stream_put(ctx, dut.transfer_1, [as_payload((0x5000, 70))])
        assert await stream_get(ctx, dut.beat_1, 70) == content([(0x5000, 70)])

    simulate(ResetInserter(reset)(dut), bench, background=memory.benches())


def test_idle_means_that_nothing_is_outstanding() -> None:
    dut = ReadMaster(1)
    memory = AxiMemory(dut.axi, stalls(4, 0.5))

    async def bench(ctx: Any) -> None:
        for beats in (1, 16, 3, 40, 1):
            await stream_put(ctx, dut.transfer_0, [as_payload((0x100, beats))])
            await stream_get(ctx, dut.beat_0, beats)

    async def watch(ctx: Any) -> None:
        async for _, _, idle, valid, data in ctx.tick().sample(dut.idle, dut.axi.arvalid, dut.axi.rvalid):
            assert not idle or not (valid or data or memory.pending)

    simulate(dut, bench, background=[watch, *memory.benches()])


def test_errors_tell_the_address_of_their_burst() -> None:
    dut, failing = ReadMaster(2), (0x1080, 0x2000)
    memory = AxiMemory(dut.axi, stalls(6, 0.3), failing)
    found: list[int] = []

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.transfer_0, [as_payload((0x1008, 40))])
        await stream_put(ctx, dut.transfer_1, [as_payload((0x2000, 3))])
        await stream_get(ctx, dut.beat_0, 40)
        await stream_get(ctx, dut.beat_1, 3)
        await ctx.tick().repeat(3)

    async def watch(ctx: Any) -> None:
        async for _, _, error, address in ctx.tick().sample(dut.error, dut.error_address):
            if error:
                found.append(address)

    simulate(dut, bench, background=[*memory.benches(), watch])
    assert sorted(found) == [0x1080] * 16 + [0x2000] * 3
