"""The loops of a PASS, and addresses that follow them, against nested loops in Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hardware import Stall, never, signed, simulate, stalls

from bnnedge.hw.layouts import PASS
from bnnedge.hw.loops import COUNTS, NAMES, Loops, follow

# Addresses with their loops, and whether they step to neighbouring places.
WALKS = {
    "side": (("y", "x", "tile"), False),
    "rows": (("y", "x", "tile"), True),
    "columns": (("group", "y", "x"), True),
    "right": (("group",), False),
    "random": (("y", "x"), True),
}


class Walker(wiring.Component):
    """`Loops`, and all kinds of addresses that follow them."""

    def __init__(self) -> None:
        super().__init__(
            {
                "order": In(PASS),
                "places": In(1),
                "begin": In(1),
                "step": In(1),
                **{name: Out(PASS.members[f"{name}_base"].width) for name in WALKS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.loops = self.loops = loops = Loops()
        for name in ("order", "places", "begin", "step"):
            m.d.comb += getattr(loops, name).eq(getattr(self, name))
        for name, (levels, places) in WALKS.items():
            strides = {level: self.order[f"{name}_{level}"] for level in levels}
            address = follow(m, loops, name, self.order[f"{name}_base"], strides, places=places)
            m.d.comb += getattr(self, name).eq(address)
        return m


class Walk(NamedTuple):
    """A run of the loops."""

    order: dict[str, int]
    places: bool

    def addresses(self, at: dict[str, int]) -> dict[str, int]:
        """All addresses, with the loops standing at `at`."""
        found = {}
        for name, (levels, places) in WALKS.items():
            width = PASS.members[f"{name}_base"].width
            address = self.order[f"{name}_base"]
            for level in levels:
                stride = signed(self.order[f"{name}_{level}"], width)
                address += at[level] * stride
                if places and level in "yx":
                    address += (at["place"] >> 1 if level == "y" else at["place"] & 1) * (stride // 2)
            found[name] = address % (1 << width)
        return found

    def __iter__(self) -> Iterator[dict[str, int]]:  # type: ignore[override]
        """Where the loops stand, step by step."""
        order = self.order
        for group in range(order["groups"]):
            inside = [
                {"group": group, "y": y, "x": x, "tile": tile, "place": place}
                for y in range(order["height"])
                for x in range(order["width"])
                for tile in range(order["tiles"])
                for place in range(4 if self.places else 1)
            ]
            for i, at in enumerate(inside):
                first, last = i == 0, i == len(inside) - 1
                yield {**at, "first": first, "last": last, "ends": last and group == order["groups"] - 1}


def drawn(seed: int, *, places: bool, **counts: int) -> Walk:
    """A short walk with any bases and strides."""
    source = random.Random(seed)
    order = {name: source.randrange(1, 4) for name in COUNTS.values()} | counts
    for name, (levels, _) in WALKS.items():
        for field in (f"{name}_base", *(f"{name}_{level}" for level in levels)):
            order[field] = source.randrange(1 << PASS.members[field].width)
    return Walk(order, places)


def check(*walks: Walk, rounds: int = 2, stall: Stall = never, broken_off: int | None = None) -> None:
    """Go through walk after walk, the first one `broken_off` after that many steps; each goes round and round."""
    dut = Walker()

    async def bench(ctx: Any) -> None:
        loops = dut.loops
        for number, walk in enumerate(walks):
            ctx.set(dut.order, walk.order)
            ctx.set(dut.places, walk.places)
            ctx.set(dut.begin, 1)
            ctx.set(dut.step, number % 2)  # `begin` comes first
            await ctx.tick()
            ctx.set(dut.begin, 0)
            for at in list(walk) * rounds if number or broken_off is None else list(walk)[:broken_off]:
                ctx.set(dut.step, 0)
                while stall():
                    await ctx.tick()
                assert {name: ctx.get(getattr(loops, name)) for name in at} == at, walk
                assert {name: ctx.get(getattr(dut, name)) for name in WALKS} == walk.addresses(at), (walk, at)
                ctx.set(dut.step, 1)
                before = [at[name] for name in NAMES]
                advances = ctx.get(loops.advances)
                await ctx.tick()
                after = [ctx.get(getattr(loops, name)) for name in NAMES]
                higher = [1 << i for i in range(len(NAMES)) if after[i] > before[i]]
                assert advances == sum(higher), (before, after)
                assert len(higher) == (not at["ends"])

    simulate(dut, bench)


@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_counters_and_addresses_are_those_of_nested_loops(places: bool, seed: int) -> None:
    walks = [drawn(10 * seed + i, places=places ^ (i == 1)) for i in range(3)]
    check(*walks, stall=stalls(seed, 0.2))


@pytest.mark.parametrize("name", COUNTS.values())
def test_each_loop_goes_to_the_end_of_its_range(name: str) -> None:
    counts = dict.fromkeys(COUNTS.values(), 1) | {name: (1 << PASS.members[name].width) - 1}
    check(drawn(1, places=False, **counts), rounds=1)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_begin_starts_anew_wherever_the_loops_stand(steps: int) -> None:
    check(drawn(2, places=True), drawn(3, places=False), broken_off=steps)


def test_a_single_tile_is_first_and_last() -> None:
    check(drawn(4, places=False, groups=1, height=1, width=1, tiles=1), rounds=3)
