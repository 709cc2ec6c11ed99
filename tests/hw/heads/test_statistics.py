"""The drain and the batch sums against NumPy, with the engine in front modelled cycle by cycle."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.lib import wiring
from hardware import TINY, simulate, stalls, steady, stream_get, stream_put

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.array import finish_latency
from bnnedge.hw.engine.fetch import Fetch
from bnnedge.hw.heads.statistics import Statistics
from bnnedge.isa import Head, Opcode

CONFIGS = {
    "lanes-4": TINY,
    "lanes-8": dataclasses.replace(TINY, lanes=8),
    "lanes-16": dataclasses.replace(TINY, lanes=16),
    "lanes-16, word-64": dataclasses.replace(TINY, lanes=16, word=64),
}


@dataclasses.dataclass
class Tile:
    """Sums (lanes, lanes) as integers, side bits alike, and what is said about them."""

    sums: np.ndarray
    bias: int
    signs: np.ndarray
    masks: np.ndarray
    meta: dict[str, int]


class Pass:
    """`tiles` tiles in each of `groups` groups; `sums` fixes all of them."""

    def __init__(
        self,
        config: Configuration,
        head: Head,
        groups: int,
        tiles: int,
        *,
        columns: int | None = None,
        channel: int = 0,
        seed: int = 0,
        sums: int | None = None,
    ) -> None:
        self.config, self.head, self.groups, self.channel = config, head, groups, channel
        self.columns = columns or config.lanes
        source = np.random.default_rng(seed)
        lanes, square = config.lanes, (config.lanes, config.lanes)
        self.tiles = []
        for group in range(groups):
            for tile in range(tiles):
                bias = config.largest_sum if sums is not None else int(source.choice((1, 9, 250, config.largest_sum)))
                agree = source.integers(0, bias + 1, square)
                values = np.full(square, sums) if sums is not None else 2 * agree - bias
                meta = {"head": int(head), "first": tile == 0, "last": tile == tiles - 1}
                meta["columns"] = self.columns if group == groups - 1 else lanes
                sides = source.integers(0, 2, (2, *square)).astype(bool)
                self.tiles.append(Tile(values, bias, *sides, meta))

    def rows(self) -> list[list[int]]:
        """Sums as they are to arrive in the tile buffer."""
        rows = []
        for tile in self.tiles:
            values = tile.sums.copy()
            values[:, tile.meta["columns"] :] = 0
            if self.head == Head.BACKWARD:
                values[~tile.masks] = 0
            rows += values.tolist()
        return rows

    def sums(self, records: Sequence[int]) -> list[tuple[np.ndarray, ...]]:
        """Of each group: sums over the rows, of y and |y - pivot|, or of d, d * x and x = 1; valid columns only."""
        if self.head == Head.UPDATE:
            return []
        lanes, result = self.config.lanes, []
        rows = np.array(self.rows()).reshape(self.groups, -1, lanes)
        signs = np.array([tile.signs for tile in self.tiles]).reshape(self.groups, -1, lanes)
        for group in range(self.groups):
            valid = self.columns if group == self.groups - 1 else lanes
            values, ones = rows[group, :, :valid], signs[group, :, :valid]
            if self.head == Head.BACKWARD:
                second = np.where(ones, values, -values)
            else:
                start = self.channel + group * lanes
                second = abs(values - np.floor(np.array(records[start : start + valid]) / 64 + 0.5).astype(np.int64))
            result.append((values.sum(0), second.sum(0), ones.sum(0)))
        return result


class Bench:
    """Statistics with models of its neighbours: engine and side registers, parameter memory, tile buffer.

    Without a fetch, the bench itself issues tiles, each as early as `drained` allows or up to `late` cycles later.
    `stall`: how often nothing is given, taken or popped in a cycle. `space`: rows of the tile buffer.
    """

    def __init__(
        self, config: Configuration, seed: int, *, fetch: bool = False, late: int = 0, stall: float = 0.5
    ) -> None:
        self.config, self.source, self.late, self.stall = config, random.Random(seed), late, stall
        self.seed, self.space = seed, 2 * config.lanes
        self.reset = Signal()
        self.dut = Statistics(config)
        self.fetch = Fetch(config) if fetch else None
        top = (1 << formats.MU_BITS - 1) - (1 << formats.STATISTICS)
        self.records = [self.source.choice((0, -33, -32, -31, 31, 32, top, -top, self.source.randrange(-top, top)))] * 8
        self.records += [self.source.randrange(-top, top) for _ in range(config.channels - 8)]
        self.tiles: deque[Tile] = deque()
        self.rows: list[list[int]] = []
        self.actives: list[list[int]] = []
        self.groups: list[tuple[np.ndarray, ...]] = []
        self.done_times: list[int] = []

    async def engine(self, ctx: Any) -> None:
        """Engine, memories and tile buffer."""
        dut, fetch, config, source = self.dut, self.fetch, self.config, self.source
        lanes = config.lanes
        events: dict[int, list[tuple[str, Tile]]] = {}
        issued: deque[Tile] = deque()  # whose side words are yet to be read
        store: np.ndarray | None = None
        time, free, kept = 0, self.space, 0  # rows of the tile buffer that are free, and that wait to be popped
        credit, may_issue_at = True, 0
        push_times: list[int] = []

        def issue(tile: Tile) -> None:
            """The last operands' address goes out now."""
            nonlocal credit
            assert credit
            credit = False
            events.setdefault(time + READ_LATENCY + finish_latency(config), []).append(("done", tile))
            if fetch is None:
                events.setdefault(time + READ_LATENCY + 2, []).append(("signs", tile))
                events.setdefault(time + READ_LATENCY + 3, []).append(("masks", tile))

        outputs = [
            self.reset,
            dut.row,
            dut.drained,
            dut.reading,
            dut.record_address,
            dut.reserve,
            dut.push,
            dut.row_out,
        ]
        outputs += [fetch.tag, fetch.side_active, fetch.side_mask] if fetch else []
        ctx.set(dut.room, 1)
        async for _, _, reset, row, drained, reading, address, reserve, push, row_out, *issues in ctx.tick().sample(
            *outputs
        ):
            if reset:
                events, store, free, kept, credit, push_times = {}, None, self.space, 0, True, []
                time += 1
                may_issue_at = time
                continue
            if fetch:
                tag, active, mask = issues
                if tag.valid and tag.last:
                    tile = self.tiles.popleft()
                    assert {name: int(tag.meta[name]) for name in tile.meta} == tile.meta
                    issue(tile)
                    issued.append(tile)
                if active or mask:
                    name = "signs" if active else "masks"
                    events.setdefault(time + READ_LATENCY + 1, []).append((name, issued[-1]))
            elif credit and self.tiles and time >= may_issue_at:
                issue(self.tiles.popleft())
            if drained:
                assert not credit
                credit, may_issue_at = True, time + 1 + source.randint(0, self.late)

            assert not reserve or free >= lanes, "no room"
            pop = kept > 0 and source.random() < max(0.1, 1 - self.stall)
            free += pop - lanes * reserve
            kept += push - pop
            if push:
                push_times.append(time)
                if len(push_times) % lanes == 0:
                    assert push_times[-1] - push_times[-lanes] == lanes - 1, "a drain takes a cycle for each row"
                self.rows.append([item.value for item in row_out])
                self.actives.append([item.active for item in row_out])

            # what the neighbours show in the next cycle
            ctx.set(dut.sums, store[row].tolist() if store is not None else [0] * lanes)
            time += 1
            done = False
            for name, tile in events.pop(time, []):
                if name == "done":
                    done = True
                    store = (tile.sums + tile.bias) // 2
                    ctx.set(dut.bias, tile.bias)
                    ctx.set(dut.meta, tile.meta)
                else:
                    bits = getattr(tile, name)
                    ctx.set(getattr(dut, name), [sum(int(b) << j for j, b in enumerate(r)) for r in bits])
            ctx.set(dut.done, done)
            if done:
                self.done_times.append(time)
            record = self.records[address % config.channels] if reading else source.getrandbits(20)
            ctx.set(dut.record, {"mu": record, "psi": 5, "beta": -1})
            ctx.set(dut.room, free >= lanes)

    def go(self, passes: list[Pass], *, reset_after: int | None = None, limit: int = 20_000) -> None:
        """Run the passes and compare; with `reset_after`, all over again from a reset in that cycle."""
        dut, fetch = self.dut, self.fetch
        expected_groups = [sums for work in passes for sums in work.sums(self.records)]
        expected_rows = [row for work in passes for row in work.rows()]
        channels = [
            {"channel": work.channel + group * self.config.lanes, "forward": work.head != Head.BACKWARD}
            for work in passes
            for group in range(work.groups)
            if work.head != Head.UPDATE
        ]
        m = Module()
        m.submodules.dut = dut
        if fetch:
            m.submodules.fetch = fetch
            wiring.connect(m, fetch.pivots, dut.pivots)
            m.d.comb += fetch.drained.eq(dut.drained)

        async def give(ctx: Any) -> None:
            if reset_after is not None:
                await start(ctx)
                await ctx.tick().repeat(reset_after)
                ctx.set(self.reset, 1)
                await ctx.tick().repeat(2)
                ctx.set(self.reset, 0)
                for seen in (self.tiles, self.rows, self.actives, self.groups):
                    seen.clear()
            await start(ctx)
            if fetch:
                await stream_put(ctx, fetch.instruction, [self.order(work) for work in passes])
            else:
                await stream_put(ctx, dut.pivots, channels, stalls(self.seed + 1, self.stall))
            while len(self.rows) < len(expected_rows) or len(self.groups) < len(expected_groups):
                await ctx.tick()
            await ctx.tick().repeat(10)

        async def start(ctx: Any) -> None:
            self.tiles.extend(tile for work in passes for tile in work.tiles)
            if fetch:
                ctx.set(fetch.head.ready, 1)
                ctx.set(fetch.instruction.payload, self.order(passes[0]))
                ctx.set(fetch.instruction.valid, 1)

        async def take(ctx: Any) -> None:
            wait = stalls(self.seed + 2, self.stall)
            while True:
                (sums,) = await stream_get(ctx, dut.group, 1, wait)
                self.groups.append(tuple(np.array([s[name] for s in sums]) for name in ("first", "second", "ones")))

        simulate(ResetInserter(self.reset)(m), give, background=[take, self.engine, steady(dut.group)], limit=limit)
        self.compare(passes, expected_rows, expected_groups)

    def compare(self, passes: list[Pass], rows: list[list[int]], groups: list[tuple[np.ndarray, ...]]) -> None:
        assert self.rows == rows
        actives = [row for work in passes for tile in work.tiles for row in tile.signs.tolist()]
        backward = [work.head == Head.BACKWARD for work in passes for _ in work.tiles for _ in range(self.config.lanes)]
        for seen, active, side in zip(self.actives, actives, backward, strict=True):
            assert not side or seen == active
        heads = [work.head for work in passes if work.head != Head.UPDATE for _ in range(work.groups)]
        for head, seen, expected in zip(heads, self.groups, groups, strict=True):
            valid = len(expected[0])
            names = ("first", "second", "ones") if head == Head.BACKWARD else ("first", "second")
            for name, mine, theirs in zip(names, seen[: len(names)], expected[: len(names)], strict=True):
                assert mine[:valid].tolist() == theirs.tolist(), name
            assert not seen[0][valid:].any(), "columns beyond the layer's count"

    def order(self, work: Pass) -> dict[str, int]:
        """A PASS with one or two words to a tile: as short as they come."""
        words = 1 + len(work.tiles) % 2
        shape = {
            "groups": work.groups,
            "tiles": len(work.tiles) // work.groups,
            "words": words,
            "columns": work.columns,
        }
        planes = {"left_planes": 1, "right_planes": 1}
        return {"opcode": int(Opcode.PASS), "head": int(work.head), "channel": work.channel, **shape, **planes}


def random_passes(config: Configuration, seed: int, count: int) -> list[Pass]:
    source = random.Random(seed)
    passes = []
    for number in range(count):
        head = source.choice(list(Head))
        columns = source.choice((1, config.lanes - 1, config.lanes))
        groups, tiles = source.choice((1, 2, 3)), source.choice((1, 1, 2, 3))
        channel = source.randrange(config.channels - groups * config.lanes + 1)
        passes.append(Pass(config, head, groups, tiles, columns=columns, channel=channel, seed=100 * seed + number))
    return passes


@pytest.mark.parametrize("seed", range(5))
def test_random_passes_with_random_stalls(seed: int) -> None:
    stall, late = random.Random(seed).choice(((0.1, 0), (0.5, 20), (0.9, 3)))
    Bench(TINY, seed, late=late, stall=stall).go(random_passes(TINY, seed, 8))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_behind_the_fetch_no_tile_is_overwritten_before_it_has_drained(config: Configuration, stall: float) -> None:
    Bench(config, seed=7, fetch=True, stall=stall).go(random_passes(config, 7, 6))


def test_sums_and_differences_reach_their_ends_over_the_largest_batch() -> None:
    top, lanes = TINY.largest_sum, TINY.lanes
    bench = Bench(TINY, seed=8, stall=0)
    far = [-top] * lanes + [top] * lanes
    bench.records[: 2 * lanes] = [pivot << formats.STATISTICS for pivot in far]
    tiles = 512 // lanes
    bench.go([Pass(TINY, Head.FORWARD, 1, tiles, channel=i * lanes, sums=-far[i * lanes]) for i in range(2)])


def test_pivots_are_rounded_moving_means() -> None:
    bench = Bench(TINY, seed=9)
    near = [0, 31, 32, 33, -31, -32, -33, 95, 96, -95, -96, -97]
    bench.records[: len(near)] = near
    bench.go([Pass(TINY, Head.FORWARD, len(near) // TINY.lanes, 2, seed=10)])


def test_a_group_is_kept_until_it_is_taken() -> None:
    bench = Bench(TINY, seed=11, fetch=True, stall=0.99)
    bench.space = TINY.tile_rows
    bench.go([Pass(TINY, head, 3, 1, seed=12) for head in (Head.BACKWARD, Head.UPDATE, Head.LOSS)])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_short_tiles_come_in_the_time_of_their_rows_or_of_the_way_to_the_drain(config: Configuration) -> None:
    bench = Bench(config, seed=15, fetch=True, stall=0)
    bench.go([Pass(config, Head.FORWARD, 1, 8, seed=16)])
    way = READ_LATENCY + finish_latency(config)
    periods = [later - first for first, later in itertools.pairwise(bench.done_times)]
    assert max(periods[1:]) <= max(config.lanes, way) + 2  # the first tile waits for its pivots


@pytest.mark.parametrize("after", [4, 19, 33, 50])
def test_a_reset_in_the_middle_leaves_nothing_behind(after: int) -> None:
    bench = Bench(TINY, seed=after, fetch=True, stall=0)
    bench.go([Pass(TINY, Head.BACKWARD, 3, 3, seed=13), Pass(TINY, Head.FORWARD, 2, 2, seed=14)], reset_after=after)
