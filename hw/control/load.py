"""DDR -> buffers: LOAD of buffer images and GATHER of samples."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.formats import MU_BITS
from bnnedge.hw.buffers.banked import WritePort
from bnnedge.hw.bus.axi import BURST_BEATS, DATA_BITS
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.heads.softmax import LABEL_BITS
from bnnedge.hw.layouts import RECORD, RECORD_BEATS
from bnnedge.hw.layouts import TRANSFER as TRANSFER_FORMAT

CHUNK = 2 * BURST_BEATS  # indices read at a time


class Load(wiring.Component):
    """Carries out LOAD and GATHER instructions, one after another.

    A sample is 8 bytes of label, then its words of S bits; sample n of a GATHER goes to bank n % P at `base` +
    (n // P) * sample_words. A buffer image is address-major, bank-minor.

    Members
    -------
    order: in stream, ready at the end. transfer, beat: streams to and from the memory port.
    left, right: out, writes; left_ready, right_ready: in, they are accepted.
    record_write, record_address, record: out, writes to the parameter memory; record_ready: in.
    label: out stream. signal: out, semaphores to raise.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "order": In(stream.Signature(TRANSFER_FORMAT)),
                "transfer": Out(stream.Signature(TRANSFER)),
                "beat": In(stream.Signature(DATA_BITS)),
                "left": Out(WritePort(config, config.left_depth)),
                "left_ready": In(1),
                "right": Out(WritePort(config, config.right_depth)),
                "right_ready": In(1),
                "record_write": Out(1),
                "record_address": Out(range(config.channels)),
                "record": Out(RECORD),
                "record_ready": In(1),
                "label": Out(stream.Signature(LABEL_BITS)),
                "signal": Out(isa.SEMAPHORES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order = self.config, self.order.payload
        lanes, word = config.lanes, config.word
        per_beat = DATA_BITS // word

        # A word of S bits is written to one bank; `part` counts the words of a beat.
        part = Signal(range(max(2, per_beat)))
        last_part, next_part = part == per_beat - 1, Signal.like(part)
        bank, address = Signal(range(lanes)), Signal(16)
        writing, accepted = Signal(), Signal()
        value = self.beat.payload.word_select(part, word)
        m.d.comb += next_part.eq(Mux(last_part, 0, part + 1))
        for port in (self.left, self.right):
            m.d.comb += [port.address.eq(address), *(port.data[i].eq(value) for i in range(lanes))]
        to_left, to_right = Signal(), Signal()
        m.d.comb += [
            to_left.eq(writing & (order.buffer == isa.Buffer.LEFT)),
            to_right.eq(writing & (order.buffer == isa.Buffer.RIGHT)),
        ]
        for i in range(lanes):
            m.d.comb += [
                self.left.granules[i].eq(Mux(to_left & (bank == i), -1, 0)),
                self.right.granules[i].eq(Mux(to_right & (bank == i), -1, 0)),
            ]
        m.d.comb += accepted.eq((to_left & self.left_ready) | (to_right & self.right_ready))

        # Indices of the next samples.
        m.submodules.indices = indices = memory.Memory(shape=DATA_BITS, depth=CHUNK // 2, init=[])
        index_read, index_write = indices.read_port(), indices.write_port()
        sample, chunk = Signal(16), Signal(range(CHUNK + 1))
        slot = Signal(16)  # buffer address of the sample's first word
        sample_address, index_address = Signal(32), Signal(32)
        words = Signal(32)
        filled = Signal(range(CHUNK // 2 + 1))
        first_half = Signal(2 * MU_BITS)  # first beat of a record
        is_records = order.buffer == isa.Buffer.PARAMETERS
        index = Signal(32)
        m.d.comb += [
            index_read.addr.eq(chunk >> 1),
            index.eq(Mux(chunk[0], index_read.data[32:], index_read.data[:32])),
            index_write.addr.eq(filled),
            index_write.data.eq(self.beat.payload),
            self.label.payload.eq(self.beat.payload),
            self.record_address.eq(address),
            self.record.mu.eq(first_half[:MU_BITS].as_signed()),
            self.record.psi.eq(first_half[MU_BITS:]),
            self.record.beta.eq(self.beat.payload[:16].as_signed()),
        ]
        half = Signal()  # second beat of a record

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    bank.eq(0),
                    part.eq(0),
                    address.eq(order.base),
                    sample.eq(0),
                    slot.eq(order.base),
                    half.eq(0),
                ]
                m.d.sync += index_address.eq(order.address)
                with m.If(self.order.valid):
                    m.next = "REQUEST"
                    with m.If(order.opcode == isa.Opcode.GATHER):
                        m.next = "REQUEST INDICES"

            with m.State("REQUEST"):
                m.d.comb += [
                    self.transfer.payload.address.eq(order.address),
                    self.transfer.payload.beats.eq(
                        Mux(is_records, order.count * RECORD_BEATS, order.count * (lanes * word // DATA_BITS))
                    ),
                    self.transfer.valid.eq(1),
                ]
                m.d.sync += words.eq(order.count * lanes)
                with m.If(self.transfer.ready):
                    m.next = "IMAGE"
                    with m.If(is_records):
                        m.d.sync += words.eq(order.count)
                        m.next = "RECORDS"
            with m.State("IMAGE"):
                m.d.comb += writing.eq(self.beat.valid)
                with m.If(accepted):
                    m.d.sync += [bank.eq(bank + 1), part.eq(next_part), words.eq(words - 1)]
                    m.d.comb += self.beat.ready.eq(last_part)
                    with m.If(bank == lanes - 1):
                        m.d.sync += address.eq(address + 1)
                    with m.If(words == 1):
                        m.next = "END"
            with m.State("RECORDS"):
                m.d.comb += [
                    self.record_write.eq(self.beat.valid & half),
                    self.beat.ready.eq(~half | self.record_ready),
                ]
                with m.If(self.beat.valid & self.beat.ready):
                    m.d.sync += half.eq(~half)
                    with m.If(half):
                        m.d.sync += [address.eq(address + 1), words.eq(words - 1)]
                        with m.If(words == 1):
                            m.next = "END"
                    with m.Else():
                        m.d.sync += first_half.eq(self.beat.payload)

            with m.State("REQUEST INDICES"):
                m.d.comb += [
                    self.transfer.payload.address.eq(index_address),
                    self.transfer.payload.beats.eq(CHUNK // 2),
                    self.transfer.valid.eq(1),
                ]
                m.d.sync += [filled.eq(0), chunk.eq(0)]
                with m.If(self.transfer.ready):
                    m.d.sync += index_address.eq(index_address + CHUNK * 4)
                    m.next = "INDICES"
            with m.State("INDICES"):
                m.d.comb += [self.beat.ready.eq(1), index_write.en.eq(self.beat.valid)]
                with m.If(self.beat.valid):
                    m.d.sync += filled.eq(filled + 1)
                    with m.If(filled == CHUNK // 2 - 1):
                        m.next = "LOOK UP"
            with m.State("LOOK UP"):
                m.next = "LOCATE"
            with m.State("LOCATE"):
                m.d.sync += sample_address.eq(order.sample_address + index * order.sample_bytes)
                m.next = "REQUEST SAMPLE"
            with m.State("REQUEST SAMPLE"):
                m.d.comb += [
                    self.transfer.payload.address.eq(sample_address),
                    self.transfer.payload.beats.eq(1 + ((order.sample_words * word + DATA_BITS - 1) // DATA_BITS)),
                    self.transfer.valid.eq(1),
                ]
                m.d.sync += [words.eq(order.sample_words), address.eq(slot), part.eq(0)]
                with m.If(self.transfer.ready):
                    m.next = "LABEL"
            with m.State("LABEL"):
                m.d.comb += [self.label.valid.eq(self.beat.valid), self.beat.ready.eq(self.label.ready)]
                with m.If(self.beat.valid & self.beat.ready):
                    m.next = "SAMPLE"
            with m.State("SAMPLE"):
                m.d.comb += writing.eq(self.beat.valid)
                with m.If(accepted):
                    m.d.sync += [address.eq(address + 1), part.eq(next_part), words.eq(words - 1)]
                    m.d.comb += self.beat.ready.eq(last_part | (words == 1))
                    with m.If(words == 1):
                        m.d.sync += [sample.eq(sample + 1), chunk.eq(chunk + 1), bank.eq(bank + 1)]
                        with m.If(bank == lanes - 1):
                            m.d.sync += slot.eq(slot + order.sample_words)
                        m.next = "LOOK UP"
                        with m.If(chunk == CHUNK - 1):
                            m.next = "REQUEST INDICES"
                        with m.If(sample == order.count - 1):
                            m.next = "END"

            with m.State("END"):
                m.d.comb += [self.signal.eq(order.signal), self.order.ready.eq(1)]
                m.next = "IDLE"
        return m
