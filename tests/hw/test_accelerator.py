"""The top: registers, start, errors and soft reset. What a run computes is tested in tests/system."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from axi import AxiMemory, read_register, write_register
from hardware import TINY, Bench, Stall, never, simulate, stalls

from bnnedge.hw.accelerator import Accelerator
from bnnedge.isa import INSTRUCTION_BYTES, Buffer, Instruction, Opcode
from bnnedge.registers import REGISTERS, Cause, Counter

PROGRAM, SOURCE, TARGET, UNMAPPED = 0x1000, 0x8000, 0x20000, 0xDEAD_0000
BYTES = TINY.lanes * TINY.word // 8  # of one buffer address
WORDS = 24
BUSY, DONE, ERROR = 1, 2, 4


def instruction(opcode: Opcode, **fields: int) -> Instruction:
    return Instruction(opcode, {name: int(value) for name, value in fields.items()})


def copy(source: int = SOURCE, target: int = TARGET, rounds: int = 1) -> list[Instruction]:
    """Copy WORDS buffer addresses, `rounds` times to places behind one another."""
    load = {"buffer": Buffer.LEFT, "count": WORDS, "repeats": 1, "address": source, "wait": 2, "signal": 1}
    store = {
        "buffer": Buffer.LEFT,
        "count": WORDS,
        "repeats": 1,
        "address": target,
        "stride": WORDS * BYTES,
        "wait": 1,
        "signal": 2,
    }
    first = {"buffer": Buffer.RIGHT, "count": 1, "repeats": 1, "address": SOURCE, "signal": 2}
    return [
        instruction(Opcode.LOAD, **first),
        instruction(Opcode.LOAD, **load),
        instruction(Opcode.STORE, **store),
        instruction(Opcode.LOOP, count=rounds, target=INSTRUCTION_BYTES),
        instruction(Opcode.HALT),
    ]


class Board:
    """An accelerator with memory at both ports."""

    def __init__(self, stall: Stall = never) -> None:
        self.dut = Accelerator(TINY)
        failing = (UNMAPPED,)
        self.ports = [AxiMemory(axi, stall, failing) for axi in (self.dut.m0_axi, self.dut.m1_axi)]
        self.ports[1].words = self.ports[0].words

    def simulate(self, bench: Bench) -> None:
        simulate(self.dut, bench, background=[b for port in self.ports for b in port.benches()], limit=20_000)

    def put(self, program: Iterable[Instruction], address: int = PROGRAM) -> None:
        self.ports[0].fill(address, b"".join(i.encode() for i in program))

    def copied(self, rounds: int = 1) -> bool:
        memory, size = self.ports[0], WORDS * BYTES
        found = [memory.words.get(TARGET + i) for i in range(0, rounds * size, 8)]
        return found == [memory.word(SOURCE + i) for i in range(0, size, 8)] * rounds

    def forget(self) -> None:
        """Clear what has been copied."""
        for place in [place for place in self.ports[0].words if place >= TARGET]:
            del self.ports[0].words[place]

    async def read(self, ctx: Any, name: str) -> int:
        return await read_register(ctx, self.dut.s_axi, REGISTERS[name].offset)

    async def write(self, ctx: Any, name: str, value: int) -> None:
        await write_register(ctx, self.dut.s_axi, REGISTERS[name].offset, value)

    async def run(self, ctx: Any, address: int = PROGRAM) -> int:
        """Start a program and wait for the interrupt; return STATUS."""
        await self.write(ctx, "PROGRAM", address)
        await self.write(ctx, "CONTROL", 1)
        assert await self.read(ctx, "STATUS") == BUSY
        while not ctx.get(self.dut.irq):
            await ctx.tick()
        return await self.read(ctx, "STATUS")

    async def reset(self, ctx: Any) -> None:
        await self.write(ctx, "CONTROL", 2)
        while await self.read(ctx, "CONTROL"):
            pass

    async def counters(self, ctx: Any) -> dict[Counter, int]:
        return {c: await self.read(ctx, f"{c.name}_LOW") | await self.read(ctx, f"{c.name}_HIGH") << 32 for c in Counter}


def test_each_run_starts_from_the_same_state_and_counts_anew() -> None:
    board, rounds = Board(), 3

    async def bench(ctx: Any) -> None:
        board.put(copy(rounds=rounds))
        assert await board.read(ctx, "STATUS") == 0
        results = []
        for _ in range(2):
            for port in board.ports:
                port.reads.clear()
                port.writes.clear()
            board.forget()
            cycles = 0
            await board.write(ctx, "PROGRAM", PROGRAM)
            await board.write(ctx, "CONTROL", 1)
            while not ctx.get(board.dut.irq):
                await ctx.tick()
                cycles += 1
            assert await board.read(ctx, "STATUS") == DONE
            assert await board.read(ctx, "ERROR") == 0
            assert board.copied(rounds)
            results.append((await board.counters(ctx), list(board.ports[0].reads), list(board.ports[0].writes)))
            assert abs(results[-1][0][Counter.CYCLES] - cycles) < 8
        assert results[0] == results[1]
        counters = results[0][0]
        moved = rounds * WORDS * BYTES
        fetched = INSTRUCTION_BYTES * (2 + 3 * rounds)
        assert counters[Counter.READ_0] == moved + fetched + BYTES
        assert counters[Counter.WRITE_0] == moved
        for counter in (Counter.ENGINE, Counter.STALL_DRAIN, Counter.STALL_MEMORY, Counter.READ_1, Counter.WRITE_1):
            assert counters[counter] == 0
        assert counters[Counter.STALL_TOKEN] == counters[Counter.CYCLES]

    board.simulate(bench)


FAULTS = {
    "load": (copy(source=UNMAPPED), Cause.READ_ERROR, UNMAPPED),
    "store": (copy(target=UNMAPPED), Cause.WRITE_ERROR, UNMAPPED),
    "program": ([], Cause.READ_ERROR, UNMAPPED),
    "opcode": ([instruction(Opcode.SYNC)], Cause.ILLEGAL_INSTRUCTION, PROGRAM + INSTRUCTION_BYTES),
}


def test_an_error_stops_the_run_until_a_soft_reset() -> None:
    board = Board(stalls(1, 0.3))

    async def bench(ctx: Any) -> None:
        board.put(copy(), PROGRAM + 0x800)
        for program, cause, address in FAULTS.values():
            board.put(program)
            board.ports[0].fill(PROGRAM + INSTRUCTION_BYTES * len(program), b"\xff" * INSTRUCTION_BYTES)
            status = await board.run(ctx, PROGRAM if program else UNMAPPED)
            assert status & (BUSY | ERROR) == ERROR
            for _ in range(2):
                assert await board.read(ctx, "ERROR") == cause
                assert await board.read(ctx, "ERROR_ADDRESS") == address
                # A start is not heard before the reset.
                await board.write(ctx, "CONTROL", 1)
                await ctx.tick().repeat(20)
                assert await board.read(ctx, "STATUS") & (BUSY | ERROR) == ERROR
            await board.reset(ctx)
            assert not any(port.pending for port in board.ports)
            for name in ("STATUS", "ERROR", "ERROR_ADDRESS", "CYCLES_LOW"):
                assert await board.read(ctx, name) == 0
            assert not ctx.get(board.dut.irq)
            board.forget()
            assert await board.run(ctx, PROGRAM + 0x800) == DONE
            assert board.copied()

    board.simulate(bench)


def test_the_first_error_stays_and_nothing_is_issued_behind_it() -> None:
    board = Board()

    async def bench(ctx: Any) -> None:
        store = {"buffer": Buffer.LEFT, "count": 64, "repeats": 1, "address": UNMAPPED}  # four bursts, some time apart
        board.put([instruction(Opcode.STORE, **store), instruction(Opcode.SYNC)])
        board.ports[0].fill(PROGRAM + 2 * INSTRUCTION_BYTES, b"\xff" * INSTRUCTION_BYTES)
        assert await board.run(ctx) == ERROR
        issued = list(board.ports[0].writes)
        assert issued in ([(UNMAPPED, 16)], [(UNMAPPED, 16), (UNMAPPED + 128, 16)])
        await ctx.tick().repeat(500)
        assert await board.read(ctx, "ERROR") == Cause.WRITE_ERROR
        assert board.ports[0].writes == issued

    board.simulate(bench)


def test_a_soft_reset_ends_what_is_on_the_bus() -> None:
    fast, slow = never, stalls(1, 0.6)
    stall = fast
    board = Board(lambda: stall())

    def issued() -> int:
        return sum(len(port.reads) + len(port.writes) for port in board.ports)

    async def bench(ctx: Any) -> None:
        nonlocal stall
        board.put(copy(rounds=100))
        board.put(copy(), PROGRAM + 0x800)
        await board.write(ctx, "STEP", 7)
        for cycles in (1, 30, 60, 97, 150, 240):
            stall = slow if stall is fast else fast
            await board.write(ctx, "PROGRAM", PROGRAM)
            await board.write(ctx, "CONTROL", 1)
            await ctx.tick().repeat(cycles)
            await board.reset(ctx)
            assert not any(port.pending or port.beats or port.complete for port in board.ports)
            assert await board.read(ctx, "STATUS") == 0
            assert await board.read(ctx, "STEP") == 7  # registers stay
            before = issued()
            await ctx.tick().repeat(50)
            assert issued() == before
            board.forget()
            assert await board.run(ctx, PROGRAM + 0x800) == DONE
            assert board.copied()

    board.simulate(bench)


def test_a_soft_reset_waits_for_a_slow_memory() -> None:
    blocked = False
    board = Board(lambda: blocked)

    async def bench(ctx: Any) -> None:
        nonlocal blocked
        board.put(copy(rounds=100))
        await board.write(ctx, "PROGRAM", PROGRAM)
        await board.write(ctx, "CONTROL", 1)
        await ctx.tick().repeat(100)
        while not board.ports[0].pending:
            await ctx.tick()
        blocked = True
        await board.write(ctx, "CONTROL", 2)
        for _ in range(20):
            assert await board.read(ctx, "CONTROL") == 2
        blocked = False
        while await board.read(ctx, "CONTROL"):
            pass
        assert not any(port.pending for port in board.ports)

    board.simulate(bench)
