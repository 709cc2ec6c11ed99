"""Random networks, settings, states and configurations at the limits of what there is room for.

Widths are drawn around and beyond the edges of each memory, planes and batches at their ends, states at the corners of
their ranges. Everything follows from a seed.
"""

from __future__ import annotations

import random

import numpy as np

from bnnedge import Configuration, Conv2D, Dense, MaxPool2D, Network, Settings, bounds, formats
from bnnedge.layers import Layer
from bnnedge.state import TrainingState

# The smallest of everything, and what is odd in one way: wide words beside few lanes, narrow words beside many.
EXTREMES: dict[str, Configuration] = {
    c.name: c
    for c in (
        Configuration(
            "least", lanes=4, word=16, left_depth=384, right_depth=384, tile_rows=64, channels=64, latent=4, accumulator=16
        ),
        Configuration(
            "wide-words", lanes=4, word=64, left_depth=512, right_depth=448, tile_rows=128, channels=256, latent=9, accumulator=17
        ),
        Configuration(
            "eight", lanes=8, word=16, left_depth=448, right_depth=384, tile_rows=128, channels=64, latent=5, accumulator=16
        ),
        Configuration(
            "sixteen", lanes=16, word=16, left_depth=256, right_depth=256, tile_rows=64, channels=128, latent=8, accumulator=18
        ),
    )
}


def _around(r: random.Random, edges: list[int], most: int) -> int:
    """A number near one of the edges, or any."""
    if r.random() < 0.3:
        return r.randint(1, most)
    return min(most, max(1, r.choice(edges) + r.choice([-1, 0, 0, 1, r.randint(-9, 9)])))


def settings_for(r: random.Random, config: Configuration) -> Settings:
    """Planes of 8 and 1 more often than others, batches that the tile buffer holds."""
    input_planes, batches = r.choice([8, 8, 1, r.randint(1, 8)]), (64, 64, 16, 48, 80, 128, 256, 512)
    return Settings(
        batch=r.choice([batch for batch in batches if batch <= config.tile_rows and batch % config.word == 0]),
        gradient_planes=r.choice([8, 8, 4, 1, r.randint(1, 8), "auto"]),
        input_planes=input_planes,
        slope_planes=r.choice([min(2, input_planes), input_planes, r.randint(1, input_planes)]),
        optimiser=r.choice(["sign-momentum", "sign-momentum", "sign-sgd"]),
        seed=r.choice([0, 2**64 - 1, r.getrandbits(64), r.getrandbits(64)]),
    )


def description(seed: int, config: Configuration, *, convolutions: bool, most: int = 1024) -> tuple[Network, Settings]:
    """A network of layers up to `most` wide, and settings; whether they fit is another question."""
    r = random.Random(seed)
    settings = settings_for(r, config)
    classes = max(1, config.tile_rows // settings.batch) * config.lanes
    room = config.channels - 3
    edges = [config.lanes, config.word, config.layer_channels, 2 * config.layer_channels, room, room // 2]
    while True:
        layers: list[Layer] = []
        if convolutions:
            height, width, channels = r.randint(1, 12), r.choice([*range(1, 14), 31, 33]), r.choice([1, 2, 3, 3, 4, 5, 8])
            for _ in range(r.choice([1, 1, 2, 2, 3])):
                kernel = r.choice([1, 2, 3, 3, 3, 5, 7])
                filters = _around(r, edges, most)
                layers.append(Conv2D(filters, kernel, r.choice([1, 1, 2]), r.choice(["valid", "same"])))
                layers += [MaxPool2D(r.choice(["signs", "sums"]))] if r.random() < 0.5 else []
            layers += [Dense(_around(r, edges, most))] if r.random() < 0.3 else []
            shape: tuple[int, ...] = (height, width, channels)
        else:
            shape = (_around(r, [*edges, 2 * config.word, 784], 2 * most),)
            layers += [Dense(_around(r, edges, most)) for _ in range(r.choice([0, 1, 2, 2, 3, 4]))]
        layers.append(Dense(r.choice([classes, r.randint(1, classes), r.randint(1, min(classes, 16))])))
        try:
            return Network(shape, layers), settings
        except ValueError:  # layers that do not fit each other
            continue


def work(network: Network, settings: Settings) -> int:
    """Products of one step's forward pass."""
    return sum(g.outputs * g.fan_in * g.filters for g in network.geometry) * settings.batch


def corner_state(network: Network, settings: Settings, config: Configuration, seed: int) -> TrainingState:
    """A state whose numbers lie at the ends of their ranges, at the middle, or anywhere between."""
    state = TrainingState.initial(network, config.latent, settings.gradient_planes, seed)
    r = np.random.RandomState(seed)

    def drawn(low: int, high: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        ends = np.array([low, low, low + 1, -1, 0, 1, high - 1, high, high])
        any_value = r.randint(low, high + 1, shape, dtype=np.int64)
        mixed = np.where(r.random_sample(shape) < 0.5, ends[r.randint(0, len(ends), shape)], any_value)
        whole = r.choice([0, 1, 2])  # all at one end, sometimes
        return np.clip(mixed if whole < 2 else np.full(shape, r.choice([low, high])), low, high).astype(dtype)

    top = config.latent_top << formats.MOMENT
    for i, (layer, g) in enumerate(zip(state.layers, network.geometry, strict=True)):
        most = bounds.mean_sum(g, i, config)
        layer.weight = drawn(-top, top - 1, layer.weight.shape, np.int16)
        beta, centre = 1 << formats.BETA_BITS - 1, 1 << formats.CENTRE_BITS - 1
        layer.beta = drawn(-beta, beta - 1, layer.beta.shape, np.int32)
        layer.mu = drawn(-most, most, layer.mu.shape, np.int32)
        reach = [most, (1 << formats.MU_BITS) - 1][r.randint(2)]
        layer.psi = drawn(0, reach, layer.psi.shape, np.int32)
        layer.centre = drawn(-centre, centre - 1, layer.centre.shape, np.int32)
        last, size = i == len(state.layers) - 1, 1 << formats.SIZE_BITS
        low, high = (-size // 2, size // 2 - 1) if last else (0, int(r.choice([0, 1, 1000, 1 << 20, size - 1])))
        layer.size = drawn(low, high, layer.size.shape, np.int64)
        ends = 1 << formats.EXPONENT_BITS - 1
        layer.exponent = int(r.choice([layer.exponent, layer.exponent, 0, -ends, ends - 1, r.randint(-4, 24)]))
        beyond = formats.UNIT_SHIFT + 1
        layer.unit = 0 if last else int(r.choice([0, 0, beyond, -beyond, -ends, ends - 1, r.randint(-4, 24)]))
    state.step = int(r.choice([0, 1, 3, 11, 12, 39, 1000, 2**32 - 8]))
    state.check(network, config)
    return state


def images(network: Network, count: int, seed: int) -> np.ndarray:
    """uint8 images: any pixels, few values, or all of them the same."""
    r = np.random.RandomState(seed)
    shape = (count, *network.input_shape)
    kind = r.randint(4)
    if kind == 0:
        return np.full(shape, r.choice([0, 255]), np.uint8)
    if kind == 1:
        return r.choice(np.array([0, 255], np.uint8), shape)
    return r.randint(0, 256, shape).astype(np.uint8)
