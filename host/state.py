"""Training state: all that must survive for training to continue bit for bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge import bounds, formats
from bnnedge.codes import codes
from bnnedge.configuration import Configuration
from bnnedge.network import Network
from bnnedge.rates import scale
from bnnedge.settings import Settings

# Dtype and number of axes of a layer's arrays.
_ARRAYS: dict[str, tuple[type, int]] = {
    "weight": (np.int16, 2),
    "beta": (np.int32, 1),
    "mu": (np.int32, 1),
    "psi": (np.int32, 1),
    "centre": (np.int32, 1),
    "size": (np.int64, 1),
}
ARRAYS = tuple(_ARRAYS)
"""Names of a layer's arrays."""
NUMBERS = "exponent", "unit"
"""Names of its other numbers."""
_EXPONENT_LIMIT = 1 << formats.EXPONENT_BITS - 1


@dataclasses.dataclass
class LayerState:
    """Persistent numbers of one layer with fan-in K and fan-out M (formats in docs/arithmetic.md).

    weight: (K, M) int16, latent weight above its moment.
    beta: (M,) int32, of BETA_BITS.
    mu, psi: (M,) int32, moving mean, within `bounds.mean_sum`, and moving mean absolute deviation, 0..2**MU_BITS - 1.
    centre: (M,) int32, moving mean of the gradient, of CENTRE_BITS.
    size: (M,) int64, moving mean of that mean's size, 0..2**SIZE_BITS - 1; in the last layer the slope in its place, of as many
        bits with a sign.
    exponent: absolute exponent E of the gradient codes.
    unit: the absolute exponent that centre and size were written with; 0 in the last layer.
    """

    weight: np.ndarray
    beta: np.ndarray
    mu: np.ndarray
    psi: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    exponent: int
    unit: int

    @property
    def sign(self) -> np.ndarray:
        """(K, M) bool: True where the binary weight is +1."""
        return self.weight >= 0

    def mapped(self, function: Callable[[Any], Any]) -> LayerState:
        """The same with a function of each array in its place."""
        return dataclasses.replace(self, **{field: function(getattr(self, field)) for field in _ARRAYS})


@dataclasses.dataclass
class TrainingState:
    """State of a network in training: a `LayerState` for each layer, and the number of steps taken."""

    layers: list[LayerState]
    step: int = 0

    @classmethod
    def initial(cls, network: Network, latent: int, gradient_planes: int | Sequence[int] | str, seed: int) -> TrainingState:
        """Draw W ~ N(0, 1/fan-in), scaled, for weights of `latent` bits; exponents from what lies above; all else is 0.

        Uses NumPy's frozen legacy generator, so that every NumPy version draws the same weights. gradient_planes: as in
        `Settings`.
        """
        top = 1 << latent - 1
        random = np.random.RandomState(np.random.MT19937(seed))
        formats_of = codes(network, Settings(gradient_planes=gradient_planes))
        # A sum of T random signs grows by sqrt(T); each layer keeps GRADIENT_MEAN more fraction bits than the one above.
        growth = [((layer.reach - 1).bit_length() + 1 >> 1) + formats.GRADIENT_MEAN for layer in network.geometry]
        layers = []
        for i, (layer, code) in enumerate(zip(network.geometry, formats_of, strict=True)):
            deviation = math.ldexp(top, scale(layer.fan_in)) / math.sqrt(layer.fan_in)
            drawn = np.rint(random.standard_normal((layer.fan_in, layer.fan_out)) * deviation)
            weight = (np.clip(drawn, -top, top - 1).astype(np.int16) << formats.MOMENT).astype(np.int16)
            zeros: dict[str, Any] = {
                field: np.zeros(layer.fan_out, dtype) for field, (dtype, axes) in _ARRAYS.items() if axes == 1
            }
            exponent = formats.PROBABILITY + formats.GRADIENT_MEAN + 1 - code.bits + sum(growth[i + 1 :])
            layers.append(LayerState(weight, **zeros, exponent=exponent, unit=0))
        return cls(layers)

    def mapped(self, function: Callable[[Any], Any]) -> TrainingState:
        """The same with a function of each array in its place: into another array library, say."""
        return TrainingState([layer.mapped(function) for layer in self.layers], self.step)

    def copy(self) -> TrainingState:
        """Return an independent copy."""
        return self.mapped(np.copy)

    def check(self, network: Network, config: Configuration) -> None:
        """ValueError if shapes, dtypes or ranges are not those of `network` on this configuration.

        Training never leaves these ranges, and within them the accelerator computes what the golden model does.
        """
        if len(self.layers) != len(network.geometry):
            raise ValueError(f"state of {len(self.layers)} layers for a network of {len(network.geometry)}")
        limit = config.latent_top << formats.MOMENT
        for i, (layer, geometry) in enumerate(zip(self.layers, network.geometry, strict=True)):
            sizes = geometry.fan_in, geometry.fan_out
            for field, (dtype, axes) in _ARRAYS.items():
                array, shape = getattr(layer, field), sizes[-axes:]
                if array.shape != shape or array.dtype != dtype:
                    raise ValueError(
                        f"layer {i + 1}: {field} must be {np.dtype(dtype).name} of shape {shape}, "
                        f"not {array.dtype} of shape {array.shape}"
                    )
            most = bounds.mean_sum(geometry, i, config)
            beta, centre = 1 << formats.BETA_BITS - 1, 1 << formats.CENTRE_BITS - 1
            _within(i, "weight", layer.weight, -limit, limit - 1, f", as latent weights of {config.latent} bits do")
            _within(i, "beta", layer.beta, -beta, beta - 1)
            _within(i, "mu", layer.mu, -most, most, f", as the mean of a sum of {geometry.fan_in} inputs does")
            _within(i, "psi", layer.psi, 0, (1 << formats.MU_BITS) - 1)
            _within(i, "centre", layer.centre, -centre, centre - 1)
            last = i == len(self.layers) - 1
            low = -(1 << formats.SIZE_BITS - 1) if last else 0
            _within(i, "size", layer.size, low, low + (1 << formats.SIZE_BITS) - 1)
            if last and layer.unit:
                raise ValueError(f"layer {i + 1}: unit is {layer.unit}, and must be 0 in the last layer")
            for field in NUMBERS:
                if not -_EXPONENT_LIMIT <= getattr(layer, field) < _EXPONENT_LIMIT:
                    raise ValueError(f"layer {i + 1}: {field} {getattr(layer, field)} does not fit {formats.EXPONENT_BITS} bits")
        if not 0 <= self.step < 1 << formats.STEP_BITS:
            raise ValueError(f"step must be in 0..2**{formats.STEP_BITS} - 1, not {self.step}")

    def differences(self, other: TrainingState) -> list[str]:
        """Name what differs from `other`, e.g. ``["layer 2 weight: 3 of 640 values"]``; empty if bit-exact."""
        found = [] if self.step == other.step else [f"step: {self.step} and {other.step}"]
        if len(self.layers) != len(other.layers):
            return [*found, f"layers: {len(self.layers)} and {len(other.layers)}"]
        for i, (a, b) in enumerate(zip(self.layers, other.layers, strict=True)):
            for field in (*ARRAYS, *NUMBERS):
                p, q = np.asarray(getattr(a, field)), np.asarray(getattr(b, field))
                if p.shape != q.shape:
                    found.append(f"layer {i + 1} {field}: shape {p.shape} and {q.shape}")
                elif not np.array_equal(p, q):
                    found.append(f"layer {i + 1} {field}: {np.count_nonzero(p != q)} of {p.size} values")
        return found


def _within(i: int, field: str, array: np.ndarray, low: int, high: int, why: str = "") -> None:
    least, most = int(array.min()), int(array.max())
    if least < low or most > high:
        raise ValueError(f"layer {i + 1}: {field} lies in {least}..{most}, not in {low}..{high}{why}")
