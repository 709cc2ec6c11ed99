"""The register file follows `bnnedge.registers`, behind AXI-Lite with any timing of the master."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from amaranth import Cat
from axi import read_register, write_register
from hardware import TINY, simulate, stalls, steady

from bnnedge import isa, registers
from bnnedge.hw.bus.registers import Registers
from bnnedge.registers import REGISTERS, Access, Counter

pytestmark = pytest.mark.usefixtures("left_behind")

OFFSETS = {name: register.offset for name, register in REGISTERS.items()}
WRITABLE = ("PROGRAM", "STEP", "SEED_LOW", "SEED_HIGH")


def rules(dut: Registers) -> list[Any]:
    axi = dut.axi
    return [
        steady(SimpleNamespace(valid=axi.rvalid, ready=axi.rready, payload=Cat(axi.rdata, axi.rresp))),
        steady(SimpleNamespace(valid=axi.bvalid, ready=axi.bready, payload=axi.bresp)),
    ]


def test_every_register_shows_its_value() -> None:
    dut = Registers(TINY)
    expected = {
        "MAGIC": registers.MAGIC,
        "VERSION": isa.VERSION,
        "CONFIGURATION": TINY.digest,
        "CONTROL": 0,
        "STATUS": 0b101,
        "ERROR": 0x13,
        "ERROR_ADDRESS": 0x89ABCDEF,
        **dict.fromkeys(WRITABLE, 0),
    }
    inputs = {"busy": 1, "error": 1, "cause": 3, "port": 1, "error_address": 0x89ABCDEF}
    for i, counter in enumerate(Counter):
        inputs[counter.name.lower()] = (i + 1) << 40 | 0xFFFF_FF00 + i
        expected[f"{counter.name}_LOW"], expected[f"{counter.name}_HIGH"] = 0xFFFF_FF00 + i, (i + 1) << 8

    async def bench(ctx: Any) -> None:
        for name, value in inputs.items():
            ctx.set(getattr(dut, name), value)
        for name, offset in OFFSETS.items():
            assert await read_register(ctx, dut.axi, offset) == expected[name], name

    assert expected.keys() == REGISTERS.keys()
    simulate(dut, bench, background=rules(dut))


def test_status_and_control_show_each_bit() -> None:
    dut = Registers(TINY)

    async def bench(ctx: Any) -> None:
        for bit, name in enumerate(("busy", "done", "error")):
            ctx.set(getattr(dut, name), 1)
            assert await read_register(ctx, dut.axi, OFFSETS["STATUS"]) == 1 << bit
            ctx.set(getattr(dut, name), 0)
        ctx.set(dut.resetting, 1)
        assert await read_register(ctx, dut.axi, OFFSETS["CONTROL"]) == 2

    simulate(dut, bench)


@pytest.mark.parametrize("lead", [-3, 0, 2])
@pytest.mark.parametrize("chance", [0, 0.7])
def test_what_is_written_is_read_back_and_put_out(lead: int, chance: float) -> None:
    dut, stall = Registers(TINY), stalls(4, chance)

    async def bench(ctx: Any) -> None:
        for salt in (0x0123_4567, 0xFFFF_FFFF, 0):
            for i, name in enumerate(WRITABLE):
                await write_register(ctx, dut.axi, OFFSETS[name], salt ^ i, lead, stall)
            for i, name in enumerate(WRITABLE):
                assert await read_register(ctx, dut.axi, OFFSETS[name], stall) == salt ^ i
            assert ctx.get(dut.program) == salt
            assert ctx.get(dut.step) == salt ^ 1
            assert ctx.get(dut.seed) == (salt ^ 3) << 32 | salt ^ 2

    simulate(dut, bench, background=rules(dut))


def test_start_and_reset_last_one_cycle() -> None:
    dut, seen = Registers(TINY), []

    async def watch(ctx: Any) -> None:
        async for _, _, start, reset in ctx.tick().sample(dut.start, dut.reset):
            if start or reset:
                seen.append((start, reset))

    async def bench(ctx: Any) -> None:
        for value in (1, 2, 3, 0, 0xFFFF_FFFC):
            await write_register(ctx, dut.axi, OFFSETS["CONTROL"], value, stall=stalls(1, 0.9))
        assert await read_register(ctx, dut.axi, OFFSETS["CONTROL"]) == 0

    simulate(dut, bench, background=[watch])
    assert seen == [(1, 0), (0, 1), (1, 1)]


def test_writes_to_other_addresses_change_nothing() -> None:
    dut, pulses = Registers(TINY), []

    async def watch(ctx: Any) -> None:
        async for _, _, start, reset in ctx.tick().sample(dut.start, dut.reset):
            pulses.extend([start, reset])

    async def bench(ctx: Any) -> None:
        before = {name: await read_register(ctx, dut.axi, offset) for name, offset in OFFSETS.items()}
        read_only = [r.offset for r in REGISTERS.values() if r.access is Access.READ]
        unused = sorted(set(range(0, 0x1000, 0x44)) - set(OFFSETS.values()))
        for offset in read_only + unused:
            await write_register(ctx, dut.axi, offset, 0xFFFF_FFFF)
        for offset in unused:
            assert await read_register(ctx, dut.axi, OFFSETS["MAGIC"]) == registers.MAGIC
            assert await read_register(ctx, dut.axi, offset) == 0
        assert {name: await read_register(ctx, dut.axi, offset) for name, offset in OFFSETS.items()} == before

    simulate(dut, bench, background=[watch])
    assert not any(pulses)


def test_reads_and_writes_go_on_side_by_side() -> None:
    dut = Registers(TINY)

    async def writer(ctx: Any) -> None:
        for value in range(1, 30):
            await write_register(ctx, dut.axi, OFFSETS["STEP"], value, value % 3 - 1, stalls(value, 0.5))

    async def reader(ctx: Any) -> None:
        last = 0
        while last != 29:
            value = await read_register(ctx, dut.axi, OFFSETS["STEP"], stalls(last, 0.5))
            assert last <= value
            last = value

    simulate(dut, writer, reader, background=rules(dut))


def test_a_request_waits_until_the_response_before_it_is_taken() -> None:
    dut = Registers(TINY)

    async def bench(ctx: Any) -> None:
        axi = dut.axi
        for name in ("arvalid", "awvalid", "wvalid"):
            ctx.set(getattr(axi, name), 1)
        ctx.set(axi.araddr, OFFSETS["MAGIC"])
        ctx.set(axi.awaddr, OFFSETS["STEP"])
        ctx.set(axi.wdata, 1)
        await ctx.tick()
        ctx.set(axi.araddr, OFFSETS["VERSION"])
        ctx.set(axi.wdata, 2)
        for _ in range(3):
            assert ctx.get(axi.rdata) == registers.MAGIC
            assert not ctx.get(axi.arready)
            assert not ctx.get(axi.awready)
            assert not ctx.get(axi.wready)
            await ctx.tick()
        assert ctx.get(dut.step) == 1
        ctx.set(axi.rready, 1)
        ctx.set(axi.bready, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(axi.rdata) == isa.VERSION
        assert ctx.get(dut.step) == 2

    simulate(dut, bench)
