"""What the standard and the low-memory training of binary networks have in common.

A layer is a product with binary weights and a batch norm with offset beta; between layers stands a sign:

    Y = X^ W^,  X = (Y - mean)/spread + beta,  X^ = sgn(X)         W^ = sgn(W), W the latent weight

A convolution is that product for each window of a map, whose places count as samples of a channel; Y or X^ may be
pooled. The first layer takes the real input, the last gives X to a softmax. Backward, the sign passes the gradient where
|X| <= 1 (the straight-through estimator, Bengio et al., arXiv 1308.3432), and the gradient at W^ updates W. The two
trainings differ in what they keep of X from the forward to the backward pass, and in what they then can compute: the
abstract methods.

Shapes: maps are (B, height, width, channels), those of a dense layer (B, 1, 1, M), weights (K, M).
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from bnnedge.network import Geometry
from bnnedge.sim import pooling
from bnnedge.sim.reference import optimisers
from bnnedge.sim.reference.functions import sgn, softmax_cross_entropy
from bnnedge.sim.windows import gather, scatter

Kept = TypeVar("Kept")

AVERAGE_SHARE = 0.1
"""Weight of a batch in the moving averages: average = 0.9 average + 0.1 batch."""


@dataclasses.dataclass(frozen=True)
class Record(Generic[Kept]):
    """Of a layer, for the backward pass.

    mean, spread: statistics (M,).
    kept: what the training keeps of X, a map: before pooling of signs, after pooling of sums.
    route: with a pool, where its maxima stood, see `pooling`.
    """

    mean: np.ndarray
    spread: np.ndarray
    kept: Kept
    route: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Gradients:
    """Gradients of one layer's parameters: weight (K, M), beta (M,)."""

    weight: np.ndarray
    beta: np.ndarray


class Layer:
    """Parameters and moving averages of one layer of K inputs and M output channels.

    The latent weights (K, M) start from N(0, 1/K), clipped, and stay in [-1, 1]: further out a weight's sign would only
    take longer to change.
    """

    def __init__(self, geometry: Geometry, rng: np.random.Generator, optimiser: optimisers.OptimiserName, dtype: Any):
        fan_in, fan_out = geometry.fan_in, geometry.fan_out
        self.geometry = geometry
        self.weight = np.clip(rng.normal(0, fan_in**-0.5, (fan_in, fan_out)), -1, 1).astype(dtype)
        self.beta = np.zeros(fan_out, dtype)
        self.mean, self.spread = np.zeros(fan_out, dtype), np.ones(fan_out, dtype)
        self._weight_optimiser = optimisers.make(optimiser, self.weight)
        self._beta_optimiser = optimisers.make(optimiser, self.beta)

    @property
    def outputs(self) -> tuple[int, int, int]:
        """Shape of an image's sums, before pooling."""
        return self.geometry.out_height, self.geometry.out_width, self.geometry.filters

    def update(self, gradients: Gradients, rate: float) -> None:
        """One step of the optimiser at learning rate `rate`; the latent weights are clipped to [-1, 1] after it."""
        self._weight_optimiser.step(self.weight, gradients.weight, rate)
        np.clip(self.weight, -1, 1, out=self.weight)
        self._beta_optimiser.step(self.beta, gradients.beta, rate)

    def average(self, mean: np.ndarray, spread: np.ndarray, share: float) -> None:
        """Move the averages used for inference by `share` towards the statistics (M,) of a batch."""
        self.mean += self.mean.dtype.type(share) * (mean - self.mean)
        self.spread += self.spread.dtype.type(share) * (spread - self.spread)


class Network(abc.ABC, Generic[Kept]):
    """A binary network and its training, one batch at a time.

    Parameters
    ----------
    geometry: of its layers, `bnnedge.Network.geometry`
    optimiser: "adam" or "sign-momentum"
    seed: of the initial weights
    dtype: np.float32, or np.float64 for checking gradients
    """

    def __init__(
        self,
        geometry: Sequence[Geometry],
        *,
        optimiser: optimisers.OptimiserName = "adam",
        seed: int = 0,
        dtype: Any = np.float32,
    ):
        rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.layers = [Layer(layer, rng, optimiser, self.dtype) for layer in geometry]
        self.steps = 0

    @abc.abstractmethod
    def spread(self, centred: np.ndarray) -> np.ndarray:
        """The statistic that the batch norm divides by, of samples (n, M): (M,)."""

    @abc.abstractmethod
    def keep(self, x: np.ndarray) -> Kept:
        """The form in which a layer's X, a map, waits for the backward pass."""

    @abc.abstractmethod
    def signal(self, kept: Kept) -> np.ndarray:
        """X^, a map: the next layer's input, or what is pooled to it."""

    @abc.abstractmethod
    def mask(self, kept: Kept) -> np.ndarray:
        """Where |X| <= 1: a map, bool."""

    @abc.abstractmethod
    def normal_gradient(self, gradient: np.ndarray, layer: Layer, record: Record[Kept]) -> np.ndarray:
        """The gradient at Y, given that at X: both samples (n, M)."""

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        """What the optimiser gets of dW (K, M); here, all of it."""
        return gradient

    def used_weight(self, layer: Layer) -> np.ndarray:
        """W^ (K, M), the weights used in the products."""
        return sgn(layer.weight)

    def sums(self, signal: np.ndarray, layer: Layer) -> tuple[np.ndarray, np.ndarray | None]:
        """Y of an input map, a map, and its route if it is pooled."""
        y = (gather(signal, layer.geometry) @ self.used_weight(layer)).reshape(-1, *layer.outputs)
        return pooling.maximum(y) if layer.geometry.pool == "sums" else (y, None)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, list[Record[Kept]]]:
        """Logits (B, classes) of inputs x (B, ...), normalised by the batch's own statistics, and a record per layer."""
        signal, records = self._map(x), []
        for layer in self.layers:
            y, route = self.sums(signal, layer)
            centred = y.reshape(-1, y.shape[-1])
            mean = centred.mean(axis=0)
            centred = centred - mean
            spread = self.spread(centred)
            output = (centred / spread + layer.beta).reshape(y.shape)
            kept = self.keep(output)
            signal = self.signal(kept)
            if layer.geometry.pool == "signs":
                signal, route = pooling.maximum(signal)
            records.append(Record(mean, spread, kept, route))
        return output.reshape(len(output), -1), records

    def backward(self, x: np.ndarray, gradient: np.ndarray, records: list[Record[Kept]]) -> list[Gradients]:
        """Gradients of every layer, first to last, from x (B, ...), as given to `forward`, and that at the logits."""
        gradients = []
        for i in reversed(range(len(self.layers))):
            layer, record = self.layers[i], records[i]
            geometry = layer.geometry
            samples = gradient.reshape(-1, geometry.filters)
            at_product = self.normal_gradient(samples, layer, record)
            if geometry.pool == "sums":
                at_product = _unpooled(at_product.reshape(gradient.shape), record, layer).reshape(-1, geometry.filters)
            source = self._pooled_signal(i - 1, records[i - 1]) if i else self._map(x)
            slope = gather(source, geometry).T @ at_product
            gradients.append(Gradients(self.weight_gradient(slope), samples.sum(axis=0)))
            if i:
                gradient = scatter(at_product @ self.used_weight(layer).T, geometry)
                if self.layers[i - 1].geometry.pool == "signs":
                    gradient = _unpooled(gradient, records[i - 1], self.layers[i - 1])
                gradient = gradient * self.mask(records[i - 1].kept)
        return gradients[::-1]

    def _map(self, x: np.ndarray) -> np.ndarray:
        """Inputs (B, ...) as the first layer's map."""
        first = self.layers[0].geometry
        return x.reshape(-1, first.height, first.width, first.channels).astype(self.dtype, copy=False)

    def _pooled_signal(self, i: int, record: Record[Kept]) -> np.ndarray:
        """What layer i gave to the next one."""
        signal = self.signal(record.kept)
        if self.layers[i].geometry.pool == "signs" and record.route is not None:
            signal = pooling.pick(signal, record.route)
        return signal

    def train_batch(self, x: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, int]:
        """One step of training on inputs x (B, ...), in [-1, 1], with labels (B,), integers 0..classes-1.

        Returns the mean loss and the number of images classified rightly, both before the update.
        """
        logits, records = self.forward(x)
        loss, hits, gradient = softmax_cross_entropy(logits, labels)
        for layer, record, gradients in zip(self.layers, records, self.backward(x, gradient, records), strict=True):
            # The first batch sets the averages, so that they need no time to forget their start.
            layer.average(record.mean, record.spread, AVERAGE_SHARE if self.steps else 1)
            layer.update(gradients, rate)
        self.steps += 1
        return loss, hits

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Logits (B, classes) of inputs x (B, ...), normalised by the moving averages: for inference."""
        signal = self._map(x)
        for layer in self.layers:
            output = (self.sums(signal, layer)[0] - layer.mean) / layer.spread + layer.beta
            signal = self.signal(self.keep(output))
            if layer.geometry.pool == "signs":
                signal, _ = pooling.maximum(signal)
        return output.reshape(len(output), -1)

    def classify(self, x: np.ndarray) -> np.ndarray:
        """The likeliest class of inputs x (B, ...): (B,), int64."""
        return self.logits(x).argmax(axis=1)


def _unpooled(gradient: np.ndarray, record: Record[Any], layer: Layer) -> np.ndarray:
    """The gradient at a pooled map, at the places where the maxima stood; 0 elsewhere."""
    everywhere = np.zeros((len(gradient), *layer.outputs), gradient.dtype)
    assert record.route is not None
    pooling.put(everywhere, gradient, record.route)
    return everywhere
