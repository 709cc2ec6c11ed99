"""One weight word, updated: sign momentum in a few bits, then a stochastically rounded step (docs/arithmetic.md)."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration

LATENCY = 3


class WeightUpdate(wiring.Component):
    """Moves one latent weight against the sign of its gradient.

    Members
    -------
    advance: in, the pipeline moves. word: in, latent weight above a 4-bit moment. positive: in, gradient >= 0.
    random: in, RANDOM_BITS. rate, sign_sgd: in, stable. updated: out, the new word, LATENCY advances later.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "word": In(formats.WEIGHT_WORD),
                "positive": In(1),
                "rate": In(formats.RATE_BITS),
                "sign_sgd": In(1),
                "random": In(formats.RANDOM_BITS),
                "updated": Out(formats.WEIGHT_WORD),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        moment_bits, top = formats.MOMENT, self.config.latent_top
        old = Signal(signed(moment_bits))
        target = Signal(signed(moment_bits))
        m.d.comb += [old.eq(self.word[:moment_bits]), target.eq(Mux(self.positive, 7, -8))]

        moment = Signal(signed(moment_bits))
        weight_1, weight_2 = Signal(signed(self.config.latent)), Signal(signed(self.config.latent))
        random_1, random_2 = Signal(formats.RATE), Signal(formats.RATE)
        moment_2, moment_3 = Signal(signed(moment_bits)), Signal(signed(moment_bits))
        step = Signal(signed(moment_bits + 1 + formats.RATE_BITS + 1))
        moved = Signal(signed(moment_bits + formats.RATE_BITS + 4))
        weight = Signal(signed(self.config.latent))
        m.d.comb += moved.eq(weight_2 - ((step + random_2) >> formats.RATE))
        with m.If(self.advance):
            m.d.sync += [
                moment.eq(Mux(self.sign_sgd, target, old + ((target - old + self.random[:3]) >> 3))),
                weight_1.eq(self.word[moment_bits:].as_signed()),
                random_1.eq(self.random[-formats.RATE :]),
                step.eq(((moment << 1) + 1) * self.rate),
                weight_2.eq(weight_1),
                random_2.eq(random_1),
                moment_2.eq(moment),
                weight.eq(Mux(moved < -top, -top, Mux(moved > top - 1, top - 1, moved))),
                moment_3.eq(moment_2),
            ]
        sign = weight[-1]
        m.d.comb += self.updated.eq(Cat(moment_3, weight, *[sign] * (formats.WEIGHT_WORD - moment_bits - len(weight))))
        return m
