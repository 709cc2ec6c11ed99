"""The register bridge against a plain walk through each burst, under random bursts and stalls on both sides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth import Cat, Module
from amaranth.lib import wiring
from hardware import TINY, Bench, Stall, never, simulate, stalls, steady, wait_for

from bnnedge.boards.zynq.bridge import RegisterBridge
from bnnedge.hw.bus.registers import Registers
from bnnedge.registers import MAGIC, REGISTERS

FIXED, INCR, WRAP = range(3)
WINDOW = 0x43C0_0000
BAD = 0xF00  # the slave answers with an error from here on


@dataclass
class Request:
    id: int
    address: int
    beats: int
    kind: int = INCR
    size: int = 2
    values: tuple[int, ...] = ()

    def offsets(self) -> list[int]:
        """Where the beats go, from the specification's text rather than from masks."""
        step = 1 << self.size
        block = step * self.beats
        start = self.address - self.address % step
        found = [self.address]
        for i in range(1, self.beats):
            there = start + i * step
            if self.kind == FIXED:
                there = self.address
            elif self.kind == WRAP and there >= self.address // block * block + block:
                there -= block
            found.append(there)
        return [offset % 4096 for offset in found]


def requests(seed: int, count: int, *, writes: bool) -> list[Request]:
    source, found = random.Random(seed), []
    for _ in range(count):
        kind, size = source.choice((FIXED, INCR, INCR, WRAP)), source.choice((0, 1, 2, 2))
        beats = source.choice((2, 4, 8, 16)) if kind == WRAP else source.randint(1, 16)
        address = WINDOW + source.randrange(4096)
        if kind == WRAP:
            address -= address % (1 << size)
        values = tuple(source.getrandbits(36) for _ in range(beats)) if writes else ()  # data and strobes
        found.append(Request(source.randrange(4096), address, beats, kind, size, values))
    return found


def answer(offset: int) -> tuple[int, int]:
    """Data and response of the slave."""
    return offset * 0x9E37_79B9 & 0xFFFF_FFFF, 2 if offset >= BAD else 0


class Slave:
    """An AXI-Lite slave that takes address and data of a write in any order, each after some time."""

    def __init__(self, axi: Any, stall: Stall) -> None:
        self.axi, self.stall = axi, stall
        self.reads: list[int] = []
        self.written: list[tuple[int, int]] = []

    async def serve_reads(self, ctx: Any) -> None:
        axi = self.axi
        while True:
            offset = await self._take(ctx, axi.arvalid, axi.arready, axi.araddr)
            self.reads.append(offset)
            value, response = answer(offset)
            ctx.set(axi.rdata, value)
            ctx.set(axi.rresp, response)
            await self._give(ctx, axi.rvalid, axi.rready)

    async def serve_writes(self, ctx: Any) -> None:
        axi = self.axi
        order = random.Random(7)
        while True:
            if order.random() < 0.5:
                offset = await self._take(ctx, axi.awvalid, axi.awready, axi.awaddr)
                value = await self._take(ctx, axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb))
            else:
                value = await self._take(ctx, axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb))
                offset = await self._take(ctx, axi.awvalid, axi.awready, axi.awaddr)
            self.written.append((offset, value))
            ctx.set(axi.bresp, answer(offset)[1])
            await self._give(ctx, axi.bvalid, axi.bready)

    async def _take(self, ctx: Any, valid: Any, ready: Any, payload: Any) -> int:
        while self.stall():
            await ctx.tick()
        ctx.set(ready, 1)
        (value,) = await wait_for(ctx, valid, payload)
        ctx.set(ready, 0)
        return value

    async def _give(self, ctx: Any, valid: Any, ready: Any) -> None:
        while self.stall():
            await ctx.tick()
        ctx.set(valid, 1)
        await wait_for(ctx, ready)
        ctx.set(valid, 0)


async def address(ctx: Any, gp: Any, prefix: str, request: Request) -> None:
    """Send the address of a burst."""
    fields = {
        "id": request.id,
        "addr": request.address,
        "len": request.beats - 1,
        "size": request.size,
        "burst": request.kind,
    }
    for name, value in fields.items():
        ctx.set(getattr(gp, prefix + name), value)
    ctx.set(getattr(gp, f"{prefix}valid"), 1)
    await wait_for(ctx, getattr(gp, f"{prefix}ready"))
    ctx.set(getattr(gp, f"{prefix}valid"), 0)


async def read(ctx: Any, gp: Any, request: Request, stall: Stall = never) -> list[tuple[int, int]]:
    """Read a burst; its data and responses."""
    await address(ctx, gp, "ar", request)
    found = []
    for beat in range(request.beats):
        while stall():
            await ctx.tick()
        ctx.set(gp.rready, 1)
        id, value, response, last = await wait_for(ctx, gp.rvalid, gp.rid, gp.rdata, gp.rresp, gp.rlast)
        ctx.set(gp.rready, 0)
        assert id == request.id
        assert last == (beat == request.beats - 1)
        found.append((value, response))
    return found


async def write(ctx: Any, gp: Any, request: Request, stall: Stall = never) -> int:
    """Write a burst; its response."""
    await address(ctx, gp, "aw", request)
    for beat, value in enumerate(request.values):
        while stall():
            await ctx.tick()
        ctx.set(gp.wid, request.id)
        ctx.set(gp.wdata, value & 0xFFFF_FFFF)
        ctx.set(gp.wstrb, value >> 32)
        ctx.set(gp.wlast, beat == request.beats - 1)
        ctx.set(gp.wvalid, 1)
        await wait_for(ctx, gp.wready)
        ctx.set(gp.wvalid, 0)
    while stall():
        await ctx.tick()
    ctx.set(gp.bready, 1)
    id, response = await wait_for(ctx, gp.bvalid, gp.bid, gp.bresp)
    ctx.set(gp.bready, 0)
    assert id == request.id
    return response


def channel(valid: Any, ready: Any, *payload: Any) -> Bench:
    return steady(SimpleNamespace(valid=valid, ready=ready, payload=Cat(*payload)))


def rules(dut: RegisterBridge) -> list[Bench]:
    gp, axi = dut.gp, dut.axi
    return [
        channel(axi.arvalid, axi.arready, axi.araddr),
        channel(axi.awvalid, axi.awready, axi.awaddr),
        channel(axi.wvalid, axi.wready, axi.wdata, axi.wstrb),
        channel(gp.rvalid, gp.rready, gp.rid, gp.rdata, gp.rresp, gp.rlast),
        channel(gp.bvalid, gp.bready, gp.bid, gp.bresp),
    ]


@pytest.mark.parametrize(("master", "slave"), [(0, 0), (0.6, 0), (0, 0.6), (0.5, 0.5)])
def test_bursts_reach_the_slave_beat_by_beat(master: float, slave: float) -> None:
    dut = RegisterBridge()
    registers = Slave(dut.axi, stalls(3, slave))
    to_read, to_write = requests(1, 30, writes=False), requests(2, 30, writes=True)
    responses = []

    async def reads(ctx: Any) -> None:
        for request in to_read:
            found = await read(ctx, dut.gp, request, stalls(request.id, master))
            assert found == [answer(offset) for offset in request.offsets()]

    async def writes(ctx: Any) -> None:
        for request in to_write:
            responses.append(await write(ctx, dut.gp, request, stalls(request.id, master)))

    simulate(dut, reads, writes, background=[registers.serve_reads, registers.serve_writes, *rules(dut)])
    assert registers.reads == [offset for request in to_read for offset in request.offsets()]
    assert registers.written == [pair for request in to_write for pair in zip(request.offsets(), request.values, strict=True)]
    assert responses == [max(answer(offset)[1] for offset in request.offsets()) for request in to_write]
    assert {0, 2} == set(responses)


def test_a_processor_copies_registers() -> None:
    m = Module()
    m.submodules.bridge = bridge = RegisterBridge()
    m.submodules.registers = registers = Registers(TINY)
    wiring.connect(m, bridge.axi, registers.axi)
    program = REGISTERS["PROGRAM"].offset

    async def bench(ctx: Any) -> None:
        values = (0x1000, 7, 0x89AB_CDEF, 0x0123_4567)
        request = Request(5, WINDOW + program, 4, values=tuple(15 << 32 | value for value in values))
        assert await write(ctx, bridge.gp, request) == 0
        found = await read(ctx, bridge.gp, Request(0xABC, WINDOW, 12))
        assert found[0] == (MAGIC, 0)
        assert found[program // 4 :] == [(value, 0) for value in (*values, 0)]

    simulate(m, bench)
