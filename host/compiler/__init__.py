"""Compiler: from a network and its settings to memory maps and programs for one configuration."""

from bnnedge.compiler.layout import Layout, layout
from bnnedge.compiler.program import Addresses, Compiler, Program

__all__ = ["Addresses", "Compiler", "Layout", "Program", "layout"]
