"""DDR -> buffers: LOAD of buffer images and GATHER of samples."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import WritePort
from bnnedge.hw.bus.axi import DATA_BITS
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.checks import check
from bnnedge.hw.control.request import CHUNK, PER_BEAT, Requests, chunk_is_next
from bnnedge.hw.control.rows import Rows
from bnnedge.hw.heads.softmax import LABEL_BITS
from bnnedge.hw.layouts import RECORD, RECORD_BEATS
from bnnedge.hw.layouts import TRANSFER as TRANSFER_FORMAT


class Load(wiring.Component):
    """Carries out LOAD and GATHER instructions, one after another. `Requests` runs ahead, the data follow in its order.

    A buffer image is address-major, bank-minor: the words of a beat are written at once. A sample is 8 bytes of label,
    then its words of S bits, written one a cycle; sample n of a GATHER goes to bank n % P at `base` +
    (n // P) * sample_words.

    Members
    -------
    order: in stream, ready at the end. transfer, beat: streams to and from the memory port.
    left, right: out, writes; left_ready, right_ready: in, they are accepted.
    record_write, record_address, record: out, writes to the parameter memory; record_ready: in.
    label: out stream, of a GATHER with `labels`. signal: out, semaphores to raise.
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
        config, order, beat = self.config, self.order.payload, self.beat
        lanes, word = config.lanes, config.word
        per_beat, row_beats = DATA_BITS // word, lanes * word // DATA_BITS
        m.submodules.requests = requests = Requests(config)
        m.submodules.rows = rows = Rows()
        wiring.connect(m, requests.transfer, wiring.flipped(self.transfer))
        m.d.comb += [
            requests.order.eq(order),
            requests.start.eq(self.order.valid),
            requests.ends.eq(self.order.ready),
            requests.pair.eq(beat.payload),
            rows.order.eq(order),
        ]

        # Where the beat goes: `place` counts the beats of an address, `part` the words of a sample's beat.
        is_gather, is_records = order.opcode == isa.Opcode.GATHER, order.buffer == isa.Buffer.PARAMETERS
        place, part = Signal(range(max(row_beats, RECORD_BEATS))), Signal(range(max(2, per_beat)))
        last_place = place == Mux(is_records, RECORD_BEATS, row_beats) - 1
        bank = Signal(range(lanes), reset_less=True)  # of a sample
        slot, address = Signal(16, reset_less=True), Signal(16, reset_less=True)  # slot: of a sample's first word
        values = Signal(data.ArrayLayout(word, per_beat))
        m.d.comb += [values[i].eq(beat.payload.word_select(Mux(is_gather, part, i), word)) for i in range(per_beat)]
        writing, accepted = Signal(), Signal()
        for buffer, port, ready in (
            (isa.Buffer.LEFT, self.left, self.left_ready),
            (isa.Buffer.RIGHT, self.right, self.right_ready),
        ):
            active = Signal(name=f"to_{buffer.name.lower()}")
            m.d.comb += [active.eq(writing & (order.buffer == buffer)), port.address.eq(Mux(is_gather, address, rows.address))]
            for i in range(lanes):
                mine = Mux(is_gather, bank == i, place == i // per_beat)
                m.d.comb += [port.data[i].eq(values[i % per_beat]), port.granules[i].eq(Mux(active & mine, -1, 0))]
            with m.If(active):
                m.d.comb += accepted.eq(ready)
            name, to = buffer.name.lower(), Mux(is_gather, address, rows.address)
            message = f"{name} buffer: a load goes to address {{}}, beyond its depth"
            check(m, platform, active, to < getattr(config, f"{name}_depth"), message, to)

        # A record takes three beats.
        first_beat, second_beat = Signal(DATA_BITS, reset_less=True), Signal(DATA_BITS, reset_less=True)
        record_done = place == RECORD_BEATS - 1
        m.d.comb += [
            self.record_write.eq(writing & is_records & record_done),
            self.record_address.eq(rows.address),
        ]
        for word, fields in zip((first_beat, second_beat, beat.payload), formats.RECORD_WORDS, strict=True):
            low = 0
            for name, bits in fields.items():
                m.d.comb += self.record[name].eq(word[low : low + bits])
                low += bits
        with m.If(writing & is_records):
            m.d.comb += accepted.eq(~record_done | self.record_ready)
            with m.If(~record_done):
                m.d.sync += [second_beat.eq(beat.payload), first_beat.eq(second_beat)]
        message = "parameter memory: a load goes to address {}, beyond its depth"
        check(m, platform, writing & is_records, rows.address < config.channels, message, rows.address)

        sample, words = Signal(16, reset_less=True), Signal(16, reset_less=True)
        m.d.comb += self.label.payload.eq(beat.payload)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += rows.begin.eq(1)
                m.d.sync += [sample.eq(0), bank.eq(0), slot.eq(order.base)]
                with m.If(self.order.valid):
                    m.next = "ROWS"
                    with m.If(is_gather):
                        m.next = "GATHER"
            with m.State("ROWS"):
                m.d.comb += [writing.eq(beat.valid), beat.ready.eq(accepted)]
                with m.If(accepted):
                    m.d.sync += place.eq(place + 1)
                    with m.If(last_place):
                        m.d.sync += place.eq(0)
                        m.d.comb += rows.step.eq(1)
                        with m.If(rows.last):
                            m.next = "END"
            with m.State("GATHER"):
                m.d.sync += [words.eq(order.sample_words), address.eq(slot), part.eq(0)]
                m.next = "LABEL"
                with m.If(chunk_is_next(order, sample, requests.indices)):
                    m.next = "CHUNK"
            with m.State("CHUNK"):
                m.d.comb += [beat.ready.eq(1), requests.pair_write.eq(beat.valid)]
                with m.If(beat.valid & (requests.indices % CHUNK == CHUNK - PER_BEAT)):
                    m.next = "GATHER"
            with m.State("LABEL"):
                m.d.comb += [self.label.valid.eq(beat.valid & order.labels), beat.ready.eq(self.label.ready | ~order.labels)]
                with m.If(beat.valid & beat.ready):
                    m.next = "SAMPLE"
            with m.State("SAMPLE"):
                last_part = part == per_beat - 1
                m.d.comb += [writing.eq(beat.valid), beat.ready.eq(accepted & (last_part | (words == 1)))]
                with m.If(accepted):
                    m.d.sync += [address.eq(address + 1), part.eq(Mux(last_part, 0, part + 1)), words.eq(words - 1)]
                    with m.If(words == 1):
                        m.d.sync += [sample.eq(sample + 1), bank.eq(bank + 1)]
                        with m.If(bank == lanes - 1):
                            m.d.sync += slot.eq(slot + order.sample_words)
                        m.next = "GATHER"
                        with m.If(sample == order.count - 1):
                            m.next = "END"
            with m.State("END"):
                m.d.comb += [self.signal.eq(order.signal), self.order.ready.eq(1)]
                m.next = "IDLE"
        return m
