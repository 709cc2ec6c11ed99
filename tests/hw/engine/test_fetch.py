"""Operand fetch against nested loops, with streams that stall and drains that take their time."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, never, simulate, stalls, steady, stream_get, stream_put

from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.fetch import Fetch, Walk
from bnnedge.isa import Head, Opcode

CONFIGS = {
    "granules-4": TINY,
    "granules-1": dataclasses.replace(TINY, lanes=16),
    "granules-16": dataclasses.replace(TINY, word=64),
}
Order = dict[str, int]
Event = tuple[Any, ...]


def pairs_of_planes(left: int, right: int) -> list[tuple[int, int]]:
    """Most significant diagonal first; within a diagonal the left plane falls."""
    pairs = [(i, j) for i in range(left) for j in range(right)]
    return sorted(pairs, key=lambda pair: (-sum(pair), -pair[0]))


@pytest.mark.parametrize("planes", [(1, 1), (8, 1), (1, 8), (2, 8), (8, 3), (8, 8)])
def test_walk_visits_all_pairs_of_planes_by_falling_diagonals(planes: tuple[int, int]) -> None:
    source = random.Random(sum(planes))
    dut = Walk()
    pairs = pairs_of_planes(*planes)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.left_planes, planes[0])
        ctx.set(dut.right_planes, planes[1])
        for _ in range(2):  # two tiles
            inputs = {
                name: source.getrandbits(16) for name in ("left_base", "right_base", "left_stride", "right_stride")
            }
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.tile, 1)
            await ctx.tick()
            ctx.set(dut.tile, 0)
            for place, (i, j) in enumerate(pairs):
                while source.random() < 0.3:
                    await ctx.tick()
                down = planes[0] - 1 - i, planes[1] - 1 - j
                assert ctx.get(dut.left) == (inputs["left_base"] + down[0] * inputs["left_stride"]) % (1 << 16)
                assert ctx.get(dut.right) == (inputs["right_base"] + down[1] * inputs["right_stride"]) % (1 << 16)
                assert ctx.get(dut.first) == (place == 0)
                assert ctx.get(dut.double) == (place > 0 and i + j < sum(pairs[place - 1]))
                assert ctx.get(dut.last) == (place == len(pairs) - 1)
                ctx.set(dut.step, place < len(pairs) - 1)
                await ctx.tick()
                ctx.set(dut.step, 0)

    simulate(dut, bench)


def pass_events(order: Order, config: Configuration) -> Iterator[Event]:
    """What a PASS is to do, in order."""
    yield ("head", *order.values())
    for group in range(order["groups"]):
        channel = order["channel"] + group * config.lanes
        if order["head"] != Head.UPDATE:
            yield ("pivots", channel % (1 << 14), order["head"] != Head.BACKWARD)
        for tile in range(order["tiles"]):
            left = order["left_base"] + tile * order["left_tile_stride"]
            right = order["right_base"] + group * order["right_group_stride"]
            pairs = pairs_of_planes(order["left_planes"], order["right_planes"])
            for pair, (i, j) in enumerate(pairs):
                for word in range(order["words"]):
                    last_word = word == order["words"] - 1
                    ends = last_word and pair == len(pairs) - 1
                    is_last_group = group == order["groups"] - 1
                    meta = (
                        order["head"],
                        tile == 0,
                        tile == order["tiles"] - 1,
                        order["columns"] if is_last_group else config.lanes,
                    )
                    yield (
                        "multiply",
                        (left + (order["left_planes"] - 1 - i) * order["left_plane_stride"] + word) % (1 << 16),
                        (right + (order["right_planes"] - 1 - j) * order["right_plane_stride"] + word) % (1 << 16),
                        pair == 0 and word == 0,
                        pair > 0 and word == 0 and sum(pairs[pair - 1]) > i + j,
                        ends,
                        order["tail"] % config.word if last_word else 0,
                        meta if ends else None,
                    )
            if order["head"] == Head.BACKWARD:
                word, granule = divmod(group, config.granules)
                for name in ("active", "mask"):
                    address = order[f"side_{name}"] + tile * order["side_stride"] + word
                    yield (name, address % (1 << 16), granule)


def transpose_events(order: Order) -> Iterator[Event]:
    """What a TRANSPOSE is to do, in order."""
    for tile in range(order["tiles"]):
        for plane in reversed(range(order["left_planes"])):
            down = order["left_planes"] - 1 - plane
            for word in range(order["words"]):
                address = (
                    order["left_base"] + tile * order["left_tile_stride"] + down * order["left_plane_stride"] + word
                )
                yield ("transpose", address % (1 << 16), word, plane, tile)
    yield ("signal", order["signal"])


def random_order(source: random.Random, config: Configuration, **fixed: int) -> Order:
    """A small PASS or TRANSPOSE at random addresses."""
    order = {name: source.getrandbits(16) for name in ("left_base", "left_tile_stride", "left_plane_stride")}
    order |= {name: source.getrandbits(16) for name in ("right_base", "right_group_stride", "right_plane_stride")}
    order |= {name: source.getrandbits(16) for name in ("side_active", "side_mask", "side_stride")}
    order |= {
        "opcode": Opcode.PASS,
        "signal": source.getrandbits(8),
        "head": source.randrange(4),
        "groups": source.randint(1, 6),
        "tiles": source.randint(1, 4),
        "words": source.choice((1, 1, 2, 3, 5)),
        "tail": source.choice((1, config.word - 1, config.word)),
        "columns": source.randint(1, config.lanes),
        "channel": source.getrandbits(14),
        "left_planes": source.choice((1, 1, 2, 3)),
        "right_planes": source.choice((1, 1, 2, 8)),
    }
    return order | fixed


class Run:
    """A simulation of Fetch: what it did, and when.

    drain: cycles from the end of a tile to its `drained`, drawn from this range; None: never.
    """

    def __init__(
        self, config: Configuration, seed: int, stall: float = 0.5, drain: range | None = range(1, 30)
    ) -> None:
        self.config, self.drain = config, drain
        self.source = random.Random(seed)
        self.stalls = [stalls(seed + i, stall) if stall else never for i in range(3)]
        self.reset = Signal()
        self.dut = Fetch(config)
        self.events: list[Event] = []
        self.times: list[int] = []
        self.waited = 0

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
            await stream_put(ctx, dut.instruction, orders, self.stalls[0])
            await ctx.tick().repeat(3)

        async def take_heads(ctx: Any) -> None:
            await stream_get(ctx, dut.head, 1 << 30, self.stalls[1])

        async def take_pivots(ctx: Any) -> None:
            await stream_get(ctx, dut.pivots, 1 << 30, self.stalls[2])

        background = [take_heads, take_pivots, steady(dut.head), steady(dut.pivots), self.watch]
        simulate(ResetInserter(self.reset)(dut), feed, background=background, limit=limit)

    async def watch(self, ctx: Any) -> None:
        """Note what happens, check how it goes together, and pulse `drained`."""
        dut = self.dut
        flags = (self.reset, dut.reading, dut.tag, dut.side_active, dut.side_mask, dut.transpose, dut.busy, dut.waiting)
        values = (dut.left_address, dut.right_address, dut.side_granule, dut.transpose_word, dut.transpose_plane)
        streams = (dut.head.valid & dut.head.ready, dut.head.payload, dut.pivots.valid & dut.pivots.ready)
        more = (dut.pivots.payload, dut.transpose_tile, dut.signal, dut.instruction.valid)
        time, drains_at = 0, -1
        in_flight = False
        async for _, _, *sampled in ctx.tick().sample(*flags, *values, *streams, *more):
            reset, reading, tag, active, mask, transpose, busy, waiting, *sampled = sampled
            left, right, granule, word, plane, head, order, pivots, group, tile, signal, valid = sampled
            event: Event | None = None
            if head:
                event = ("head", *(order[name] for name in order_names))
            elif pivots:
                event = ("pivots", group.channel, group.forward)
            elif tag.valid:
                meta = (tag.meta.head, tag.meta.first, tag.meta.last, tag.meta.columns) if tag.last else None
                event = ("multiply", left, right, tag.first, tag.double, tag.last, tag.tail, meta)
            elif active or mask:
                event = ("active" if active else "mask", left, granule)
            elif transpose:
                event = ("transpose", left, word, plane, tile)
            elif signal:
                event = ("signal", signal)
            assert head + pivots + tag.valid + active + mask + transpose + (signal != 0) <= 1
            assert reading == (tag.valid or active or mask or transpose)
            assert busy == tag.valid
            assert not (busy and waiting)
            assert valid or event is None
            if waiting:
                assert in_flight, "waits for nothing"
                self.waited += 1
            if tag.valid and tag.last:
                assert not in_flight, "a tile ends before the one ahead of it has drained"
                in_flight = True
                drains_at = time + self.source.choice(self.drain) if self.drain else -1
            ctx.set(dut.drained, time + 1 == drains_at)
            if time == drains_at:
                in_flight = False
            if reset:
                in_flight, drains_at, event = False, -1, None
                ctx.set(dut.drained, 0)
            if event is not None:
                self.events.append(event)
                self.times.append(time)
            time += 1


order_names = list(random_order(random.Random(0), TINY))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", range(2))
def test_random_passes_are_the_nested_loops(config: Configuration, seed: int) -> None:
    source = random.Random(seed)
    heads = source.sample(list(Head), 4)
    orders = [random_order(source, config, head=int(head)) for head in heads]
    run = Run(config, seed)
    run.go(orders)
    assert run.events == [event for order in orders for event in pass_events(order, config)]
    assert run.waited


def test_side_words_go_on_when_groups_fill_a_word() -> None:
    order = random_order(random.Random(1), TINY, head=Head.BACKWARD, groups=2 * TINY.granules + 1, tiles=2, words=1)
    run = Run(TINY, seed=1, stall=0)
    run.go([order])
    assert run.events == list(pass_events(order, TINY))


def test_eight_planes_on_both_sides() -> None:
    order = random_order(random.Random(2), TINY, left_planes=8, right_planes=8, words=2, groups=1, tiles=2)
    run = Run(TINY, seed=2)
    run.go([order])
    assert run.events == list(pass_events(order, TINY))


@pytest.mark.parametrize("head", Head)
def test_a_tile_costs_one_cycle_beyond_its_words_and_two_for_its_side(head: Head) -> None:
    shape = {"groups": 3, "tiles": 4, "words": 5, "left_planes": 2, "right_planes": 3}
    order = random_order(random.Random(3), TINY, head=int(head), **shape)
    run = Run(TINY, seed=3, stall=0, drain=range(1, 2))
    run.go([order])
    tile = 5 * 2 * 3 + 1 + (2 if head == Head.BACKWARD else 0)
    assert run.times[-1] - run.times[0] == 3 * (1 + 4 * tile)
    assert not run.waited


def test_without_a_drain_the_second_tile_goes_as_far_as_its_last_word() -> None:
    order = random_order(random.Random(4), TINY, head=Head.UPDATE, tiles=3, words=3, left_planes=1, right_planes=2)
    run = Run(TINY, seed=4, drain=None)
    with pytest.raises(AssertionError, match="has not ended"):
        run.go([order], limit=200)
    assert run.events == list(pass_events(order, TINY))[: 1 + 6 + 5]


@pytest.mark.parametrize("drain", range(1, 12))
def test_a_drain_at_any_time_lets_exactly_one_more_tile_end(drain: int) -> None:
    order = random_order(random.Random(5), TINY, groups=2, tiles=3, words=1, left_planes=1, right_planes=1)
    run = Run(TINY, seed=5, stall=0, drain=range(drain, drain + 1))
    run.go([order])
    assert run.events == list(pass_events(order, TINY))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("planes", [1, 3, 8])
def test_transpose_reads_word_by_word_and_signals_after_the_last_write(config: Configuration, planes: int) -> None:
    source = random.Random(planes)
    fixed = {"opcode": int(Opcode.TRANSPOSE), "left_planes": planes, "signal": 1 + source.getrandbits(7)}
    orders = [random_order(source, config, **fixed) for _ in range(2)]
    run = Run(config, seed=planes)
    run.go(orders)
    assert run.events == [event for order in orders for event in transpose_events(order)]
    steps = itertools.pairwise(zip(run.events, run.times, strict=True))
    for (before, begin), (event, time) in steps:
        if event[0] == "signal":
            # the first granules go the cycle after the word has come
            assert time - begin > READ_LATENCY + config.granules
        elif before[0] == "transpose":
            assert time - begin >= config.granules


def test_transpose_and_passes_follow_each_other() -> None:
    source = random.Random(6)
    orders = [random_order(source, TINY, opcode=int(op), signal=5) for op in (Opcode.PASS, Opcode.TRANSPOSE) * 2]
    run = Run(TINY, seed=6)
    run.go(orders)
    expected: list[Event] = []
    for order in orders:
        expected += pass_events(order, TINY) if order["opcode"] == Opcode.PASS else transpose_events(order)
    assert run.events == expected


@pytest.mark.parametrize("opcode", [Opcode.PASS, Opcode.TRANSPOSE])
@pytest.mark.parametrize("after", [3, 20, 61])
def test_a_reset_in_the_middle_leaves_nothing_behind(opcode: Opcode, after: int) -> None:
    source = random.Random(after)
    orders = [
        random_order(source, TINY, groups=3, tiles=3, words=4, signal=1, opcode=int(op)) for op in (opcode, Opcode.PASS)
    ]
    run = Run(TINY, seed=after, stall=0, drain=range(1, 20))
    run.go([orders[0], orders[1]], reset_after=after)
    first = pass_events(orders[0], TINY) if opcode == Opcode.PASS else transpose_events(orders[0])
    assert run.events == [*first, *pass_events(orders[1], TINY)]
