"""Totals against a dictionary of sums, with reads while a group that has been added waits."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate, stalls, steady, stream_put, wait_for

from bnnedge.formats import SUM_BITS, TOTAL_BITS
from bnnedge.hw.heads.totals import READ_LATENCY, Totals

pytestmark = pytest.mark.usefixtures("left_behind")

LANES = TINY.lanes
GROUPS = TINY.layer_channels // LANES  # whose records the memory holds
WIDTHS = {"first": (SUM_BITS, TOTAL_BITS), "second": (SUM_BITS, TOTAL_BITS)}
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


def check(groups: list[dict[str, Any]], seed: int, stall: float, *, reset_after: int | None = None) -> None:
    """Give all groups, and read any channels behind each; with `reset_after`, all over again from a reset in that cycle."""
    source, dut, reset = random.Random(seed), Totals(TINY), Signal()
    records: dict[int, Record] = {}

    async def give(ctx: Any) -> None:
        if reset_after is not None:
            ctx.set(dut.group.payload, random_group(source, 0, fresh=True))
            ctx.set(dut.group.valid, 1)
            await ctx.tick().repeat(reset_after)
            ctx.set(dut.group.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        await stream_put(ctx, dut.group, groups, stalls(seed, stall))

    async def take(ctx: Any) -> None:
        if reset_after is not None:
            await ctx.tick().repeat(reset_after + 1)
        for group in groups:
            await wait_for(ctx, dut.added.valid)
            add(records, group)
            # The group's own channels and others; `added` is accepted with the last of these addresses.
            channels = [c for c in range(TINY.layer_channels) if c in records and (source.random() < 0.2 or group is groups[-1])]
            channels += [group["group"] % GROUPS * LANES + column for column in range(LANES) if group["counts"]]
            due: list[int | None] = [None] * READ_LATENCY
            for channel in [*channels, *[None] * READ_LATENCY]:
                if channel is not None:
                    ctx.set(dut.address, channel)
                else:
                    ctx.set(dut.address, source.randrange(TINY.layer_channels))
                ctx.set(dut.added.ready, len(due) == len(channels) + READ_LATENCY - 1 if channels else len(due) == READ_LATENCY)
                due.append(channel)
                await ctx.tick()
                ctx.set(dut.added.ready, 0)
                asked = due[-READ_LATENCY]
                if asked is not None:
                    record = ctx.get(dut.record)
                    assert {name: record[name] for name in WIDTHS} == records[asked], asked

    simulate(ResetInserter(reset)(dut), give, take, background=[] if reset_after else [steady(dut.added)])


@pytest.mark.parametrize(("seed", "stall"), [(1, 0.0), (2, 0.3), (3, 0.9)])
def test_groups_are_added_up_and_read(seed: int, stall: float) -> None:
    check(random_groups(random.Random(seed), 30), seed, stall)


def test_the_largest_sums_of_many_passes_fit() -> None:
    """256 sums of 32 bits, as many as 40 bits hold."""
    sums = {"first": -(1 << SUM_BITS - 1), "second": (1 << SUM_BITS - 1) - 1}
    groups = [{"sums": [sums] * LANES, "group": 0, "fresh": n == 0, "counts": 1} for n in range(256)]
    check(groups, 5, 0.0)
    records: dict[int, Record] = {}
    for group in groups:
        add(records, group)
    assert records[0]["first"] == -(1 << TOTAL_BITS - 1)
    assert records[0]["second"] == (1 << TOTAL_BITS - 1) - 256


@pytest.mark.parametrize("after", range(1, 3 * LANES))
def test_a_reset_in_the_middle_leaves_nothing_behind(after: int) -> None:
    check(random_groups(random.Random(after), 5), after, 0.0, reset_after=after)
