"""Instruction queues of the units, and the semaphores between them."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa

# Instructions that wait their turn. Transfers are short beside passes, so that the sequencer needs more room to run ahead.
DEPTHS: dict[isa.Unit, int] = {isa.Unit.EXECUTE: 2, isa.Unit.LOAD: 4, isa.Unit.STORE: 4}


class Semaphores(wiring.Component):
    """Counts tokens.

    Members
    -------
    take_i: in, tokens that queue i takes in this cycle: such as `there` shows, and a semaphore's by one queue only.
    give_i: in, tokens that unit i gives in this cycle. there: out, semaphores that have a token.

    A semaphore holds 2**TOKEN_BITS - 1 tokens; the program must not give more.
    """

    def __init__(self, takers: int, givers: int) -> None:
        self.takers, self.givers = takers, givers
        super().__init__(
            {
                **{f"take_{i}": In(isa.SEMAPHORES) for i in range(takers)},
                **{f"give_{i}": In(isa.SEMAPHORES) for i in range(givers)},
                "there": Out(isa.SEMAPHORES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for bit in range(isa.SEMAPHORES):
            count = Signal(isa.TOKEN_BITS, name=f"count_{bit}")
            given = sum((getattr(self, f"give_{i}")[bit] for i in range(1, self.givers)), start=self.give_0[bit])
            taken = sum((getattr(self, f"take_{i}")[bit] for i in range(1, self.takers)), start=self.take_0[bit])
            m.d.sync += count.eq(count + given - taken)
            m.d.comb += self.there[bit].eq(count != 0)
        return m


class Chain(wiring.Component):
    """A queue of `depth` registers in a row.

    For payloads as wide as an instruction: a register behind a register takes no LUTs, and what leaves comes straight out
    of flip-flops. A payload moves on by one place a cycle, into an empty one.

    Members
    -------
    input: in stream. output: out stream. empty: out, nothing is held.
    """

    def __init__(self, layout: data.StructLayout, depth: int) -> None:
        self.layout, self.depth = layout, depth
        super().__init__({"input": In(stream.Signature(layout)), "output": Out(stream.Signature(layout)), "empty": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = [fifo.SyncFIFOBuffered(width=self.layout.size, depth=1) for _ in range(self.depth)]
        m.submodules += places
        for before, after in zip(places, places[1:], strict=False):
            wiring.connect(m, before.r_stream, after.w_stream)
        first, last = places[0], places[-1]
        m.d.comb += [
            first.w_data.eq(self.input.payload),
            first.w_en.eq(self.input.valid),
            self.input.ready.eq(first.w_rdy),
            self.output.payload.eq(last.r_data),
            self.output.valid.eq(last.r_rdy),
            last.r_en.eq(self.output.ready),
            self.empty.eq(~Cat(place.r_rdy for place in places).any()),
        ]
        return m


class Queue(wiring.Component):
    """Holds `depth` instructions of a unit; lets the first one out when it has all the tokens that it waits for.

    Members
    -------
    instruction: in stream. order: out stream, to the unit. there, take: see `Semaphores`.
    waiting: out, the first instruction lacks a token. empty: out, nothing is held.
    """

    def __init__(self, layout: data.StructLayout, depth: int) -> None:
        self.layout, self.depth = layout, depth
        super().__init__(
            {
                "instruction": In(stream.Signature(layout)),
                "order": Out(stream.Signature(layout)),
                "there": In(isa.SEMAPHORES),
                "take": Out(isa.SEMAPHORES),
                "waiting": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.held = held = Chain(self.layout, self.depth)
        first = held.output
        cleared = Signal()  # the first instruction has taken its tokens
        wiring.connect(m, wiring.flipped(self.instruction), held.input)
        m.d.comb += [
            self.order.payload.eq(first.payload),
            self.order.valid.eq(first.valid & cleared),
            first.ready.eq(self.order.ready & cleared),
            self.empty.eq(held.empty),
            self.waiting.eq(first.valid & ~cleared),
        ]
        wait = self.order.payload.wait
        with m.If(self.waiting & ((wait & ~self.there) == 0)):
            m.d.comb += self.take.eq(wait)
            m.d.sync += cleared.eq(1)
        with m.Elif(self.order.ready):
            m.d.sync += cleared.eq(0)
        return m
