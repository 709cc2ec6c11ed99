"""Load: images, records and samples land where the layout says, whatever memory, buffers and labels do."""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from typing import Any

import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.lib import wiring
from axi import AxiMemory
from hardware import TINY, Bench, Stall, never, simulate, stalls, steady, stream_get, stream_put
from latency import behind

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.bus.read import ReadMaster
from bnnedge.hw.control.load import Load
from bnnedge.hw.control.request import CHUNK
from bnnedge.isa import Buffer, Opcode

pytestmark = pytest.mark.usefixtures("left_behind")

WORDS = pytest.mark.parametrize(
    "config",
    [
        pytest.param(dataclasses.replace(TINY, lanes=lanes, word=word), id=f"{lanes}x{word}")
        for lanes, word in ((4, 16), (4, 32), (4, 64), (16, 16))
    ],
)


class Surroundings:
    """Memory, buffers and the rest around a Load; attributes hold what has been written."""

    def __init__(self, dut: Load, stall: Stall = never, seed: int = 1) -> None:
        self.dut, self.stall, self.random = dut, stall, random.Random(seed)
        self.memory: dict[int, int] = {}
        self.transfers: list[tuple[int, int]] = []
        self.coming: deque[int] = deque()  # addresses of beats that have been asked for
        self.buffers: dict[str, dict[tuple[int, int], int]] = {"left": {}, "right": {}}  # by (bank, address)
        self.records: dict[int, tuple[int, int, int, int, int]] = {}
        self.labels: list[int] = []
        self.signals: list[int] = []

    def word(self, address: int) -> int:
        """64 bits of memory, drawn when first asked for."""
        return self.memory.setdefault(address, self.random.getrandbits(64))

    def bits(self, address: int, place: int, bits: int) -> int:
        """Number `place` of `bits` bits in the memory from `address` on."""
        per_beat = 64 // bits
        return self.word(address + 8 * (place // per_beat)) >> place % per_beat * bits & (1 << bits) - 1

    async def requests(self, ctx: Any) -> None:
        while True:
            (request,) = await stream_get(ctx, self.dut.transfer, 1, self.stall)
            self.transfers.append((request.address, request.beats))
            self.coming += [(request.address + 8 * i) % 2**32 for i in range(request.beats)]

    async def beats(self, ctx: Any) -> None:
        while True:
            if self.coming:
                await stream_put(ctx, self.dut.beat, [self.word(self.coming.popleft())], self.stall)
            else:
                await ctx.tick()

    def buffer(self, name: str) -> Bench:
        async def accept(ctx: Any) -> None:
            write, ready = getattr(self.dut, name), getattr(self.dut, f"{name}_ready")
            config = self.dut.config
            while True:
                accepts = not self.stall()
                ctx.set(ready, accepts)
                _, _, granules, address, values = await ctx.tick().sample(write.granules, write.address, write.data)
                banks = [bank for bank in range(config.lanes) if granules[bank]]
                for bank in banks if accepts else ():
                    assert granules[bank] == (1 << config.granules) - 1
                    assert (bank, address) not in self.buffers[name], "written twice"
                    self.buffers[name][bank, address] = values[bank]

        return accept

    async def parameters(self, ctx: Any) -> None:
        dut = self.dut
        while True:
            accepts = not self.stall()
            ctx.set(dut.record_ready, accepts)
            _, _, write, address, record = await ctx.tick().sample(dut.record_write, dut.record_address, dut.record)
            if write and accepts:
                assert address not in self.records
                self.records[address] = (record.mu, record.psi, record.beta, record.centre, record.size)

    async def label(self, ctx: Any) -> None:
        while True:
            labels = await stream_get(ctx, self.dut.label, 1, self.stall)
            self.labels += labels

    async def signal(self, ctx: Any) -> None:
        async for _, _, signal, ready in ctx.tick().sample(self.dut.signal, self.dut.order.ready):
            assert ready or not signal
            if ready:
                self.signals.append(signal)

    def benches(self) -> list[Bench]:
        buffers = (self.buffer("left"), self.buffer("right"))
        return [steady(self.dut.transfer), self.requests, self.beats, *buffers, self.parameters, self.label, self.signal]

    def forget(self) -> None:
        """Make room for another instruction at the same addresses."""
        self.buffers = {"left": {}, "right": {}}
        self.records, self.labels, self.transfers, self.signals = {}, [], [], []


def load(buffer: Buffer, **fields: int) -> dict[str, int]:
    """A LOAD; one row if nothing else is said."""
    return {"opcode": Opcode.LOAD, "buffer": buffer, "repeats": 1, **fields}


def run(config: Configuration, orders: list[dict[str, int]], chance: float, seed: int = 1) -> Surroundings:
    dut = Load(config)
    around = Surroundings(dut, stalls(seed, chance), seed)

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.order, orders)

    simulate(dut, bench, background=around.benches())
    assert around.signals == [order.get("signal", 0) for order in orders]
    return around


def image(around: Surroundings, order: dict[str, int]) -> dict[tuple[int, int], int]:
    """What a LOAD writes: (bank, buffer address) -> word."""
    lanes, expected = around.dut.config.lanes, {}
    for row in range(order["repeats"]):
        base = (order["base"] + row * order.get("base_stride", 0)) % 2**16
        for i in range(order["count"] * lanes):
            address = order["address"] + row * order.get("address_stride", 0)
            expected[i % lanes, base + i // lanes] = around.bits(address % 2**32, i, around.dut.config.word)
    return expected


@WORDS
@pytest.mark.parametrize("chance", [0, 0.5])
def test_an_image_fills_the_banks_of_its_buffer(config: Configuration, chance: float) -> None:
    orders = [
        load(Buffer.LEFT, base=0, count=64, address=0x1008, signal=1),
        load(Buffer.RIGHT, base=63, count=1, address=0x8000, signal=0x80),
        load(Buffer.RIGHT, base=5, count=3, address=0xFFFF_F000),
    ]
    around = run(config, orders, chance)
    assert around.buffers["left"] == image(around, orders[0])
    assert around.buffers["right"] == image(around, orders[1]) | image(around, orders[2])
    beats = config.lanes * config.word // 64
    assert around.transfers == [(order["address"], order["count"] * beats) for order in orders]
    assert around.records == {}
    assert around.labels == []


@WORDS
@pytest.mark.parametrize("chance", [0, 0.5])
def test_rows_of_an_image_lie_apart(config: Configuration, chance: float) -> None:
    downwards = {"base_stride": 2**16 - 9, "address_stride": 2**32 - 0x1000}
    orders = [
        load(Buffer.LEFT, base=2, count=5, repeats=7, base_stride=8, address=0x10, address_stride=0x2008, signal=1),
        load(Buffer.RIGHT, base=3, count=1, repeats=20, base_stride=3, address=0x8000, address_stride=0x100),
        load(Buffer.LEFT, base=58, count=1, repeats=2, **downwards, address=0x1_0000, signal=2),
        load(Buffer.RIGHT, base=0, count=2, repeats=1, **downwards, address=0x3_0000),
    ]
    around = run(config, orders, chance)
    images = [image(around, order) for order in orders]
    assert around.buffers == {"left": images[0] | images[2], "right": images[1] | images[3]}
    beats = config.lanes * config.word // 64
    assert around.transfers == [
        (order["address"] + row * order.get("address_stride", 0) & 2**32 - 1, order["count"] * beats)
        for order in orders
        for row in range(order["repeats"])
    ]


@pytest.mark.parametrize("chance", [0, 0.5])
def test_records_keep_their_signs_and_corners(chance: float) -> None:
    dut = Load(TINY)
    around = Surroundings(dut, stalls(3, chance))
    top, address = 1 << formats.MU_BITS - 1, 0x3008
    corners = [
        (0, 0, 0, 0, 0),
        (-1, 1, -1, -1, 1),
        (top - 1, 2 * top - 1, 0x7FFFF, 0x7FF_FFFF, 0xFF_FFFF_FFFF),
        (-top, top, -0x80000, -0x800_0000, 0x12_3456_789A),
    ]
    for i, (mu, psi, beta, centre, size) in enumerate(corners):
        around.memory[address + 24 * i] = mu % (2 * top) | psi << formats.MU_BITS | 0xAB << 56
        around.memory[address + 24 * i + 8] = centre % 2**28 | beta % 2**20 << 28 | 0xDEAD << 48
        around.memory[address + 24 * i + 16] = size | 0xBEEF << 40

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.order, [load(Buffer.PARAMETERS, address=address, signal=2, base=60, count=4)])
        assert around.records == {60 + i: record for i, record in enumerate(corners)}
        around.forget()
        await stream_put(ctx, dut.order, [load(Buffer.PARAMETERS, address=address, base=7, count=1)])
        assert around.records == {7: corners[0]}

    simulate(dut, bench, background=around.benches())
    assert around.buffers == {"left": {}, "right": {}}


@WORDS
@pytest.mark.parametrize("chance", [0, 0.5])
@pytest.mark.parametrize(
    ("count", "sample_words", "has_labels"),
    [(1, 1, 1), (CHUNK, 1, 0), (CHUNK + 1, 3, 1), (2 * CHUNK, 2, 1), (3 * CHUNK, 1, 1), (4 * CHUNK + 3, 1, 0)],
)
def test_samples_are_gathered_by_index(
    config: Configuration, chance: float, count: int, sample_words: int, has_labels: int
) -> None:
    sample_address, address = 0xF000_0000, 0x2000
    sample_bytes = 8 * (1 + -(-sample_words * config.word // 64)) + 8
    dut = Load(config)
    around = Surroundings(dut, stalls(4, chance))
    source = random.Random(count)
    indices = [source.choice((0, 1, 59_999, source.randrange(1 << 20))) for _ in range(count)]
    for i in range(0, count, 2):
        pair = [*indices[i : i + 2], 0][:2]
        around.memory[address + 4 * i] = pair[0] | pair[1] << 32
    expected, labels = {}, []
    for n, index in enumerate(indices):
        start = sample_address + index * sample_bytes
        labels += [around.word(start) & 0xFF] * has_labels
        for i in range(sample_words):
            place = n % config.lanes, 9 + n // config.lanes * sample_words + i
            expected[place] = around.bits(start + 8, i, config.word)
    order = {
        "opcode": Opcode.GATHER,
        "buffer": Buffer.LEFT,
        "base": 9,
        "count": count,
        "address": address,
        "sample_address": sample_address,
        "sample_bytes": sample_bytes,
        "sample_words": sample_words,
        "labels": has_labels,
        "signal": 0x41,
    }

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            around.forget()
            await stream_put(ctx, dut.order, [order])
            assert around.buffers == {"left": expected, "right": {}}
            assert around.labels == labels
            assert around.signals == [0x41]
            assert len(around.transfers) == count + -(-count // CHUNK), "asks for more than it needs"

    # Without `labels` nobody needs to take labels.
    simulate(dut, bench, background=[b for b in around.benches() if has_labels or b != around.label])


def test_a_reset_in_the_middle_leaves_nothing_behind() -> None:
    reset = Signal()
    dut = Load(TINY)
    around = Surroundings(dut)
    order = load(Buffer.LEFT, base=3, count=5, address=0x100, signal=1)
    gather = {"opcode": Opcode.GATHER, "base": 0, "count": 40, "sample_words": 3, "sample_bytes": 16, "labels": 1}

    async def bench(ctx: Any) -> None:
        for cut in (3, 9, 23, 45):
            for broken in (gather, order):
                ctx.set(dut.order.payload, broken)
                ctx.set(dut.order.valid, 1)
                for stream in (dut.transfer, dut.label):
                    ctx.set(stream.ready, 1)
                ctx.set(dut.left_ready, 1)
                ctx.set(dut.beat.valid, 1)
                await ctx.tick().repeat(cut)
                ctx.set(dut.beat.valid, 0)
                ctx.set(dut.order.valid, 0)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                found = []
                ctx.set(dut.order.payload, order)
                ctx.set(dut.order.valid, 1)
                (request,) = await stream_get(ctx, dut.transfer, 1)
                assert (request.address, request.beats) == (0x100, 5)
                for i in range(5):
                    ctx.set(dut.beat.payload, around.word(8 * i))
                    ctx.set(dut.beat.valid, 1)
                    ready = False
                    while not ready:
                        _, _, ready, bank, address = await ctx.tick().sample(
                            dut.beat.ready, dut.left.granules.as_value(), dut.left.address
                        )
                        found.append((bank, address))
                ctx.set(dut.beat.valid, 0)
                assert found == [(0xFFFF, 3 + n) for n in range(5)]
                await stream_put(ctx, dut.order, [order])

    simulate(ResetInserter(reset)(dut), bench)


LATENCY = 40  # cycles
SYSTEM = dataclasses.replace(TINY, lanes=8, word=32, left_depth=1024)


def cycles(order: dict[str, int], memory_words: dict[int, int] | None = None) -> int:
    """How long an instruction takes on a read port with a memory that is LATENCY cycles away."""
    m = Module()
    m.submodules.load = dut = Load(SYSTEM)
    m.submodules.reader = reader = ReadMaster(clients=1)
    wiring.connect(m, dut.transfer, reader.transfer_0)
    wiring.connect(m, reader.beat_0, dut.beat)
    m.d.comb += [dut.left_ready.eq(1), dut.record_ready.eq(1), dut.label.ready.eq(1)]
    memory = AxiMemory(behind(m, reader.axi, LATENCY))
    memory.words.update(memory_words or {})
    taken = 0

    async def count(ctx: Any) -> None:
        nonlocal taken
        async for _ in ctx.tick():
            taken += 1

    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.order, [order])

    simulate(m, bench, background=[*memory.benches(), count])
    assert memory.pending == 0
    return taken


@pytest.mark.parametrize(("count", "repeats"), [(64, 4), (256, 1), (16, 16), (4, 64)])
def test_an_image_comes_at_a_beat_a_cycle(count: int, repeats: int) -> None:
    order = load(Buffer.LEFT, count=count, repeats=repeats, base_stride=count, address=0x1040, address_stride=0x4000)
    beats = count * repeats * SYSTEM.lanes * SYSTEM.word // 64
    assert beats == 1024
    assert cycles(order) <= 1.1 * beats + 60


@pytest.mark.parametrize("sample_words", [9, 98])
def test_samples_come_at_a_word_a_cycle(sample_words: int) -> None:
    count, sample_bytes = 2 * CHUNK + 3, 8 * (1 + (sample_words + 1) // 2)
    order = {
        "opcode": Opcode.GATHER,
        "buffer": Buffer.LEFT,
        "count": count,
        "address": 0x8_0000,
        "sample_address": 0x10_0000,
        "sample_bytes": sample_bytes,
        "sample_words": sample_words,
        "labels": 1,
    }
    source = random.Random(1)
    indices = {0x8_0000 + 8 * i: source.randrange(100) | source.randrange(100) << 32 for i in range(2 * CHUNK)}
    chunks = 3 * CHUNK // 2  # beats
    # A sample takes a cycle for its label, and one to choose what comes next; the latency is seen for the first alone.
    assert cycles(order, indices) <= count * (sample_words + 2) + chunks + 2 * LATENCY + 60
