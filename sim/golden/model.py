"""One training step and inference of a network, in integers.

Notation of docs/arithmetic.md: B images a batch, K inputs and M output channels of a layer. Maps are (B, height, width,
channels), those of a dense layer (B, 1, 1, M); weights are (K, M). Sums, gradients and thresholds fit int32: they have
`accumulator` bits, at most 22, and STATISTICS or GRADIENT_MEAN fraction bits.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from bnnedge import formats as f
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.network import Dense, Geometry, Network
from bnnedge.settings import Settings
from bnnedge.sim import pooling
from bnnedge.sim.arrays import Array, array_namespace, library_of
from bnnedge.sim.golden.mean import Mean
from bnnedge.sim.golden.products import data_gradient, forward, weight_gradient
from bnnedge.sim.golden.random import Random
from bnnedge.sim.golden.softmax import logits, one_hot, softmax
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


def signs(bits: Array) -> Array:
    """Bits as +1 and -1, int8."""
    xp = array_namespace(bits)
    return xp.astype(bits, xp.int8) * 2 - 1


def pixel_codes(pixels: Array, planes: int) -> Array:
    """Codes of the uppermost `planes` bits of uint8 pixels: odd int16 in +-(2**planes - 1), of the same shape."""
    xp = array_namespace(pixels)
    return xp.astype(pixels >> f.MAX_PLANES - planes, xp.int16) * 2 - (2**planes - 1)


def total(a: Array) -> Array:
    """Sum of each channel of a map: (M,) int64."""
    xp = array_namespace(a)
    return xp.sum(xp.reshape(a, (-1, a.shape[-1])), axis=0, dtype=xp.int64)


def pooled_signs(active: Array) -> tuple[Array, Array]:
    """The pooled map of signs, bool, and its route."""
    xp = array_namespace(active)
    pooled, route = pooling.maximum(xp.astype(active, xp.int8))
    return xp.astype(pooled, xp.bool), route


class Golden:
    """Bit-exact model of the accelerator, training one network.

    `state` is the training state, changed in place; whatever array library its arrays are of computes, on their device
    (`TrainingState.mapped` and `sim.arrays.Library.put` bring them there), and the results are the same. With `keep` set,
    `trace` holds every intermediate of the last batch by name: ``trace["2.code"]`` is what layer 2 (of those with weights,
    counted from 1) called `code` below. Maps of dense layers are (B, M) there.
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
    ) -> None:
        self.network, self.settings, self.configuration, self.state = network, settings, configuration, state
        self.library = library_of(state.layers[0].weight)
        self.random = random(settings.seed, configuration.lanes, self.library)
        self.keep, self.trace = keep, dict[str, Any]()
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
        x, bound = self._input(pixels, self.settings.input_planes)
        first, slope_bound = self._input(pixels, self.settings.slope_planes)
        inputs, kept = [first], []
        for i, (layer, geometry) in enumerate(zip(layers, self.network.geometry, strict=True)):
            y, route = self._sums(x, layer, geometry, bound)
            mu, psi = self._statistics(i, layer, y)
            kept.append(self._normalise(i, layer, y, mu, psi, route))
            x, bound = signs(kept[i].pooled), 1
            inputs.append(x)
        z, biased = logits(y[:, 0, 0, :], mu, psi, layers[top].beta >> f.MOMENT, self.configuration.latent)
        p, loss, hits = softmax(biased, targets)
        p = p - (one_hot(targets, p.shape[1]) << f.PROBABILITY)
        self._note(top, logits=biased, gradient=p)
        d = xp.astype(p, xp.int32)[:, None, None, :]
        above, largest = 0, 2**g - 1
        for i in range(top, -1, -1):
            layer, geometry = layers[i], self.network.geometry[i]
            code, e = self._gradient_code(i, layer, d, kept[i], z[:, None, None, :] if i == top else None, rate, above)
            above += e
            if i:
                d = data_gradient(code, signs(layer.sign), geometry, largest) * xp.astype(kept[i - 1].mask, xp.int32)
            slope = weight_gradient(inputs[i], code, geometry, largest if i else largest * slope_bound)
            draw = self.random.draw(self.state.step, i, Kind.WEIGHT, (geometry.taps, geometry.tap_inputs, geometry.fan_out))
            self._note(i, slope=slope)
            layer.weight = self._updated(layer.weight, slope >= 0, xp.reshape(draw, layer.weight.shape), rate)
        self.state.step += 1
        return Result(loss, hits)

    def _input(self, pixels: np.ndarray, planes: int) -> tuple[Array, int]:
        """Codes of (N, ...) pixels as the first layer's map (N, H, W, C), and the largest of them."""
        first = self.network.geometry[0]
        codes = pixel_codes(self.library.put(pixels), planes)
        return self.library.xp.reshape(codes, (-1, first.height, first.width, first.channels)), 2**planes - 1

    def _sums(self, x: Array, layer: LayerState, geometry: Geometry, bound: int) -> tuple[Array, Array | None]:
        """Sums of a map with elements in +-`bound`, and their route if they are pooled."""
        y = forward(x, signs(layer.sign), geometry, bound)
        return pooling.maximum(y) if geometry.pool == "sums" else (y, None)

    def _statistics(self, i: int, layer: LayerState, y: Array) -> tuple[Array, Array]:
        """Batch mean mu and mean absolute deviation psi about the moving mean; moves the moving averages."""
        xp = self.library.xp
        pivot = layer.mu + (1 << f.STATISTICS - 1) >> f.STATISTICS
        mu = self._means[i].of(total(y), f.STATISTICS)
        psi = self._means[i].of(total(xp.abs(y - pivot)), f.STATISTICS)
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
        xp, tau = self.library.xp, self._threshold(layer, mu, psi)
        distance = (y << f.STATISTICS) - tau
        active, mask = distance >= 0, xp.abs(distance) <= xp.astype(psi, xp.int32)
        pooled = active
        self._note(i, tau=tau, active=active)
        if self.network.geometry[i].pool == "signs":
            pooled, route = pooled_signs(active)
            mask = pooling.pick(mask, route)
            self._note(i, pooled=pooled)
        elif route is not None:
            self._note(i, route=route)
        self._note(i, mask=mask)
        return Forward(active, pooled, mask, route)

    def _gradient_code(
        self, i: int, layer: LayerState, d: Array, kept: Forward, z: Array | None, rate: int, above: int
    ) -> tuple[Array, int]:
        """Batch norm backward and stochastic rounding of d, a gradient at each of `kept.pooled`, to codes.

        Learns beta, moves the exponent. Returns (B, out_height, out_width, M) int16 and the codes' exponent.
        """
        xp = self.library.xp
        geometry, mean, step = self.network.geometry[i], self._means[i], self.state.step
        s1 = total(d)
        if z is not None:  # the last layer: X itself is at hand, not its sign alone
            s2 = total(d * z) * f.INVERSE_LOG2_E >> f.LOG2_E_FRACTION + f.LOGIT
        else:
            s2 = total(d * signs(kept.pooled))  # of pooled signs, too: elsewhere d is 0
        sx = total(signs(kept.active))
        c1 = xp.astype(mean.rounded(s1 - (mean.of(sx, f.MEAN) * s2 >> f.MEAN)), xp.int32)
        c2 = xp.astype(mean.rounded(s2), xp.int32)
        self._note(i, d=d, s1=s1, s2=s2)
        if kept.route is not None and geometry.pool == "signs":
            everywhere = xp.zeros_like(kept.active, dtype=xp.int32)
            pooling.put(everywhere, d, kept.route)
            d = everywhere
        dy = (d << f.GRADIENT_MEAN) - c1 - signs(kept.active) * c2

        e = min(max(0, layer.exponent - above), f.MAX_EXPONENT)
        # floor(log2(mean |dy|)), -1 below one
        mean_log2 = (int(xp.sum(total(xp.abs(dy)))) // math.prod(dy.shape)).bit_length() - 1
        layer.exponent = above + mean_log2 + f.headroom(self.settings.gradient_planes) + 1 - self.settings.gradient_planes
        draw = self.random.draw(step, i, Kind.CODE, (geometry.outputs, d.shape[0], geometry.fan_out))
        draw = xp.permute_dims(draw, (1, 0, 2))
        draw = xp.reshape(draw, (-1, geometry.out_height, geometry.out_width, geometry.fan_out))
        if kept.route is not None and geometry.pool == "sums":
            code = xp.astype(signs(draw >= 1 << f.RANDOM_BITS - 1), xp.int16)
            pooling.put(code, self._rounded(dy, e, pooling.pick(draw, kept.route)), kept.route)
        else:
            code = self._rounded(dy, e, draw)
        draw = self.random.draw(step, i, Kind.BETA, (1, 1, geometry.fan_out))
        layer.beta = self._updated(layer.beta, s1 >= 0, draw[0, 0, :], rate >> f.BETA_RATE_SHIFT)
        self._note(i, dy=dy, e=e, code=code)
        return code, e

    def _rounded(self, dy: Array, e: int, draw: Array) -> Array:
        """Codes, int16, that dy / 2**e is rounded to, up or down at random."""
        xp = self.library.xp
        limit = 1 << self.settings.gradient_planes - 1
        noise = draw << 8 >> f.RANDOM_BITS + 8 - (e + 1)  # uniform in 0 .. 2**(e+1) - 1
        q = xp.clip(dy - (1 << e) + noise >> e + 1, -limit, limit - 1)
        return xp.astype(2 * q + 1, xp.int16)

    def _updated(self, words: Array, positive: Array, draw: Array, rate: int) -> Array:
        """Sign momentum (or sign-SGD) on words of latent weight and moment, against a gradient of the given sign."""
        xp, top = self.library.xp, self.configuration.latent_top
        target = xp.astype(positive, xp.int16) * 15 - 8
        if self.settings.optimiser == "sign-sgd":
            k = target
        else:
            k = (words & 15 ^ 8) - 8
            k = k + (target - k + xp.astype(draw & 7, xp.int16) >> 3)
        move = (2 * xp.astype(k, xp.int32) + 1) * rate + (draw >> f.RANDOM_BITS - f.RATE) >> f.RATE
        w = xp.clip(xp.astype(words >> f.MOMENT, xp.int32) - move, -top, top - 1)
        return xp.astype(w << f.MOMENT, xp.int16) | k & 15

    def infer(self, pixels: np.ndarray) -> Array:
        """Logits of (N, ...) uint8 pixels with the moving statistics: (N, classes) int64, base 2, LOGIT fraction bits."""
        largest = max(layer.outputs * layer.fan_out for layer in self.network.geometry)
        part = max(1, _INFERENCE // largest)
        return self.library.xp.concat([self._infer(pixels[i : i + part]) for i in range(0, len(pixels), part)])

    def _infer(self, pixels: np.ndarray) -> Array:
        xp = self.library.xp
        x, bound = self._input(pixels, self.settings.input_planes)
        for layer, geometry in zip(self.state.layers, self.network.geometry, strict=True):
            y, _ = self._sums(x, layer, geometry, bound)
            mu, psi = xp.astype(layer.mu, xp.int64), xp.astype(layer.psi, xp.int64)
            active = y << f.STATISTICS >= self._threshold(layer, mu, psi)
            x, bound = signs(pooled_signs(active)[0] if geometry.pool == "signs" else active), 1
        return logits(y[:, 0, 0, :], mu, psi, layer.beta >> f.MOMENT, self.configuration.latent)[1]

    def evaluate(self, pixels: np.ndarray, labels: np.ndarray) -> Result:
        """Loss and hits of (N, ...) pixels with the moving statistics."""
        _, loss, hits = softmax(self.infer(pixels), self.library.put(labels))
        return Result(loss, hits)
