"""Maxima of 2 x 2 neighbours, and the way back.

Maps are (B, 2h, 2w, C), pooled maps (B, h, w, C). Places are counted 0..3, row by row; a route (B, h, w, C) uint8 says
which place each value of a pooled map comes from.
"""

from __future__ import annotations

from bnnedge.sim.arrays import Array, array_namespace

_PLACES = [(slice(None), slice(y, None, 2), slice(x, None, 2), ...) for y in (0, 1) for x in (0, 1)]


def places(a: Array) -> list[Array]:
    """The four places of a map, (B, h, w, C) each."""
    return [a[place] for place in _PLACES]


def maximum(a: Array) -> tuple[Array, Array]:
    """Pool numbers: the largest of each four, and its route, the first place of equal ones."""
    xp = array_namespace(a)
    best, *others = places(a)
    route = xp.zeros_like(best, dtype=xp.uint8)
    for i, other in enumerate(others, 1):
        route = xp.where(other > best, xp.full_like(route, i), route)
        best = xp.maximum(best, other)
    return best, route


def pick(a: Array, route: Array) -> Array:
    """Pool a map along a route."""
    xp = array_namespace(a)
    found, *others = places(a)
    for i, other in enumerate(others, 1):
        found = xp.where(route == i, other, found)
    return found


def put(a: Array, values: Array, route: Array) -> None:
    """Write a pooled map into a map, along a route."""
    xp = array_namespace(a)
    for i, place in enumerate(_PLACES):
        a[place] = xp.where(route == i, values, a[place])
