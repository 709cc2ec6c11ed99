"""Instruction queues of the units, and the semaphores between them."""

from __future__ import annotations

from amaranth import C, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.hw.checks import check

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
            check(m, platform, C(1), count + given >= taken, f"semaphore {bit}: a token is taken that is not there")
            check(m, platform, C(1), count + given - taken < 1 << isa.TOKEN_BITS, f"semaphore {bit}: more tokens than it holds")
        return m


class Chain(wiring.Component):
    """A queue of `depth` registers in a row.

    For payloads as wide as an instruction: a register behind a register takes no LUTs, and what leaves comes straight out
    of flip-flops. A payload moves on by one place a cycle, into an empty one; an empty place takes in whatever stands before
    it, valid or not, so that hundreds of flip-flops need not be told in time.

    Members
    -------
    input: in stream. output: out stream. empty: out, nothing is held.
    """

    def __init__(self, layout: data.StructLayout, depth: int) -> None:
        self.layout, self.depth = layout, depth
        super().__init__({"input": In(stream.Signature(layout)), "output": Out(stream.Signature(layout)), "empty": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full = Signal(self.depth)
        valid, payload = self.input.valid, self.input.payload
        for i in range(self.depth):
            place = Signal(self.layout, name=f"place_{i}", reset_less=True)
            leaves = self.output.ready if i == self.depth - 1 else ~full[i + 1]
            with m.If(~full[i]):
                m.d.sync += [place.eq(payload), full[i].eq(valid)]
            with m.Elif(leaves):
                m.d.sync += full[i].eq(0)
            valid, payload = full[i], place
        m.d.comb += [
            self.input.ready.eq(~full[0]),
            self.output.payload.eq(payload),
            self.output.valid.eq(valid),
            self.empty.eq(~full.any()),
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
