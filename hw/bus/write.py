"""The writing half of a memory port."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.bus.axi import ADDRESS_BITS, BURST_BEATS, DATA_BITS, Axi4
from bnnedge.hw.bus.burst import TRANSFER, Bursts
from bnnedge.hw.checks import check

QUEUE_BEATS = 64
OUTSTANDING = 8


class WriteMaster(wiring.Component):
    """Writes transfers; an address goes out only when its burst's data are all here: the port never waits for them.

    Members
    -------
    transfer, beat: in streams. axi: the port's write channels. flush: in, issue no more. idle: out, nothing outstanding.
    done: out, all transfers accepted so far have been acknowledged by memory.
    error, error_address: out, one cycle: a burst got an error response.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "transfer": In(stream.Signature(TRANSFER)),
                "beat": In(stream.Signature(DATA_BITS)),
                "axi": Out(Axi4()),
                "flush": In(1),
                "idle": Out(1),
                "done": Out(1, init=1),
                "error": Out(1),
                "error_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.bursts = bursts = Bursts()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=DATA_BITS, depth=QUEUE_BEATS)
        # Beats of the bursts whose data are still to be sent, and addresses of those not yet answered.
        m.submodules.lengths = lengths = fifo.SyncFIFOBuffered(width=5, depth=OUTSTANDING)
        m.submodules.addresses = addresses = fifo.SyncFIFOBuffered(width=ADDRESS_BITS, depth=OUTSTANDING)
        wiring.connect(m, wiring.flipped(self.transfer), bursts.transfer)

        burst, beats = bursts.burst, bursts.burst.payload.beats
        address, length = Signal(ADDRESS_BITS, reset_less=True), Signal.like(axi.awlen, reset_less=True)
        error_address = Signal(ADDRESS_BITS, reset_less=True)
        uncommitted = Signal(range(QUEUE_BEATS + 2))  # beats in the queue that belong to no burst yet
        takes = burst.valid & burst.ready
        committed = Signal(range(BURST_BEATS + 1))
        m.d.comb += [
            axi.awsize.eq(3),
            axi.awburst.eq(1),
            axi.awaddr.eq(address),
            axi.awlen.eq(length),
            burst.ready.eq(~axi.awvalid & ~self.flush & (uncommitted >= beats) & lengths.w_rdy & addresses.w_rdy),
            lengths.w_en.eq(takes),
            lengths.w_data.eq(beats),
            addresses.w_en.eq(takes),
            addresses.w_data.eq(burst.payload.address),
            queue.w_en.eq(self.beat.valid & self.beat.ready),
            queue.w_data.eq(self.beat.payload),
        ]
        # Ready from a register, for whoever computes with it; two beats may come before it sees the queue fill up.
        m.d.sync += self.beat.ready.eq(queue.level < QUEUE_BEATS - 1)
        with m.If(takes):
            m.d.comb += committed.eq(beats)
            m.d.sync += [axi.awvalid.eq(1), address.eq(burst.payload.address), length.eq(beats - 1)]
        with m.Elif(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        m.d.sync += uncommitted.eq(uncommitted + queue.w_en - committed)

        sent = Signal(range(BURST_BEATS))
        m.d.comb += [
            axi.wvalid.eq(lengths.r_rdy & queue.r_rdy),
            axi.wdata.eq(queue.r_data),
            axi.wstrb.eq(-1),
            axi.wlast.eq(sent == lengths.r_data - 1),
            queue.r_en.eq(axi.wvalid & axi.wready),
            lengths.r_en.eq(axi.wvalid & axi.wready & axi.wlast),
        ]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += sent.eq(sent + 1)
            with m.If(axi.wlast):
                m.d.sync += sent.eq(0)

        m.d.comb += [
            axi.bready.eq(1),
            addresses.r_en.eq(axi.bvalid),
            self.error_address.eq(error_address),
            self.idle.eq(addresses.level == 0),  # a burst is there from its claim to its response
        ]
        check(m, platform, axi.bvalid, addresses.r_rdy, "memory port: bvalid without a burst")
        m.d.sync += self.done.eq(self.idle & ~bursts.busy & ~self.transfer.valid)
        m.d.sync += [self.error.eq(axi.bvalid & (axi.bresp != 0)), error_address.eq(addresses.r_data)]
        return m
