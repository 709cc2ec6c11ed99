"""One training step and inference of a network, in integers.

Notation of docs/arithmetic.md: B images a batch, K inputs and M output channels of a layer. Maps are (B, height, width,
channels), those of a dense layer (B, 1, 1, M); weights are (K, M). Sums, gradients and thresholds fit int32: they have
`accumulator` bits, at most 22, and STATISTICS or GRADIENT_MEAN fraction bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from bnnedge import formats as f
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.network import Dense, Geometry, Network
from bnnedge.settings import Settings
from bnnedge.sim.arrays import Array, array_namespace, library_of
from bnnedge.sim.golden.mean import Mean
from bnnedge.sim.golden.plain import centred, total
from bnnedge.sim.golden.random import Random
from bnnedge.sim.golden.softmax import logits, one_hot, softmax
from bnnedge.sim.golden.ways import Ways, fitting
from bnnedge.state import LayerState, TrainingState

_INFERENCE = 1 << 24
"""Elements of a map that `infer` holds at a time."""


@dataclasses.dataclass
class Result:
    """A batch's `loss`, the sum of -log2 p over its images, with LOGIT fraction bits, and `hits`, of B images."""

    loss: int
    hits: int


@dataclasses.dataclass
class Forward:
    """What a layer keeps from the forward pass.

    active: sign of each sample of the statistics, bool: (B, out_height, out_width, M), of pooled sums the pooled map.
    pooled: what the next layer sees, bool: `active`, or its pooled map.
    mask: straight-through mask of `pooled`, bool.
    route: with a pool, where the maxima stood, see `pooling`.
    """

    active: Array
    pooled: Array
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
        """Take one step on (B, ...) uint8 pixels and (B,) labels; `rate` as `formats.RATE` says."""
        xp, targets = self.library.xp, self.library.put(labels)
        g, layers, top = self.settings.gradient_planes, self.state.layers, len(self.state.layers) - 1
        x, planes = self._input(pixels), self.settings.input_planes
        inputs, kept, weights = [x >> planes - self.settings.slope_planes], [], []
        for i, (layer, geometry) in enumerate(zip(layers, self.network.geometry, strict=True)):
            weights.append(self.elementwise.signs(layer.sign))
            y, route = self._sums(x, weights[i], geometry, planes)
            mu, psi = self._statistics(i, layer, y)
            kept.append(self._normalise(i, layer, y, mu, psi, route))
            if i < top:
                x, planes = self.elementwise.signs(kept[i].pooled), 0
                inputs.append(x)
        z, biased = logits(y[:, 0, 0, :], mu, psi, layers[top].beta >> f.MOMENT, self.configuration.latent)
        p, loss, hits = softmax(biased, targets)
        p = p - (one_hot(targets, p.shape[1]) << f.PROBABILITY)
        self._note(top, logits=biased, gradient=p)
        d, s1 = xp.astype(p, xp.int32)[:, None, None, :], total(p)
        s2 = total(p * z) * f.INVERSE_LOG2_E >> f.LOG2_E_FRACTION + f.LOGIT  # X itself is at hand, not its sign alone
        above = 0
        for i in range(top, -1, -1):
            layer, geometry = layers[i], self.network.geometry[i]
            code, e = self._gradient_code(i, layer, d, s1, s2, kept.pop(), rate, above)
            above += e
            if i:
                d = self.products.data_gradient(code, weights.pop(), geometry, g)
                d, s1, s2 = self.elementwise.masked(d, kept[-1].mask, kept[-1].pooled)
            slope = self.products.weight_gradient(inputs.pop(), code, geometry, 0 if i else self.settings.slope_planes, g)
            self._note(i, slope=slope)
            at, places = (self.state.step, i, Kind.WEIGHT), (geometry.taps, geometry.tap_inputs)
            layer.weight = self.elementwise.updated(layer.weight, slope, rate, self._momentum, at, places)
        self.state.step += 1
        return Result(loss, hits)

    def _input(self, pixels: np.ndarray) -> Array:
        """Halves of codes of (N, ...) pixels as the first layer's map (N, H, W, C)."""
        first = self.network.geometry[0]
        codes = pixel_codes(self.library.put(pixels), self.settings.input_planes)
        return self.library.xp.reshape(codes, (-1, first.height, first.width, first.channels))

    def _sums(self, x: Array, weight: Array, geometry: Geometry, planes: int) -> tuple[Array, Array | None]:
        """Sums of a map, of `planes` as `products` says it, and signs of weights, and their route if they are pooled."""
        y = self.products.forward(x, weight, geometry, planes)
        return self.elementwise.pool_sums(y) if geometry.pool == "sums" else (y, None)

    def _statistics(self, i: int, layer: LayerState, y: Array) -> tuple[Array, Array]:
        """Batch mean mu and mean absolute deviation psi about the moving mean; moves the moving averages."""
        xp = self.library.xp
        pivot = layer.mu + (1 << f.STATISTICS - 1) >> f.STATISTICS
        sums, deviations = self.elementwise.statistics(y, pivot)
        mu, psi = self._means[i].of(sums, f.STATISTICS), self._means[i].of(deviations, f.STATISTICS)
        decay = min(f.DECAY, self.state.step)  # 0, 1, 2, ...: the first batch sets the averages
        half = 1 << decay >> 1
        layer.mu = xp.astype(layer.mu + (mu - layer.mu + half >> decay), xp.int32)
        layer.psi = xp.astype(layer.psi + (psi - layer.psi + half >> decay), xp.int32)
        self._note(i, y=y, mu=mu, psi=psi)
        return mu, psi

    def _threshold(self, layer: LayerState, mu: Array, psi: Array) -> Array:
        """tau (M,) int32 of mu and psi (M,)."""
        xp = self.library.xp
        beta = xp.astype(layer.beta, xp.int64) >> f.MOMENT
        return xp.astype(mu - (beta * psi >> self.configuration.latent - 1), xp.int32)

    def _normalise(self, i: int, layer: LayerState, y: Array, mu: Array, psi: Array, route: Array | None) -> Forward:
        """Sign and straight-through mask of the batch norm's output: y >= tau, |y - tau| <= psi; signs are pooled."""
        tau = self._threshold(layer, mu, psi)
        active, mask = self.elementwise.normalise(y, tau, psi)
        pooled = active
        self._note(i, tau=tau, active=active)
        if self.network.geometry[i].pool == "signs":
            pooled, mask, route = self.elementwise.pool_signs(active, mask)
            self._note(i, pooled=pooled)
        elif route is not None:
            self._note(i, route=route)
        self._note(i, mask=mask)
        return Forward(active, pooled, mask, route)

    def _gradient_code(
        self, i: int, layer: LayerState, d: Array, s1: Array, s2: Array, kept: Forward, rate: int, above: int
    ) -> tuple[Array, int]:
        """Batch norm backward and stochastic rounding of d, a gradient at each of `kept.pooled`, to codes.

        Learns beta, moves the exponent. Returns the codes' halves, (B, out_height, out_width, M) int8, and their exponent.
        """
        xp, geometry, planes = self.library.xp, self.network.geometry[i], self.settings.gradient_planes
        mean, step = self._means[i], self.state.step
        sx = self.elementwise.total_signs(kept.active)
        c1 = xp.astype(mean.rounded(s1 - (mean.of(sx, f.MEAN) * s2 >> f.MEAN)), xp.int32)
        c2 = xp.astype(mean.rounded(s2), xp.int32)
        self._note(i, d=d, s1=s1, s2=s2)
        dy = centred(d, kept.active, kept.route, geometry, c1, c2) if self.keep else None
        e = min(max(0, layer.exponent - above), f.MAX_EXPONENT)
        code, size = self.elementwise.codes(d, kept.active, kept.route, geometry, c1, c2, e, planes, (step, i))
        # floor(log2(mean |dy|)), -1 below one
        mean_log2 = (size // (d.shape[0] * geometry.samples * geometry.fan_out)).bit_length() - 1
        layer.exponent = above + mean_log2 + f.headroom(planes) + 1 - planes
        at, rate = (step, i, Kind.BETA), rate >> f.BETA_RATE_SHIFT
        layer.beta = self.elementwise.updated(layer.beta[None, ...], s1[None, ...], rate, self._momentum, at, (1, 1))[0, :]
        if self.keep:
            self._note(i, dy=dy, e=e, code=xp.astype(code, xp.int16) * 2 + 1)
        return code, e

    def infer(self, pixels: np.ndarray) -> Array:
        """Logits of (N, ...) uint8 pixels with the moving statistics: (N, classes) int64, base 2, LOGIT fraction bits."""
        largest = max(layer.outputs * layer.fan_out for layer in self.network.geometry)
        part = max(1, _INFERENCE // largest)
        return self.library.xp.concat([self._infer(pixels[i : i + part]) for i in range(0, len(pixels), part)])

    def _infer(self, pixels: np.ndarray) -> Array:
        xp = self.library.xp
        x, planes = self._input(pixels), self.settings.input_planes
        for layer, geometry in zip(self.state.layers, self.network.geometry, strict=True):
            y, _ = self._sums(x, self.elementwise.signs(layer.sign), geometry, planes)
            mu, psi = xp.astype(layer.mu, xp.int64), xp.astype(layer.psi, xp.int64)
            active, mask = self.elementwise.normalise(y, self._threshold(layer, mu, psi), psi)
            if geometry.pool == "signs":
                active, _, _ = self.elementwise.pool_signs(active, mask)
            x, planes = self.elementwise.signs(active), 0
        return logits(y[:, 0, 0, :], mu, psi, layer.beta >> f.MOMENT, self.configuration.latent)[1]

    def evaluate(self, pixels: np.ndarray, labels: np.ndarray) -> Result:
        """Loss and hits of (N, ...) pixels with the moving statistics."""
        _, loss, hits = softmax(self.infer(pixels), self.library.put(labels))
        return Result(loss, hits)
