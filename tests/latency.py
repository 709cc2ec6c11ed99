"""A memory some cycles away: delays the answers on an AXI port."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib.wiring import In

from bnnedge.hw.bus.axi import Axi4

ANSWERS = ("rvalid", "rid", "rdata", "rresp", "rlast", "bvalid", "bid", "bresp")


def behind(m: Module, axi: Any, cycles: int) -> Any:
    """Return a port whose read data and write responses reach the master's port `axi` that many cycles later.

    The master must always be ready for them.
    """
    far = Axi4().create()
    for name, member in Axi4().members.items():
        if name in ANSWERS:
            value = getattr(far, name)
            for _ in range(cycles):
                later = Signal.like(value)
                m.d.sync += later.eq(value)
                value = later
            m.d.comb += getattr(axi, name).eq(value)
        elif member.flow == In:
            m.d.comb += getattr(axi, name).eq(getattr(far, name))
        else:
            m.d.comb += getattr(far, name).eq(getattr(axi, name))
    return far
