"""The tiles of a PASS or TRANSPOSE in nested loops, with their taps: what the units of the engine are compared with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from hardware import signed

from bnnedge.configuration import Configuration
from bnnedge.hw.layouts import PASS
from bnnedge.isa import Head, Opcode, Pool

Order = dict[str, int]
ADDRESS = 1 << 16
PASSED_ON = ("head", "pool", "inference", "continues", "unfinished", "row_first", "row_last")


class Tile(NamedTuple):
    """A tile: `left`, `right` are the addresses of its window's first tap, on the map or not; `taps` those on the map.

    A tap is (row, column) of the window. low, high, shift: with strips, bits of a word that count, once it is shifted down.
    """

    left: int
    right: int
    taps: list[tuple[int, int]]
    low: int
    high: int
    shift: int
    side: int
    columns: int
    group: int
    tile: int
    meta: dict[str, int]
    ends: bool


def half(stride: int) -> int:
    """Half a stride of 16 bits, as an address."""
    return signed(stride, 16) // 2 % ADDRESS


def weights(planes: int, twin: int) -> list[int]:
    """Logarithms of what an operand's planes weigh."""
    return [max(plane - twin, 0) for plane in range(planes)]


def pairs_of(planes: tuple[int, int], twins: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Pairs of planes (left, right) in order, each with the logarithm of its weight, which falls one by one."""
    left, right = (weights(*operand) for operand in zip(planes, twins, strict=True))
    pairs = [(i, j, left[i] + right[j]) for i in range(planes[0]) for j in range(planes[1])]
    return sorted(pairs, key=lambda pair: (-pair[2], -left[pair[0]], -pair[1], -pair[0]))


def on_the_map(order: Order, axis: str, step: int, place: int) -> list[int]:
    """Taps of one direction, at the output of that number and, with a pool, at its first or second place."""
    by = order[f"{axis}_step"]
    at = signed(order[f"{axis}_origin"], 9) + step * by + place * (by >> 1)
    taps = range(order[f"taps_{axis}"])
    return [tap for tap in taps if 0 <= at + (tap << order[f"{axis}_pitch"]) < order[f"{axis}_limit"]]


def tiles_of(order: Order, config: Configuration) -> Iterator[Tile]:
    """All tiles in order; of a TRANSPOSE those of one group."""
    is_pass = order["opcode"] == Opcode.PASS
    places = range(4 if is_pass and order["head"] == Head.FORWARD and order["pool"] != Pool.NONE else 1)
    inside = [
        (y, x, tile, place)
        for y in range(order["height"])
        for x in range(order["width"])
        for tile in range(order["tiles"])
        for place in places
    ]
    groups = order["groups"] if is_pass else 1
    for group in range(groups):
        for at in inside:
            y, x, tile, place = at

            def walked(name: str, **moves: int) -> int:
                return (order[f"{name}_base"] + sum(n * order[f"{name}_{loop}"] for loop, n in moves.items())) % ADDRESS

            rows, columns = on_the_map(order, "y", y, place >> 1), on_the_map(order, "x", x, place & 1)
            window = order["window"]
            left = walked("left", y=y, x=x // order["strip"], tile=tile)
            left += half(order["left_y"]) * (place >> 1) + half(order["left_x"]) * (place & 1 if not window else 0)
            word = order["first_group"] % config.granules + group
            first, last = at == inside[0], at == inside[-1]
            meta = {name: order[name] for name in PASSED_ON} | {
                "place": place,
                "part": tile % 4,
                "first": int(first),
                "last": int(last),
                "begins": int(first and group == 0),
                "columns": order["columns"] if group == groups - 1 else config.lanes,
            }
            strip_shift = order["strip_shift"]
            yield Tile(
                left=left % ADDRESS,
                right=walked("right", group=group),
                taps=[(i, j) for i in rows for j in (columns[:1] if window else columns)],
                low=columns[0] * window if columns else 0,
                high=(columns[-1] + 1) * window if columns else 0,
                shift=x % order["strip"] * strip_shift + (strip_shift >> 1) * (place & 1),
                side=(walked("side", y=y, x=x, tile=tile) + word // config.granules) % ADDRESS,
                columns=walked("columns", y=y, x=x),
                group=group,
                tile=tile,
                meta=meta,
                ends=last and group == groups - 1,
            )


def drawn(source: random.Random, config: Configuration, **fixed: Any) -> Order:
    """A small PASS or TRANSPOSE: any addresses, and a map whose edges its window crosses."""
    order = {name: source.randrange(1 << field.width) for name, field in PASS.members.items() if field.width == 16}
    order |= {name: source.randrange(1 << PASS.members[name].width) for name in PASSED_ON}
    order |= {
        "opcode": int(Opcode.PASS),
        "signal": source.getrandbits(8),
        "head": source.randrange(4),
        "pool": source.randrange(3),
        "groups": source.randint(1, 3),
        "height": source.randint(1, 3),
        "width": source.randint(1, 3),
        "tiles": source.randint(1, 3),
        "first_group": source.randrange(40),
        "first_tile": source.randrange(40),
        "channel": source.randrange(20) * config.lanes,
        "fresh": source.getrandbits(1),
        "words": source.choice((1, 1, 2, 3)),
        "tail": source.choice((1, config.word - 1, config.word)),
        "columns": source.randint(1, config.lanes),
        "left_planes": source.choice((1, 1, 2, 3)),
        "right_planes": source.choice((1, 1, 2)),
        "left_twin": source.getrandbits(1),
        "right_twin": source.getrandbits(1),
        "strip": 1,
        "strip_shift": source.randrange(0, 16, 2),
        "window": 0,
    }
    for axis in ("y", "x"):
        pitch = source.randrange(2)
        order |= {
            f"{axis}_origin": source.randrange(-4, 2) % (1 << 9),
            f"{axis}_step": source.choice((0, 1, 2, 4)),
            f"{axis}_pitch": pitch,
            f"{axis}_limit": source.randrange(1, 7),
            f"taps_{axis}": source.randint(1, 4),
        }
    order |= {name: int(value) for name, value in fixed.items()}
    for side in ("left", "right"):  # twin planes are two at least; a TRANSPOSE knows none
        order[f"{side}_twin"] &= order[f"{side}_planes"] > 1 and order["opcode"] == Opcode.PASS
    if order["window"]:
        taps = min(order["taps_x"], 16 // order["window"])
        order |= {"words": 1, "tail": config.word, "x_pitch": 0, "taps_x": taps}
        order["strip"] = fixed.get("strip", source.randint(1, 3))
    return order
