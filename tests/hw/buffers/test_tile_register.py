"""The way back of the bits: the buffers' contents in the end against NumPy, however rows and writes are held up."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.tile_register import TileRegister
from bnnedge.isa import Buffer

DEEP = dataclasses.replace(TINY, left_depth=1024, right_depth=1024)
CONFIGS = {
    "granules-4": DEEP,
    "granules-2": dataclasses.replace(DEEP, lanes=8),
    "granules-1": dataclasses.replace(DEEP, lanes=16),
    "granules-16": dataclasses.replace(DEEP, word=64),
}
COLUMNS = 512  # where columns begin; rows lie below
Place = tuple[int, int, int, int]  # buffer, bank, address, granule


def word(bits: np.ndarray) -> int:
    return sum(int(bit) << place for place, bit in enumerate(bits))


@dataclasses.dataclass
class Pass:
    """Bits (groups, tiles, lanes, planes, lanes) that come as rows, and the order that says where they go.

    down: planes of rows lie downwards in memory, as a mask may lie below the sign.
    """

    config: Configuration
    groups: int
    tiles: int
    rows_planes: int
    columns_planes: int
    rows_buffer: int = Buffer.LEFT
    columns_buffer: int = Buffer.LEFT
    down: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        lanes = self.config.lanes
        shape = (self.groups, self.tiles, lanes, formats.MAX_PLANES, lanes)
        self.bits = np.random.default_rng(self.seed).integers(0, 2, shape).astype(bool)
        row_words, column_words = (-(-count // self.config.granules) for count in (self.groups, self.tiles))
        self.order = {
            "groups": self.groups,
            "tiles": self.tiles,
            "rows_planes": self.rows_planes,
            "rows_buffer": int(self.rows_buffer),
            "rows_base": 3 + (max(self.rows_planes, 1) - 1) * row_words * self.down,
            "rows_tile_stride": self.rows_planes * row_words,
            "rows_plane_stride": -row_words % (1 << 16) if self.down else row_words,
            "columns_planes": self.columns_planes,
            "columns_buffer": int(self.columns_buffer),
            "columns_base": COLUMNS,
            "columns_group_stride": self.columns_planes * column_words,
            "columns_plane_stride": column_words,
        }

    @property
    def rows(self) -> Iterator[list[int]]:
        """Rows as they come: of each, the bits of each plane."""
        for row in self.bits.reshape(-1, formats.MAX_PLANES, self.config.lanes):
            yield [word(plane) for plane in row]

    def written(self) -> dict[Place, int]:
        """What is to stand in the buffers in the end."""
        order, granules, lanes = self.order, self.config.granules, self.config.lanes
        places = {}
        for group, tile, lane in np.ndindex(self.groups, self.tiles, lanes):
            for plane in range(self.rows_planes):
                address = order["rows_base"] + tile * order["rows_tile_stride"] + plane * order["rows_plane_stride"]
                place = (int(self.rows_buffer), lane, (address + group // granules) % (1 << 16), group % granules)
                places[place] = word(self.bits[group, tile, lane, plane])
            for plane in range(self.columns_planes):
                address = COLUMNS + group * order["columns_group_stride"] + plane * order["columns_plane_stride"]
                place = (int(self.columns_buffer), lane, address + tile // granules, tile % granules)
                places[place] = word(self.bits[group, tile, :, plane, lane])
        return places


class Run:
    """A simulation of the tile register.

    start, shift: how likely a tile is started, or a row comes, if it may. blocked: how often the left buffer is taken.
    """

    def __init__(
        self, config: Configuration, seed: int = 0, start: float = 1, shift: float = 1, blocked: float = 0
    ) -> None:
        self.config = config
        self.dut = TileRegister(config)
        self.reset = Signal()
        self.source = random.Random(seed)
        self.start, self.shift, self.blocked = start, shift, blocked
        self.written: dict[Place, int] = {}
        self.starts: list[int] = []

    async def go(self, ctx: Any, work: Pass, latency: int = 0, gap: int = 1, cycles: int | None = None) -> None:
        """Send a pass: first rows `latency` cycles behind the start of their tile, tiles `gap` cycles apart, or more.

        Return when the register is idle (or after `cycles`), with `written` and `starts` of this pass.
        """
        dut, source, lanes = self.dut, self.source, self.config.lanes
        self.written, self.starts = {}, []
        rows, waiting = work.rows, []
        left_to_start = work.groups * work.tiles
        ctx.set(dut.order, work.order)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        time, held = 0, None
        ports = [getattr(port, name) for port in (dut.left, dut.right) for name in ("address", "data", "granules")]
        while time != cycles and (left_to_start or waiting or not ctx.get(dut.idle)):
            due = left_to_start > 0 and (not self.starts or time >= self.starts[-1] + gap)
            start = due and ctx.get(dut.room) and source.random() < self.start
            if start:
                left_to_start -= 1
                self.starts.append(time)
                waiting += [(time + latency, next(rows)) for _ in range(lanes)]
            shift = bool(waiting) and waiting[0][0] <= time and source.random() < self.shift
            blocked = source.random() < self.blocked
            ctx.set(dut.start, start)
            ctx.set(dut.shift, shift)
            ctx.set(dut.planes, waiting.pop(0)[1] if shift else [source.getrandbits(lanes) for _ in range(8)])
            ctx.set(dut.left_blocked, blocked)
            _, _, idle, *now = await ctx.tick().sample(dut.idle, *ports)
            left, right = now[:3], now[3:]
            for buffer, (address, data, masks) in ((Buffer.LEFT, left), (Buffer.RIGHT, right)):
                if not (buffer == Buffer.LEFT and blocked):
                    self.note(buffer, address, data, masks)
                assert not (any(masks) and idle), "idle, and writing"
            assert held is None or held == left, "a write that is blocked must stay"
            held = left if blocked and any(left[2]) else None
            time += 1
        ctx.set(dut.start, 0)
        ctx.set(dut.shift, 0)

    def note(self, buffer: int, address: int, data: Any, masks: Any) -> None:
        lanes = self.config.lanes
        for bank, (value, mask) in enumerate(zip(data, masks, strict=True)):
            for granule in range(self.config.granules):
                if mask >> granule & 1:
                    place = (int(buffer), bank, address, granule)
                    assert place not in self.written, "written twice"
                    self.written[place] = value >> granule * lanes & (1 << lanes) - 1


def random_pass(config: Configuration, source: random.Random) -> Pass:
    most = 2 * config.granules + 1 if config.granules < 16 else 5
    return Pass(
        config,
        groups=source.randint(1, min(most, 6)),
        tiles=source.randint(1, min(most, 6)),
        rows_planes=source.choice((0, 1, 2, 8)),
        columns_planes=source.choice((0, 1, 3, 8)),
        rows_buffer=source.choice((Buffer.LEFT, Buffer.RIGHT)),
        columns_buffer=source.choice((Buffer.LEFT, Buffer.RIGHT)),
        down=source.random() < 0.5,
        seed=source.getrandbits(32),
    )


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_random_passes_in_a_row_with_random_stalls(config: Configuration, seed: int) -> None:
    source = random.Random(seed)
    run = Run(
        config, seed, start=source.choice((0.3, 1)), shift=source.choice((0.5, 1)), blocked=source.choice((0, 0.5))
    )

    async def bench(ctx: Any) -> None:
        for latency in (0, 6, 1):
            work = random_pass(config, source)
            await run.go(ctx, work, latency)
            assert run.written == work.written(), work

    simulate(run.dut, bench)


@pytest.mark.parametrize("planes", [(0, 0), (0, 1), (1, 0), (1, 8), (8, 0), (0, 8), (8, 8)])
@pytest.mark.parametrize("latency", [0, 6])
def test_rows_as_fast_as_room_allows(planes: tuple[int, int], latency: int) -> None:
    run = Run(DEEP)
    work = Pass(DEEP, 5, 6, *planes, columns_buffer=Buffer.RIGHT, seed=1)

    async def bench(ctx: Any) -> None:
        await run.go(ctx, work, latency)
        assert run.written == work.written()

    simulate(run.dut, bench)


@pytest.mark.parametrize(
    "buffers", [(Buffer.LEFT, Buffer.LEFT), (Buffer.RIGHT, Buffer.LEFT), (Buffer.LEFT, Buffer.RIGHT)]
)
@pytest.mark.parametrize("blocked", [0.3, 0.9])
def test_nothing_is_lost_while_the_left_buffer_is_blocked(buffers: tuple[Buffer, Buffer], blocked: float) -> None:
    run = Run(DEEP, seed=2, blocked=blocked)
    work = Pass(DEEP, 5, 5, 2, 3, *buffers, seed=3)

    async def bench(ctx: Any) -> None:
        await run.go(ctx, work)
        assert run.written == work.written()

    simulate(run.dut, bench)


def test_the_right_buffer_does_not_wait_for_the_left_one() -> None:
    lengths = []
    for blocked in (0, 1):
        run = Run(DEEP, blocked=blocked)
        work = Pass(DEEP, 2, 2, 3, 4, Buffer.RIGHT, Buffer.RIGHT)

        async def bench(ctx: Any, run: Run = run, work: Pass = work) -> None:
            await run.go(ctx, work)
            assert run.written == work.written()

        simulate(run.dut, bench, limit=200)
        lengths.append(run.starts)
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize(("config", "latency"), [(DEEP, 0), (CONFIGS["granules-1"], 6)], ids=["lanes-4", "lanes-16"])
def test_a_forward_pass_never_waits_for_the_register(config: Configuration, latency: int) -> None:
    run = Run(config)
    work = Pass(config, 2, 4, 2, 1)  # sign and mask as rows, sign as columns

    async def bench(ctx: Any) -> None:
        await run.go(ctx, work, latency, gap=config.lanes)  # what a head needs to send a tile
        assert run.written == work.written()
        assert run.starts == [config.lanes * tile for tile in range(work.groups * work.tiles)]

    simulate(run.dut, bench)


def test_a_reset_in_the_middle_leaves_nothing_behind() -> None:
    run = Run(DEEP, seed=4)
    work = Pass(DEEP, 3, 3, 3, 3, seed=5)

    async def bench(ctx: Any) -> None:
        for cycles in (5, 9, 18, 40):
            await run.go(ctx, work, cycles=cycles)
            ctx.set(run.reset, 1)
            await ctx.tick()
            ctx.set(run.reset, 0)
            assert ctx.get(run.dut.idle)
            await run.go(ctx, work)
            assert run.written == work.written()

    simulate(ResetInserter(run.reset)(run.dut), bench)
