"""The random numbers of a step alone: what of the golden model's loops is left without all else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bnnedge.formats import Kind
from bnnedge.network import Network
from bnnedge.sim.arrays import to_numpy
from bnnedge.sim.golden import Random
from bnnedge.sim.golden.threads import Threads

Tensor = tuple[int, Kind, tuple[int, int, int]]
"""What draws its numbers together: the layer's number, the kind, and (places, rows, columns), as `Random.draw` takes them."""


def tensors(network: Network, batch: int) -> Iterator[Tensor]:
    """All that a step draws."""
    for i, layer in enumerate(network.geometry):
        yield i, Kind.CODE, (layer.outputs, batch, layer.fan_out)
        yield i, Kind.WEIGHT, (layer.taps, layer.tap_inputs, layer.fan_out)


def plain(random: Random, tensor: Tensor) -> int:
    """Draw a tensor by `Random.draw`; the sum of its first lane."""
    layer, kind, shape = tensor
    return int(to_numpy(random.draw(0, layer, kind, shape)[..., 0]).sum())


def compiled(random: Random, tensor: Tensor, threads: Threads) -> int:
    """Draw a tensor as the compiled loops do, a row at a time; the sum of its first lane."""
    from drawn_rows import first_lane

    layer, kind, (places, rows, columns) = tensor
    tiles, keys = -(-rows // random.lanes), np.array(random.keys, np.uint64)

    def part(start: int, stop: int) -> Any:
        return first_lane(keys, layer, int(kind), random.lanes, rows, columns, start, stop)

    return sum(threads.share(places * tiles, 0.5 * places * rows * columns, part))
