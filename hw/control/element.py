"""Addresses of elements that lie a stride apart."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

HALF = 16


class ElementAddress(wiring.Component):
    """base + number * stride, modulo 2**32, by one multiplier: half of the number times half of the stride at a time.

    Members
    -------
    run: in, until `done`, with `base`, `number`, `stride`, all stable; low in the cycle behind that.
    done: out, the third cycle behind the first. address: out, from the cycle behind that on, until the next run.
    """

    def __init__(self) -> None:
        super().__init__({"run": In(1), "base": In(32), "number": In(32), "stride": In(32), "done": Out(1), "address": Out(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phase, product = Signal(2), Signal(32, reset_less=True)
        m.d.comb += self.done.eq(phase == 3)
        # Low by low, low by high, high by low; high by high is a multiple of 2**32.
        m.d.sync += product.eq(self.number.word_select(phase == 2, HALF) * self.stride.word_select(phase == 1, HALF))
        with m.If(self.run):
            m.d.sync += phase.eq(phase + 1)
        with m.If(phase == 1):
            m.d.sync += self.address.eq(self.base + product)
        with m.If(phase[1]):
            m.d.sync += self.address.eq(self.address + (product << HALF))
        return m
