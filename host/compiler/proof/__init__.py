"""Proof that a program stays within every memory and every width; the last pass of the compiler.

It knows the instruction set (docs/instruction-set.md), the parameters of the accelerator and how large the numbers of a
layer can become (`bnnedge.bounds`), and nothing of how operations were cut. From the fields of each instruction follow, in
closed form, the addresses that it touches in each memory and the largest magnitude of each sum. What could leave its memory
or its width is a `ProofError`: such a program is never run.
"""

from bnnedge.compiler.proof.program import prove
from bnnedge.compiler.proof.regions import ProofError, Regions

__all__ = ["ProofError", "Regions", "prove"]
