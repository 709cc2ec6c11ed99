"""The memory port: transfers of the accelerator's masters arrive at an AXI3 memory, as its high-performance port wants them."""

from __future__ import annotations

from typing import Any

from amaranth import ClockDomain, Module
from amaranth.lib import wiring
from axi import AxiMemory
from hardware import simulate, stalls, stream_get, stream_put

from bnnedge.boards.zynq.axi3 import MemoryPort
from bnnedge.hw.bus.axi import Axi4
from bnnedge.hw.bus.read import ReadMaster
from bnnedge.hw.bus.write import WriteMaster

BEATS = 70


def test_transfers_pass_both_ways() -> None:
    m = Module()
    m.submodules.port = port = MemoryPort()
    m.submodules.reader = reader = ReadMaster(1)
    m.submodules.writer = writer = WriteMaster()
    for name, member in Axi4().members.items():
        master = writer.axi if name[0] in "wb" or name.startswith("aw") else reader.axi
        outer, inner = getattr(port.axi4, name), getattr(master, name)
        m.d.comb += outer.eq(inner) if member.flow == wiring.Out else inner.eq(outer)
    memory = AxiMemory(port.axi3, stalls(1, 0.3))
    values = [(i << 56) + i for i in range(BEATS)]

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, writer.transfer, [{"address": 0x1008, "beats": BEATS}])
        await stream_put(ctx, writer.beat, values)
        await ctx.tick().until(writer.done)
        await stream_put(ctx, reader.transfer_0, [{"address": 0x1000, "beats": BEATS + 2}])
        found = await stream_get(ctx, reader.beat_0, BEATS + 2)
        assert found == [memory.initial(0x1000), *values, memory.initial(0x1008 + 8 * BEATS)]

    async def rules(ctx: Any) -> None:
        a = port.axi3
        async for _, _, *sampled in ctx.tick().sample(a.awid, a.wid, a.arid, a.awcache, a.arcache, a.awlock, a.arlock):
            assert sampled == [0, 0, 0, 3, 3, 0, 0]

    simulate(m, bench, background=[*memory.benches(), rules])


def test_an_error_comes_back() -> None:
    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.port = port = MemoryPort()

    async def bench(ctx: Any) -> None:
        ctx.set(port.axi3.bresp, 2)
        ctx.set(port.axi3.rresp, 3)
        ctx.set(port.axi3.rlast, 1)
        await ctx.tick()
        assert (ctx.get(port.axi4.bresp), ctx.get(port.axi4.rresp), ctx.get(port.axi4.rlast)) == (2, 3, 1)

    simulate(m, bench)
