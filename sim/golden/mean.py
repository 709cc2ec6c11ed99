"""Means and moving averages: docs/arithmetic.md, Notation and Moving averages.

Division by the number of samples is a product with a fixed-point reciprocal.
"""

from __future__ import annotations

import dataclasses

from bnnedge import formats as f
from bnnedge.sim.arrays import Array


@dataclasses.dataclass(frozen=True)
class Mean:
    """Means over `samples` values, of sums (int64) that have up to `formats.TOTAL_BITS` bits."""

    samples: int

    @property
    def log2(self) -> int:
        """ceil(log2 samples)."""
        return (self.samples - 1).bit_length()

    @property
    def reciprocal(self) -> int:
        """1/samples with MEAN + `log2` fraction bits, rounded."""
        return ((1 << f.MEAN + self.log2) + self.samples // 2) // self.samples

    def of(self, total: Array, fraction: int) -> Array:
        """total / samples with so many fraction bits, rounded down."""
        return total * self.reciprocal >> f.MEAN + self.log2 - fraction


def averaged(moving: Array, new: Array, slowest: int, step: int) -> Array:
    """Moving averages after they took their part of new values, both int64: 2**-slowest of them, more in the first steps."""
    decay = min(slowest, step >> f.WARM_UP)
    return moving + (new - moving + (1 << decay >> 1) >> decay)
