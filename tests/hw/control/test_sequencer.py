"""Sequencer: instructions reach their units in program order, with step and address of their iteration."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import Bench, Stall, never, simulate, stalls, steady, stream_get, stream_put, wait_for

from bnnedge.hw.control.sequencer import Sequencer
from bnnedge.isa import INSTRUCTION_BYTES, UNITS, Instruction, Opcode, Unit, layout

pytestmark = pytest.mark.usefixtures("left_behind")

PROGRAM = 0x0040_1240
M = 2**32
Order = tuple[str, dict[str, int]]


def instruction(opcode: Opcode, **fields: int) -> Instruction:
    return Instruction(opcode, fields)


def random_instruction(source: random.Random) -> Instruction:
    opcode = source.choice([opcode for opcode, unit in UNITS.items() if unit is not Unit.SEQUENCER])
    fields = {name: source.getrandbits(f.bits) for name, f in layout(opcode).items() if name != "opcode"}
    return Instruction(opcode, fields)


def executed(program: list[Instruction], step: int) -> list[Order]:
    """What a program hands on, one instruction after another."""
    orders, iteration, place = [], 0, 0
    while program[place].opcode is not Opcode.HALT:
        opcode, fields = program[place].opcode, dict(program[place].fields)
        place += 1
        if opcode is Opcode.LOOP:
            iteration, step = iteration + 1, (step + 1) % M
            if iteration != fields["count"]:
                place = fields["target"] // INSTRUCTION_BYTES
        elif opcode is not Opcode.SYNC:
            filled = dict.fromkeys(layout(opcode), 0) | fields | {"opcode": int(opcode)}
            if UNITS[opcode] is Unit.EXECUTE:
                filled["step"] = (filled["step"] + step) % M
            else:
                filled["address"] = (filled["address"] + iteration * filled["stride"]) % M
            orders.append((UNITS[opcode].name.lower(), filled))
    return orders


class Surroundings:
    """Program memory and queues around a sequencer; `orders` is what it has handed on."""

    def __init__(self, dut: Sequencer, program: bytes, stall: Stall = never) -> None:
        self.dut, self.program, self.stall = dut, program, stall
        self.orders: list[Order] = []
        self.fetched: list[int] = []

    async def memory(self, ctx: Any) -> None:
        while True:
            (request,) = await stream_get(ctx, self.dut.transfer, 1, self.stall)
            assert request.beats == INSTRUCTION_BYTES // 8
            place = request.address - PROGRAM
            self.fetched.append(place)
            beats = [int.from_bytes(self.program[i : i + 8], "little") for i in range(place, place + INSTRUCTION_BYTES, 8)]
            await stream_put(ctx, self.dut.beat, beats, self.stall)

    def queue(self, name: str) -> Bench:
        async def accept(ctx: Any) -> None:
            stream = getattr(self.dut, name)
            while True:
                (order,) = await stream_get(ctx, stream, 1, self.stall)
                opcode = Opcode(order.opcode)
                # all transfers share a layout, and so do PASS and TRANSPOSE
                self.orders.append((name, {field: order[field] for field in layout(opcode)}))

        return accept

    def benches(self) -> list[Bench]:
        streams = ("execute", "load", "store")
        rules = [steady(getattr(self.dut, name)) for name in ("transfer", *streams)]
        return [*rules, self.memory, *(self.queue(name) for name in streams)]


async def start(ctx: Any, dut: Sequencer, step: int = 0) -> None:
    ctx.set(dut.program, PROGRAM)
    ctx.set(dut.step, step)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


def run(program: list[Instruction], steps: list[int], stall: Stall = never) -> list[Order]:
    dut = Sequencer()
    around = Surroundings(dut, b"".join(i.encode() for i in program), stall)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.units_idle, 1)
        assert not ctx.get(dut.busy)
        for step in steps:
            await start(ctx, dut, step)
            assert ctx.get(dut.busy)
            assert not ctx.get(dut.done)
            await wait_for(ctx, dut.done)
            assert not ctx.get(dut.busy)
            assert not ctx.get(dut.illegal)

    simulate(dut, bench, background=around.benches())
    return around.orders


@pytest.mark.parametrize("chance", [0, 0.6])
def test_all_fields_reach_their_unit(chance: float) -> None:
    source = random.Random(1)
    program = [*(random_instruction(source) for _ in range(20)), instruction(Opcode.HALT)]
    assert run(program, [5], stalls(2, chance)) == executed(program, 5)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_loop_moves_addresses_and_steps(count: int) -> None:
    source = random.Random(count)
    program = [
        instruction(Opcode.LOAD, address=0x1000, stride=0x40),
        instruction(Opcode.PASS, step=3),
        instruction(Opcode.SYNC),
        *(random_instruction(source) for _ in range(4)),
        instruction(Opcode.LOOP, count=count, target=INSTRUCTION_BYTES),
        instruction(Opcode.STORE, address=0x2000),
        instruction(Opcode.PASS),
        instruction(Opcode.HALT),
    ]
    assert run(program, [M - 2, 9], stalls(1, 0.3)) == executed(program, M - 2) + executed(program, 9)


@pytest.mark.parametrize("opcode", [Opcode.SYNC, Opcode.HALT])
def test_sync_and_halt_wait_for_the_units(opcode: Opcode) -> None:
    dut = Sequencer()
    program = [instruction(Opcode.LOAD), instruction(opcode), instruction(Opcode.STORE), instruction(Opcode.HALT)]
    around = Surroundings(dut, b"".join(i.encode() for i in program))

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await ctx.tick().repeat(100)
        assert [name for name, _ in around.orders] == ["load"]
        assert ctx.get(dut.busy)
        assert not ctx.get(dut.done)
        ctx.set(dut.units_idle, 1)
        await wait_for(ctx, dut.done)
        assert [name for name, _ in around.orders] == (["load", "store"] if opcode is Opcode.SYNC else ["load"])

    simulate(dut, bench, background=around.benches())


@pytest.mark.parametrize("opcode", range(len(Opcode), 16))
def test_an_unknown_opcode_stops_at_its_address(opcode: int) -> None:
    reset = Signal()
    dut = Sequencer()
    program = b"".join(instruction(o).encode() for o in (Opcode.LOAD, Opcode.PASS))
    around = Surroundings(dut, program + bytes([0xF0 | opcode]) + b"\xff" * (INSTRUCTION_BYTES - 1))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.units_idle, 1)
        for _ in range(2):
            await start(ctx, dut)
            await wait_for(ctx, dut.illegal)
            assert ctx.get(dut.address) == PROGRAM + 2 * INSTRUCTION_BYTES
            await start(ctx, dut)
            await ctx.tick().repeat(50)
            assert ctx.get(dut.illegal)
            assert not ctx.get(dut.busy)
            assert not ctx.get(dut.done)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)

    simulate(ResetInserter(reset)(dut), bench, background=around.benches())
    assert [name for name, _ in around.orders] == ["load", "execute"] * 2


def test_abort_ends_the_fetching() -> None:
    dut = Sequencer()
    program = [instruction(Opcode.LOAD), instruction(Opcode.LOOP, count=0, target=0)]
    around = Surroundings(dut, b"".join(i.encode() for i in program))
    benches = around.benches()[1:]  # the request may be withdrawn

    async def bench(ctx: Any) -> None:
        await start(ctx, dut)
        await ctx.tick().repeat(60)
        ctx.set(dut.abort, 1)
        await ctx.tick().repeat(20)
        fetched = len(around.fetched)
        await ctx.tick().repeat(100)
        assert len(around.fetched) == fetched > 2

    simulate(dut, bench, background=benches)
