"""Golden model: the integer arithmetic of docs/arithmetic.md in arrays, bit for bit what the hardware computes."""

from bnnedge.sim.golden.model import Golden, Result
from bnnedge.sim.golden.random import Random

__all__ = ["Golden", "Random", "Result"]
