"""Reads the program from DDR and hands its instructions to the units' queues."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.hw.bus.axi import DATA_BITS, DATA_BYTES
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.control.element import ElementAddress
from bnnedge.hw.layouts import INSTRUCTION_BITS, LOOP, PASS
from bnnedge.hw.layouts import TRANSFER as TRANSFER_FORMAT

BEATS = isa.INSTRUCTION_BYTES // DATA_BYTES


class Sequencer(wiring.Component):
    """One instruction after another: fetch, decode, hand on. LOOP, SYNC and HALT are carried out here.

    An instruction leaves with what changes from iteration to iteration filled in: the step of a PASS, the address of a
    transfer. Iterations are counted from the start of the program: it may hold one LOOP.

    Members
    -------
    start: in, one cycle, with `program` and `step`. transfer, beat: streams to and from the memory port.
    execute, load, store: out streams to the queues. units_idle: in, all that was handed on is done.
    abort: in, a bus error: fetch no more. busy, done: out; done holds until the next start. illegal, address: out, the
    instruction at `address` has no known opcode; holds until a reset.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "transfer": Out(stream.Signature(TRANSFER)),
                "beat": In(stream.Signature(DATA_BITS)),
                "execute": Out(stream.Signature(PASS)),
                "load": Out(stream.Signature(TRANSFER_FORMAT)),
                "store": Out(stream.Signature(TRANSFER_FORMAT)),
                "start": In(1),
                "program": In(32),
                "step": In(32),
                "units_idle": In(1),
                "abort": In(1),
                "busy": Out(1),
                "done": Out(1),
                "illegal": Out(1),
                "address": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(INSTRUCTION_BITS, reset_less=True)
        order = data.View(PASS, word[: PASS.size])
        move = data.View(TRANSFER_FORMAT, word[: TRANSFER_FORMAT.size])
        loop = data.View(LOOP, word[: LOOP.size])
        iteration, step = Signal(32, reset_less=True), Signal(32, reset_less=True)
        beats = Signal(range(BEATS))
        m.submodules.moved = moved = ElementAddress()

        m.d.comb += [
            self.transfer.payload.address.eq(self.address),
            self.transfer.payload.beats.eq(BEATS),
            moved.base.eq(move.address),
            moved.number.eq(iteration),
            moved.stride.eq(move.stride),
            self.execute.payload.eq(word),
            self.execute.payload.step.eq(order.step + step),
            self.load.payload.eq(word),
            self.store.payload.eq(word),
            self.load.payload.address.eq(moved.address),
            self.store.payload.address.eq(moved.address),
        ]

        def advance() -> None:
            m.d.sync += self.address.eq(self.address + isa.INSTRUCTION_BYTES)
            m.next = "REQUEST"

        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [self.address.eq(self.program), step.eq(self.step), iteration.eq(0)]
                    m.d.sync += self.done.eq(0)
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.transfer.valid.eq(~self.abort)
                with m.If(self.transfer.valid & self.transfer.ready):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.beat.ready.eq(1)
                with m.If(self.beat.valid):
                    m.d.sync += [word.eq(Cat(word, self.beat.payload)[DATA_BITS:]), beats.eq(beats + 1)]
                    with m.If(beats == BEATS - 1):
                        m.next = "MOVE"
            with m.State("MOVE"):
                m.d.comb += moved.run.eq(1)
                with m.If(moved.done):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.next = "ILLEGAL"
                with m.Switch(order.opcode):
                    for opcode in isa.Opcode:
                        with m.Case(opcode):
                            m.next = {
                                isa.Unit.EXECUTE: "EXECUTE",
                                isa.Unit.LOAD: "LOAD",
                                isa.Unit.STORE: "STORE",
                                isa.Unit.SEQUENCER: opcode.name,
                            }[isa.UNITS[opcode]]
            for name, queue in (("EXECUTE", self.execute), ("LOAD", self.load), ("STORE", self.store)):
                with m.State(name):
                    m.d.comb += queue.valid.eq(1)
                    with m.If(queue.ready):
                        advance()
            with m.State("LOOP"):
                m.d.sync += [iteration.eq(iteration + 1), step.eq(step + 1)]
                advance()
                with m.If(iteration + 1 != loop.count):
                    m.d.sync += self.address.eq(self.program + loop.target)
            with m.State("HALT"):
                with m.If(self.units_idle):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("SYNC"):
                with m.If(self.units_idle):
                    advance()
            with m.State("ILLEGAL"):
                m.d.comb += self.busy.eq(0)
                m.d.sync += self.illegal.eq(1)
        return m
