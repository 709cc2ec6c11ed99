"""The window multiplexer: pixels that lie side by side in a word, from a given bit on."""

from __future__ import annotations

from amaranth import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.formats import WINDOW_BITS
from bnnedge.hw.layouts import PASS


class Window(wiring.Component):
    """Words of the left buffer on their way to the lanes, or to be transposed.

    Members
    -------
    words: in. shift, window: in. wanted: out, same cycle: the words; with `window` their WINDOW_BITS bits from `shift` on.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        words = data.ArrayLayout(config.word, config.lanes)
        shift = PASS.members["strip_shift"].width
        super().__init__({"words": In(words), "shift": In(shift), "window": In(1), "wanted": Out(words)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for i in range(self.config.lanes):
            shifted = (self.words[i] >> self.shift)[:WINDOW_BITS]
            m.d.comb += self.wanted[i].eq(Mux(self.window, shifted, self.words[i]))
        return m
