"""Totals against a dictionary of sums, with reads at any time."""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate, stalls, steady, stream_get, stream_put

from bnnedge.formats import SIGNS_BITS, SUM_BITS, TOTAL_BITS
from bnnedge.hw.heads.totals import READ_LATENCY, Totals

LANES = TINY.lanes
GROUPS = TINY.layer_channels // LANES  # whose records the memory holds
WIDTHS = {"first": (SUM_BITS, TOTAL_BITS), "second": (SUM_BITS, TOTAL_BITS), "signs": (SIGNS_BITS, SIGNS_BITS)}
Record = dict[str, int]


def random_group(
    source: random.Random, number: int, *, fresh: bool, counts: bool = True, records: dict[int, Record] | None = None
) -> dict[str, Any]:
    """A group's sums, their ends among them, that may be added to `records`."""
    sums = []
    for column in range(LANES):
        old = {} if fresh or records is None else records[number % GROUPS * LANES + column]
        found = {}
        for name, (bits, total) in WIDTHS.items():
            top, limit = 1 << bits - 1, 1 << total - 1
            low, high = max(-top, -limit - old.get(name, 0)), min(top - 1, limit - 1 - old.get(name, 0))
            found[name] = source.choice((low, high, source.randint(low, high)))
        sums.append(found)
    return {"sums": sums, "group": number, "fresh": fresh, "counts": counts}


def random_groups(source: random.Random, count: int) -> list[dict[str, Any]]:
    """First all groups afresh, then any; those beyond the memory come to its front again."""
    groups = [random_group(source, number, fresh=True) for number in range(GROUPS)]
    records: dict[int, Record] = {}
    for group in groups:
        add(records, group)
    for _ in range(count):
        number, fresh, counts = source.choice((0, 0, 1, source.randrange(1 << 10))), source.random() < 0.2, source.random() < 0.8
        groups.append(random_group(source, number, fresh=fresh, counts=counts, records=records))
        add(records, groups[-1])
    return groups


def add(records: dict[int, Record], group: dict[str, Any]) -> None:
    """What a group makes of the channels' records."""
    for column, sums in enumerate(group["sums"] if group["counts"] else ()):
        channel = group["group"] % GROUPS * LANES + column
        before = dict.fromkeys(WIDTHS, 0) if group["fresh"] else records[channel]
        records[channel] = {name: before[name] + sums[name] for name in WIDTHS}


def check(groups: list[dict[str, Any]], seed: int, reading: float, stall: float, *, reset_after: int | None = None) -> None:
    """Give all groups, and read at any time; with `reset_after`, all over again from a reset in that cycle."""
    source, dut, reset = random.Random(seed), Totals(TINY), Signal()
    records: dict[int, Record] = {}
    pending: deque[dict[str, Any]] = deque()  # groups offered and not yet added: their records may be in between
    all_added = False
    reads = 0

    async def give(ctx: Any) -> None:
        if reset_after is not None:
            ctx.set(dut.group.payload, random_group(source, 0, fresh=True))
            ctx.set(dut.group.valid, 1)
            await ctx.tick().repeat(reset_after)
            ctx.set(dut.group.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        wait = stalls(seed, stall)
        for group in groups:
            pending.append(group)
            await stream_put(ctx, dut.group, [group], wait)

    async def take(ctx: Any) -> None:
        nonlocal all_added
        if reset_after is not None:
            await ctx.tick().repeat(reset_after + 1)
        wait = stalls(seed + 1, stall)
        for group in groups:
            await stream_get(ctx, dut.added, 1, wait)
            assert pending.popleft() is group
            add(records, group)
        all_added = True
        await ctx.tick().repeat(4 * TINY.layer_channels)

    async def read(ctx: Any) -> None:
        nonlocal reads
        due: list[tuple[int, Record] | None] = [None] * READ_LATENCY
        for time in itertools.count():
            wanted, channel = source.random() < reading, source.randrange(TINY.layer_channels)
            if all_added:
                wanted, channel = True, time % TINY.layer_channels
            # Of a group that is being added nobody reads.
            wanted = wanted and channel in records and all(channel // LANES != group["group"] % GROUPS for group in pending)
            ctx.set(dut.read, wanted)
            ctx.set(dut.address, channel)
            due.append((channel, records[channel]) if wanted else None)
            expected = due.pop(0)
            if expected is not None:
                record = ctx.get(dut.record)
                assert {name: record[name] for name in WIDTHS} == expected[1], expected[0]
                reads += 1
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), give, take, background=[read] if reset_after else [read, steady(dut.added)])
    assert reads >= 3 * len(records)


@pytest.mark.parametrize(("seed", "reading", "stall"), [(1, 0.0, 0.0), (2, 0.3, 0.3), (3, 0.8, 0.0), (4, 0.3, 0.9)])
def test_groups_are_added_up_while_others_are_read(seed: int, reading: float, stall: float) -> None:
    check(random_groups(random.Random(seed), 30), seed, reading, stall)


def test_the_largest_sums_of_many_passes_fit() -> None:
    """As many as 40 bits hold: of 32-bit sums 256, and 20-bit sums of signs as they are."""
    sums = {"first": -(1 << SUM_BITS - 1), "second": (1 << SUM_BITS - 1) - 1, "signs": 0}
    groups = [{"sums": [sums] * LANES, "group": 0, "fresh": n == 0, "counts": 1} for n in range(256)]
    check(groups, 5, 0.0, 0.0)
    records: dict[int, Record] = {}
    for group in groups:
        add(records, group)
    assert records[0]["first"] == -(1 << TOTAL_BITS - 1)
    assert records[0]["second"] == (1 << TOTAL_BITS - 1) - 256


@pytest.mark.parametrize("after", range(1, 3 * LANES))
def test_a_reset_in_the_middle_leaves_nothing_behind(after: int) -> None:
    check(random_groups(random.Random(after), 5), after, 0.5, 0.0, reset_after=after)
