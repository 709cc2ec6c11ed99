"""Random small networks with convolutions, and settings for them."""

from __future__ import annotations

import random

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings
from bnnedge.layers import Layer


def random_network(seed: int, work: float) -> tuple[Network, Settings]:
    """A network whose products take at most `work` multiplications an image, and settings; the same for the same seed."""
    r = random.Random(seed)
    while True:
        height, width, channels = r.randint(1, 12), r.choice([*range(1, 15), 31, 33]), r.choice([1, 1, 2, 3, 3, 4, 5])
        shape = (height, width) if channels == 1 else (height, width, channels)
        layers: list[Layer] = []
        for _ in range(r.randint(1, 3)):
            filters, kernel = r.choice([3, 5, 8, 9, 16, 24, 31, 32, 33, 40]), r.choice([1, 2, 3, 3, 3, 5, 7])
            layers.append(Conv2D(filters, kernel, r.choice([1, 1, 2]), r.choice(["valid", "same"])))
            layers += [MaxPool2D(r.choice(["signs", "sums"]))] if r.random() < 0.45 else []
        layers += [Dense(r.randint(1, 40)) for _ in range(r.choice([0, 0, 1]))]
        layers.append(Dense(r.randint(2, 16)))
        planes = r.randint(1, 8)
        weighted = sum(not isinstance(layer, MaxPool2D) for layer in layers)
        settings = Settings(
            batch=r.choice([64, 64, 128, 192]),
            gradient_planes=r.choice([r.randint(1, 8), "auto", tuple(r.randint(1, 8) for _ in range(weighted))]),
            input_planes=planes,
            slope_planes=r.randint(1, min(3, planes)),
            optimiser=r.choice(["sign-momentum", "sign-momentum", "sign-sgd"]),
            seed=r.getrandbits(64),
        )
        try:
            network = Network(shape, layers)
        except ValueError:  # layers that do not fit each other
            continue
        if sum(g.outputs * g.fan_in * g.filters for g in network.geometry) * settings.batch <= 64 * work:
            return network, settings
