"""Compiler: from a network and its settings to memory maps, programs and estimates for one configuration."""

from bnnedge.compiler.cycles import Estimate, estimate
from bnnedge.compiler.memory import memory_of
from bnnedge.compiler.placement import Layout, fitting, layout
from bnnedge.compiler.program import Addresses, Compiler, Program

__all__ = ["Addresses", "Compiler", "Estimate", "Layout", "Program", "estimate", "fitting", "layout", "memory_of"]
