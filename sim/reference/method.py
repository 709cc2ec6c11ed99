"""The low-memory training of Wang et al., "Enabling Binary Neural Network Training on the Edge", arXiv 2102.04270.

Two bits per activation wait for the backward pass, its sign and its mask, and one bit per weight gradient reaches the
optimiser. What the paper keeps in 16 bits is kept in `dtype` here: this model shows what the method does to the
accuracy before any number format does.
"""

import dataclasses
import math

import numpy as np

from bnnedge.sim.reference.functions import batch_norm_backward, l1_spread, sgn
from bnnedge.sim.reference.network import Layer, Network, Record


@dataclasses.dataclass(frozen=True)
class BitPlane:
    """A boolean array, eight elements to the byte: it takes the memory that the method claims."""

    packed: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def pack(cls, bits: np.ndarray) -> "BitPlane":
        """Of a boolean array."""
        return cls(np.packbits(bits), bits.shape)

    def unpack(self) -> np.ndarray:
        """The array, bool."""
        return np.unpackbits(self.packed, count=math.prod(self.shape)).view(np.bool_).reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class SignAndMask:
    """All that is kept of X: where X >= 0, and where |X| <= 1."""

    positive: BitPlane
    passing: BitPlane


class Method(Network[SignAndMask]):
    """Binary network with L1 batch norm, trained from signs and masks; see `Network` for the parameters.

    The batch norm's backward pass takes X^ for X in every layer, the last one too, and the weights' optimiser gets
    sgn(dW). The few beta get their true gradient.
    """

    def spread(self, centred: np.ndarray) -> np.ndarray:
        return l1_spread(centred)

    def keep(self, x: np.ndarray) -> SignAndMask:
        return SignAndMask(BitPlane.pack(x >= 0), BitPlane.pack(np.abs(x) <= 1))

    def signal(self, kept: SignAndMask) -> np.ndarray:
        one = self.dtype.type(1)
        return np.where(kept.positive.unpack(), one, -one)

    def mask(self, kept: SignAndMask) -> np.ndarray:
        return kept.passing.unpack()

    def normal_gradient(self, gradient: np.ndarray, layer: Layer, record: Record[SignAndMask]) -> np.ndarray:
        return batch_norm_backward(gradient, self.signal(record.kept).reshape(gradient.shape), record.spread)

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return sgn(gradient)
