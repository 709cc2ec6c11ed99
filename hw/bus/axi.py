"""Signatures of the AXI ports, as far as the accelerator uses them; member names are those of the specification."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import registers

ADDRESS_BITS = 32
DATA_BITS = 64
DATA_BYTES = DATA_BITS // 8
BURST_BEATS = 16  # AXI3 (Zynq-7000) allows no more


class Axi4(wiring.Signature):
    """A master's port: 64-bit data, incrementing bursts of at most 16 beats, one ID."""

    def __init__(self) -> None:
        address = {"id": 1, "addr": ADDRESS_BITS, "len": 8, "size": 3, "burst": 2, "valid": 1}
        super().__init__(
            {
                **{f"aw{name}": Out(bits) for name, bits in address.items()},
                "awready": In(1),
                "wdata": Out(DATA_BITS),
                "wstrb": Out(DATA_BYTES),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                **{f"ar{name}": Out(bits) for name, bits in address.items()},
                "arready": In(1),
                "rid": In(1),
                "rdata": In(DATA_BITS),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiLite(wiring.Signature):
    """A master's port with 32-bit data, for the registers; flip it for a slave."""

    def __init__(self) -> None:
        super().__init__(
            {
                "awaddr": Out(registers.ADDRESS_BITS),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(registers.ADDRESS_BITS),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
