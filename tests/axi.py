"""The other ends of AXI ports: a memory that checks the rules of AXI3, and a master of registers."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

from amaranth import Cat
from hardware import Bench, Stall, never, steady, wait_for

FAILED = 2  # SLVERR
PAGE = 4096  # no burst may cross a multiple of it


class AxiMemory:
    """64-bit words by address; what was never written reads as `initial(address)`.

    Reads and writes are answered in order, the earliest in the cycle behind the request; `stall` delays each channel.
    A burst whose first address is in `failing` gets an error response. `reads`, `writes`: (address, beats) of the
    bursts so far; `pending`: of those that wait for their last answer.
    """

    def __init__(self, axi: Any, stall: Stall = never, failing: tuple[int, ...] = ()) -> None:
        self.axi, self.stall, self.failing = axi, stall, failing
        self.words: dict[int, int] = {}
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.to_read: deque[tuple[int, int]] = deque()
        self.to_write: deque[tuple[int, int]] = deque()
        self.beats: list[int] = []
        self.complete: deque[list[int]] = deque()

    @staticmethod
    def initial(address: int) -> int:
        """A word that tells its address."""
        return address * 0x9E3779B97F4A7C15 & 2**64 - 1

    def word(self, address: int) -> int:
        """The word at `address`."""
        return self.words.get(address, self.initial(address))

    def fill(self, address: int, content: bytes) -> None:
        """Put bytes (whole words) at `address`."""
        for i in range(0, len(content), 8):
            self.words[address + i] = int.from_bytes(content[i : i + 8], "little")

    @property
    def pending(self) -> int:
        """Bursts without their last answer."""
        return len(self.to_read) + len(self.to_write)

    def benches(self) -> list[Bench]:
        """What has to run in the background, in this order."""
        a = self.axi
        channels = (
            (a.arvalid, a.arready, Cat(a.araddr, a.arlen)),
            (a.awvalid, a.awready, Cat(a.awaddr, a.awlen)),
            (a.wvalid, a.wready, Cat(a.wdata, a.wlast)),
        )
        rules = [steady(SimpleNamespace(valid=v, ready=r, payload=p)) for v, r, p in channels]
        return [*rules, self._read_addresses, self._read_data, self._write_addresses, self._write_data, self._responses]

    async def _request(self, ctx: Any, prefix: str) -> tuple[int, int]:
        def port(name: str) -> Any:
            return getattr(self.axi, prefix + name)

        while self.stall():
            await ctx.tick()
        ctx.set(port("ready"), 1)
        fields = (port("addr"), port("len"), port("size"), port("burst"))
        address, length, size, burst = await wait_for(ctx, port("valid"), *fields)
        ctx.set(port("ready"), 0)
        assert (size, burst) == (3, 1)
        assert address % 8 == 0
        assert length < 16
        assert address // PAGE == (address + 8 * length) // PAGE, "a burst crosses 4 KB"
        return address, length + 1

    async def _read_addresses(self, ctx: Any) -> None:
        while True:
            request = await self._request(ctx, "ar")
            self.reads.append(request)
            self.to_read.append(request)

    async def _read_data(self, ctx: Any) -> None:
        a = self.axi
        while True:
            if not self.to_read:
                await ctx.tick()
                continue
            address, beats = self.to_read[0]
            for i in range(beats):
                while self.stall():
                    await ctx.tick()
                ctx.set(a.rdata, self.word(address + 8 * i))
                ctx.set(a.rresp, FAILED if address in self.failing else 0)
                ctx.set(a.rlast, i == beats - 1)
                ctx.set(a.rvalid, 1)
                await wait_for(ctx, a.rready)
                ctx.set(a.rvalid, 0)
            self.to_read.popleft()

    async def _write_addresses(self, ctx: Any) -> None:
        while True:
            request = await self._request(ctx, "aw")
            self.writes.append(request)
            self.to_write.append(request)

    async def _write_data(self, ctx: Any) -> None:
        a = self.axi
        while True:
            while self.stall():
                await ctx.tick()
            ctx.set(a.wready, 1)
            value, strobes, last = await wait_for(ctx, a.wvalid, a.wdata, a.wstrb, a.wlast)
            ctx.set(a.wready, 0)
            assert strobes == 255
            self.beats.append(value)
            if last:
                self.complete.append(self.beats)
                self.beats = []

    async def _responses(self, ctx: Any) -> None:
        a = self.axi
        while True:
            if not self.complete or not self.to_write or self.stall():
                await ctx.tick()
                continue
            address, beats = self.to_write[0]
            values = self.complete.popleft()
            assert len(values) == beats, "WLAST is not at the end of the burst"
            failed = address in self.failing
            if not failed:
                self.words.update((address + 8 * i, value) for i, value in enumerate(values))
            ctx.set(a.bresp, FAILED if failed else 0)
            ctx.set(a.bvalid, 1)
            await wait_for(ctx, a.bready)
            ctx.set(a.bvalid, 0)
            self.to_write.popleft()


async def read_register(ctx: Any, axi: Any, offset: int, stall: Stall = never) -> int:
    """Read a register over AXI-Lite; `stall` delays the master's readiness."""
    ctx.set(axi.araddr, offset)
    ctx.set(axi.arvalid, 1)
    await wait_for(ctx, axi.arready)
    ctx.set(axi.arvalid, 0)
    while stall():
        await ctx.tick()
    ctx.set(axi.rready, 1)
    value, response = await wait_for(ctx, axi.rvalid, axi.rdata, axi.rresp)
    ctx.set(axi.rready, 0)
    assert response == 0
    return value


async def write_register(ctx: Any, axi: Any, offset: int, value: int, lead: int = 0, stall: Stall = never) -> None:
    """Write a register; the address comes `lead` cycles before the data, or -`lead` cycles behind them."""
    ctx.set(axi.awaddr, offset)
    ctx.set(axi.wdata, value)
    ctx.set(axi.wstrb, 15)
    ctx.set(axi.awvalid, lead >= 0)
    ctx.set(axi.wvalid, lead <= 0)
    for _ in range(abs(lead)):
        _, _, address, data = await ctx.tick().sample(axi.awready, axi.wready)
        assert not address
        assert not data
    ctx.set(axi.awvalid, 1)
    ctx.set(axi.wvalid, 1)
    (data,) = await wait_for(ctx, axi.awready, axi.wready)
    assert data
    ctx.set(axi.awvalid, 0)
    ctx.set(axi.wvalid, 0)
    while stall():
        await ctx.tick()
    ctx.set(axi.bready, 1)
    (response,) = await wait_for(ctx, axi.bvalid, axi.bresp)
    ctx.set(axi.bready, 0)
    assert response == 0
