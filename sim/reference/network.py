"""What the standard and the low-memory training of binary networks have in common.

A layer is a product with binary weights and a batch norm with offset beta; between layers stands a sign:

    Y = X^ W^,  X = (Y - mean)/spread + beta,  X^ = sgn(X)         W^ = sgn(W), W the latent weight

The first layer takes the real input, the last gives X to a softmax. Backward, the sign passes the gradient where
|X| <= 1 (the straight-through estimator, Bengio et al., arXiv 1308.3432), and the gradient at W^ updates W. The two
trainings differ in what they keep of X from the forward to the backward pass, and in what they then can compute: the
abstract methods.
"""
import abc
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from bnnedge.sim.reference import optimisers
from bnnedge.sim.reference.functions import sgn, softmax_cross_entropy

Kept = TypeVar("Kept")

AVERAGE_SHARE = 0.1
"""Weight of a batch in the moving averages: average = 0.9 average + 0.1 batch."""


@dataclasses.dataclass(frozen=True)
class Record(Generic[Kept]):
    """Of a layer, for the backward pass: statistics (M,), and of X what the training keeps."""

    mean: np.ndarray
    spread: np.ndarray
    kept: Kept


@dataclasses.dataclass(frozen=True)
class Gradients:
    """Gradients of one layer's parameters: weight (K, M), beta (M,)."""

    weight: np.ndarray
    beta: np.ndarray


class Dense:
    """Parameters and moving averages of one dense layer of K inputs and M outputs.

    The latent weights (K, M) start from N(0, 1/K), clipped, and stay in [-1, 1]: further out a weight's sign would only
    take longer to change.
    """

    def __init__(self, fan_in: int, fan_out: int, rng: np.random.Generator, optimiser: optimisers.OptimiserName,
                 dtype: Any):
        self.weight = np.clip(rng.normal(0, fan_in ** -0.5, (fan_in, fan_out)), -1, 1).astype(dtype)
        self.beta = np.zeros(fan_out, dtype)
        self.mean, self.spread = np.zeros(fan_out, dtype), np.ones(fan_out, dtype)
        self._weight_optimiser = optimisers.make(optimiser, self.weight)
        self._beta_optimiser = optimisers.make(optimiser, self.beta)

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
    """A dense binary network and its training, one batch at a time.

    Parameters
    ----------
    sizes: inputs, outputs of each hidden layer, classes; at least two positive integers, otherwise ValueError
    optimiser: "adam" or "sign-momentum"
    seed: of the initial weights
    dtype: np.float32, or np.float64 for checking gradients
    """

    def __init__(self, sizes: Sequence[int], *, optimiser: optimisers.OptimiserName = "adam", seed: int = 0,
                 dtype: Any = np.float32):
        if len(sizes) < 2 or any(size < 1 for size in sizes):
            raise ValueError(f"Sizes must be two or more positive integers, not {list(sizes)!r}")
        rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.layers = [Dense(k, m, rng, optimiser, self.dtype) for k, m in itertools.pairwise(sizes)]
        self.steps = 0

    @abc.abstractmethod
    def spread(self, centred: np.ndarray) -> np.ndarray:
        """The statistic that the batch norm divides by: (B, M) -> (M,)."""

    @abc.abstractmethod
    def keep(self, x: np.ndarray) -> Kept:
        """The form in which a layer's X (B, M) waits for the backward pass."""

    @abc.abstractmethod
    def signal(self, kept: Kept) -> np.ndarray:
        """X^ (B, M), the next layer's input."""

    @abc.abstractmethod
    def mask(self, kept: Kept) -> np.ndarray:
        """Where |X| <= 1: (B, M), bool."""

    @abc.abstractmethod
    def normal_gradient(self, gradient: np.ndarray, layer: Dense, record: Record[Kept]) -> np.ndarray:
        """The gradient at Y, given that at X: both (B, M)."""

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        """What the optimiser gets of dW (K, M); here, all of it."""
        return gradient

    def used_weight(self, layer: Dense) -> np.ndarray:
        """W^ (K, M), the weights used in the products."""
        return sgn(layer.weight)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, list[Record[Kept]]]:
        """Logits (B, classes) of inputs x (B, K), normalised by the batch's own statistics, and a record per layer."""
        signal, records = x.astype(self.dtype, copy=False), []
        for layer in self.layers:
            centred = signal @ self.used_weight(layer)
            mean = centred.mean(axis=0)
            centred -= mean
            spread = self.spread(centred)
            output = centred / spread + layer.beta
            records.append(Record(mean, spread, self.keep(output)))
            if layer is not self.layers[-1]:
                signal = self.signal(records[-1].kept)
        return output, records

    def backward(self, x: np.ndarray, gradient: np.ndarray, records: list[Record[Kept]]) -> list[Gradients]:
        """Gradients of every layer, first to last, from x (B, K), as given to `forward`, and that at the logits."""
        gradients = []
        for i in reversed(range(len(self.layers))):
            layer, record = self.layers[i], records[i]
            source = self.signal(records[i - 1].kept) if i else x.astype(self.dtype, copy=False)
            at_product = self.normal_gradient(gradient, layer, record)
            gradients.append(Gradients(self.weight_gradient(source.T @ at_product), gradient.sum(axis=0)))
            if i:
                gradient = at_product @ self.used_weight(layer).T
                gradient *= self.mask(records[i - 1].kept)
        return gradients[::-1]

    def train_batch(self, x: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, int]:
        """One step of training on inputs x (B, K), in [-1, 1], with labels (B,), integers 0..classes-1.

        Returns the mean loss and the number of images classified rightly, both before the update.
        """
        logits, records = self.forward(x)
        loss, hits, gradient = softmax_cross_entropy(logits, labels)
        for layer, record, gradients in zip(self.layers, records, self.backward(x, gradient, records),
                                            strict=True):
            # The first batch sets the averages, so that they need no time to forget their start.
            layer.average(record.mean, record.spread, AVERAGE_SHARE if self.steps else 1)
            layer.update(gradients, rate)
        self.steps += 1
        return loss, hits

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Logits (B, classes) of inputs x (B, K), normalised by the moving averages: for inference."""
        signal = x.astype(self.dtype, copy=False)
        for layer in self.layers:
            output = (signal @ self.used_weight(layer) - layer.mean) / layer.spread + layer.beta
            if layer is not self.layers[-1]:
                signal = self.signal(self.keep(output))
        return output

    def classify(self, x: np.ndarray) -> np.ndarray:
        """The likeliest class of inputs x (B, K): (B,), int64."""
        return self.logits(x).argmax(axis=1)
