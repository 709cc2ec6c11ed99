"""What stands between the standard training and the low-memory method, one step at a time, in floating point."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from bnnedge.network import Geometry
from bnnedge.sim.arrays import NUMPY, Array, Library
from bnnedge.sim.reference.functions import batch_norm_backward, l1_batch_norm_backward, l1_spread, sgn
from bnnedge.sim.reference.network import Layer, Record
from bnnedge.sim.reference.optimisers import OptimiserName
from bnnedge.sim.reference.standard import Standard

STEPS = ("l1", "signs", "sign-gradient", "no-mask", "no-psi")


class Ablation(Standard):
    """The standard training with some steps of the method; with the first three it is `Method`.

    Parameters
    ----------
    steps: any of `STEPS`:
        l1: batch norm divides by the mean absolute deviation. Alone, its backward pass is exact.
        signs: the backward pass of the batch norm has signs in place of X.
        sign-gradient: the optimiser gets sgn(dW).
        no-mask: the gradient passes each sign, not only where |X| <= 1.
        no-psi: the backward pass of the batch norm, in whichever form, leaves out the division by the spread: v is the
            gradient itself, in place of gradient/spread.

    Raises
    ------
    ValueError: an unknown step
    """

    def __init__(
        self,
        geometry: Sequence[Geometry],
        *,
        steps: Collection[str],
        optimiser: OptimiserName = "adam",
        seed: int = 0,
        dtype: Any = np.float32,
        library: Library = NUMPY,
    ):
        unknown = set(steps) - set(STEPS)
        if unknown:
            raise ValueError(f"there is no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
        super().__init__(geometry, optimiser=optimiser, seed=seed, dtype=dtype, library=library)
        self.taken = frozenset(steps)

    def spread(self, centred: Array) -> Array:
        return l1_spread(centred) if "l1" in self.taken else super().spread(centred)

    def mask(self, kept: Array) -> Array:
        xp = self.library.xp
        return xp.ones_like(kept, dtype=xp.bool) if "no-mask" in self.taken else super().mask(kept)

    def normal_gradient(self, gradient: Array, layer: Layer, record: Record[Array]) -> Array:
        xp = self.library.xp
        if "no-psi" in self.taken:
            record = dataclasses.replace(record, spread=xp.ones_like(record.spread))
        kept = xp.reshape(record.kept, gradient.shape)
        if "signs" in self.taken:
            return batch_norm_backward(gradient, sgn(kept), record.spread)
        if "l1" in self.taken:
            return l1_batch_norm_backward(gradient, kept - layer.beta, record.spread)
        return super().normal_gradient(gradient, layer, record)

    def weight_gradient(self, gradient: Array) -> Array:
        return sgn(gradient) if "sign-gradient" in self.taken else gradient
