"""The window multiplexer: pixels that lie side by side in a word, from a given bit on."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.formats import WINDOW_BITS
from bnnedge.hw.layouts import PASS


class Window(wiring.Component):
    """Words of the left buffer on their way to the lanes, or to be transposed.

    Members
    -------
    words: in. shift: in, below `word`. wanted: out, same cycle: the words; their lower WINDOW_BITS bits are those from `shift`
    on.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        words = data.ArrayLayout(config.word, config.lanes)
        shift = PASS.members["strip_shift"].width
        super().__init__({"words": In(words), "shift": In(shift), "wanted": Out(words)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Two bits of the shift at a time, from the upper ones down: a multiplexer of four is one LUT.
        steps = []
        top = (self.config.word - 1).bit_length()
        while top:
            low = max(0, top - 2)
            steps.append((low, self.shift[low:top]))
            top = low
        for i, word in enumerate(self.words):
            bits = word
            for low, step in steps:
                reach = WINDOW_BITS + (1 << low) - 1  # bits that the smaller steps can still move to the window
                stage = Signal(reach, name=f"stage_{low}_{i}")
                m.d.comb += stage.eq(Array(bits[n << low :][:reach] for n in range(1 << len(step)))[step])
                bits = stage
            m.d.comb += self.wanted[i].eq(Cat(bits, word[WINDOW_BITS:]))
        return m
