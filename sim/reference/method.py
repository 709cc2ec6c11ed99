"""The low-memory training of Wang et al., "Enabling Binary Neural Network Training on the Edge", arXiv 2102.04270.

Two bits per activation wait for the backward pass, its sign and its mask, and one bit per weight gradient reaches the
optimiser. What the paper keeps in 16 bits is kept in `dtype` here: this model shows what the method does to the
accuracy before any number format does.
"""

import dataclasses
import math

from bnnedge.sim.arrays import Array, Library, library_of
from bnnedge.sim.reference.functions import batch_norm_backward, l1_spread, sgn, signs
from bnnedge.sim.reference.network import Layer, Network, Record


@dataclasses.dataclass(frozen=True)
class BitPlane:
    """A boolean array, eight elements to the byte: it takes the memory that the method claims.

    packed: (n,) uint8; bit i of byte j is element i n + j of the array, row by row, or 0 beyond its end.
    """

    packed: Array
    shape: tuple[int, ...]

    @classmethod
    def pack(cls, bits: Array) -> "BitPlane":
        """Of a boolean array."""
        library = library_of(bits)
        xp, missing = library.xp, -math.prod(bits.shape) % 8
        flat = xp.reshape(xp.astype(bits, xp.uint8), (-1,))
        flat = xp.concat([flat, xp.zeros(missing, dtype=xp.uint8, device=library.device)])
        return cls(xp.sum(xp.reshape(flat, (8, -1)) << _places(library), axis=0, dtype=xp.uint8), bits.shape)

    def unpack(self) -> Array:
        """The array, bool."""
        library = library_of(self.packed)
        xp = library.xp
        flat = xp.reshape(self.packed[None, :] >> _places(library) & 1, (-1,))[: math.prod(self.shape)]
        return xp.reshape(xp.astype(flat, xp.bool), self.shape)


def _places(library: Library) -> Array:
    """The bits of a byte, as a column."""
    return library.xp.arange(8, dtype=library.xp.uint8, device=library.device)[:, None]


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

    def spread(self, centred: Array) -> Array:
        return l1_spread(centred)

    def keep(self, x: Array) -> SignAndMask:
        return SignAndMask(BitPlane.pack(x >= 0), BitPlane.pack(self.library.xp.abs(x) <= 1))

    def signal(self, kept: SignAndMask) -> Array:
        return signs(kept.positive.unpack(), self.kind)

    def mask(self, kept: SignAndMask) -> Array:
        return kept.passing.unpack()

    def normal_gradient(self, gradient: Array, layer: Layer, record: Record[SignAndMask]) -> Array:
        output = self.library.xp.reshape(self.signal(record.kept), gradient.shape)
        return batch_norm_backward(gradient, output, record.spread)

    def weight_gradient(self, gradient: Array) -> Array:
        return sgn(gradient)
