"""A network trained in float32, as the importer takes models of other libraries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnedge.importer.steps import Affine, Flattening, Function, Linear, Model, Stage
from bnnedge.sim.reference import Standard
from bnnedge.sim.reference.functions import sgn


def model(network: Standard, name: str, input_shape: tuple[int, ...]) -> Model:
    """What there is of a network of dense layers, in NumPy: its latent weights and its batch norms.

    input_shape: (height, width, channels). Its pixels are -1 for black and 1 for white.
    """
    stages = [Stage("pixels", (Flattening("pixels"),))]
    for i, layer in enumerate(network.layers):
        mean, spread, beta = (values.astype(np.float64) for values in (layer.mean, layer.spread, layer.beta))
        norm = Affine(f"batch norm {i + 1}", 1 / spread, beta - mean / spread, mean, spread)
        weight = layer.weight.astype(np.float64)
        stages.append(Stage(f"layer {i + 1}", (Linear(f"layer {i + 1}", sgn(weight), weight),)))
        stages.append(Stage(norm.name, (norm,)))
        stages.append(Stage(f"sign {i + 1}", (Function(f"sign {i + 1}", sgn),)))
    del stages[-1]  # the last layer's normalised sums are the logits

    def trace(images: np.ndarray) -> Sequence[np.ndarray]:
        found = [images.reshape(len(images), -1)]
        signal = found[0]
        for layer in network.layers:
            sums = signal @ sgn(layer.weight)
            normal = (sums - layer.mean) / layer.spread + layer.beta
            signal = sgn(normal)
            found += [sums, normal, signal]
        return found[:-1]

    return Model(name, input_shape, tuple(stages), trace)
