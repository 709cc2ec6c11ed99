"""Buffers -> DDR: STORE of buffer images, parameter records, logits, and the report of a batch."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.bus.axi import DATA_BITS
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.checks import check
from bnnedge.hw.control.rows import Rows
from bnnedge.hw.heads.softmax import SCORE_BITS
from bnnedge.hw.layouts import RECORD, RECORD_BEATS
from bnnedge.hw.layouts import TRANSFER as TRANSFER_FORMAT

REPORT_BEATS = 2


class Store(wiring.Component):
    """Carries out STORE instructions, one after another.

    What stands at an address is read into a free place of a small ring while the one before is sent, beat by beat.

    Members
    -------
    order: in stream, ready when memory has acknowledged all of it. transfer, beat: streams to the memory port; written:
    in, its `done`.
    address: out, of all memories. read_left, read_right: out, a read, always granted. left, right: in, words
    READ_LATENCY cycles later. read_record: out, wish; record_granted: in, this cycle; record: in, READ_LATENCY cycles later.
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
        m.submodules.rows = rows = Rows()
        m.d.comb += [rows.order.eq(order), self.address.eq(rows.address)]

        # A transfer for each row. Counts times powers of two, or three: shifts, no multiplier.
        is_scores, is_report = order.buffer == isa.Buffer.SCORES, order.buffer == isa.Buffer.REPORT
        is_record = order.buffer == isa.Buffer.PARAMETERS
        # Of an address, and of a row.
        one_beats, beats = Signal(range(image_beats + RECORD_BEATS)), Signal.like(self.transfer.payload.beats)
        m.d.comb += [one_beats.eq(image_beats), beats.eq(order.count * image_beats)]
        with m.If(is_record):
            m.d.comb += [one_beats.eq(RECORD_BEATS), beats.eq(order.count * RECORD_BEATS)]
        with m.Elif(is_report):
            m.d.comb += [one_beats.eq(REPORT_BEATS), beats.eq(REPORT_BEATS)]
        with m.Elif(is_scores):
            m.d.comb += beats.eq(order.count)
        requests, request_address = Signal(10), Signal(32, reset_less=True)
        m.d.comb += [
            self.transfer.valid.eq(requests != 0),
            self.transfer.payload.address.eq(request_address),
            self.transfer.payload.beats.eq(beats),
        ]
        with m.If(self.transfer.valid & self.transfer.ready):
            m.d.sync += [requests.eq(requests - 1), request_address.eq(request_address + order.address_stride)]

        # The ring: pointers to the places that are asked for, filled and sent next, with one bit more to tell full from
        # empty. Four cycles pass before a place that has been sent is full again: others cover them.
        places = 2 if image_beats > 2 else 4
        slot_beats = max(image_beats, 1 << (RECORD_BEATS - 1).bit_length())
        ring = Signal(data.ArrayLayout(slot_beats * DATA_BITS, places), reset_less=True)
        asked, filled, sent = (Signal(range(2 * places), name=name) for name in ("asked", "filled", "sent"))
        reading, taken, arriving, arrived = Signal(), Signal(), Signal(READ_LATENCY), Signal()
        m.d.comb += [
            self.read_left.eq(reading & (order.buffer == isa.Buffer.LEFT)),
            self.read_right.eq(reading & (order.buffer == isa.Buffer.RIGHT)),
            self.read_record.eq(reading & (order.buffer == isa.Buffer.PARAMETERS)),
            taken.eq(reading & (~self.read_record | self.record_granted)),
            arrived.eq(arriving[-1]),
            rows.step.eq(taken),
        ]
        for read, memory, depth in (
            (self.read_left, "left buffer", config.left_depth),
            (self.read_right, "right buffer", config.right_depth),
            (self.read_record, "parameter memory", config.channels),
        ):
            message = f"{memory}: a store reads address {{}}, beyond its depth"
            check(m, platform, read, rows.address < depth, message, rows.address)
        room, sends = Signal(), Signal()  # a place is free; the last beat of one leaves
        m.d.sync += [
            arriving.eq(Cat(taken, arriving)),
            asked.eq(asked + taken),
            filled.eq(filled + arrived),
            sent.eq(sent + sends),
            room.eq((asked + taken - sent - sends)[: len(asked)] != places),
        ]
        row = Signal(slot_beats * DATA_BITS)
        with m.Switch(order.buffer):
            with m.Case(isa.Buffer.LEFT):
                m.d.comb += row.eq(self.left)
            with m.Case(isa.Buffer.RIGHT):
                m.d.comb += row.eq(self.right)
            with m.Case(isa.Buffer.PARAMETERS):
                words = (Cat(self.record[name] for name in fields) for fields in formats.RECORD_WORDS)
                m.d.comb += row.eq(Cat(Cat(word, Const(0, DATA_BITS - len(word))) for word in words))
            with m.Default():
                m.d.comb += row.eq(Cat(self.loss, self.hits, self.cycles))
        with m.If(arrived):
            m.d.sync += ring[filled % places].eq(row)

        # Beats come out of the ring; but scores are put together here, each image from a new beat on.
        place = Signal(range(slot_beats))
        scores, held, whole = Signal(DATA_BITS), Signal(range(per_beat)), Signal()
        m.d.comb += [
            self.beat.valid.eq(filled != sent),
            self.beat.payload.eq(ring.as_value().word_select(Cat(place, sent % places), DATA_BITS)),
        ]
        with m.If(self.beat.ready & (filled != sent)):
            m.d.comb += sends.eq(place == one_beats - 1)
            m.d.sync += place.eq(Mux(sends, 0, place + 1))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += rows.begin.eq(1)
                m.d.sync += request_address.eq(order.address)
                with m.If(self.order.valid):
                    m.d.sync += requests.eq(order.repeats)
                    m.next = "READ"
                    with m.If(is_scores):
                        m.next = "SCORES"
            with m.State("READ"):
                m.d.comb += reading.eq(room)
                with m.If(taken & rows.last):
                    m.next = "WRITTEN"
            with m.State("SCORES"):
                m.d.comb += [self.score.ready.eq(~whole), self.beat.valid.eq(whole), self.beat.payload.eq(scores)]
                with m.If(self.score.valid & ~whole):
                    m.d.sync += [
                        scores.eq(scores | (self.score.payload << (held * SCORE_BITS))),
                        held.eq(held + 1),
                        whole.eq(self.score_last | (held == per_beat - 1)),
                    ]
                with m.If(whole & self.beat.ready):
                    m.d.comb += rows.step.eq(1)
                    m.d.sync += [scores.eq(0), held.eq(0), whole.eq(0)]
                    with m.If(rows.last):
                        m.next = "WRITTEN"
            with m.State("WRITTEN"):
                # `written` counts transfers that have been accepted; so what is still in the ring is waited for too.
                with m.If(self.written & (requests == 0)):
                    m.d.comb += [self.signal.eq(order.signal), self.order.ready.eq(1)]
                    m.next = "IDLE"
        return m
