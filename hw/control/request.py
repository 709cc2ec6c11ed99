"""What LOAD and GATHER ask memory for."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.hw.bus.axi import BURST_BEATS, DATA_BITS, DATA_BYTES
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.control.element import ElementAddress
from bnnedge.hw.layouts import RECORD_BEATS
from bnnedge.hw.layouts import TRANSFER as TRANSFER_FORMAT

PER_BEAT = 2  # indices
CHUNK = PER_BEAT * BURST_BEATS  # indices asked for at a time


def chunk_is_next(order: Value, samples: Value, indices: Value) -> Value:
    """Whether a chunk of indices follows, not a sample, behind so many of them (indices: whole chunks).

    Chunks go ahead of their samples: two chunks, the samples of the first, the third chunk, the samples of the second...
    """
    return (samples % CHUNK == 0) & (indices < order.count) & (indices != samples + 2 * CHUNK)


class Requests(wiring.Component):
    """Asks for the data of one instruction after another, as far ahead of them as the port accepts it.

    A LOAD is a transfer for each row. A GATHER asks for samples when their indices have come, see `chunk_is_next`.

    Members
    -------
    order: in. start: in, it is valid. ends: in, one cycle: its data have come. transfer: out stream to the memory port.
    pair, pair_write: in, the next two indices of the list. indices: out, how many have come.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "order": In(TRANSFER_FORMAT),
                "start": In(1),
                "ends": In(1),
                "transfer": Out(stream.Signature(TRANSFER)),
                "pair": In(DATA_BITS),
                "pair_write": In(1),
                "indices": Out(17),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order, transfer = self.config, self.order, self.transfer
        m.submodules.list = pairs = memory.Memory(shape=DATA_BITS, depth=2 * CHUNK // PER_BEAT, init=[])
        read, write = pairs.read_port(), pairs.write_port()

        address = Signal(32, reset_less=True)  # of the next row, or of the next chunk of indices
        rows = Signal(10, reset_less=True)
        sample, asked = Signal(16, reset_less=True), Signal(17, reset_less=True)  # samples and indices asked for

        m.submodules.place = place = ElementAddress()
        m.d.comb += [
            read.addr.eq(sample // PER_BEAT),
            write.addr.eq(self.indices // PER_BEAT),
            write.data.eq(self.pair),
            write.en.eq(self.pair_write),
            place.base.eq(order.sample_address),
            place.number.eq(read.data.word_select(sample % PER_BEAT, DATA_BITS // PER_BEAT)),
            place.stride.eq(order.sample_bytes),
        ]
        with m.If(self.pair_write):
            m.d.sync += self.indices.eq(self.indices + PER_BEAT)

        # Counts times powers of two, or three: shifts, no multipliers.
        image_beats = order.count * (config.lanes * config.word // DATA_BITS)
        row_beats = Mux(order.buffer == isa.Buffer.PARAMETERS, order.count * RECORD_BEATS, image_beats)
        sample_beats = 1 + (order.sample_words * config.word + DATA_BITS - 1) // DATA_BITS

        def ask(address: Value, beats: Value | int) -> Value:
            """Offer a transfer; return whether it is accepted."""
            m.d.comb += [transfer.valid.eq(1), transfer.payload.address.eq(address), transfer.payload.beats.eq(beats)]
            return transfer.ready

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [address.eq(order.address), rows.eq(order.repeats)]
                m.d.sync += [sample.eq(0), asked.eq(0), self.indices.eq(0)]
                with m.If(self.start):
                    m.next = "ROW"
                    with m.If(order.opcode == isa.Opcode.GATHER):
                        m.next = "GATHER"
            with m.State("ROW"):
                with m.If(ask(address, row_beats)):
                    m.d.sync += [address.eq(address + order.address_stride), rows.eq(rows - 1)]
                    with m.If(rows == 1):
                        m.next = "WAIT"
            with m.State("GATHER"):
                with m.If(chunk_is_next(order, sample, asked)):
                    m.next = "CHUNK"
                with m.Elif(sample < self.indices):
                    m.next = "PLACE"
            with m.State("CHUNK"):
                with m.If(ask(address, CHUNK // PER_BEAT)):
                    m.d.sync += [address.eq(address + CHUNK // PER_BEAT * DATA_BYTES), asked.eq(asked + CHUNK)]
                    m.next = "GATHER"
            with m.State("PLACE"):
                m.d.comb += place.run.eq(1)
                with m.If(place.done):
                    m.next = "SAMPLE"
            with m.State("SAMPLE"):
                with m.If(ask(place.address, sample_beats)):
                    m.d.sync += sample.eq(sample + 1)
                    m.next = "GATHER"
                    with m.If(sample == order.count - 1):
                        m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(self.ends):
                    m.next = "IDLE"
        return m
