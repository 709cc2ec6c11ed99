"""Buffers -> DDR: STORE of buffer images, parameter records, logits, and the report of a batch."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.formats import MU_BITS
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.bus.axi import DATA_BITS
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.heads.softmax import SCORE_BITS
from bnnedge.hw.layouts import RECORD, RECORD_BEATS
from bnnedge.hw.layouts import TRANSFER as TRANSFER_FORMAT


class Store(wiring.Component):
    """Carries out STORE instructions, one after another.

    Members
    -------
    order: in stream, ready when memory has acknowledged all of it. transfer, beat: streams to the memory port; written:
    in, its `done`.
    address: out, of all memories. read_left, read_right: out, wish to read; granted: in, this cycle. left, right: in,
    words READ_LATENCY cycles later. read_record: out, wish; record_granted: in; record: in, 1 cycle later.
    score, score_last: in stream. loss, hits, cycles: in, what a REPORT tells. signal: out, semaphores to raise.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        words = data.ArrayLayout(config.word, config.lanes)
        super().__init__(
            {
                "order": In(stream.Signature(TRANSFER_FORMAT)),
                "transfer": Out(stream.Signature(TRANSFER)),
                "beat": Out(stream.Signature(DATA_BITS)),
                "written": In(1),
                "address": Out(16),
                "read_left": Out(1),
                "read_right": Out(1),
                "granted": In(1),
                "left": In(words),
                "right": In(words),
                "read_record": Out(1),
                "record_granted": In(1),
                "record": In(RECORD),
                "score": In(stream.Signature(SCORE_BITS)),
                "score_last": In(1),
                "loss": In(32),
                "hits": In(32),
                "cycles": In(DATA_BITS),
                "signal": Out(isa.SEMAPHORES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order = self.config, self.order.payload
        image_beats = config.lanes * config.word // DATA_BITS
        per_beat = DATA_BITS // SCORE_BITS

        beats = Signal(range(image_beats + RECORD_BEATS + 1))  # of one buffer address
        left = Signal(16)  # addresses to go
        held = Signal(max(config.lanes * config.word, RECORD_BEATS * DATA_BITS))
        held_beats = Signal.like(beats)
        wait = Signal(range(READ_LATENCY + 1))
        scores, scores_held = Signal(DATA_BITS), Signal(range(per_beat))
        total = self.transfer.payload.beats  # counts times powers of two: shifts, no multiplier
        with m.Switch(order.buffer):
            with m.Case(isa.Buffer.PARAMETERS, isa.Buffer.REPORT):
                m.d.comb += [beats.eq(RECORD_BEATS), total.eq(order.count * RECORD_BEATS)]
            with m.Case(isa.Buffer.SCORES):
                m.d.comb += [beats.eq(1), total.eq(order.count)]
            with m.Default():
                m.d.comb += [beats.eq(image_beats), total.eq(order.count * image_beats)]
        m.d.comb += self.transfer.payload.address.eq(order.address)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.transfer.valid.eq(self.order.valid)
                m.d.sync += [self.address.eq(order.base), left.eq(order.count)]
                with m.If(self.transfer.valid & self.transfer.ready):
                    m.next = "READ"
                    with m.If(order.buffer == isa.Buffer.SCORES):
                        m.next = "SCORES"
            with m.State("READ"):
                m.d.comb += [
                    self.read_left.eq(order.buffer == isa.Buffer.LEFT),
                    self.read_right.eq(order.buffer == isa.Buffer.RIGHT),
                    self.read_record.eq(order.buffer == isa.Buffer.PARAMETERS),
                ]
                m.d.sync += wait.eq(0)
                with m.If(self.granted | self.record_granted | (order.buffer == isa.Buffer.REPORT)):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += [wait.eq(wait + 1), held_beats.eq(beats)]
                record = Signal(RECORD)
                with m.If(wait == 0):
                    m.d.sync += record.eq(self.record)
                with m.If(wait == READ_LATENCY - 1):
                    with m.Switch(order.buffer):
                        with m.Case(isa.Buffer.LEFT):
                            m.d.sync += held.eq(self.left)
                        with m.Case(isa.Buffer.RIGHT):
                            m.d.sync += held.eq(self.right)
                        with m.Case(isa.Buffer.PARAMETERS):
                            statistics = record.as_value()[: 2 * MU_BITS]
                            m.d.sync += held.eq(
                                Cat(statistics, Cat(0).replicate(DATA_BITS - 2 * MU_BITS), record.beta.as_unsigned())
                            )
                        with m.Default():
                            m.d.sync += held.eq(Cat(self.loss, self.hits, self.cycles))
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.beat.valid.eq(1), self.beat.payload.eq(held)]
                with m.If(self.beat.ready):
                    m.d.sync += [held.eq(held >> DATA_BITS), held_beats.eq(held_beats - 1)]
                    with m.If(held_beats == 1):
                        m.d.sync += [self.address.eq(self.address + 1), left.eq(left - 1)]
                        m.next = "READ"
                        with m.If(left == 1):
                            m.next = "WRITTEN"
            with m.State("SCORES"):
                fresh = self.score.payload << (scores_held * SCORE_BITS)
                full = self.score_last | (scores_held == per_beat - 1)
                m.d.comb += [
                    self.beat.payload.eq(scores | fresh),
                    self.beat.valid.eq(self.score.valid & full),
                    self.score.ready.eq(~full | self.beat.ready),
                ]
                with m.If(self.score.valid & self.score.ready):
                    m.d.sync += [scores.eq(Mux(full, 0, scores | fresh)), scores_held.eq(Mux(full, 0, scores_held + 1))]
                    with m.If(full):
                        m.d.sync += left.eq(left - 1)
                        with m.If(left == 1):
                            m.next = "WRITTEN"
            with m.State("WRITTEN"):
                with m.If(self.written):
                    m.d.comb += [self.signal.eq(order.signal), self.order.ready.eq(1)]
                    m.next = "IDLE"
        return m
