"""Operand fetch against nested loops, with streams that stall, buffers that are lent, and drains that take their time."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate, stalls, steady, stream_get, stream_put
from tiles import ADDRESS, Order, Tile, drawn, pairs_of, tiles_of

from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.fetch import Fetch
from bnnedge.hw.layouts import PASS, SIDE_BITS, tile_meta
from bnnedge.isa import Head, Opcode, Pool

CONFIGS = {
    "granules-4": TINY,
    "granules-1": dataclasses.replace(TINY, lanes=16),
    "granules-16": dataclasses.replace(TINY, word=64),
}
MASKS = 1 << SIDE_BITS
Event = tuple[Any, ...]


def operands(order: Order, tile: Tile, config: Configuration) -> Iterator[Event]:
    """A tile's words. Those of a tile without a tap are read from anywhere, and none of their bits counts."""
    ends = order["left_planes"] - 1, order["right_planes"] - 1
    pairs = pairs_of((order["left_planes"], order["right_planes"]), (order["left_twin"], order["right_twin"]))
    taps: list[tuple[int, int] | None] = [*tile.taps] or [None]
    steps = [(n, tap, word) for n in range(len(pairs)) for tap in taps for word in range(order["words"])]
    for n, tap, word in steps:
        last_word = word == order["words"] - 1
        new_pair = tap == taps[0] and word == 0
        last = (n, tap, word) == steps[-1]
        flags = (n == 0 and new_pair, new_pair and n > 0 and pairs[n - 1][2] > pairs[n][2], last)
        meta = tile_meta().const(tile.meta).as_bits() if last else None
        if tap is None:
            yield ("multiply", None, None, *flags, 0, 0, meta)
            continue
        addresses = []
        for side, start, plane in (("left", tile.left, ends[0] - pairs[n][0]), ("right", tile.right, ends[1] - pairs[n][1])):
            across = 0 if order["window"] else tap[1]
            address = start + plane * order[f"{side}_plane"] + tap[0] * order[f"{side}_tap_y"] + across * order[f"{side}_tap_x"]
            addresses.append((address + word) % ADDRESS)
        low, high = (tile.low, tile.high) if order["window"] else (0, order["tail"] if last_word else config.word)
        yield ("multiply", *addresses, *flags, low, high, meta)


def shift_of(order: Order, tile: Tile) -> int:
    """By how much the left words of a tile are shifted."""
    return tile.shift if order["window"] else 0


def sides(order: Order, tile: Tile, config: Configuration) -> Iterator[Event]:
    """The words of a BACKWARD tile's sides."""
    granule = (order["first_group"] + tile.group) % config.granules
    planes = (MASKS,) if order["pool"] == Pool.NONE else (MASKS, 1, 2)
    for number, bits in enumerate(planes):
        yield ("side", bits, (tile.side + number * order["side_plane"]) % ADDRESS, granule, bits == planes[-1])


def events_of(order: Order, config: Configuration) -> Iterator[Event]:
    """What an instruction is to do, in order."""
    is_pass = order["opcode"] == Opcode.PASS
    if is_pass:
        yield ("head", PASS.const(order).as_bits())
    for tile in tiles_of(order, config):
        if not is_pass:
            for plane in reversed(range(order["left_planes"])):
                for word in range(order["words"]):
                    address = tile.left + (order["left_planes"] - 1 - plane) * order["left_plane"] + word
                    number = order["first_tile"] % config.granules + tile.tile
                    yield ("transpose", address % ADDRESS, word, plane, number, tile.columns, shift_of(order, tile))
            continue
        if tile.meta["first"] and order["head"] != Head.UPDATE and not order["inference"]:
            channel = (order["channel"] + tile.group * config.lanes) % 4096
            forward = order["head"] != Head.BACKWARD
            yield ("pivots", channel, forward, (order["first_group"] + tile.group) % 1024, order["fresh"])
        yield from ((*event, shift_of(order, tile)) for event in operands(order, tile, config))
        if order["head"] == Head.BACKWARD:
            yield from sides(order, tile, config)
    if not is_pass:
        yield ("signal", order["signal"])


def transpose(source: random.Random, config: Configuration, **fixed: int) -> Order:
    """A TRANSPOSE: a window of one tap, always on the map."""
    taps = {"origin": 0, "step": 0, "pitch": 0, "limit": 255}
    axes = {f"{axis}_{name}": value for axis in "yx" for name, value in taps.items()} | {"taps_y": 1, "taps_x": 1}
    order = drawn(source, config, opcode=Opcode.TRANSPOSE, **fixed)
    return order | axes | {"signal": 1 + source.getrandbits(7)}


class Run:
    """A simulation of Fetch: what it did, and when.

    stall: how often a stream is not ready, or the buffers are lent, in a cycle. drain: cycles from the end of a tile to
    its `drained`, drawn from this range; None: never.
    """

    def __init__(self, config: Configuration, seed: int, stall: float = 0.4, drain: range | None = range(1, 30)) -> None:
        self.config, self.drain = config, drain
        self.source = random.Random(seed)
        self.stalls = [stalls(seed + i, stall) for i in range(4)]
        self.reset = Signal()
        self.dut = Fetch(config)
        self.events: list[Event] = []
        self.times: list[int] = []
        self.waited = 0

    def check(self, orders: list[Order], *, expected: list[Order] | None = None, reset_after: int | None = None) -> None:
        """Carry out the orders, and compare what is done with them, or with others."""
        self.go(orders, reset_after=reset_after)
        wanted = [event for order in expected or orders for event in events_of(order, self.config)]
        for number, (seen, event) in enumerate(itertools.zip_longest(self.events, wanted)):
            if event is not None and seen is not None and event[0] == "multiply":
                seen = tuple(None if theirs is None else mine for mine, theirs in zip(seen, event, strict=True))
            assert seen == event, number

    def go(self, orders: list[Order], *, reset_after: int | None = None, limit: int = 20_000) -> None:
        """Feed instructions until all have been accepted; with `reset_after`, again after a reset in that cycle."""
        dut = self.dut

        async def feed(ctx: Any) -> None:
            if reset_after is not None:
                ctx.set(dut.instruction.payload, orders[0])
                ctx.set(dut.instruction.valid, 1)
                await ctx.tick().repeat(reset_after)
                ctx.set(self.reset, 1)
                await ctx.tick()
                ctx.set(self.reset, 0)
                ctx.set(dut.instruction.valid, 0)
                self.events.clear()
                self.times.clear()
            await stream_put(ctx, dut.instruction, orders, self.stalls[0])
            await ctx.tick().repeat(20)

        async def take_heads(ctx: Any) -> None:
            await stream_get(ctx, dut.head, 1 << 30, self.stalls[1])

        async def take_pivots(ctx: Any) -> None:
            await stream_get(ctx, dut.pivots, 1 << 30, self.stalls[2])

        checks = [] if reset_after is not None else [steady(dut.head), steady(dut.pivots)]
        background = [take_heads, take_pivots, *checks, self.watch]
        simulate(ResetInserter(self.reset)(dut), feed, background=background, limit=limit)

    async def watch(self, ctx: Any) -> None:
        """Note what happens, check how it goes together, lend the buffers, and pulse `drained`."""
        dut = self.dut
        tags = (dut.tag.valid, dut.tag.first, dut.tag.double, dut.tag.last, dut.tag.low, dut.tag.high, dut.tag.meta.as_value())
        flags = (self.reset, dut.hold, dut.reading, dut.side, dut.side_end, dut.transpose, dut.busy, dut.waiting)
        values = (dut.left_address, dut.right_address, dut.shift, dut.side_granule, dut.signal)
        streams = (dut.head.valid & dut.head.ready, dut.head.payload.as_value(), dut.pivots.valid & dut.pivots.ready)
        pivot = dut.pivots.payload
        group = (pivot.channel, pivot.forward, pivot.group, pivot.fresh)
        columns = (dut.transpose_word, dut.transpose_plane, dut.transpose_tile, dut.transpose_base)
        time, drains_at = 0, -1
        in_flight = False
        async for _, _, *sampled in ctx.tick().sample(*flags, *values, *streams, dut.instruction.valid, *tags, *group, *columns):
            reset, hold, reading, side, side_end, transpose, busy, waiting, *sampled = sampled
            left, right, shift, granule, signal, head, order, pivots, valid, *sampled = sampled
            tag, first, double, last, low, high, meta, *sampled = sampled
            events: list[Event] = []
            if tag:
                bits = (low, high, meta if last else None, shift)
                events.append(("multiply", left, right, first, double, last, *bits))
            if side:
                events.append(("side", side, left, granule, side_end))
            if transpose:
                events.append(("transpose", left, *sampled[4:], shift))
            if signal:
                events.append(("signal", signal))
            if head:
                events.append(("head", order))
            assert len(events) <= 1
            assert reading == (tag or side != 0 or transpose) or hold
            assert not (reading or tag or side or transpose) or not hold, "the buffers are lent"
            assert busy == tag
            assert side or not side_end
            assert not (busy and waiting)
            if pivots:
                events.append(("pivots", *sampled[:4]))
            assert valid or not events
            if waiting:
                assert in_flight, "waits for nothing"
                self.waited += 1
            if tag and last:
                assert not in_flight, "a tile ends before the one ahead of it has drained"
                in_flight = True
                drains_at = time + self.source.choice(self.drain) if self.drain else -1
            ctx.set(dut.drained, time + 1 == drains_at)
            ctx.set(dut.hold, self.stalls[3]())
            if time == drains_at:
                in_flight = False
            if reset:
                in_flight, drains_at, events = False, -1, []
                ctx.set(dut.drained, 0)
            self.events += events
            self.times += [time] * len(events)
            time += 1


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(2))
def test_random_passes_are_the_nested_loops(config: Configuration, seed: int) -> None:
    source = random.Random(seed)
    orders = [drawn(source, config, head=head, height=2, tiles=2, groups=2) for head in source.sample(list(Head), 4)]
    run = Run(config, seed)
    run.check(orders)
    assert run.waited


@pytest.mark.parametrize("pool", Pool)
def test_a_backward_tile_is_followed_by_its_sides(pool: Pool) -> None:
    order = drawn(random.Random(1), TINY, head=Head.BACKWARD, pool=pool, words=1, groups=TINY.granules + 1, first_group=2)
    run = Run(TINY, seed=1)
    run.check([order, order | {"first_group": 3}])
    assert sum(event[0] == "side" for event in run.events) >= 2 * (TINY.granules + 1)


@pytest.mark.parametrize("pool", Pool)
def test_windows_in_strips(pool: Pool) -> None:
    fixed = {"head": Head.FORWARD, "pool": pool, "width": 3, "x_origin": 511, "x_limit": 5, "x_step": 2, "taps_x": 3}
    order = drawn(random.Random(2), TINY, window=3, strip=2, left_planes=2, **fixed)
    Run(TINY, seed=2).check([order])


def test_a_pass_of_nothing_but_taps_outside_the_map() -> None:
    for head in (Head.FORWARD, Head.BACKWARD):
        run = Run(TINY, seed=3)
        run.check([drawn(random.Random(3), TINY, head=head, y_limit=0, words=2, left_planes=2)])
        assert all(event[1] is not None and event[6:8] == (0, 0) for event in run.events if event[0] == "multiply")


def test_eight_planes_on_both_sides() -> None:
    shape = {"left_planes": 8, "right_planes": 8, "words": 2, "groups": 1, "tiles": 2, "height": 1, "width": 1}
    twins = [{"left_twin": left, "right_twin": right} for left in (0, 1) for right in (0, 1)]
    Run(TINY, seed=2).check([drawn(random.Random(2), TINY, **shape, **twin) for twin in twins])


def full(source: random.Random, **fixed: Any) -> Order:
    """A pass whose windows are all on the map."""
    order = drawn(source, TINY, height=2, width=2, **fixed)
    return order | {"y_origin": 0, "x_origin": 0, "y_limit": 40, "x_limit": 40}


@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("pool", Pool)
def test_tiles_come_without_a_gap(head: Head, pool: Pool) -> None:
    """A tile of n words takes n cycles, and its sides one each, from group to group."""
    order = full(random.Random(3), head=head, pool=pool, groups=3, words=5, taps_y=1, taps_x=1, inference=0)
    run = Run(TINY, seed=3, stall=0, drain=range(1, 4))
    run.check([order])
    cycles = [time for event, time in zip(run.events, run.times, strict=True) if event[0] in ("multiply", "side")]
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
    assert not run.waited


def test_a_tile_of_one_word_costs_the_time_to_prepare_it() -> None:
    order = full(random.Random(4), head=Head.UPDATE, words=1, left_planes=1, right_planes=1, taps_y=1, taps_x=1)
    run = Run(TINY, seed=4, stall=0, drain=range(1, 4))
    run.check([order])
    cycles = [time for event, time in zip(run.events, run.times, strict=True) if event[0] == "multiply"]
    assert {b - a for a, b in itertools.pairwise(cycles)} == {5}


def test_without_a_drain_the_second_tile_goes_as_far_as_its_last_word() -> None:
    shape = {"tiles": 3, "words": 3, "left_planes": 1, "right_planes": 2, "taps_y": 1, "taps_x": 1}
    order = full(random.Random(4), head=Head.UPDATE, **shape)
    run = Run(TINY, seed=4, drain=None)
    with pytest.raises(AssertionError, match="has not ended"):
        run.go([order], limit=200)
    assert run.events == list(events_of(order, TINY))[: 1 + 6 + 5]


@pytest.mark.parametrize("drain", range(1, 12, 2))
def test_a_drain_at_any_time_lets_exactly_one_more_tile_end(drain: int) -> None:
    order = full(random.Random(5), groups=2, tiles=3, words=1, left_planes=1, right_planes=1)
    run = Run(TINY, seed=5, stall=0, drain=range(drain, drain + 1))
    run.check([order])


def test_a_group_waits_until_its_pivots_are_asked_for() -> None:
    order = full(random.Random(7), groups=3, tiles=1, words=1, head=Head.FORWARD, inference=0)
    run = Run(TINY, seed=7, stall=0, drain=range(1, 2))
    run.stalls[2] = stalls(7, 0.98)
    run.check([order])


def test_without_sums_no_pivots_are_asked_for() -> None:
    orders = [drawn(random.Random(6), TINY, head=head, inference=head != Head.UPDATE) for head in Head]
    run = Run(TINY, seed=6)
    run.check(orders)
    assert "pivots" not in {event[0] for event in run.events}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("planes", [1, 3, 8])
def test_transpose_reads_word_by_word_and_signals_after_the_last_write(config: Configuration, planes: int) -> None:
    source = random.Random(planes)
    shape = {"left_planes": planes, "height": 2, "width": 2, "tiles": 2}
    orders = [transpose(source, config, window=window, **shape) for window in (0, 3)]
    run = Run(config, seed=planes)
    run.check(orders)
    for (before, begin), (event, time) in itertools.pairwise(zip(run.events, run.times, strict=True)):
        if event[0] == "signal":
            # the first granules go the cycle after the word has come
            assert time - begin > READ_LATENCY + config.granules
        elif before[0] == "transpose":
            assert time - begin >= config.granules


def test_transpose_and_passes_follow_each_other() -> None:
    source = random.Random(6)
    orders = [make(source, TINY) for make in (drawn, transpose, transpose, drawn, drawn)]
    Run(TINY, seed=6).check(orders)


@pytest.mark.parametrize("opcode", [Opcode.PASS, Opcode.TRANSPOSE])
@pytest.mark.parametrize("after", [3, 20, 61])
def test_a_reset_in_the_middle_leaves_nothing_behind(opcode: Opcode, after: int) -> None:
    source = random.Random(after)
    make = drawn if opcode == Opcode.PASS else transpose
    orders = [make(source, TINY, tiles=3, words=4, height=2), drawn(source, TINY)]
    Run(TINY, seed=after, stall=0, drain=range(1, 20)).check(orders, reset_after=after)
