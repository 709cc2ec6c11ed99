"""From the processor's AXI3 master to the registers' AXI-Lite."""

from __future__ import annotations

import enum

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.boards.zynq.axi3 import Axi3
from bnnedge.hw.bus.axi import AxiLite

GP_DATA_BITS = 32
GP_ID_BITS = 12
OFFSET_BITS = 12


class Burst(enum.IntEnum):
    """How the address moves from beat to beat."""

    FIXED = 0
    INCR = 1
    WRAP = 2


# A burst under way: the offset of its present beat, and the beats behind that.
BURST = data.StructLayout({"id": GP_ID_BITS, "offset": OFFSET_BITS, "beats": 4, "length": 4, "size": 2, "kind": 2})


class RegisterBridge(wiring.Component):
    """Carries out bursts beat by beat, one of reads and one of writes at a time: a memcpy of the processor makes such.

    IDs are echoed; a burst of writes answers with the worst of its beats' responses. Addresses count modulo the size of
    the register file. Data of a write burst must not be interleaved with another's: the processor's ports don't do that.

    Members
    -------
    gp: in, from the processor. axi: out, to the registers.
    """

    def __init__(self) -> None:
        super().__init__({"gp": In(Axi3(GP_DATA_BITS, GP_ID_BITS)), "axi": Out(AxiLite())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._reads(m)
        self._writes(m)
        return m

    def _reads(self, m: Module) -> None:
        gp, axi = self.gp, self.axi
        burst = Signal(BURST, name="read_burst", reset_less=True)
        m.d.comb += [
            axi.araddr.eq(burst.offset),
            gp.rid.eq(burst.id),
            gp.rdata.eq(axi.rdata),
            gp.rresp.eq(axi.rresp),
            gp.rlast.eq(burst.beats == 0),
        ]
        with m.FSM(name="reads"):
            with m.State("IDLE"):
                m.d.comb += gp.arready.eq(1)
                m.d.sync += _begin(burst, gp.arid, gp.araddr, gp.arlen, gp.arsize, gp.arburst)
                with m.If(gp.arvalid):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += axi.arvalid.eq(1)
                with m.If(axi.arready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [gp.rvalid.eq(axi.rvalid), axi.rready.eq(gp.rready)]
                with m.If(axi.rvalid & gp.rready):
                    m.d.sync += _advance(burst)
                    m.next = "ADDRESS"
                    with m.If(gp.rlast):
                        m.next = "IDLE"

    def _writes(self, m: Module) -> None:
        gp, axi = self.gp, self.axi
        burst, response = Signal(BURST, name="write_burst", reset_less=True), Signal(2, reset_less=True)
        address_sent, data_sent = Signal(), Signal()
        m.d.comb += [
            axi.awaddr.eq(burst.offset),
            axi.wdata.eq(gp.wdata),
            axi.wstrb.eq(gp.wstrb),
            gp.bid.eq(burst.id),
            gp.bresp.eq(response),
        ]
        with m.FSM(name="writes"):
            with m.State("IDLE"):
                m.d.comb += gp.awready.eq(1)
                m.d.sync += _begin(burst, gp.awid, gp.awaddr, gp.awlen, gp.awsize, gp.awburst)
                m.d.sync += response.eq(0)
                with m.If(gp.awvalid):
                    m.next = "BEAT"
            with m.State("BEAT"):
                # A slave may take address and data in any order; the processor's beat stays until both are taken.
                m.d.comb += [
                    axi.awvalid.eq(gp.wvalid & ~address_sent),
                    axi.wvalid.eq(gp.wvalid & ~data_sent),
                    gp.wready.eq((address_sent | axi.awready) & (data_sent | axi.wready)),
                ]
                with m.If(gp.wvalid & gp.wready):
                    m.d.sync += [address_sent.eq(0), data_sent.eq(0)]
                    m.next = "ANSWER"
                with m.Elif(gp.wvalid):
                    m.d.sync += [address_sent.eq(address_sent | axi.awready), data_sent.eq(data_sent | axi.wready)]
            with m.State("ANSWER"):
                m.d.comb += axi.bready.eq(1)
                with m.If(axi.bvalid):
                    m.d.sync += [response.eq(Mux(axi.bresp > response, axi.bresp, response)), *_advance(burst)]
                    m.next = "BEAT"
                    with m.If(burst.beats == 0):
                        m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += gp.bvalid.eq(1)
                with m.If(gp.bready):
                    m.next = "IDLE"


def _begin(burst: data.View, id: Value, address: Value, length: Value, size: Value, kind: Value) -> list[object]:
    return [
        burst.id.eq(id),
        burst.offset.eq(address),
        burst.beats.eq(length),
        burst.length.eq(length),
        burst.size.eq(size),
        burst.kind.eq(kind),
    ]


def _advance(burst: data.View) -> list[object]:
    """Go on to the next beat: a first address that is not a multiple of the size counts from the multiple below it."""
    low = (1 << burst.size) - 1
    following = (burst.offset | low) + 1
    window = (burst.length << burst.size) | low  # of WRAP: length + 1 is a power of two
    wrapped = (burst.offset & ~window) | (following & window)
    moved = Mux(burst.kind == Burst.FIXED, burst.offset, Mux(burst.kind == Burst.WRAP, wrapped, following))
    return [burst.offset.eq(moved), burst.beats.eq(burst.beats - 1)]
