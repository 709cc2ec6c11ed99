"""One weight word, updated: sign momentum in a few bits, then a stochastically rounded step (docs/arithmetic.md)."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.heads.thresholds import saturate

LATENCY = 3


class WeightUpdate(wiring.Component):
    """Moves one latent weight against the sign of its gradient.

    Members
    -------
    advance: in, the pipeline moves. word: in, latent weight above its moment. positive: in, gradient >= 0.
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
        latent, bits = self.config.latent, formats.MOMENT

        def register(name: str, value: Value, shape: Shape) -> Signal:
            found = Signal(shape, name=name, reset_less=True)
            with m.If(self.advance):
                m.d.sync += found.eq(value)
            return found

        # 1: the moment. 2: times the rate. 3: the weight has moved.
        old, top = self.word[:bits].as_signed(), 1 << bits - 1
        target = Mux(self.positive, top - 1, -top)
        towards = old + ((target - old + self.random[:3]) >> 3)
        moment_1 = register("moment_1", Mux(self.sign_sgd, target, towards), signed(bits))
        moment_2 = register("moment_2", moment_1, signed(bits))
        moment_3 = register("moment_3", moment_2, signed(bits))
        step_2 = register("step_2", ((moment_1 << 1) + 1) * self.rate, signed(bits + 1 + formats.RATE_BITS))
        # w - ((step + r) >> RATE) with one carry: below w stands ~r, which is 2**RATE - 1 - r.
        exact = Cat(~self.random[-formats.RATE :], self.word[bits:][:latent])
        exact_2 = register("exact_2", register("exact_1", exact, unsigned(len(exact))), signed(len(exact)))
        weight_3 = register("weight_3", saturate((exact_2 - step_2) >> formats.RATE, signed(latent)), signed(latent))
        sign = weight_3[-1]
        m.d.comb += self.updated.eq(Cat(moment_3, weight_3, *[sign] * (formats.WEIGHT_WORD - bits - latent)))
        return m
