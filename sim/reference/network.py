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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from bnnedge.network import Geometry
from bnnedge.sim import pooling
from bnnedge.sim.arrays import NUMPY, Array, Library, library_of, to_numpy
from bnnedge.sim.reference import optimisers
from bnnedge.sim.reference.functions import hard_tanh, sgn, softmax_cross_entropy
from bnnedge.sim.windows import gather, scatter

Kept = TypeVar("Kept")

AVERAGE_SHARE = 0.1
"""Weight of a batch in the moving averages: average = 0.9 average + 0.1 batch."""


@dataclasses.dataclass(frozen=True)
class Record(Generic[Kept]):
    """Of a layer, for the backward pass.

    mean, spread: statistics (M,) that the moving averages take.
    kept: what the training keeps of X, a map: before pooling of signs, after pooling of sums.
    route: with a pool, where its maxima stood, see `pooling`.
    """

    mean: Array
    spread: Array
    kept: Kept
    route: Array | None


@dataclasses.dataclass(frozen=True)
class Gradients:
    """Gradients of one layer's parameters: weight (K, M), beta (M,)."""

    weight: Array
    beta: Array


class Layer:
    """Parameters and moving averages of one layer of K inputs and M output channels.

    The latent weights (K, M) start from N(0, 1/K), clipped, and stay in [-1, 1]: further out a weight's sign would only
    take longer to change.
    """

    def __init__(
        self,
        geometry: Geometry,
        rng: np.random.Generator,
        optimiser: optimisers.OptimiserName,
        dtype: np.dtype,
        library: Library,
    ):
        fan_in, fan_out = geometry.fan_in, geometry.fan_out
        self.geometry = geometry
        self.weight = library.put(np.clip(rng.normal(0, fan_in**-0.5, (fan_in, fan_out)), -1, 1).astype(dtype))
        self.beta = library.put(np.zeros(fan_out, dtype))
        self.mean, self.spread = library.put(np.zeros(fan_out, dtype)), library.put(np.ones(fan_out, dtype))
        self._weight_optimiser = optimisers.make(optimiser, self.weight, binary=True)
        self.beta_optimiser = optimisers.make(optimiser, self.beta, binary=False)

    @property
    def outputs(self) -> tuple[int, int, int]:
        """Shape of an image's sums, before pooling."""
        return self.geometry.out_height, self.geometry.out_width, self.geometry.filters

    def update(self, gradients: Gradients, rate: float) -> None:
        """One step of the optimiser at learning rate `rate`; the latent weights are clipped to [-1, 1] after it."""
        self._weight_optimiser.step(self.weight, gradients.weight, rate)
        self.weight = hard_tanh(self.weight)
        self.beta_optimiser.step(self.beta, gradients.beta, rate)

    def average(self, mean: Array, spread: Array, share: float) -> None:
        """Move the averages used for inference by `share` towards the statistics (M,) of a batch."""
        self.mean += share * (mean - self.mean)
        self.spread += share * (spread - self.spread)

    def places(self) -> Iterator[tuple[str, Any, str]]:
        """All that changes in training: its name, the object that has it, and what it is called there."""
        for name in ("weight", "beta", "mean", "spread"):
            yield name, self, name
        for name, optimiser in (("weight", self._weight_optimiser), ("beta", self.beta_optimiser)):
            for kept in optimiser.kept:
                yield f"{name}.{kept}", optimiser, kept


class Network(abc.ABC, Generic[Kept]):
    """A binary network and its training, one batch at a time.

    Parameters
    ----------
    geometry: of its layers, `bnnedge.Network.geometry`
    optimiser: see `optimisers`
    seed: of the initial weights
    dtype: np.float32, or np.float64 for checking gradients
    library: computes, on its device. Inputs and labels may be its arrays or NumPy's; the initial weights do not depend on it.
    """

    def __init__(
        self,
        geometry: Sequence[Geometry],
        *,
        optimiser: optimisers.OptimiserName = "adam",
        seed: int = 0,
        dtype: Any = np.float32,
        library: Library = NUMPY,
    ):
        rng = np.random.default_rng(seed)
        self.dtype, self.library = np.dtype(dtype), library
        self.kind = getattr(library.xp, self.dtype.name)
        self.layers = [Layer(layer, rng, optimiser, self.dtype, library) for layer in geometry]
        self.steps = 0

    def state(self) -> dict[str, np.ndarray]:
        """Copies, in NumPy, of all that changes in training, the optimisers' too, by name: "2.weight" is of the second layer."""
        return {name: np.array(to_numpy(getattr(owner, field))) for name, owner, field in self._places()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave of a network with the same parameters; ValueError, or KeyError, if it is another's."""
        found = []
        for name, owner, field in self._places():
            old, new = getattr(owner, field), state[name]
            if isinstance(old, int):
                found.append((owner, field, int(new)))
                continue
            like = to_numpy(old)
            if (new.shape, new.dtype) != (like.shape, like.dtype):
                raise ValueError(f"{name} must be {like.dtype} of shape {like.shape}, not {new.dtype} of shape {new.shape}")
            found.append((owner, field, self.library.put(new.copy())))
        for owner, field, value in found:
            setattr(owner, field, value)

    def _places(self) -> Iterator[tuple[str, Any, str]]:
        yield "network.steps", self, "steps"
        for i, layer in enumerate(self.layers):
            for name, owner, field in layer.places():
                yield f"{i + 1}.{name}", owner, field

    @abc.abstractmethod
    def spread(self, centred: Array) -> Array:
        """The statistic that the batch norm divides by, of samples (n, M): (M,)."""

    @abc.abstractmethod
    def keep(self, x: Array) -> Kept:
        """The form in which a layer's X, a map, waits for the backward pass."""

    @abc.abstractmethod
    def signal(self, kept: Kept) -> Array:
        """X^, a map: the next layer's input, or what is pooled to it."""

    @abc.abstractmethod
    def mask(self, kept: Kept) -> Array:
        """Where |X| <= 1: a map, bool."""

    @abc.abstractmethod
    def normal_gradient(self, gradient: Array, layer: Layer, record: Record[Kept]) -> Array:
        """The gradient at Y, given that at X: both samples (n, M)."""

    def weight_gradient(self, gradient: Array) -> Array:
        """What the optimiser gets of dW (K, M); here, all of it."""
        return gradient

    def used_weight(self, layer: Layer) -> Array:
        """W^ (K, M), the weights used in the products."""
        return sgn(layer.weight)

    def share(self, rate: float) -> float:
        """Weight of a batch in the moving averages. The first one sets them, so that they need no time to forget their start."""
        return AVERAGE_SHARE if self.steps else 1

    def normalised(self, samples: Array, layer: Layer) -> tuple[Array, Array, Array]:
        """X without beta, of samples (n, M) of Y; and the mean and spread (M,) that the moving averages take."""
        mean = self.library.xp.mean(samples, axis=0)
        centred = samples - mean
        spread = self.spread(centred)
        return centred / spread, mean, spread

    def sums(self, signal: Array, layer: Layer) -> tuple[Array, Array | None]:
        """Y of an input map, a map, and its route if it is pooled."""
        y = self.library.xp.reshape(gather(signal, layer.geometry) @ self.used_weight(layer), (-1, *layer.outputs))
        return pooling.maximum(y) if layer.geometry.pool == "sums" else (y, None)

    def forward(self, x: Array) -> tuple[Array, list[Record[Kept]]]:
        """Logits (B, classes) of inputs x (B, ...), normalised as `normalised` says, and a record per layer."""
        xp, signal, records = self.library.xp, self._map(x), []
        for layer in self.layers:
            y, route = self.sums(signal, layer)
            normal, mean, spread = self.normalised(xp.reshape(y, (-1, y.shape[-1])), layer)
            output = xp.reshape(normal + layer.beta, y.shape)
            kept = self.keep(output)
            signal = self.signal(kept)
            if layer.geometry.pool == "signs":
                signal, route = pooling.maximum(signal)
            records.append(Record(mean, spread, kept, route))
        return xp.reshape(output, (output.shape[0], -1)), records

    def backward(self, x: Array, gradient: Array, records: list[Record[Kept]]) -> list[Gradients]:
        """Gradients of every layer, first to last, from x (B, ...), as given to `forward`, and that at the logits."""
        xp, gradients = self.library.xp, []
        for i in reversed(range(len(self.layers))):
            layer, record = self.layers[i], records[i]
            geometry = layer.geometry
            samples = xp.reshape(gradient, (-1, geometry.filters))
            at_product = self.normal_gradient(samples, layer, record)
            if geometry.pool == "sums":
                at_product = _unpooled(xp.reshape(at_product, gradient.shape), record, layer)
                at_product = xp.reshape(at_product, (-1, geometry.filters))
            source = self._pooled_signal(i - 1, records[i - 1]) if i else self._map(x)
            slope = gather(source, geometry).T @ at_product
            gradients.append(Gradients(self.weight_gradient(slope), xp.sum(samples, axis=0)))
            if i:
                gradient = scatter(at_product @ self.used_weight(layer).T, geometry)
                if self.layers[i - 1].geometry.pool == "signs":
                    gradient = _unpooled(gradient, records[i - 1], self.layers[i - 1])
                gradient = gradient * xp.astype(self.mask(records[i - 1].kept), self.kind)
        return gradients[::-1]

    def _map(self, x: Array) -> Array:
        """Inputs (B, ...) as the first layer's map."""
        xp, first = self.library.xp, self.layers[0].geometry
        x = xp.astype(self.library.put(x), self.kind, copy=False)
        return xp.reshape(x, (-1, first.height, first.width, first.channels))

    def _pooled_signal(self, i: int, record: Record[Kept]) -> Array:
        """What layer i gave to the next one."""
        signal = self.signal(record.kept)
        if self.layers[i].geometry.pool == "signs" and record.route is not None:
            signal = pooling.pick(signal, record.route)
        return signal

    def train_batch(self, x: Array, labels: Array, rate: float) -> tuple[float, int]:
        """One step of training on inputs x (B, ...), in [-1, 1], with labels (B,), integers 0..classes-1.

        Returns the mean loss and the number of images classified rightly, both before the update.
        """
        x = self.library.put(x)  # once for both passes
        logits, records = self.forward(x)
        loss, hits, gradient = softmax_cross_entropy(logits, self.library.put(labels))
        for layer, record, gradients in zip(self.layers, records, self.backward(x, gradient, records), strict=True):
            layer.average(record.mean, record.spread, self.share(rate))
            layer.update(gradients, rate)
        self.steps += 1
        return loss, hits

    def logits(self, x: Array) -> Array:
        """Logits (B, classes) of inputs x (B, ...), normalised by the moving averages: for inference."""
        signal = self._map(x)
        for layer in self.layers:
            output = (self.sums(signal, layer)[0] - layer.mean) / layer.spread + layer.beta
            signal = self.signal(self.keep(output))
            if layer.geometry.pool == "signs":
                signal, _ = pooling.maximum(signal)
        return self.library.xp.reshape(output, (output.shape[0], -1))

    def classify(self, x: Array) -> np.ndarray:
        """The likeliest class of inputs x (B, ...): (B,), int64, in NumPy."""
        return to_numpy(self.library.xp.argmax(self.logits(x), axis=1))


def _unpooled(gradient: Array, record: Record[Any], layer: Layer) -> Array:
    """The gradient at a pooled map, at the places where the maxima stood; 0 elsewhere."""
    library = library_of(gradient)
    everywhere = library.xp.zeros((gradient.shape[0], *layer.outputs), dtype=gradient.dtype, device=library.device)
    assert record.route is not None
    pooling.put(everywhere, gradient, record.route)
    return everywhere
