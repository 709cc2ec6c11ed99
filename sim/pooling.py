"""Maxima of 2 x 2 neighbours, and the way back.

Maps are (B, 2h, 2w, C), pooled maps (B, h, w, C). Places are counted 0..3, row by row; a route (B, h, w, C) uint8 says
which place each value of a pooled map comes from.
"""

from __future__ import annotations

import numpy as np


def places(a: np.ndarray) -> list[np.ndarray]:
    """Views (B, h, w, C) of the four places of a map."""
    return [a[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]


def maximum(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pool numbers or bits: the largest of each four, and its route, the first place of equal ones."""
    first, *others = places(a)
    best, route = first.copy(), np.zeros(first.shape, np.uint8)
    for i, other in enumerate(others):
        route[other > best] = i + 1
        np.maximum(best, other, out=best)
    return best, route


def pick(a: np.ndarray, route: np.ndarray) -> np.ndarray:
    """Pool a map along a route."""
    found = np.empty(route.shape, a.dtype)
    for i, part in enumerate(places(a)):
        np.copyto(found, part, where=route == i)
    return found


def put(a: np.ndarray, values: np.ndarray, route: np.ndarray) -> None:
    """Write a pooled map into a map, along a route."""
    for i, part in enumerate(places(a)):
        np.copyto(part, values, where=route == i)
