"""AXI3, which the processor's ports speak, and the accelerator's AXI4 on it."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.bus.axi import ADDRESS_BITS, DATA_BITS, Axi4

HP_ID_BITS = 6
BUFFERABLE_MODIFIABLE = 0b0011  # AxCACHE[1] lets the port pack beats: without it a burst reaches memory in pieces


class Axi3(wiring.Signature):
    """A master's port; member names are those of the specification."""

    def __init__(self, data_bits: int, id_bits: int) -> None:
        address = {
            "id": id_bits,
            "addr": ADDRESS_BITS,
            "len": 4,
            "size": 2,  # of 3: no port of a Zynq-7000 is wider than 8 bytes
            "burst": 2,
            "lock": 2,
            "cache": 4,
            "prot": 3,
            "qos": 4,
            "valid": 1,
        }
        super().__init__(
            {
                **{f"aw{name}": Out(bits) for name, bits in address.items()},
                "awready": In(1),
                "wid": Out(id_bits),
                "wdata": Out(data_bits),
                "wstrb": Out(data_bits // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(id_bits),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                **{f"ar{name}": Out(bits) for name, bits in address.items()},
                "arready": In(1),
                "rid": In(id_bits),
                "rdata": In(data_bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class MemoryPort(wiring.Component):
    """An AXI4 memory port of the accelerator as AXI3 for a high-performance port.

    The accelerator's bursts have 16 beats at most, as AXI3 demands, and one ID: all IDs are 0, so that WID is AWID.

    Members
    -------
    axi4: in, the accelerator's port. axi3: out, to the processor.
    """

    def __init__(self) -> None:
        super().__init__({"axi4": In(Axi4()), "axi3": Out(Axi3(DATA_BITS, HP_ID_BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, member in self.axi3.signature.members.items():
            if name in self.axi4.signature.members and name not in ("awid", "bid", "arid", "rid"):
                inner, outer = getattr(self.axi4, name), getattr(self.axi3, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        m.d.comb += [self.axi3.awcache.eq(BUFFERABLE_MODIFIABLE), self.axi3.arcache.eq(BUFFERABLE_MODIFIABLE)]
        return m
