"""The inference form of a trained network: signs, whole thresholds, and what the last layer's logits take.

Nothing of training is left in it: no latent weights, no statistics. It computes the integers of docs/arithmetic.md
(Inference), so that all formats that are written from it agree with the device bit for bit.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from bnnedge import bounds, formats
from bnnedge.checkpoint import Checkpoint
from bnnedge.network import Geometry, Network
from bnnedge.state import LayerState

if TYPE_CHECKING:
    from bnnedge.trainer import Trainer

SCORE_SHIFT = formats.RECIPROCAL + formats.LOG2_E_FRACTION - formats.LOGIT
SCORE_LIMIT = (1 << formats.LOGIT_BITS - 1) - 1

_PART = 1 << 22  # elements of a map that `Folded.infer` holds at a time


@dataclasses.dataclass(frozen=True, eq=False)
class FoldedLayer:
    """A layer of weights with K inputs and M outputs (docs/arithmetic.md, Notation).

    geometry: its window. Both kinds of pool come to the same here: the largest of four sums reaches a threshold if and
        only if any of them does, so sums may be pooled, and compared once.
    sign: (K, M) bool, True where the weight is +1; rows in the order (y, x, channel) of the window.
    """

    geometry: Geometry
    sign: np.ndarray

    @property
    def pooled(self) -> bool:
        """Whether 2 x 2 neighbours are pooled."""
        return self.geometry.pool != "none"

    @property
    def dense(self) -> bool:
        """Whether the window is the whole map, of which there is one output."""
        g = self.geometry
        return (g.kernel_y, g.kernel_x, g.pad_y, g.pad_x) == (g.height, g.width, 0, 0)

    @property
    def pad_after(self) -> tuple[int, int]:
        """How far the last windows reach over the bottom and the right edge."""
        g = self.geometry
        below = (g.out_height - 1) * g.stride + g.kernel_y - g.pad_y - g.height
        return max(0, below), max(0, (g.out_width - 1) * g.stride + g.kernel_x - g.pad_x - g.width)

    def sums(self, x: np.ndarray) -> np.ndarray:
        """Sums of a map (N, H, W, C) float32, pooled: (N, h, w, M) float32; whole ones below 2**24 are exact."""
        g, step = self.geometry, self.geometry.stride
        rows, columns = (g.out_height - 1) * step + 1, (g.out_width - 1) * step + 1
        below, right = self.pad_after
        around = np.pad(x, ((0, 0), (g.pad_y, below), (g.pad_x, right), (0, 0)))  # taps outside contribute nothing
        weight = np.where(self.sign, np.float32(1), np.float32(-1)).reshape(g.kernel_y, g.kernel_x, g.channels, g.filters)
        y = np.zeros((len(x), g.out_height, g.out_width, g.filters), np.float32)
        for dy in range(g.kernel_y):
            for dx in range(g.kernel_x):
                y += around[:, dy : dy + rows : step, dx : dx + columns : step] @ weight[dy, dx]
        return y.reshape(len(x), g.pooled_height, 2, g.pooled_width, 2, g.filters).max((2, 4)) if self.pooled else y


@dataclasses.dataclass(frozen=True, eq=False)
class Folded:
    """A network for inference.

    An output y of a hidden layer becomes +1 if y >= its channel's threshold, else -1. The logits of the last layer are
    ``clip((64 y - mean) * reciprocal + 2**21 >> 22, -8191, 8191) + offset``: 256 log2 of a class's probability, up to a
    number that all classes share. All of it is whole numbers, of int32 but for the product, which takes 54 bits.

    network: what was trained.
    input_planes: bits of a pixel that the first layer sees, 1..8, the uppermost ones: codes in +-(2**input_planes - 1).
    layers: in order, the last one included.
    thresholds: of each hidden layer, (M,) int32 in -bound..bound + 1, with `bound(i)` of the layer: beyond that no sum
        can tell one threshold from another.
    mean, reciprocal, offset: (classes,) int32, of the last layer. mean has 28 bits, signed, reciprocal 25, unsigned.
    """

    network: Network
    input_planes: int
    layers: tuple[FoldedLayer, ...]
    thresholds: tuple[np.ndarray, ...]
    mean: np.ndarray
    reciprocal: np.ndarray
    offset: np.ndarray

    def bound(self, layer: int) -> int:
        """Bound on the magnitude of the sums of that layer, counted from 0; below 2**21."""
        return bounds.forward_sum(self.layers[layer].geometry, layer, self.input_planes)

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        """Logits (N, classes) int32 of (N, *input_shape) uint8 pixels; ValueError for others."""
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.network.input_shape:
            raise ValueError(
                f"pixels must be uint8 of shape (N, {', '.join(map(str, self.network.input_shape))}), not {pixels.dtype} of "
                f"shape {pixels.shape}"
            )
        part = max(1, _PART // max(g.outputs * g.fan_out for g in self.network.geometry))
        logits = [self._infer(pixels[start : start + part]) for start in range(0, len(pixels), part)]
        return np.concatenate(logits) if logits else np.zeros((0, self.network.classes), np.int32)

    def _infer(self, pixels: np.ndarray) -> np.ndarray:
        x = self.codes(pixels)
        for layer, threshold in zip(self.layers, self.thresholds, strict=False):
            x = np.where(layer.sums(x) >= threshold, np.float32(1), np.float32(-1))
        return self.logits(self.layers[-1].sums(x))

    def codes(self, pixels: np.ndarray) -> np.ndarray:
        """The first layer's inputs, (N, height, width, channels) float32, of pixels as `infer` takes them."""
        first = self.network.geometry[0]
        x = 2.0 * (pixels >> np.uint8(8 - self.input_planes)).astype(np.float32) - (2**self.input_planes - 1)
        return x.reshape(-1, first.height, first.width, first.channels)

    def logits(self, sums: np.ndarray) -> np.ndarray:
        """Logits (N, classes) int32 of the last layer's sums, (N, 1, 1, classes)."""
        y = sums.reshape(len(sums), -1).astype(np.int64)
        scaled = ((y << formats.STATISTICS) - self.mean) * self.reciprocal + (1 << SCORE_SHIFT - 1)
        return (np.clip(scaled >> SCORE_SHIFT, -SCORE_LIMIT, SCORE_LIMIT) + self.offset).astype(np.int32)


def fold(trained: Checkpoint | Trainer) -> Folded:
    """Fold a checkpoint, or the present state of a trainer, into the form for inference.

    ValueError if the sums of a layer could leave the accumulator of the configuration, which no device would train.
    """
    configuration = trained.configuration if isinstance(trained, Checkpoint) else trained.device.configuration
    network, planes, states = trained.network, trained.settings.input_planes, trained.state.layers
    for i, geometry in enumerate(network.geometry):
        if bounds.forward_sum(geometry, i, planes) > configuration.largest_sum:
            raise ValueError(f"{geometry.name}: its sums do not fit {configuration.accumulator} bits")
    largest = [bounds.forward_sum(geometry, i, planes) for i, geometry in enumerate(network.geometry)]
    last = states[-1]
    reciprocal = (formats.LOG2_E << formats.RECIPROCAL) // np.maximum(last.psi.astype(np.int64), 1 << formats.STATISTICS)
    beta = _beta(last) * formats.LOG2_E >> formats.BETA_FRACTION + formats.LOG2_E_FRACTION - formats.LOGIT
    return Folded(
        network=network,
        input_planes=planes,
        layers=tuple(FoldedLayer(g, state.sign) for g, state in zip(network.geometry, states, strict=True)),
        thresholds=tuple(_threshold(s, b) for s, b in zip(states[:-1], largest, strict=False)),
        mean=last.mu.astype(np.int32),
        reciprocal=reciprocal.astype(np.int32),
        offset=beta.astype(np.int32),
    )


def _beta(state: LayerState) -> np.ndarray:
    """What of beta moves thresholds and logits."""
    return state.beta.astype(np.int64) >> formats.BETA_BITS - formats.BETA_USED


def _threshold(state: LayerState, bound: int) -> np.ndarray:
    """ceil(tau / 64) of the moving statistics, saturated to what the sums can reach."""
    tau = state.mu - (_beta(state) * state.psi >> formats.BETA_FRACTION)
    return np.clip(-(-tau >> formats.STATISTICS), -bound, bound + 1).astype(np.int32)
