"""Division by the number of samples as a product with a fixed-point reciprocal: docs/arithmetic.md, Notation."""

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

    def rounded(self, total: Array) -> Array:
        """total / samples with GRADIENT_MEAN fraction bits, rounded to the nearest."""
        return (total * (self.reciprocal << f.GRADIENT_MEAN)) + (1 << f.MEAN + self.log2 - 1) >> f.MEAN + self.log2
