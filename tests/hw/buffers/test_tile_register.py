"""The way back of the bits: the buffers' contents in the end against NumPy, however rows and writes are held up."""

from __future__ import annotations

import dataclasses
import itertools
import math
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
from bnnedge.isa import Buffer, Head, Pool

DEEP = dataclasses.replace(TINY, left_depth=1 << 13, right_depth=1 << 13)
CONFIGS = {
    "granules-4": DEEP,
    "granules-2": dataclasses.replace(DEEP, lanes=8),
    "granules-1": dataclasses.replace(DEEP, lanes=16),
    "granules-16": dataclasses.replace(DEEP, word=64),
}
Place = tuple[int, int, int, int]  # buffer, bank, address, granule


def word(bits: np.ndarray) -> int:
    return sum(int(bit) << place for place, bit in enumerate(bits))


class Tensor:
    """Where planes of a map lie in a buffer: its dimensions in any order and direction behind `base`, words innermost."""

    def __init__(self, source: random.Random, base: int, words: int, **sizes: int) -> None:
        self.base, self.units = base, {}
        for name in source.sample(list(sizes), len(sizes)):
            self.units[name] = words
            if source.random() < 0.5:
                self.units[name] = -words
                self.base += (sizes[name] - 1) * words
            words *= max(sizes[name], 1)

    def address(self, **indices: int) -> int:
        """Address of a plane's first word."""
        return self.base + sum(self.units[name] * index for name, index in indices.items())

    def fields(self, name: str, step: int) -> dict[str, int]:
        """Fields of the order, `step` pixels from one turn of y or x to the next."""
        strides = {key: unit * step if key in "yx" else unit for key, unit in self.units.items()}
        return {f"{name}_base": self.base, **{f"{name}_{key}": stride % (1 << 16) for key, stride in strides.items()}}


@dataclasses.dataclass
class Pass:
    """Bits (groups, height, width, tiles, places, lanes, planes, lanes) that come as rows, and the order for them."""

    config: Configuration
    groups: int
    tiles: int
    rows_planes: int
    columns_planes: int
    rows_buffer: int = Buffer.LEFT
    columns_buffer: int = Buffer.LEFT
    height: int = 1
    width: int = 1
    head: int = Head.BACKWARD
    pool: int = Pool.NONE
    first_group: int = 0
    first_tile: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        lanes, granules = self.config.lanes, self.config.granules
        self.places = self.head == Head.BACKWARD and self.pool != Pool.NONE
        self.counts = (self.groups, self.height, self.width, self.tiles, 4 if self.places else 1)
        shape = (*self.counts, lanes, formats.MAX_PLANES, lanes)
        self.bits = np.random.default_rng(self.seed).integers(0, 2, shape).astype(bool)
        side = 2 if self.places else 1
        row_words = (self.first_group % granules + self.groups - 1) // granules + 1
        column_words = (self.first_tile % granules + self.tiles - 1) // granules + 1

        def tensor(base: int, words: int, planes: int, **sizes: int) -> Tensor:
            return Tensor(source, base, words, y=self.height * side, x=self.width * side, plane=planes, **sizes)

        source = random.Random(self.seed)
        self.rows_at = tensor(100, row_words, self.rows_planes, tile=self.tiles)
        self.columns_at = tensor(5000, column_words, self.columns_planes, group=self.groups)
        here = ("groups", "tiles", "height", "width", "first_group", "first_tile", "head", "pool")
        here += ("rows_planes", "columns_planes", "rows_buffer", "columns_buffer")
        self.order = {
            **{name: int(getattr(self, name)) for name in here},
            **self.rows_at.fields("rows", side),
            **self.columns_at.fields("columns", side),
        }

    @property
    def rows(self) -> Iterator[list[int]]:
        """Rows as they come: of each, the bits of each plane."""
        for row in self.bits.reshape(-1, formats.MAX_PLANES, self.config.lanes):
            yield [word(plane) for plane in row]

    def writes(self) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """Buffer, address of the first group's or tile's word, number of the granule from there, bits by bank."""
        for at in np.ndindex(*self.counts):
            group, y, x, tile, place = at
            planes = self.bits[at].swapaxes(0, 1)  # plane, row, column
            down, right = (2 * y + place // 2, 2 * x + place % 2) if self.places else (y, x)
            number, columns_number = (first % self.config.granules for first in (self.first_group, self.first_tile))
            number, columns_number = number + group, columns_number + tile
            for i in range(self.rows_planes):
                yield self.rows_buffer, self.rows_at.address(y=down, x=right, tile=tile, plane=i), number, planes[i]
            for i in range(self.columns_planes):
                address = self.columns_at.address(group=group, y=down, x=right, plane=i)
                yield self.columns_buffer, address, columns_number, planes[i].T

    def written(self) -> dict[Place, int]:
        """What is to stand in the buffers in the end."""
        places: dict[Place, int] = {}
        for buffer, address, number, banks in self.writes():
            for bank, bits in enumerate(banks):
                place = (int(buffer), bank, address + number // self.config.granules, number % self.config.granules)
                assert place not in places
                places[place] = word(bits)
        return places


class Run:
    """A simulation of the tile register.

    start, shift: how likely a tile is started, or a row comes, if it may. blocked: how often the left buffer is taken.
    """

    def __init__(self, config: Configuration, seed: int = 0, start: float = 1, shift: float = 1, blocked: float = 0) -> None:
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
        left_to_start = math.prod(work.counts)
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
    counts = {name: source.randint(1, most) for name, most in (("groups", 6), ("tiles", 6), ("height", 3), ("width", 3))}
    work = Pass(
        config,
        **{**counts, source.choice(("groups", "tiles")): 1} if source.random() < 0.5 else counts,
        rows_planes=source.choice((0, 1, 2, 8)),
        columns_planes=source.choice((0, 1, 3, 8)),
        rows_buffer=source.choice((Buffer.LEFT, Buffer.RIGHT)),
        columns_buffer=source.choice((Buffer.LEFT, Buffer.RIGHT)),
        head=source.choice((Head.BACKWARD, *Head)),
        pool=source.choice(list(Pool)),
        first_group=source.randrange(1000),
        first_tile=source.randrange(1000),
        seed=source.getrandbits(32),
    )
    return work if math.prod(work.counts) * config.lanes < 500 else random_pass(config, source)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(5))
def test_random_passes_in_a_row_with_random_stalls(config: Configuration, seed: int) -> None:
    source = random.Random(seed)
    run = Run(config, seed, start=source.choice((0.3, 1)), shift=source.choice((0.5, 1)), blocked=source.choice((0, 0.5)))

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


BUFFERS = list(itertools.product((Buffer.LEFT, Buffer.RIGHT), repeat=2))


@pytest.mark.parametrize("buffers", BUFFERS)
def test_all_numbers_of_planes_at_all_kinds_of_places(buffers: tuple[Buffer, Buffer]) -> None:
    source, run = random.Random(6), Run(DEEP, seed=6, start=0.8, shift=0.9, blocked=0.3)
    kinds = [(Head.FORWARD, Pool.NONE), (Head.FORWARD, Pool.SIGNS), (Head.BACKWARD, Pool.NONE), (Head.BACKWARD, Pool.SUMS)]

    async def bench(ctx: Any) -> None:
        for rows, columns, (head, pool) in itertools.product((0, 1, 5, 8), (0, 1, 5, 8), kinds):
            work = Pass(DEEP, 2, 1, rows, columns, *buffers, head=head, pool=pool, seed=source.getrandbits(32))
            await run.go(ctx, work, latency=source.choice((0, 3)))
            assert run.written == work.written(), work

    simulate(run.dut, bench)


@pytest.mark.parametrize("buffers", BUFFERS)
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


# Passes that the register must keep up with, and the latency of their rows.
FAST = {
    "sign and mask": (Pass(DEEP, 2, 4, 2, 1, head=Head.FORWARD), 0),
    "lanes - 2 planes": (Pass(CONFIGS["granules-1"], 2, 3, 8, 6), 0),
    "sign and mask, late": (Pass(CONFIGS["granules-1"], 2, 4, 2, 1, head=Head.FORWARD), 6),
    "codes, late": (Pass(CONFIGS["granules-1"], 2, 4, 4, 4), 6),
    "lanes - 2 planes beside each other": (Pass(CONFIGS["granules-2"], 2, 3, 6, 6, columns_buffer=Buffer.RIGHT), 0),
    "and the other way round": (Pass(CONFIGS["granules-2"], 2, 3, 5, 6, rows_buffer=Buffer.RIGHT), 0),
    "nothing": (Pass(DEEP, 2, 2, 0, 0), 0),
    "signs and routes": (Pass(CONFIGS["granules-2"], 1, 1, 4, 1, width=2, head=Head.FORWARD, pool=Pool.SIGNS), 2),
    "codes at four places": (Pass(CONFIGS["granules-1"], 1, 1, 4, 4, width=2, head=Head.BACKWARD, pool=Pool.SUMS), 2),
}


@pytest.mark.parametrize(("work", "latency"), FAST.values(), ids=FAST)
def test_tiles_as_fast_as_rows_can_come_never_wait_for_the_register(work: Pass, latency: int) -> None:
    lanes = work.config.lanes
    run = Run(work.config)

    async def bench(ctx: Any) -> None:
        await run.go(ctx, work, latency, gap=lanes)
        assert run.written == work.written()
        assert run.starts == [lanes * tile for tile in range(math.prod(work.counts))]

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
