"""One training step and inference of a dense network, in integers.

Notation of docs/arithmetic.md: B images a batch, K inputs and M outputs of a layer; every array is (images, channels)
or (inputs, outputs). Matrix products run on float32 BLAS for speed: `product` proves that each of them is exact.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bnnedge import formats as f
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.sim.golden.random import Random
from bnnedge.sim.golden.softmax import logits, softmax
from bnnedge.state import LayerState, TrainingState


@dataclasses.dataclass
class Result:
    """A batch's `loss`, the sum of -log2 p over its images, with LOGIT fraction bits, and `hits`, of B images."""

    loss: int
    hits: int


@dataclasses.dataclass
class Forward:
    """What a layer keeps from the forward pass: the +-1 sign and the mask of each output, (B, M) bool."""

    active: np.ndarray
    mask: np.ndarray


def product(a: np.ndarray, b: np.ndarray, bound: int) -> np.ndarray:
    """Exact int32 matrix product; `bound` is the largest |a| * |b| of two elements."""
    if a.shape[1] * bound >= 1 << 24:
        return a.astype(np.int64) @ b.astype(np.int64)
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.int32)


def signs(bits: np.ndarray) -> np.ndarray:
    """Bits as +1 and -1, int8."""
    return bits.astype(np.int8) * np.int8(2) - np.int8(1)


def pixel_codes(pixels: np.ndarray, planes: int) -> np.ndarray:
    """Codes of the uppermost `planes` bits of uint8 pixels, odd int16 in +-(2**planes - 1), flattened to (B, K)."""
    top = pixels.reshape(len(pixels), -1) >> np.uint8(f.MAX_PLANES - planes)
    return (2 * top.astype(np.int16) - (2**planes - 1)).astype(np.int16)


class Golden:
    """Bit-exact model of the accelerator, training one network.

    `state` is the training state, changed in place. With `keep` set, `trace` holds every intermediate of the last batch
    by name: ``trace["2.code"]`` is what layer 2 (counted from 1) called `code` below.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        configuration: Configuration,
        state: TrainingState,
        *,
        keep: bool = False,
    ) -> None:
        self.network, self.settings, self.configuration, self.state = network, settings, configuration, state
        self.random = Random(settings.seed, configuration.lanes)
        self.keep, self.trace = keep, dict[str, Any]()

    def _note(self, layer: int, **values: Any) -> None:
        if self.keep:
            self.trace.update({f"{layer + 1}.{name}": value for name, value in values.items()})

    def train(self, pixels: np.ndarray, labels: np.ndarray, rate: int) -> Result:
        """Take one step on (B, ...) uint8 pixels and (B,) labels; `rate` as `formats.RATE` says."""
        g, layers, top = self.settings.gradient_planes, self.state.layers, len(self.state.layers) - 1
        x = pixel_codes(pixels, self.settings.input_planes)
        inputs, kept = [pixel_codes(pixels, self.settings.slope_planes)], []
        bound = 2**self.settings.input_planes - 1
        for i, layer in enumerate(layers):
            y = product(x, signs(layer.sign), bound)
            mu, psi = self._statistics(i, layer, y)
            kept.append(self._normalise(i, layer, y, mu, psi))
            x, bound = signs(kept[i].active), 1
            inputs.append(x)
        z, biased = logits(y, mu, psi, layers[top].beta >> f.MOMENT, self.configuration.latent)
        p, loss, hits = softmax(biased, labels)
        d = p
        d[np.arange(len(labels)), labels] -= 1 << f.PROBABILITY
        self._note(top, logits=biased, gradient=d)
        above = 0
        for i in range(top, -1, -1):
            layer = layers[i]
            code, e = self._gradient_code(i, layer, d, kept[i].active, z if i == top else None, rate, above)
            above += e
            largest = (2**g - 1) * (1 if i else 2**self.settings.slope_planes - 1)
            slope = product(inputs[i].T, code, largest)
            if i:
                d = product(code, signs(layer.sign).T, 2**g - 1) * kept[i - 1].mask
            draw = self.random.draw(self.state.step, i, Kind.WEIGHT, layer.weight.shape)
            self._note(i, slope=slope)
            layer.weight = self._updated(layer.weight, slope >= 0, draw, rate)
        self.state.step += 1
        return Result(loss, hits)

    def _statistics(self, i: int, layer: LayerState, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Batch mean mu and mean absolute deviation psi about the moving mean; moves the moving averages."""
        shift = self.settings.batch_log2 - f.STATISTICS
        pivot = layer.mu + (1 << f.STATISTICS - 1) >> f.STATISTICS
        mu = y.sum(0, dtype=np.int64) >> shift
        psi = np.abs(y - pivot).sum(0, dtype=np.int64) >> shift
        decay = min(f.DECAY, self.state.step)  # 0, 1, 2, ...: the first batch sets the averages
        half = 1 << decay >> 1
        layer.mu = (layer.mu + (mu - layer.mu + half >> decay)).astype(np.int32)
        layer.psi = (layer.psi + (psi - layer.psi + half >> decay)).astype(np.int32)
        self._note(i, y=y, mu=mu, psi=psi)
        return mu, psi

    def _normalise(self, i: int, layer: LayerState, y: np.ndarray, mu: np.ndarray, psi: np.ndarray) -> Forward:
        """Sign and straight-through mask of the batch norm's output: y >= tau, |y - tau| <= psi."""
        tau = mu - ((layer.beta >> f.MOMENT) * psi.astype(np.int64) >> self.configuration.latent - 1)
        distance = (y.astype(np.int64) << f.STATISTICS) - tau
        kept = Forward(distance >= 0, np.abs(distance) <= psi)
        self._note(i, tau=tau, active=kept.active, mask=kept.mask)
        return kept

    def _gradient_code(
        self, i: int, layer: LayerState, d: np.ndarray, active: np.ndarray, z: np.ndarray | None, rate: int, above: int
    ) -> tuple[np.ndarray, int]:
        """Batch norm backward and stochastic rounding of d (B, M) to codes; learns beta, moves the exponent."""
        g, shift, step = self.settings.gradient_planes, self.settings.batch_log2, self.state.step
        batch, half = 1 << shift, 1 << shift - 1
        s1 = d.sum(0, dtype=np.int64)
        if z is not None:  # the last layer: X itself is at hand, not its sign alone
            s2 = (d.astype(np.int64) * z).sum(0) * f.INVERSE_LOG2_E >> f.LOG2_E_FRACTION + f.LOGIT
        else:
            s2 = np.where(active, d, -d).sum(0, dtype=np.int64)
        ones = 2 * active.sum(0) - batch
        c1 = (s1 - (ones * s2 >> shift) << f.GRADIENT_MEAN) + half >> shift
        c2 = (s2 << f.GRADIENT_MEAN) + half >> shift
        dy = (d.astype(np.int64) << f.GRADIENT_MEAN) - np.where(active, c1 + c2, c1 - c2)

        e = min(max(0, layer.exponent - above), f.MAX_EXPONENT)
        # floor(log2(mean |dy|)), -1 below one
        mean_log2 = (int(np.abs(dy).sum()) // dy.size).bit_length() - 1
        layer.exponent = above + mean_log2 + f.headroom(g) + 1 - g
        draw = self.random.draw(step, i, Kind.CODE, dy.shape).astype(np.int64)
        noise = draw << 8 >> f.RANDOM_BITS + 8 - (e + 1)  # uniform in 0 .. 2**(e+1) - 1
        limit = 1 << g - 1
        q = np.clip(dy - (1 << e) + noise >> e + 1, -limit, limit - 1)
        code = (2 * q + 1).astype(np.int16)
        draw = self.random.draw(step, i, Kind.BETA, (1, len(s1)))
        layer.beta = self._updated(layer.beta, s1 >= 0, draw[0], rate >> f.BETA_RATE_SHIFT)
        self._note(i, d=d, s1=s1, s2=s2, dy=dy, e=e, code=code)
        return code, e

    def _updated(self, words: np.ndarray, positive: np.ndarray, draw: np.ndarray, rate: int) -> np.ndarray:
        """Sign momentum (or sign-SGD) on words of latent weight and moment, against a gradient of the given sign."""
        top = self.configuration.latent_top
        target = np.where(positive, np.int16(7), np.int16(-8))
        if self.settings.optimiser == "sign-sgd":
            k = target
        else:
            k = (words & 15 ^ 8) - 8
            k = k + (target - k + (draw & 7).astype(np.int16) >> 3)
        move = (2 * k + 1).astype(np.int32) * rate + (draw >> np.uint16(f.RANDOM_BITS - f.RATE)) >> f.RATE
        w = np.clip((words >> f.MOMENT) - move, -top, top - 1)
        return (w << f.MOMENT | k & 15).astype(np.int16)

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        """Logits of (N, ...) uint8 pixels with the moving statistics: (N, classes) int64, base 2, LOGIT fraction bits."""
        x, bound = pixel_codes(pixels, self.settings.input_planes), 2**self.settings.input_planes - 1
        for layer in self.state.layers:
            y = product(x, signs(layer.sign), bound)
            mu, psi = layer.mu.astype(np.int64), layer.psi.astype(np.int64)
            tau = mu - ((layer.beta >> f.MOMENT) * psi >> self.configuration.latent - 1)
            x, bound = signs(y.astype(np.int64) << f.STATISTICS >= tau), 1
        return logits(y, mu, psi, layer.beta >> f.MOMENT, self.configuration.latent)[1]

    def evaluate(self, pixels: np.ndarray, labels: np.ndarray) -> Result:
        """Loss and hits of (N, ...) pixels with the moving statistics."""
        _, loss, hits = softmax(self.infer(pixels), labels)
        return Result(loss, hits)
