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
from hardware import TINY, signed, simulate, stalls, steady, stream_get, stream_put
from tiles import Order, drawn, tiles_of

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.array import finish_latency
from bnnedge.hw.engine.fetch import Fetch
from bnnedge.hw.heads.statistics import Statistics
from bnnedge.hw.layouts import SIDE_BITS, tile_meta, tile_row
from bnnedge.isa import Head, Pool

pytestmark = pytest.mark.usefixtures("left_behind")

CONFIGS = {
    "lanes-4": TINY,
    "lanes-8": dataclasses.replace(TINY, lanes=8),
    "lanes-16": dataclasses.replace(TINY, lanes=16),
    "lanes-16, word-64": dataclasses.replace(TINY, lanes=16, word=64),
}
SIDES = (1 << SIDE_BITS) - 1
SUMS = {"head": Head.FORWARD, "pool": Pool.SUMS}
# Where a route stands beside a sum.
ROUTES = {(Head.BACKWARD, Pool.SIGNS), (Head.BACKWARD, Pool.SUMS), (Head.FORWARD, Pool.SUMS)}


@dataclasses.dataclass
class Tile:
    """Sums (lanes, lanes) as integers, side bits (SIDE_BITS + 1, lanes, lanes), the masks last, and what is said of them."""

    sums: np.ndarray
    bias: int
    sides: np.ndarray
    meta: dict[str, int]


@dataclasses.dataclass
class Group:
    """What is to be told of a finished group; `sums` of its valid columns, None if it does not sum."""

    number: int
    fresh: bool
    sums: dict[str, list[int]] | None
    columns: int


class Pass:
    """A PASS's tiles with random sums; `sums` fixes all of them."""

    def __init__(self, config: Configuration, seed: int, *, sums: int | None = None, **fixed: Any) -> None:
        one = {"height": 1, "width": 1, "taps_y": 1, "taps_x": 1, "y_limit": 9, "y_origin": 0, "x_limit": 9, "x_origin": 0}
        one |= {"row_first": 0, "row_last": 15, "left_planes": 1, "right_planes": 1, "continues": 0, "unfinished": 0}
        self.config = config
        self.order: Order = drawn(random.Random(seed), config, **{**one, **fixed})
        source = np.random.default_rng(seed)
        square = (config.lanes, config.lanes)
        self.tiles = []
        for tile in tiles_of(self.order, config):
            bias = config.largest_sum if sums is not None else int(source.choice((1, 9, 250, config.largest_sum)))
            values = np.full(square, sums) if sums is not None else 2 * source.integers(0, bias + 1, square) - bias
            bits = source.integers(0, 2, (SIDE_BITS + 1, *square)).astype(bool)
            self.tiles.append(Tile(values, bias, bits, tile.meta))

    @property
    def head(self) -> int:
        """Its Head."""
        return self.order["head"]

    @property
    def sums(self) -> bool:
        """Whether it sums."""
        return self.head != Head.UPDATE and not self.order["inference"]

    def values(self) -> list[tuple[dict[str, int], np.ndarray, np.ndarray]]:
        """Of each row that goes on, tile by tile: meta, sums (lanes, lanes), side bits (lanes, lanes) as numbers."""
        lanes, order, found = self.config.lanes, self.order, []
        for tile in self.tiles:
            values, place = tile.sums.copy(), tile.meta["place"]
            numbers = (np.arange(lanes) + tile.meta["part"] * lanes) % formats.WINDOW_BITS
            values[(numbers < order["row_first"]) | (numbers > order["row_last"])] = 0
            values[:, tile.meta["columns"] :] = 0
            side = np.zeros_like(values)
            if self.head == Head.BACKWARD:
                values[~tile.sides[SIDE_BITS]] = 0
                side = (tile.sides[:SIDE_BITS] << np.arange(SIDE_BITS)[:, None, None]).sum(0)
            if (self.head, order["pool"]) == (Head.FORWARD, Pool.SUMS):
                if place == 0:
                    largest, best = values, side
                else:
                    best = np.where(values > largest, place, best)
                    largest = np.maximum(values, largest)
                if place < 3:
                    continue
                values, side = largest, best
            found.append((tile.meta, values, side))
        return found

    def rows(self) -> list[tuple[list[int], list[int], tuple[int, ...]]]:
        """Rows as they are to arrive in the tile buffer: values, sides, and whether they continue, stay, begin."""
        rows = []
        for meta, values, side in self.values():
            for i in range(self.config.lanes):
                begins = meta["begins"] if self.head != Head.FORWARD or self.order["pool"] != Pool.SUMS else 0
                flags = (self.order["continues"], self.order["unfinished"], int(begins and i == 0))
                rows.append((values[i].tolist(), side[i].tolist(), flags))
        return rows

    def groups(self, records: Sequence[int]) -> list[Group]:
        """What is told of its groups."""
        order, lanes = self.order, self.config.lanes
        if not self.sums and not order["unfinished"]:
            return []
        values, found = self.values(), []
        for group in range(order["groups"]):
            part = values[group * len(values) // order["groups"] :][: len(values) // order["groups"]]
            columns = order["columns"] if group == order["groups"] - 1 else lanes
            number = (order["first_group"] + group) % 1024
            sums = None
            if self.sums:
                y = np.concatenate([row for _, row, _ in part])[:, :columns]
                start = order["channel"] + group * lanes
                channels = [records[(start + i) % self.config.channels] for i in range(columns)]
                pivots = 0 if self.head == Head.BACKWARD else np.array(channels) + 32 >> 6
                sums = {"first": y.sum(0).tolist(), "second": abs(y - pivots).sum(0).tolist()}
            found.append(Group(number, bool(order["fresh"]), sums, columns))
        return found


class Bench:
    """Statistics with models of its neighbours: engine and side registers, parameter memory, tile buffer.

    Without a fetch, the bench itself issues tiles, each as early as `drained` allows or up to `late` cycles later; their
    sides come as late. `stall`: how often nothing is given, taken or popped in a cycle, and the buffers are lent. `space`:
    rows of the tile buffer.
    """

    def __init__(self, config: Configuration, seed: int, *, fetch: bool = False, late: int = 0, stall: float = 0.5) -> None:
        self.config, self.source, self.late, self.stall = config, random.Random(seed), late, stall
        self.seed, self.space = seed, 2 * config.lanes
        self.reset = Signal()
        self.dut = Statistics(config)
        self.fetch = Fetch(config) if fetch else None
        top = (1 << formats.MU_BITS - 1) - (1 << formats.STATISTICS)
        self.records = [self.source.choice((0, -33, -32, -31, 31, 32, top, -top, self.source.randrange(-top, top)))] * 8
        self.records += [self.source.randrange(-top, top) for _ in range(config.channels - 8)]
        self.tiles: deque[Tile] = deque()
        self.rows: list[tuple[list[int], list[int], tuple[int, ...]]] = []
        self.groups: list[Any] = []
        self.done_times: list[int] = []

    async def engine(self, ctx: Any) -> None:
        """Engine, memories and tile buffer."""
        dut, fetch, config, source = self.dut, self.fetch, self.config, self.source
        lanes = config.lanes
        cell, value_bits = tile_row(config).elem_shape.size, config.accumulator
        events: dict[int, list[tuple[str, Any]]] = {}
        issued: deque[Tile] = deque()  # whose side words are yet to be read
        store: np.ndarray | None = None
        mean, time, free, kept = 0, 0, self.space, 0  # rows of the tile buffer that are free, and that wait to be popped
        credit, may_issue_at = True, 0
        push_times: list[int] = []

        def issue(tile: Tile) -> None:
            """The last operands' address goes out now."""
            nonlocal credit
            assert credit
            credit = False
            events.setdefault(time + READ_LATENCY + finish_latency(config), []).append(("done", tile))
            if fetch is None and tile.meta["head"] == Head.BACKWARD:
                begin = time + READ_LATENCY + 2 + source.randint(0, self.late)
                for bit in range(SIDE_BITS + 1):
                    events.setdefault(begin + bit, []).append((f"side {bit}", tile))
                events[begin + SIDE_BITS].append(("sides end", tile))

        outputs = [self.reset, dut.row, dut.drained, dut.reading, dut.mean_address, dut.reserve, dut.push]
        outputs += [dut.row_out.as_value(), dut.continues, dut.unfinished, dut.begins]
        outputs += [fetch.tag.valid & fetch.tag.last, fetch.tag.meta.as_value(), fetch.side, fetch.side_end] if fetch else []
        ctx.set(dut.room, 1)
        async for _, _, reset, row, drained, reading, address, reserve, push, row_out, *sampled in ctx.tick().sample(*outputs):
            flags, issues = tuple(sampled[:3]), sampled[3:]
            if reset:
                events, store, free, kept, credit, push_times = {}, None, self.space, 0, True, []
                ctx.set(dut.done, 0)
                ctx.set(dut.sides_end, 0)
                time += 1
                may_issue_at = time
                continue
            if fetch:
                last, meta, side, side_end = issues
                if last:
                    tile = self.tiles.popleft()
                    assert meta == tile_meta().const(tile.meta).as_bits()
                    issue(tile)
                    issued.append(tile)
                for bit in range(SIDE_BITS + 1):
                    if side >> bit & 1:
                        events.setdefault(time + READ_LATENCY + 1, []).append((f"side {bit}", issued[-1]))
                if side_end:
                    events[time + READ_LATENCY + 1].append(("sides end", issued[-1]))
                ctx.set(fetch.hold, source.random() < self.stall)
            elif credit and self.tiles and time >= may_issue_at:
                issue(self.tiles.popleft())
            if drained:
                assert not credit
                credit, may_issue_at = True, time + 1 + source.randint(0, self.late)

            assert not reserve or free >= lanes, "no room"
            pop = kept > 0 and source.random() < max(0.1, 1 - self.stall)
            free += pop - lanes * reserve
            kept += (push and not flags[0]) - pop
            if push:
                push_times.append(time)
                if len(push_times) % lanes == 0:
                    assert push_times[-1] - push_times[-lanes] == lanes - 1, "a drain takes a cycle for each row"
                cells = [row_out >> j * cell & (1 << cell) - 1 for j in range(lanes)]
                slopes = [signed(c, cell) for c in cells]
                sums = [signed(c, value_bits) for c in cells], [c >> value_bits & SIDES for c in cells]
                self.rows.append((slopes, sums[0], sums[1], flags))  # type: ignore[arg-type]

            # what the neighbours show in the next cycle
            ctx.set(dut.sums, store[row].tolist() if store is not None else [0] * lanes)
            time += 1
            done = sides_end = False
            for name, tile in events.pop(time, []):
                if name == "done":
                    done = True
                    store = (tile.sums + tile.bias) // 2
                    ctx.set(dut.bias, tile.bias)
                    ctx.set(dut.meta, tile.meta)
                elif name == "sides end":
                    sides_end = True
                else:
                    bit = int(name.split()[1])
                    ctx.set(dut.sides[bit], [sum(int(b) << j for j, b in enumerate(r)) for r in tile.sides[bit]])
            ctx.set(dut.done, done)
            ctx.set(dut.sides_end, sides_end)
            if done:
                self.done_times.append(time)
            ctx.set(dut.mean, mean)
            mean = self.records[address % config.channels] if reading else source.getrandbits(20)
            ctx.set(dut.room, free >= lanes)

    def go(self, passes: list[Pass], *, reset_after: int | None = None, limit: int = 20_000) -> None:
        """Run the passes and compare; with `reset_after`, all over again from a reset in that cycle."""
        dut, fetch = self.dut, self.fetch
        rows = sum(len(work.rows()) for work in passes)
        groups = sum(len(work.groups(self.records)) for work in passes)
        pivots = [pivot for work in passes for pivot in self.pivots(work)]
        m = Module()
        m.submodules.dut = dut
        if fetch:
            m.submodules.fetch = fetch
            wiring.connect(m, fetch.pivots, dut.pivots)
            m.d.comb += fetch.drained.eq(dut.drained)

        async def start(ctx: Any) -> None:
            self.tiles.extend(tile for work in passes for tile in work.tiles)
            if fetch:
                ctx.set(fetch.head.ready, 1)
                ctx.set(fetch.instruction.payload, passes[0].order)
                ctx.set(fetch.instruction.valid, 1)

        async def give(ctx: Any) -> None:
            if reset_after is not None:
                await start(ctx)
                await ctx.tick().repeat(reset_after)
                ctx.set(self.reset, 1)
                await ctx.tick().repeat(2)
                ctx.set(self.reset, 0)
                for seen in (self.tiles, self.rows, self.groups):
                    seen.clear()
            await start(ctx)
            if fetch:
                await stream_put(ctx, fetch.instruction, [work.order for work in passes])
            else:
                await stream_put(ctx, dut.pivots, pivots, stalls(self.seed + 1, self.stall))
            while self.tiles or len(self.rows) < rows or len(self.groups) < groups:
                await ctx.tick()
            await ctx.tick().repeat(40)

        async def take(ctx: Any) -> None:
            wait = stalls(self.seed + 2, self.stall)
            while True:
                self.groups += await stream_get(ctx, dut.group, 1, wait)

        simulate(ResetInserter(self.reset)(m), give, background=[take, self.engine, steady(dut.group)], limit=limit)
        self.compare(passes)

    def pivots(self, work: Pass) -> list[dict[str, int]]:
        """What a fetch asks for."""
        order = work.order
        return [
            {
                "channel": (order["channel"] + group * self.config.lanes) % 4096,
                "forward": work.head != Head.BACKWARD,
                "group": (order["first_group"] + group) % 1024,
                "fresh": order["fresh"],
            }
            for group in range(order["groups"] if work.sums else 0)
        ]

    def compare(self, passes: list[Pass]) -> None:
        expected = [(work, *row) for work in passes for row in work.rows()]
        assert len(self.rows) == len(expected)
        for (slopes, values, sides, flags), (work, *row) in zip(self.rows, expected, strict=True):  # type: ignore[misc]
            assert flags == row[2]
            if work.head == Head.UPDATE:
                assert slopes == row[0]
                continue
            assert values == row[0]
            if (work.head, work.order["pool"]) in ROUTES:
                assert sides == row[1]
        groups = [(work, group) for work in passes for group in work.groups(self.records)]
        for seen, (work, group) in zip(self.groups, groups, strict=True):
            assert seen.counts == (group.sums is not None)
            if group.sums is None:
                continue
            assert (seen.group, seen.fresh) == (group.number, group.fresh)
            for name, values in group.sums.items():
                assert [seen.sums[j][name] for j in range(group.columns)] == values, (name, work.order)
            rest = range(group.columns, self.config.lanes)
            assert not any(seen.sums[j].first for j in rest), "columns beyond the layer's count"


def random_passes(config: Configuration, seed: int, count: int) -> list[Pass]:
    """Any heads and pools."""
    source = random.Random(seed)
    passes: list[Pass] = []
    for number in range(count):
        head = source.choice(list(Head))
        flags = {"inference": source.randrange(4) == 0, "pool": source.choice(list(Pool)), "unfinished": 0, "continues": 0}
        if head == Head.UPDATE:
            flags |= {"unfinished": source.getrandbits(1), "continues": source.getrandbits(1)}
            first = source.randrange(16)
            flags |= {"row_first": first, "row_last": source.randrange(first, 16)}
        tiles = source.choice((1, 1, 2, 3)) if flags["pool"] == Pool.NONE else source.choice((1, 2))
        shape = {"groups": source.choice((1, 2, 3)), "tiles": tiles, "words": source.choice((1, 1, 2))}
        columns = source.choice((1, config.lanes - 1, config.lanes))
        passes.append(Pass(config, 100 * seed + number, head=head, columns=columns, **shape, **flags))
    return passes


@pytest.mark.parametrize("seed", range(6))
def test_random_passes_with_random_stalls(seed: int) -> None:
    stall, late = random.Random(seed).choice(((0.1, 0), (0.5, 20), (0.9, 3)))
    Bench(TINY, seed, late=late, stall=stall).go(random_passes(TINY, seed, 10))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_behind_the_fetch_no_tile_is_overwritten_before_it_has_drained(config: Configuration, stall: float) -> None:
    Bench(config, seed=7, fetch=True, stall=stall).go(random_passes(config, 7, 8))


@pytest.mark.parametrize("pool", Pool)
def test_sides_are_here_when_the_shortest_backward_tiles_drain(pool: Pool) -> None:
    for config in (TINY, CONFIGS["lanes-16, word-64"]):
        shape = {"groups": 2, "tiles": 4, "words": 1, "inference": 0}
        Bench(config, seed=8, fetch=True, stall=0).go([Pass(config, 8, head=Head.BACKWARD, pool=pool, **shape)])


def test_the_first_of_equal_places_is_the_maximum() -> None:
    for sums in (0, TINY.largest_sum, -TINY.largest_sum):
        bench = Bench(TINY, seed=9, stall=0)
        bench.go([Pass(TINY, 9, sums=sums, **SUMS, inference=0, groups=2, columns=3)])
        assert not any(any(row[2]) for row in bench.rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [Head.FORWARD, Head.LOSS, Head.BACKWARD])
def test_inference_sums_nothing(head: Head) -> None:
    bench = Bench(TINY, seed=10, fetch=True)
    bench.go([Pass(TINY, 10 + pool, head=head, pool=pool, inference=1, groups=2) for pool in Pool])
    assert bench.rows
    assert not bench.groups


def test_unfinished_passes_tell_that_they_are_through_and_continue_without_room() -> None:
    bench = Bench(TINY, seed=11, fetch=True)
    bench.space = 2 * TINY.lanes
    shape = {"head": Head.UPDATE, "groups": 2, "tiles": 1}
    steps = [{"unfinished": 1}, {"continues": 1, "unfinished": 1}, {"continues": 1}]
    bench.go([Pass(TINY, 11 + n, **shape, **step) for n, step in enumerate(steps)])
    assert len(bench.groups) == 4


@pytest.mark.parametrize("config", [TINY, CONFIGS["lanes-8"], CONFIGS["lanes-16"]], ids=["4", "8", "16"])
def test_rows_of_a_window_count_from_first_to_last(config: Configuration) -> None:
    """Rows are counted over the tiles that make 16, and over again."""
    for first, last in ((0, 0), (3, 11), (15, 15)):
        shape = {"head": Head.UPDATE, "groups": 1, "tiles": 5, "words": 1, "inference": 0}
        bench = Bench(config, seed=12, stall=0)
        bench.go([Pass(config, 12, sums=1000, row_first=first, row_last=last, **shape)])
        counted = [any(row[0]) for row in bench.rows]
        assert counted == [first <= n % 16 <= last for n in range(len(counted))]


def test_sums_and_differences_reach_their_ends_over_the_largest_batch() -> None:
    top, lanes = TINY.largest_sum, TINY.lanes
    bench = Bench(TINY, seed=8, stall=0)
    far = [-top] * lanes + [top] * lanes
    bench.records[: 2 * lanes] = [pivot << formats.STATISTICS for pivot in far]
    shape = {"head": Head.FORWARD, "pool": Pool.NONE, "groups": 1, "tiles": 512 // lanes, "words": 1, "inference": 0}
    bench.go([Pass(TINY, 1, channel=i * lanes, sums=-far[i * lanes], **shape) for i in range(2)])


def test_pivots_are_rounded_moving_means() -> None:
    bench = Bench(TINY, seed=9)
    near = [0, 31, 32, 33, -31, -32, -33, 95, 96, -95, -96, -97]
    bench.records[: len(near)] = near
    shape = {"groups": len(near) // TINY.lanes, "tiles": 2, "inference": 0}
    bench.go([Pass(TINY, 10, head=Head.FORWARD, pool=Pool.NONE, channel=0, **shape)])


def test_a_group_is_kept_until_it_is_taken() -> None:
    bench = Bench(TINY, seed=11, fetch=True, stall=0.99)
    bench.space = TINY.tile_rows
    heads = (Head.BACKWARD, Head.UPDATE, Head.LOSS)
    bench.go([Pass(TINY, 12, head=head, groups=3, tiles=1, inference=0) for head in heads])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_short_tiles_come_in_the_time_of_their_rows_or_of_the_way_to_the_drain(config: Configuration) -> None:
    bench = Bench(config, seed=15, fetch=True, stall=0)
    shape = {"groups": 1, "tiles": 8, "words": 1, "inference": 0}
    bench.go([Pass(config, 16, head=Head.FORWARD, pool=Pool.NONE, **shape)])
    way = READ_LATENCY + finish_latency(config)
    periods = [later - first for first, later in itertools.pairwise(bench.done_times)]
    assert max(periods[1:]) <= max(config.lanes + 1, way + 2)  # the first tile waits for its pivots


def test_longer_tiles_come_in_the_time_of_their_words() -> None:
    for config, words in ((TINY, 10), (CONFIGS["lanes-16"], 17)):
        bench = Bench(config, seed=17, fetch=True, stall=0)
        shape = {"groups": 2, "tiles": 4, "words": words, "inference": 0, "pool": Pool.NONE}
        bench.go([Pass(config, 17, head=Head.FORWARD, **shape)])
        periods = [later - first for first, later in itertools.pairwise(bench.done_times)]
        assert set(periods) == {words}


@pytest.mark.parametrize("after", [4, 19, 33, 50])
def test_a_reset_in_the_middle_leaves_nothing_behind(after: int) -> None:
    bench = Bench(TINY, seed=after, fetch=True, stall=0)
    shape = {"groups": 2, "tiles": 3, "inference": 0}
    bench.go([Pass(TINY, 13, head=Head.BACKWARD, **shape), Pass(TINY, 14, **SUMS, **shape)], reset_after=after)
