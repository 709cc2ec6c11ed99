"""The compiled loops against the plain operations, bit for bit: each method, with arguments at the ends of their ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from operands import LAYERS, halves, second

from bnnedge import Conv2D, Dense, MaxPool2D, Network
from bnnedge import formats as f
from bnnedge.formats import Code, Kind
from bnnedge.layers import Geometry
from bnnedge.sim.golden import Random, threads
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.threads import Threads

Compiled = pytest.importorskip("bnnedge.sim.golden.compiled", exc_type=ImportError).Compiled

SUM = 1 << 21  # sums have 22 bits
MU = 1 << f.MU_BITS - 1
CENTRE = 1 << f.CENTRE_BITS - 1 - f.CENTRE + f.GRADIENT_MEAN  # the largest mean of a gradient, rounded
SHAPES = [  # the largest batch, more groups of channels than 64, the most places and more rows than 16 bits count
    (512, 2, 2, 1),
    (512, 2, 4, 5),
    (256, 6, 2, 17),
    (64, 4, 6, 65),
    (64, 2, 2, 300),
    (20, 64, 64, 1),
]


class Drawn:
    """Two models and random arguments for them: everything follows from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)
        self.shape = SHAPES[seed % len(SHAPES)]
        self.channels = self.shape[-1]
        self.top = 1 << self.one([4, 8, 9, 12]) - 1  # of the latent weights
        random = Random(self.one([0, 1 << 63, (1 << 64) - 1, (1 << 64) - 1 - seed]), self.one([4, 8, 16, 32, 64]))
        self.plain, self.compiled = Plain(random, self.top), Compiled(random, self.top, Threads(self.one([1, 2, 3, 4])))

    def one(self, values: list[int]) -> int:
        return values[self.random.randint(len(values))]

    def ends(self, low: int, high: int, *shape: int, kind: type = np.int32) -> np.ndarray:
        """All at one end, or some at each, or any numbers between them."""
        way = self.random.randint(4)
        if way < 2:
            return np.full(shape, (low, high)[way], kind)
        some = np.clip([low, -1, 0, high], low, high) if way == 2 else self.random.randint(low, high + 1, 64, dtype=np.int64)
        return self.random.choice(some, shape).astype(kind)

    def bits(self, *shape: int) -> np.ndarray:
        return self.ends(0, 1, *shape, kind=bool)

    def layer(self, pool: str) -> Geometry:
        _, height, width, channels = self.shape
        pools = [] if pool == "none" else [MaxPool2D(pool)]
        return Network((height, width), [Conv2D(channels, 1), *pools, Dense(2)]).geometry[0]


def signs(drawn: Drawn) -> Iterator[tuple]:
    yield (drawn.bits(*drawn.shape),)


def gather(drawn: Drawn) -> Iterator[tuple]:
    for layer in LAYERS:
        geometry = second(layer, drawn.one([1, 3, 8]))
        yield halves(drawn.random, 8, 5, geometry.height, geometry.width, geometry.channels), geometry


def scatter(drawn: Drawn) -> Iterator[tuple]:
    for layer in LAYERS:
        geometry = second(layer, drawn.one([1, 3, 8]))
        rows, ones = drawn.ends(-SUM, SUM, 5 * geometry.outputs, geometry.fan_in), drawn.ends(-SUM, SUM, geometry.fan_in)
        yield rows, ones, geometry, np.full((5, geometry.height, geometry.width, geometry.channels), 77, np.int32)


def double(drawn: Drawn) -> Iterator[tuple]:
    images, height, width, channels = drawn.shape
    yield drawn.ends(-SUM, SUM, images, height * width, channels), drawn.ends(-SUM, SUM, height * width, channels)


def statistics(drawn: Drawn) -> Iterator[tuple]:
    yield drawn.ends(-SUM, SUM - 1, *drawn.shape), drawn.ends(-SUM, SUM, drawn.channels)


def normalise(drawn: Drawn) -> Iterator[tuple]:
    """psi has as many bits as mu, but no sign; tau is mu, up to psi more or less."""
    tau, psi = ((low, high, drawn.channels) for low, high in ((-3 * MU, 3 * MU), (0, 2 * MU - 1)))
    yield drawn.ends(-SUM, SUM - 1, *drawn.shape), drawn.ends(*tau, kind=np.int64), drawn.ends(*psi, kind=np.int64)


def pool_sums(drawn: Drawn) -> Iterator[tuple]:
    yield (drawn.ends(-SUM, SUM - 1, *drawn.shape),)


def pool_signs(drawn: Drawn) -> Iterator[tuple]:
    yield drawn.bits(*drawn.shape), drawn.bits(*drawn.shape)


def masked(drawn: Drawn) -> Iterator[tuple]:
    yield drawn.ends(-SUM, SUM, *drawn.shape), drawn.bits(*drawn.shape)


def codes(drawn: Drawn) -> Iterator[tuple]:
    images, height, width, channels = drawn.shape
    for pool in ("none", "signs", "sums"):
        twin = pool != "none"
        small = images, height // 2, width // 2, channels
        route = drawn.random.randint(0, 4, small).astype(np.uint8) if twin else None
        centre = drawn.ends(-CENTRE, CENTRE, channels)
        e, planes = drawn.one([0, 1, f.MAX_EXPONENT - 1, f.MAX_EXPONENT]), drawn.random.randint(1 + twin, f.MAX_PLANES + 1)
        at = drawn.one([0, 1 << 31, (1 << 32) - 2]), drawn.one([0, 1, 63])
        yield (
            drawn.ends(-SUM, SUM, *(small if twin else drawn.shape)),
            route,
            drawn.layer(pool),
            centre,
            e,
            Code(planes, twin),
            at,
        )


def updated(drawn: Drawn) -> Iterator[tuple]:
    taps, inputs = [(1, 1), (1, 300), (3, 129), (9, 64), (25, 9)][drawn.random.randint(5)]
    shape, end = (taps * inputs, drawn.channels), drawn.top << f.MOMENT
    at = drawn.one([0, 1 << 31, (1 << 32) - 2]), drawn.one([0, 1, 63]), Kind.WEIGHT
    for momentum in (False, True):
        rate, words = drawn.one([0, 1, (1 << f.RATE_BITS) - 1]), drawn.ends(-end, end - 1, *shape, kind=np.int16)
        for kind, largest, order in ((np.int32, (1 << 31) - 1, "C"), (np.int64, 1 << 40, "C"), (np.int64, 1 << 40, "F")):
            slope = drawn.ends(-largest, largest, *shape, kind=kind)
            yield np.asarray(words, order=order), slope, rate, momentum, at, (taps, inputs)


ARGUMENTS: dict[str, Callable[[Drawn], Iterator[tuple]]] = {
    "signs": signs,
    "gather": gather,
    "scatter": scatter,
    "double": double,
    "statistics": statistics,
    "normalise": normalise,
    "pool_sums": pool_sums,
    "pool_signs": pool_signs,
    "masked": masked,
    "codes": codes,
    "updated": updated,
}


def results(model: Plain, method: str, arguments: tuple) -> list[Any]:
    """What the method returns or, if that is nothing, what it makes of its arguments."""
    own = tuple(each.copy("K") if isinstance(each, np.ndarray) else each for each in arguments)
    returned = getattr(model, method)(*own)
    if returned is None:
        return [each for each in own if isinstance(each, np.ndarray)]
    return list(returned) if isinstance(returned, tuple) else [returned]


@pytest.mark.parametrize("method", [name for name in vars(Compiled) if not name.startswith("_")])
def test_methods_at_the_ends_of_their_ranges(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(threads, "_WORTH", 100)
    for seed in range(42):
        drawn = Drawn(seed)
        for arguments in ARGUMENTS[method](drawn):
            pairs = zip(results(drawn.plain, method, arguments), results(drawn.compiled, method, arguments), strict=True)
            for expected, found in pairs:
                assert np.asarray(found).dtype == np.asarray(expected).dtype
                np.testing.assert_array_equal(found, expected, f"seed {seed}")
