"""One training step and inference of a network, in integers.

Notation of docs/arithmetic.md: B images a batch, K inputs and M output channels of a layer. Maps are (B, height, width,
channels), those of a dense layer (B, 1, 1, M); weights are (K, M). Sums, gradients and thresholds fit int32: they have
`accumulator` bits, at most 22, and STATISTICS or GRADIENT_MEAN fraction bits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bnnedge import formats as f
from bnnedge.codes import codes
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.network import Dense, Geometry, Network
from bnnedge.rates import decay, layer_rate
from bnnedge.settings import Settings
from bnnedge.sim.arrays import Array, array_namespace, library_of
from bnnedge.sim.golden.mean import Mean, averaged
from bnnedge.sim.golden.plain import centred, total
from bnnedge.sim.golden.random import Random
from bnnedge.sim.golden.softmax import logits, one_hot, slope, softmax
from bnnedge.sim.golden.ways import Ways, fitting
from bnnedge.state import LayerState, TrainingState

_INFERENCE = 1 << 24
"""Elements of a map that `infer` holds at a time."""
_CENTRED = f.CENTRE - f.GRADIENT_MEAN  # fraction bits of a channel's centre below those of a centred gradient
_FINER = f.SIZE - f.CENTRE  # and of its size below those of the centre
_CERTAIN = (1 << f.PROBABILITY) - 1  # the last layer's largest slope


@dataclasses.dataclass
class Result:
    """A batch's `loss`, the sum of -log2 p over its images, with LOGIT fraction bits, and `hits`, of B images."""

    loss: int
    hits: int


@dataclasses.dataclass
class Forward:
    """What a hidden layer keeps from the forward pass, of the map that the next layer sees.

    active: signs, bool: (B, height, width, M).
    mask: straight-through mask, bool.
    route: with a pool, where the maxima stood, see `pooling`.
    """

    active: Array
    mask: Array
    route: Array | None


def pixel_codes(pixels: Array, planes: int) -> Array:
    """Halves q of the codes 2 q + 1 of the uppermost `planes` bits of uint8 pixels: int8, of the same shape."""
    xp = array_namespace(pixels)
    return xp.astype(xp.astype(pixels >> f.MAX_PLANES - planes, xp.int16) - 2 ** (planes - 1), xp.int8)


class Golden:
    """Bit-exact model of the accelerator, training one network.

    `state` is the training state, changed in place; whatever array library its arrays are of computes, on their device
    (`TrainingState.mapped` and `sim.arrays.Library.put` bring them there), and the results are the same. With `keep` set,
    `trace` holds every intermediate of the last batch by name: ``trace["2.code"]`` is what layer 2 (of those with weights,
    counted from 1) called `code` below. Maps of dense layers are (B, M) there. `ways` says what computes, see `golden.ways`; by
    default the fastest that is installed and worth it.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        configuration: Configuration,
        state: TrainingState,
        *,
        keep: bool = False,
        random: type[Random] = Random,
        ways: Callable[[Random, int], Ways] | None = None,
    ) -> None:
        self.network, self.settings, self.configuration, self.state = network, settings, configuration, state
        self.library = library_of(state.layers[0].weight)
        self.random = random(settings.seed, configuration.lanes, self.library)
        drawn = self.random, configuration.latent_top
        self.elementwise, self.products = ways(*drawn) if ways else fitting(*drawn, network, settings.batch)
        self.keep, self.trace = keep, dict[str, Any]()
        self._momentum = settings.optimiser != "sign-sgd"
        self._codes = codes(network, settings)
        self._means = [Mean(settings.batch * layer.samples) for layer in network.geometry]
        self._convolutions = len(network.geometry) - sum(isinstance(layer, Dense) for layer in network.layers)

    def _note(self, layer: int, **values: Any) -> None:
        if not self.keep:
            return
        for name, value in values.items():
            if layer >= self._convolutions and getattr(value, "ndim", 0) == 4:
                value = self.library.xp.reshape(value, (value.shape[0], -1))
            self.trace[f"{layer + 1}.{name}"] = value

    def train(self, pixels: np.ndarray, labels: np.ndarray, rate: int) -> Result:
        """Take one step on (B, ...) uint8 pixels and (B,) labels; `rate` is the learning rate times 2**RATE_UNIT."""
        targets = self.library.put(labels)
        layers, geometries, top = self.state.layers, self.network.geometry, len(self.state.layers) - 1
        x, planes, slope_planes = self._input(pixels), self.settings.input_planes, self.settings.slope_planes
        inputs, kept, weights = [x >> planes - slope_planes], list[Forward](), []
        for i, (layer, geometry) in enumerate(zip(layers, geometries, strict=True)):
            weights.append(self.elementwise.signs(layer.sign))
            y, route = self._sums(x, weights[i], geometry, planes)
            if i < top:
                kept.append(self._normalise(i, layer, y, route))
                x, planes = self.elementwise.signs(kept[i].active), 0
                inputs.append(x)
            mu, psi = self._statistics(i, layer, y, decay(rate))
        result, d, s2 = self._loss(layers[top], y, mu, psi, targets)
        s1, route, above = total(d), None, 0
        for i in range(top, -1, -1):
            layer, geometry, code = layers[i], geometries[i], self._codes[i]
            halves, e = self._gradient_code(i, layer, d, s1, route, above)
            self._learn(i, layer, s1, s2 if i == top else None, rate)
            above += e
            if i:
                below = kept.pop()
                d, route = self.products.data_gradient(halves, weights.pop(), geometry, code), below.route
                d, s1 = self.elementwise.masked(d, below.mask)
            gradient = self.products.weight_gradient(inputs.pop(), halves, geometry, 0 if i else slope_planes, code)
            self._note(i, slope=gradient)
            at, places = (self.state.step, i, Kind.WEIGHT), (geometry.taps, geometry.tap_inputs)
            own = layer_rate(rate, geometry.fan_in, self.configuration.latent)
            layer.weight = self.elementwise.updated(layer.weight, gradient, own, self._momentum, at, places)
        self.state.step += 1
        return result

    def _input(self, pixels: np.ndarray) -> Array:
        """Halves of codes of (N, ...) pixels as the first layer's map (N, H, W, C)."""
        first = self.network.geometry[0]
        codes = pixel_codes(self.library.put(pixels), self.settings.input_planes)
        return self.library.xp.reshape(codes, (-1, first.height, first.width, first.channels))

    def _sums(self, x: Array, weight: Array, geometry: Geometry, planes: int) -> tuple[Array, Array | None]:
        """Sums of a map, of `planes` as `products` says it, and signs of weights, and their route if they are pooled."""
        y = self.products.forward(x, weight, geometry, planes)
        return self.elementwise.pool_sums(y) if geometry.pool == "sums" else (y, None)

    def _statistics(self, i: int, layer: LayerState, y: Array, slowest: int) -> tuple[Array, Array]:
        """Batch mean mu and mean absolute deviation psi about the moving mean, (M,) int64; moves the moving averages."""
        xp, step = self.library.xp, self.state.step
        moving = xp.astype(layer.mu, xp.int64), xp.astype(layer.psi, xp.int64)
        pivot = xp.astype(moving[0] + (1 << f.STATISTICS - 1) >> f.STATISTICS, xp.int32)
        mu, psi = (self._means[i].of(sums, f.STATISTICS) for sums in self.elementwise.statistics(y, pivot))
        layer.mu, layer.psi = (
            xp.astype(averaged(old, new, slowest, step), xp.int32) for old, new in zip(moving, (mu, psi), strict=True)
        )
        self._note(i, y=y, mu=mu, psi=psi)
        return mu, psi

    def _threshold(self, layer: LayerState) -> Array:
        """tau (M,) int32."""
        xp = self.library.xp
        mu, psi = xp.astype(layer.mu, xp.int64), xp.astype(layer.psi, xp.int64)
        return xp.astype(mu - (_used(layer.beta) * psi >> f.BETA_FRACTION), xp.int32)

    def _normalise(self, i: int, layer: LayerState, y: Array, route: Array | None) -> Forward:
        """Sign and straight-through mask of the batch norm's output: y >= tau, |y - tau| <= psi; signs are pooled."""
        tau = self._threshold(layer)
        active, mask = self.elementwise.normalise(y, tau, layer.psi)
        if self.network.geometry[i].pool == "signs":
            active, mask, route = self.elementwise.pool_signs(active, mask)
        self._note(i, tau=tau, active=active, mask=mask)
        if route is not None:
            self._note(i, route=route)
        return Forward(active, mask, route)

    def _loss(self, last: LayerState, y: Array, mu: Array, psi: Array, targets: Array) -> tuple[Result, Array, Array]:
        """Loss and hits, d (B, 1, 1, M) int32, and the sums (M,) int64 of the gradient along the logits."""
        xp, top = self.library.xp, len(self.state.layers) - 1
        z, biased = logits(y[:, 0, 0, :], mu, psi, _used(last.beta))
        p, loss, hits = softmax(biased, targets)
        p = p - (one_hot(targets, p.shape[1]) << f.PROBABILITY)
        c2 = xp.clip(last.size + (1 << f.SIZE - 1) >> f.SIZE, -_CERTAIN, _CERTAIN)
        d, s2 = p - xp.where(z >= 0, c2, -c2), slope(p, z)
        self._note(top, logits=biased, gradient=p, s2=s2)
        return Result(loss, hits), xp.astype(d, xp.int32)[:, None, None, :], s2

    def _gradient_code(
        self, i: int, layer: LayerState, d: Array, s1: Array, route: Array | None, above: int
    ) -> tuple[Array, int]:
        """Centring and stochastic rounding of d, a gradient of each output that the next layer sees, to codes.

        Moves the exponent, and the layer's centre and size to the unit of this step. Returns the codes' halves, (B, out_height,
        out_width, M) int8, and their exponent.
        """
        xp, geometry, code = self.library.xp, self.network.geometry[i], self._codes[i]
        self._note(i, d=d, s1=s1)
        self._align(layer, above)
        centre = self._centre(self._means[i].of(s1, f.CENTRE)) if geometry.own_centre else layer.centre
        c1 = xp.astype(xp.astype(centre, xp.int64) + (1 << _CENTRED - 1) >> _CENTRED, xp.int32)
        e = min(max(0, layer.exponent - above), f.MAX_EXPONENT)
        halves, (clipped, large) = self.elementwise.codes(d, route, geometry, c1, e, code, (self.state.step, i))
        most = code.clips(math.prod(d.shape))
        layer.exponent = above + e + (clipped > most) - (large <= most >> 1)
        if self.keep:
            dy, whole = centred(d, route, geometry, c1), xp.astype(halves, xp.int16) * 2
            self._note(i, dy=dy, e=e, code=whole if code.twin else whole + 1)
        return halves, e

    def _align(self, layer: LayerState, above: int) -> None:
        """Shift mean gradients to the unit of this step."""
        xp = self.library.xp
        shift = min(max(layer.unit - above, -f.UNIT_SHIFT), f.UNIT_SHIFT - 1)
        layer.unit = above
        if shift:
            left, right = max(shift, 0), max(-shift, 0)
            centre, size = (xp.astype(a, xp.int64) << left >> right for a in (layer.centre, layer.size))
            layer.centre, layer.size = self._centre(centre), xp.clip(size, 0, (1 << f.SIZE_BITS) - 1)

    def _learn(self, i: int, layer: LayerState, s1: Array, s2: Array | None, rate: int) -> None:
        """Move the mean gradients and, against them, beta.

        s1: sums of d, (M,) int64. s2: of the last layer, sums of the gradient along the logit, else None.
        """
        xp, step = self.library.xp, self.state.step
        mean = self._means[i].of(s1, f.CENTRE)
        layer.centre = self._centre(averaged(xp.astype(layer.centre, xp.int64), mean, f.DECAY, step))
        if s2 is None:
            layer.size = averaged(layer.size, xp.abs(mean) << _FINER, f.SIZE_DECAY, step)
            powers = 1 << xp.arange(f.SIZE_BITS - _FINER, dtype=xp.int64, device=self.library.device)
            bits = xp.searchsorted(powers, layer.size >> _FINER, side="right")
        else:
            along, most = self._means[i].of(s2, f.CENTRE) << _FINER, 1 << f.SIZE_BITS - 1
            layer.size = xp.clip(averaged(layer.size, along, f.SLOPE_DECAY, step), -most, most - 1)
            bits = f.LAST_BITS
        limit = 1 << f.STEP_FRACTION + f.STEP_LIMIT
        move = xp.clip(xp.astype(layer.centre, xp.int64) << f.STEP_FRACTION >> bits, -limit, limit - 1) * rate
        most = 1 << f.BETA_BITS - 1
        beta = xp.astype(layer.beta, xp.int64) - (move + (1 << f.BETA_RATE - 1) >> f.BETA_RATE)
        layer.beta = xp.astype(xp.clip(beta, -most, most - 1), xp.int32)

    def _centre(self, values: Array) -> Array:
        """What a channel's centre holds of values (M,) int64: int32 of CENTRE_BITS."""
        xp, most = self.library.xp, 1 << f.CENTRE_BITS - 1
        return xp.astype(xp.clip(values, -most, most - 1), xp.int32)

    def infer(self, pixels: np.ndarray) -> Array:
        """Logits of (N, ...) uint8 pixels with the moving statistics: (N, classes) int64, base 2, LOGIT fraction bits."""
        largest = max(layer.outputs * layer.fan_out for layer in self.network.geometry)
        part = max(1, _INFERENCE // largest)
        return self.library.xp.concat([self._infer(pixels[i : i + part]) for i in range(0, len(pixels), part)])

    def _infer(self, pixels: np.ndarray) -> Array:
        xp, top = self.library.xp, len(self.state.layers) - 1
        x, planes = self._input(pixels), self.settings.input_planes
        for i, (layer, geometry) in enumerate(zip(self.state.layers, self.network.geometry, strict=True)):
            y, _ = self._sums(x, self.elementwise.signs(layer.sign), geometry, planes)
            if i < top:
                active, mask = self.elementwise.normalise(y, self._threshold(layer), layer.psi)
                if geometry.pool == "signs":
                    active, _, _ = self.elementwise.pool_signs(active, mask)
                x, planes = self.elementwise.signs(active), 0
        mu, psi = xp.astype(layer.mu, xp.int64), xp.astype(layer.psi, xp.int64)
        return logits(y[:, 0, 0, :], mu, psi, _used(layer.beta))[1]

    def evaluate(self, pixels: np.ndarray, labels: np.ndarray) -> Result:
        """Loss and hits of (N, ...) pixels with the moving statistics."""
        _, loss, hits = softmax(self.infer(pixels), self.library.put(labels))
        return Result(loss, hits)


def _used(beta: Array) -> Array:
    """What of beta (M,) moves thresholds and logits: int64 of BETA_USED bits."""
    xp = array_namespace(beta)
    return xp.astype(beta, xp.int64) >> f.BETA_BITS - f.BETA_USED
