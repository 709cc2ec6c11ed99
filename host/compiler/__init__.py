"""Compiler: from a network and its settings to memory maps, programs and estimates for one configuration."""

from bnnedge.compiler.cycles import Estimate, estimate
from bnnedge.compiler.emitter import Addresses
from bnnedge.compiler.layout import Layout, fitting
from bnnedge.compiler.memory import memory_of
from bnnedge.compiler.program import Compiler, Program

__all__ = ["Addresses", "Compiler", "Estimate", "Layout", "Program", "estimate", "fitting", "memory_of"]
