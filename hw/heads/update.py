"""Streams latent weights from DDR and back, moving each against the sign of its gradient."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.gearbox import Gearbox
from bnnedge.hw.heads import weight
from bnnedge.hw.heads.random import lane_bits

BEAT = 64
WORDS = formats.WEIGHTS_PER_CYCLE


def row_layout(config: Configuration) -> data.StructLayout:
    """A row of a tile: the signs of its Q gradients (1: not negative), and its random bits."""
    return data.StructLayout({"positive": config.lanes, "random": 64})


class Update(wiring.Component):
    """A row of a tile is Q words, of which WORDS move in a cycle: a beat of memory, unless they are narrower than 16 bits.

    Members
    -------
    rows: in stream, see `row_layout`.
    old: in stream, beats of weight words, one behind the other. new: out stream, the same words, moved.
    shift, signs: out, the new binary weights of a finished row. rate, sign_sgd: in, stable.
    stalled: out, a row waits for its words or for room for them.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "rows": In(stream.Signature(row_layout(config))),
                "old": In(stream.Signature(BEAT)),
                "new": Out(stream.Signature(BEAT)),
                "shift": Out(1),
                "signs": Out(config.lanes),
                "rate": In(formats.RATE_BITS),
                "sign_sgd": In(1),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.config.weight_word
        old, new = self.old, self.new
        if WORDS * size != BEAT:
            m.submodules.narrow = narrow = Gearbox(BEAT, WORDS * size)
            m.submodules.widen = widen = Gearbox(WORDS * size, BEAT)
            wiring.connect(m, wiring.flipped(self.old), narrow.i)
            wiring.connect(m, widen.o, wiring.flipped(self.new))
            old, new = narrow.o, widen.i
        beats = self.config.lanes // WORDS  # of WORDS words each
        beat = Signal(range(beats))
        take = Signal()
        advance = Signal()
        last_beat = beat == beats - 1
        m.d.comb += [
            advance.eq(new.ready | ~new.valid),
            take.eq(advance & self.rows.valid & old.valid),
            old.ready.eq(advance & self.rows.valid),
            self.rows.ready.eq(take & last_beat),
            self.stalled.eq(self.rows.valid & ~take),
        ]
        with m.If(take):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last_beat):
                m.d.sync += beat.eq(0)

        updated = []
        for i in range(WORDS):
            m.submodules[f"word_{i}"] = unit = weight.WeightUpdate(self.config)
            lanes = range(i, self.config.lanes, WORDS)  # the lanes that this place of a beat serves
            m.d.comb += [
                unit.advance.eq(advance),
                unit.word.eq(old.payload.word_select(i, size).as_signed()),
                unit.positive.eq(Array(self.rows.payload.positive[j] for j in lanes)[beat]),
                unit.random.eq(Array(lane_bits(self.rows.payload.random, j) for j in lanes)[beat]),
                unit.rate.eq(self.rate),
                unit.sign_sgd.eq(self.sign_sgd),
            ]
            updated.append(unit.updated[:size])

        valid, ends = take, last_beat
        for stage in range(weight.LATENCY):
            later, later_ends = Signal(name=f"valid_{stage}"), Signal(name=f"ends_{stage}")
            with m.If(advance):
                m.d.sync += [later.eq(valid), later_ends.eq(ends)]
            valid, ends = later, later_ends
        m.d.comb += [new.valid.eq(valid), new.payload.eq(Cat(updated))]

        # The new binary weights of a row: the beats so far, then this one.
        fresh = Cat(~word[-1] for word in updated)
        earlier = Signal(WORDS * (beats - 1))
        with m.If(new.valid & new.ready):
            m.d.sync += earlier.eq(Cat(earlier, fresh)[WORDS:])
        m.d.comb += [self.shift.eq(new.valid & new.ready & ends), self.signs.eq(Cat(earlier, fresh))]
        return m
