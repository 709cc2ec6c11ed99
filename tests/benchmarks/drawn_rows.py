"""A loop that Numba compiles: draws rows of random numbers as the golden model's `loops` do."""

from __future__ import annotations

import numpy as np

from bnnedge.sim.golden.jit import compiled
from bnnedge.sim.golden.rounding import draw, seeds


@compiled
def first_lane(keys, layer, kind, lanes, rows, columns, start, stop):
    """Draw tiles start..stop, of all places, of a tensor at step 0; the sum of what lane 0 draws."""
    tiles, groups, total = -(-rows // lanes), -(-columns // lanes), np.int64(0)
    state, drawn = np.empty(groups, np.uint64), np.empty(groups * lanes, np.int32)
    for each in range(start, stop):
        place, tile = each // tiles, each % tiles
        seeds(state, keys, 0, layer, kind, place, tile)
        for _ in range(tile * lanes, min((tile + 1) * lanes, rows)):
            draw(state, lanes, drawn)
            total += drawn[0]
    return total
