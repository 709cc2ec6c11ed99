"""Delays: values some cycles later."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.hdl import Value


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """`value`, `cycles` later. No reset clears what is on its way: 7-series parts may keep it in LUTs."""
    for cycle in range(cycles):
        later = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=True)
        m.d.sync += later.eq(value)
        value = later
    return value
