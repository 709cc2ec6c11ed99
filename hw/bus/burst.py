"""Cuts a transfer into bursts that AXI3 allows."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.bus.axi import ADDRESS_BITS, BURST_BEATS, DATA_BYTES
from bnnedge.hw.checks import check

# A run of 64-bit beats behind a DDR address (a multiple of 8). The longest is an UPDATE's: 2**24 rows of four beats.
TRANSFER = data.StructLayout({"address": ADDRESS_BITS, "beats": 26})
BURST = data.StructLayout({"address": ADDRESS_BITS, "beats": range(BURST_BEATS + 1)})


class Bursts(wiring.Component):
    """One transfer in, bursts out; a burst ends at each multiple of 128 bytes, so none crosses 4 KB.

    Members
    -------
    transfer: in stream; ready when the one before has been cut to its end. burst: out stream. busy: out, a transfer has
    not been cut to its end.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "transfer": In(stream.Signature(TRANSFER)),
                "burst": Out(stream.Signature(BURST)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        address, left = Signal(ADDRESS_BITS, reset_less=True), Signal.like(self.transfer.payload.beats)
        room = Signal(range(BURST_BEATS + 1))
        beats = self.burst.payload.beats
        place = address[DATA_BYTES.bit_length() - 1 :][: BURST_BEATS.bit_length() - 1]
        m.d.comb += [
            room.eq(BURST_BEATS - place),
            self.burst.payload.address.eq(address),
            self.busy.eq(left != 0),
            self.transfer.ready.eq(~self.busy),
        ]
        start = self.transfer.payload.address
        accepted = self.transfer.valid & self.transfer.ready
        check(m, platform, accepted, start % DATA_BYTES == 0, "memory port: a transfer begins within a beat, at {}", start)
        with m.If(accepted):
            m.d.sync += [address.eq(self.transfer.payload.address), left.eq(self.transfer.payload.beats)]
        with m.Elif(self.burst.valid & self.burst.ready):
            m.d.sync += [address.eq(address + (beats << 3)), left.eq(left - beats), self.burst.valid.eq(0)]
        with m.Else():
            m.d.sync += [beats.eq(Mux(left < room, left, room)), self.burst.valid.eq(self.busy)]
        return m
