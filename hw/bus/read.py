"""The reading half of a memory port, shared by a few clients."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.bus.axi import ADDRESS_BITS, BURST_BEATS, DATA_BITS, Axi4
from bnnedge.hw.bus.burst import TRANSFER, Bursts
from bnnedge.hw.checks import check

QUEUE_BEATS = 64  # per client: covers latency * bandwidth of one port, 40 cycles * 8 bytes, with bursts to spare
OUTSTANDING = 8


class ReadMaster(wiring.Component):
    """Fetches transfers; an address goes out only when its data has a place to stay, so the port never holds back data.

    Members
    -------
    transfer_i, beat_i: client i's transfers (in stream) and their data in order (out stream). The lowest i goes first.
    axi: the port's read channels. flush: in, issue no more. idle: out, no burst outstanding.
    error, error_address: out, one cycle: a burst got an error response.
    """

    def __init__(self, clients: int) -> None:
        self.clients = clients
        members = {}
        for i in range(clients):
            members[f"transfer_{i}"] = In(stream.Signature(TRANSFER))
            members[f"beat_{i}"] = Out(stream.Signature(DATA_BITS))
        super().__init__(
            {
                **members,
                "axi": Out(Axi4()),
                "flush": In(1),
                "idle": Out(1),
                "error": Out(1),
                "error_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        owner_layout = data.StructLayout({"client": range(max(2, self.clients)), "address": ADDRESS_BITS})
        m.submodules.owners = owners = fifo.SyncFIFOBuffered(width=owner_layout.size, depth=OUTSTANDING)
        owner = data.View(owner_layout, owners.r_data)
        fresh = Signal(owner_layout)
        address, length = Signal(ADDRESS_BITS, reset_less=True), Signal.like(axi.arlen, reset_less=True)
        error_address = Signal(ADDRESS_BITS, reset_less=True)
        issued = axi.arvalid & axi.arready

        m.d.comb += [
            axi.arsize.eq(3),
            axi.arburst.eq(1),
            axi.araddr.eq(address),
            axi.arlen.eq(length),
            axi.rready.eq(1),
            owners.r_en.eq(axi.rvalid & axi.rlast),
            self.error_address.eq(error_address),
            self.idle.eq(owners.level == 0),  # a burst is there from its claim to its last beat
        ]
        m.d.sync += [
            self.error.eq(axi.rvalid & (axi.rresp != 0)),
            error_address.eq(owner.address),
        ]
        with m.If(issued):
            m.d.sync += axi.arvalid.eq(0)

        claim = ~axi.arvalid & ~self.flush & owners.w_rdy
        for i in range(self.clients):
            m.submodules[f"bursts_{i}"] = bursts = Bursts()
            m.submodules[f"queue_{i}"] = queue = fifo.SyncFIFOBuffered(width=DATA_BITS, depth=QUEUE_BEATS)
            beat = getattr(self, f"beat_{i}")
            wiring.connect(m, wiring.flipped(getattr(self, f"transfer_{i}")), bursts.transfer)
            mine = Signal(name=f"mine_{i}")
            promised = Signal(range(QUEUE_BEATS + 1), name=f"promised_{i}")  # beats in the queue or on their way to it
            m.d.comb += [
                mine.eq(axi.rvalid & (owner.client == i)),
                queue.w_en.eq(mine),
                queue.w_data.eq(axi.rdata),
                beat.valid.eq(queue.r_rdy),
                beat.payload.eq(queue.r_data),
                queue.r_en.eq(beat.ready),
                bursts.burst.ready.eq(claim & (promised <= QUEUE_BEATS - BURST_BEATS)),
            ]
            takes = bursts.burst.valid & bursts.burst.ready
            beats = bursts.burst.payload.beats
            with m.If(takes):
                m.d.sync += [axi.arvalid.eq(1), address.eq(bursts.burst.payload.address), length.eq(beats - 1)]
                m.d.comb += [fresh.client.eq(i), fresh.address.eq(bursts.burst.payload.address), owners.w_en.eq(1)]
            taken = Signal(range(BURST_BEATS + 1), name=f"taken_{i}")
            with m.If(takes):
                m.d.comb += taken.eq(beats)
            m.d.sync += promised.eq(promised + taken - (beat.valid & beat.ready))
            claim = claim & ~takes
            check(m, platform, queue.w_en, queue.w_rdy, "memory port: a beat that was read finds no room")
        m.d.comb += owners.w_data.eq(fresh)
        check(m, platform, axi.rvalid, owners.r_rdy, "memory port: rvalid without a burst")
        return m
