"""The way through a tile against nested loops."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from amaranth import ResetInserter, Signal
from hardware import Stall, never, simulate, stalls
from tiles import ADDRESS, pairs_of

from bnnedge.hw.engine.walk import Walk


class Way(NamedTuple):
    """A tile's numbers of planes (left, right), taps and words, its addresses, and which operands' planes are twins."""

    planes: tuple[int, int]
    taps: tuple[int, int]
    words: int
    fields: dict[str, int]
    starts: tuple[int, int]
    twins: tuple[int, int] = (0, 0)

    def __iter__(self) -> Iterator[dict[str, int]]:  # type: ignore[override]
        """What is shown, step by step."""
        ends = self.planes[0] - 1, self.planes[1] - 1
        pairs = pairs_of(self.planes, self.twins)
        steps = [
            (n, tap_y, tap_x, word)
            for n in range(len(pairs))
            for tap_y in range(self.taps[0])
            for tap_x in range(self.taps[1])
            for word in range(self.words)
        ]
        for number, (n, tap_y, tap_x, word) in enumerate(steps):
            addresses = []
            for side, start, down in zip(("left", "right"), self.starts, (ends[k] - pairs[n][k] for k in (0, 1)), strict=True):
                moved = {"plane": down, "tap_y": tap_y, "tap_x": tap_x}
                address = start + word + sum(count * self.fields[f"{side}_{name}"] for name, count in moved.items())
                addresses.append(address % ADDRESS)
            new_pair = (tap_y, tap_x, word) == (0, 0, 0)
            plane = {} if self.twins[0] else {"plane": pairs[n][0]}
            yield {
                "left": addresses[0],
                "right": addresses[1],
                "first": int(number == 0),
                "double": int(new_pair and n > 0 and pairs[n - 1][2] > pairs[n][2]),
                "last_word": int(word == self.words - 1),
                "last": int(number == len(steps) - 1),
                "word": word,
                **plane,
            }


def drawn(
    seed: int, planes: tuple[int, int], taps: tuple[int, int] = (1, 1), words: int = 1, twins: tuple[int, int] = (0, 0)
) -> Way:
    """A way with any addresses and strides."""
    source = random.Random(seed)
    names = [f"{side}_{what}" for side in ("left", "right") for what in ("plane", "tap_y", "tap_x")]
    fields = {name: source.randrange(ADDRESS) for name in names}
    return Way(planes, taps, words, fields, (source.randrange(ADDRESS), source.randrange(ADDRESS)), twins)


def check(ways: list[Way], stall: Stall = never, *, broken_off: int | None = None, reset_after: int | None = None) -> None:
    """Walk tile after tile. The first may be broken off after some steps, by the next tile or by a reset."""
    dut, reset, source = Walk(), Signal(), random.Random(1)

    async def bench(ctx: Any) -> None:
        for number, way in enumerate(ways):
            order = {**way.fields, "left_planes": way.planes[0], "words": way.words}
            order |= {"left_twin": way.twins[0], "right_twin": way.twins[1]}
            ctx.set(dut.order, order)
            ctx.set(dut.right_planes, way.planes[1])
            await ctx.tick()
            ctx.set(dut.left_start, way.starts[0])
            ctx.set(dut.right_start, way.starts[1])
            ctx.set(dut.last_y, way.taps[0] - 1)
            ctx.set(dut.last_x, way.taps[1] - 1)
            ctx.set(dut.tile, 1)
            ctx.set(dut.step, number % 2)  # the last step of the tile before, or nothing
            await ctx.tick()
            ctx.set(dut.tile, 0)
            ctx.set(dut.step, 0)
            ctx.set(dut.last_y, source.getrandbits(8))
            ctx.set(dut.last_x, source.getrandbits(8))
            for step, wanted in enumerate(way):
                if number == 0 and step in (broken_off, reset_after):
                    ctx.set(reset, step == reset_after)
                    await ctx.tick()
                    ctx.set(reset, 0)
                    break
                while stall():
                    await ctx.tick()
                assert {name: ctx.get(getattr(dut, name)) for name in wanted} == wanted, (number, step)
                if not wanted["last"]:
                    ctx.set(dut.step, 1)
                    await ctx.tick()
                    ctx.set(dut.step, 0)

    simulate(ResetInserter(reset)(dut), bench)


@pytest.mark.parametrize("planes", [(1, 1), (8, 1), (1, 8), (2, 8), (8, 3), (8, 8)])
def test_all_pairs_of_planes_by_falling_diagonals(planes: tuple[int, int]) -> None:
    check([drawn(n, planes) for n in (1, 2)], stalls(sum(planes), 0.3))


@pytest.mark.parametrize("twins", [(0, 1), (1, 0), (1, 1)])
def test_twin_planes_share_a_diagonal_with_any_others(twins: tuple[int, int]) -> None:
    counts = [range(1 + twin, 9) for twin in twins]
    check([drawn(9, planes, twins=twins) for planes in itertools.product(*counts)])


@pytest.mark.parametrize("seed", range(8))
def test_planes_then_taps_then_words(seed: int) -> None:
    source = random.Random(seed)
    ways = []
    for n in range(4):
        planes, taps = ((source.randint(1, 3), source.randint(1, 3)) for _ in range(2))
        twins = tuple(source.getrandbits(1) & (count > 1) for count in planes)
        ways.append(drawn(10 * seed + n, planes, taps, source.randint(1, 3), twins))
    check(ways, stalls(seed, 0.2))


@pytest.mark.parametrize("way", [drawn(1, (1, 1), (255, 1)), drawn(2, (1, 1), (1, 255)), drawn(3, (1, 1), (1, 1), 2047)])
def test_each_loop_goes_to_the_end_of_its_range(way: Way) -> None:
    check([way])


@pytest.mark.parametrize("step", [0, 1, 5, 17])
def test_a_tile_starts_anew_wherever_the_one_before_stands(step: int) -> None:
    ways = [drawn(1, (2, 2), (2, 3), 2), drawn(2, (2, 1), (2, 2), 2)]
    check(ways, broken_off=step)
    check(ways, reset_after=step)
