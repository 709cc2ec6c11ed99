"""The standard training of binary networks: Courbariaux, Hubara, Soudry, El-Yaniv, Bengio, arXiv 1602.02830.

Every layer's activations wait in floating point for the backward pass, which is exact but for the signs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnedge.network import Geometry
from bnnedge.sim.reference.functions import batch_norm_backward, l2_spread, sgn
from bnnedge.sim.reference.network import Layer, Network, Record
from bnnedge.sim.reference.optimisers import OptimiserName


class Standard(Network[np.ndarray]):
    """Binary network with L2 batch norm, trained in floating point; see `Network` for the other parameters.

    Parameters
    ----------
    binarise: False replaces each sign by the function whose derivative the straight-through estimator takes for it: the
        weights are used as they are, and a hard tanh clip(X, -1, 1) stands between layers. The backward pass stays the
        same and becomes exact, so that finite differences can check it.
    """

    def __init__(
        self,
        geometry: Sequence[Geometry],
        *,
        optimiser: OptimiserName = "adam",
        seed: int = 0,
        dtype: Any = np.float32,
        binarise: bool = True,
    ):
        super().__init__(geometry, optimiser=optimiser, seed=seed, dtype=dtype)
        self.binarise = binarise

    def spread(self, centred: np.ndarray) -> np.ndarray:
        return l2_spread(centred)

    def keep(self, x: np.ndarray) -> np.ndarray:
        return x

    def signal(self, kept: np.ndarray) -> np.ndarray:
        return sgn(kept) if self.binarise else np.clip(kept, -1, 1)

    def mask(self, kept: np.ndarray) -> np.ndarray:
        return np.abs(kept) <= 1

    def used_weight(self, layer: Layer) -> np.ndarray:
        return super().used_weight(layer) if self.binarise else layer.weight

    def normal_gradient(self, gradient: np.ndarray, layer: Layer, record: Record[np.ndarray]) -> np.ndarray:
        return batch_norm_backward(gradient, record.kept.reshape(gradient.shape) - layer.beta, record.spread)
