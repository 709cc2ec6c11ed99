"""Store: images, records, logits and reports reach memory as the layout says, while others read the buffers too."""

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

from bnnedge.configuration import Configuration
from bnnedge.formats import MU_BITS
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.bus.write import WriteMaster
from bnnedge.hw.control.store import Store
from bnnedge.isa import Buffer, Opcode

pytestmark = pytest.mark.usefixtures("left_behind")

WORDS = pytest.mark.parametrize(
    "config",
    [
        pytest.param(dataclasses.replace(TINY, lanes=lanes, word=word), id=f"{lanes}x{word}")
        for lanes, word in ((4, 16), (4, 32), (4, 64), (16, 16))
    ],
)
TOP = 1 << MU_BITS - 1


class Surroundings:
    """Buffers, parameter memory and memory port around a Store; `beats` and `transfers` are what it has sent."""

    def __init__(self, dut: Store, stall: Stall = never, seed: int = 1, request_stall: Stall | None = None) -> None:
        self.dut, self.stall, self.request_stall = dut, stall, request_stall or stall
        source, config = random.Random(seed), dut.config
        self.left, self.right = (
            [[source.getrandbits(config.word) for _ in range(config.lanes)] for _ in range(64)] for _ in range(2)
        )
        self.records = [
            {
                "mu": source.randrange(-TOP, TOP),
                "psi": source.randrange(2 * TOP),
                "beta": source.randrange(-(1 << 19), 1 << 19),
                "centre": source.randrange(-(1 << 27), 1 << 27),
                "size": source.randrange(1 << 40),
            }
            for _ in range(62)
        ]
        self.records += [
            {"mu": -TOP, "psi": 2 * TOP - 1, "beta": -1, "centre": -1, "size": 0xFF_FFFF_FFFF},
            {"mu": -1, "psi": 0, "beta": 0x7FFFF, "centre": -0x800_0000, "size": 0},
        ]
        self.reads = 0
        self.transfers: list[tuple[int, int]] = []
        self.beats: list[int] = []
        self.signals: list[int] = []
        self.written = False

    async def buffers(self, ctx: Any) -> None:
        """Both buffers answer READ_LATENCY cycles later, with what someone else reads where the store does not."""
        dut = self.dut
        garbage = [0x5A5A] * dut.config.lanes
        pipe = deque([(garbage, garbage)] * READ_LATENCY)
        while True:
            _, _, left, right, address = await ctx.tick().sample(dut.read_left, dut.read_right, dut.address)
            self.reads += left + right
            pipe.append((self.left[address % 64] if left else garbage, self.right[address % 64] if right else garbage))
            pipe.popleft()
            for port, words in zip((dut.left, dut.right), pipe[0], strict=True):
                ctx.set(port, words)

    async def parameters(self, ctx: Any) -> None:
        dut, read = self.dut, self.records[0]
        while True:
            grants = not self.stall()
            ctx.set(dut.record_granted, grants and ctx.get(dut.read_record))
            record = self.records[ctx.get(dut.address) % 64] if grants else self.records[0]
            await ctx.tick()
            ctx.set(dut.record, read)
            read = record

    async def requests(self, ctx: Any) -> None:
        while True:
            (request,) = await stream_get(ctx, self.dut.transfer, 1, self.request_stall)
            self.transfers.append((request.address, request.beats))

    async def memory(self, ctx: Any) -> None:
        """Take all data, even before they have been asked for; acknowledge them some time after the last."""
        while True:
            self.beats += await stream_get(ctx, self.dut.beat, 1, self.stall)

    @property
    def asked(self) -> int:
        """Beats of all transfers so far."""
        return sum(beats for _, beats in self.transfers)

    async def acknowledge(self, ctx: Any) -> None:
        waiting = 0  # cycles since the data of all transfers are here; those of no transfer do not count
        while True:
            waiting = waiting + 1 if len(self.beats) >= self.asked else 0
            self.written = waiting > 7
            ctx.set(self.dut.written, self.written)
            await ctx.tick()

    async def signal(self, ctx: Any) -> None:
        async for _, _, signal, ready in ctx.tick().sample(self.dut.signal, self.dut.order.ready):
            assert ready or not signal
            if ready:
                assert self.written, "ready before memory has acknowledged all"
                assert len(self.beats) == self.asked, "ready before all has been asked for"
                self.signals.append(signal)

    def benches(self) -> list[Bench]:
        rules = [steady(self.dut.beat), steady(self.dut.transfer)]
        return [*rules, self.signal, self.buffers, self.parameters, self.requests, self.memory, self.acknowledge]


def run(dut: Store, around: Surroundings, orders: list[dict[str, int]], *others: Bench) -> None:
    async def bench(ctx: Any) -> None:
        await stream_put(ctx, dut.order, ({"opcode": Opcode.STORE, "repeats": 1} | order for order in orders))

    simulate(dut, bench, *others, background=around.benches())
    assert around.signals == [order.get("signal", 0) for order in orders]


def beats_of(rows: list[list[int]], bits: int) -> list[int]:
    """Words of so many bits, one row after another, in 64-bit beats."""
    words, per_beat = [word for row in rows for word in row], 64 // bits
    parts = [words[i : i + per_beat] for i in range(0, len(words), per_beat)]
    return [sum(word << i * bits for i, word in enumerate(part)) for part in parts]


@WORDS
@pytest.mark.parametrize("chance", [0, 0.6])
def test_a_buffer_image_is_address_major(config: Configuration, chance: float) -> None:
    dut = Store(config)
    around = Surroundings(dut, stalls(1, chance))
    orders = [
        {"buffer": Buffer.LEFT, "base": 0, "count": 17, "address": 0x1000, "signal": 4},
        {"buffer": Buffer.RIGHT, "base": 63, "count": 1, "address": 0x8008},
        {"buffer": Buffer.RIGHT, "base": 40, "count": 5, "address": 0xFFFF_F000, "signal": 0x80},
    ]
    run(dut, around, orders)
    rows = [around.left[0:17], around.right[63:], around.right[40:45]]
    assert around.beats == [beat for part in rows for beat in beats_of(part, config.word)]
    beats = config.lanes * config.word // 64
    assert around.transfers == [(order["address"], order["count"] * beats) for order in orders]


@WORDS
@pytest.mark.parametrize(("chance", "request_chance"), [(0, 0), (0.6, 0.6), (0, 0.98), (0.9, 0)])
def test_rows_of_an_image_lie_apart(config: Configuration, chance: float, request_chance: float) -> None:
    dut = Store(config)
    around = Surroundings(dut, stalls(6, chance), request_stall=stalls(7, request_chance))
    orders = [
        {"buffer": Buffer.RIGHT, "base": 1, "count": 3, "repeats": 15, "base_stride": 4, "address_stride": 0x2008},
        {"buffer": Buffer.LEFT, "base": 60, "count": 1, "repeats": 20, "base_stride": 2**16 - 3, "address": 0x8000},
        {"buffer": Buffer.LEFT, "count": 1, "repeats": 2, "address": 0x1000, "address_stride": 2**32 - 0x2000, "signal": 9},
    ]
    run(dut, around, orders)
    rows, transfers = [], []
    beats = config.lanes * config.word // 64
    for order in orders:
        source = around.left if order["buffer"] is Buffer.LEFT else around.right
        for row in range(order["repeats"]):
            base = (order.get("base", 0) + row * order.get("base_stride", 0)) % 2**16
            rows += source[base : base + order["count"]]
            address = order.get("address", 0) + row * order.get("address_stride", 0)
            transfers.append((address % 2**32, order["count"] * beats))
    assert around.beats == beats_of(rows, config.word)
    assert around.transfers == transfers
    assert around.reads == len(rows), "reads an address more than once"


def test_reads_no_more_than_there_is_room_for() -> None:
    config = dataclasses.replace(TINY, lanes=8, word=32)
    dut = Store(config)
    around = Surroundings(dut)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.order.payload, {"buffer": Buffer.LEFT, "count": 9, "repeats": 1})
        ctx.set(dut.order.valid, 1)
        await ctx.tick().repeat(40)
        assert around.reads == 2
        await stream_get(ctx, dut.beat, 3)
        await ctx.tick().repeat(40)
        assert around.reads == 2
        await stream_get(ctx, dut.beat, 1)
        await ctx.tick().repeat(40)
        assert around.reads == 3

    simulate(dut, bench, background=[around.buffers])


@pytest.mark.parametrize("chance", [0, 0.6])
def test_records_are_three_words(chance: float) -> None:
    dut = Store(TINY)
    around = Surroundings(dut, stalls(2, chance))
    run(dut, around, [{"buffer": Buffer.PARAMETERS, "base": 50, "count": 14, "address": 0x40, "signal": 1}])
    expected = []
    for record in around.records[50:64]:
        expected += [record["mu"] % (2 * TOP) | record["psi"] << MU_BITS]
        expected += [record["centre"] % 2**28 | record["beta"] % 2**20 << 28, record["size"]]
    assert around.beats == expected
    assert around.transfers == [(0x40, 42)]


def test_a_report_tells_loss_hits_and_cycle() -> None:
    dut = Store(TINY)
    around = Surroundings(dut, stalls(3))

    async def head(ctx: Any) -> None:
        ctx.set(dut.loss, 0x8000_0001)
        ctx.set(dut.hits, 0xFFFF_FFFF)
        ctx.set(dut.cycles, 0x1234_5678_9ABC)

    run(dut, around, [{"buffer": Buffer.REPORT, "count": 1, "address": 0x700, "signal": 8}], head)
    assert around.beats == [0xFFFF_FFFF_8000_0001, 0x1234_5678_9ABC]
    assert around.transfers == [(0x700, 2)]


@pytest.mark.parametrize("chance", [0, 0.6])
@pytest.mark.parametrize("classes", [1, 3, 4, 5, 10])
def test_logits_of_an_image_start_a_new_beat(classes: int, chance: float) -> None:
    dut, images, source = Store(TINY), 6, random.Random(classes)
    around = Surroundings(dut, stalls(4, chance))
    scores = [[source.choice((0, 0xFFFF, source.getrandbits(16))) for _ in range(classes)] for _ in range(2 * images)]
    beats = -(-classes // 4)
    pause = stalls(5, chance)

    async def head(ctx: Any) -> None:
        for row in scores:
            for i, score in enumerate(row):
                while pause():
                    await ctx.tick()
                ctx.set(dut.score_last, i == classes - 1)
                await stream_put(ctx, dut.score, [score])

    order = {"buffer": Buffer.SCORES, "count": images * beats, "address": 0x300, "signal": 2}
    run(dut, around, [order, order | {"address": 0x900}], head)
    assert around.beats == [beat for row in scores for beat in beats_of([row], 16)]
    assert around.transfers == [(0x300, images * beats), (0x900, images * beats)]


def test_a_reset_in_the_middle_leaves_nothing_behind() -> None:
    reset = Signal()
    dut = Store(TINY)
    around = Surroundings(dut)
    order = {"opcode": Opcode.STORE, "repeats": 1, "buffer": Buffer.LEFT, "base": 8, "count": 3, "address": 0x100, "signal": 1}
    scores = {"opcode": Opcode.STORE, "repeats": 1, "buffer": Buffer.SCORES, "count": 2, "address": 0x100}

    async def bench(ctx: Any) -> None:
        ctx.set(dut.score.payload, 0xABCD)
        for broken in (order, scores):
            for cut in (2, 4, 6, 11):
                ctx.set(dut.order.payload, broken)
                ctx.set(dut.order.valid, 1)
                ctx.set(dut.score.valid, 1)
                await ctx.tick().repeat(cut)
                ctx.set(dut.order.valid, 0)
                ctx.set(dut.score.valid, 0)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
                around.beats.clear()
                around.transfers.clear()
                around.signals.clear()
                await stream_put(ctx, dut.order, [order])
                assert around.beats == beats_of(around.left[8:11], 16)
                assert around.transfers == [(0x100, 3)]
                assert around.signals == [1]

    simulate(ResetInserter(reset)(dut), bench, background=around.benches()[2:])


@pytest.mark.parametrize(
    ("lanes", "word", "count", "repeats"), [(8, 32, 64, 4), (8, 32, 16, 16), (8, 32, 4, 64), (4, 32, 32, 8), (4, 16, 64, 8)]
)
def test_an_image_goes_at_a_beat_a_cycle(lanes: int, word: int, count: int, repeats: int) -> None:
    latency, taken = 40, 0
    m = Module()
    m.submodules.store = dut = Store(dataclasses.replace(TINY, lanes=lanes, word=word))
    m.submodules.writer = writer = WriteMaster()
    wiring.connect(m, dut.transfer, writer.transfer)
    wiring.connect(m, dut.beat, writer.beat)
    m.d.comb += dut.written.eq(writer.done)
    memory = AxiMemory(behind(m, writer.axi, latency))
    around = Surroundings(dut)

    async def clock(ctx: Any) -> None:
        nonlocal taken
        async for _ in ctx.tick():
            taken += 1

    async def bench(ctx: Any) -> None:
        order = {"buffer": Buffer.LEFT, "count": count, "repeats": repeats, "address": 0x1040, "address_stride": 0x1000}
        await stream_put(ctx, dut.order, [order])

    simulate(m, bench, background=[*memory.benches(), around.buffers, clock])
    per_address = lanes * word // 64
    assert memory.pending == 0
    assert taken <= 1.1 * count * repeats * per_address + 2 * latency
    expected = beats_of(around.left[:count], word)
    for row in range(repeats):
        assert [memory.word(0x1040 + 0x1000 * row + 8 * i) for i in range(count * per_address)] == expected
