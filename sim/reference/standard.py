"""The standard training of binary networks: Courbariaux, Hubara, Soudry, El-Yaniv, Bengio, arXiv 1602.02830.

Every layer's activations wait in floating point for the backward pass, which is exact but for the signs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnedge.network import Geometry
from bnnedge.sim.arrays import NUMPY, Array, Library
from bnnedge.sim.reference.functions import batch_norm_backward, hard_tanh, l2_spread, sgn
from bnnedge.sim.reference.network import Layer, Network, Record
from bnnedge.sim.reference.optimisers import OptimiserName


class Standard(Network[Array]):
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
        library: Library = NUMPY,
        binarise: bool = True,
    ):
        super().__init__(geometry, optimiser=optimiser, seed=seed, dtype=dtype, library=library)
        self.binarise = binarise

    def spread(self, centred: Array) -> Array:
        return l2_spread(centred)

    def keep(self, x: Array) -> Array:
        return x

    def signal(self, kept: Array) -> Array:
        return sgn(kept) if self.binarise else hard_tanh(kept)

    def mask(self, kept: Array) -> Array:
        return self.library.xp.abs(kept) <= 1

    def used_weight(self, layer: Layer) -> Array:
        return super().used_weight(layer) if self.binarise else layer.weight

    def normal_gradient(self, gradient: Array, layer: Layer, record: Record[Array]) -> Array:
        kept = self.library.xp.reshape(record.kept, gradient.shape)
        return batch_norm_backward(gradient, kept - layer.beta, record.spread)
