"""What stands between the standard training and the low-memory method, one step at a time, in floating point.

Further steps lead from the method to what `docs/arithmetic.md` trains, in real numbers: its statistics, centring and beta.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from bnnedge import formats
from bnnedge.network import Geometry
from bnnedge.rates import decay, round_rate
from bnnedge.sim.arrays import NUMPY, Array, Library, array_namespace
from bnnedge.sim.reference.functions import batch_norm_backward, l1_batch_norm_backward, l1_spread, sgn
from bnnedge.sim.reference.network import Layer, Record
from bnnedge.sim.reference.optimisers import OptimiserName, SizedMoment, warming_share
from bnnedge.sim.reference.standard import Standard

STEPS = ("l1", "signs", "sign-gradient", "no-mask", "no-psi", "streaming", "moving-centre", "sized-beta")
LAST_SIZE = 2.0 ** (formats.LAST_BITS - formats.PROBABILITY - formats.CENTRE)
"""2^k of the last layer, whose gradients are differences of probabilities."""


class Centre:
    """Of a layer, moving averages (M,) over the steps before: `mean` of the gradient v, `slope` of v X."""

    kept: ClassVar[tuple[str, ...]] = "mean", "slope"

    def __init__(self, like: Array):
        xp = array_namespace(like)
        self.mean, self.slope = xp.zeros_like(like), xp.zeros_like(like)


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
        streaming: hidden layers normalise with the moving averages as they stood before the step, the spread about the moving
            mean. The last layer has its batch's statistics. Averages warm up as in docs/arithmetic.md.
        moving-centre: the backward pass of the batch norm takes off the moving mean of v where a channel has many outputs, the
            batch's own in layers of one output, and in the last layer alone the part along X, by a moving mean, too. These move
            in the backward pass.
        sized-beta: beta learns by `SizedMoment`.

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
        self.centres = [Centre(layer.beta) for layer in self.layers] if "moving-centre" in self.taken else []
        if "sized-beta" in self.taken:
            for layer in self.layers:
                layer.beta_optimiser = SizedMoment(layer.beta, size=LAST_SIZE if self._is_last(layer) else None)

    def _is_last(self, layer: Layer) -> bool:
        return layer is self.layers[-1]

    def _streams(self, layer: Layer) -> bool:
        return "streaming" in self.taken and not self._is_last(layer)

    def _places(self) -> Iterator[tuple[str, Any, str]]:
        yield from super()._places()
        for i, centre in enumerate(self.centres):
            for kept in centre.kept:
                yield f"{i + 1}.centre.{kept}", centre, kept

    def share(self, rate: float) -> float:
        return warming_share(decay(round_rate(rate)), self.steps) if "streaming" in self.taken else super().share(rate)

    def normalised(self, samples: Array, layer: Layer) -> tuple[Array, Array, Array]:
        if not self._streams(layer):
            return super().normalised(samples, layer)
        centred = samples - layer.mean
        return centred / layer.spread, self.library.xp.mean(samples, axis=0), self.spread(centred)

    def spread(self, centred: Array) -> Array:
        return l1_spread(centred) if "l1" in self.taken else super().spread(centred)

    def mask(self, kept: Array) -> Array:
        xp = self.library.xp
        return xp.ones_like(kept, dtype=xp.bool) if "no-mask" in self.taken else super().mask(kept)

    def normal_gradient(self, gradient: Array, layer: Layer, record: Record[Array]) -> Array:
        xp = self.library.xp
        if "no-psi" in self.taken:
            record = dataclasses.replace(record, spread=xp.ones_like(record.spread))
        elif self._streams(layer):
            record = dataclasses.replace(record, spread=layer.spread)
        kept = xp.reshape(record.kept, gradient.shape)
        if self.centres:
            return self._centred(gradient / record.spread, kept - layer.beta, layer)
        if "signs" in self.taken:
            return batch_norm_backward(gradient, sgn(kept), record.spread)
        if "l1" in self.taken:
            return l1_batch_norm_backward(gradient, kept - layer.beta, record.spread)
        return super().normal_gradient(gradient, layer, record)

    def _centred(self, v: Array, output: Array, layer: Layer) -> Array:
        """v (n, M) without its mean, moving or own, and, in the last layer, its part along the normalised output (n, M)."""
        xp, centre = self.library.xp, self.centres[self.layers.index(layer)]
        share = warming_share(formats.DECAY, self.steps)
        if self._is_last(layer):
            slope = xp.mean(v * output, axis=0)
            v = v - (sgn(output) if "signs" in self.taken else output) * centre.slope
            centre.slope += share * (slope - centre.slope)
        mean = xp.mean(v, axis=0)
        result = v - (mean if layer.geometry.own_centre else centre.mean)
        centre.mean += share * (mean - centre.mean)
        return result

    def weight_gradient(self, gradient: Array) -> Array:
        return sgn(gradient) if "sign-gradient" in self.taken else gradient
