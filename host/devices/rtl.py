"""The verilated RTL as a device: generated Verilog, compiled once, with a DDR model behind it."""

from __future__ import annotations

from bnnedge.configuration import Configuration
from bnnedge.devices.accelerator import AcceleratorDevice

PORTS = 2
DDR_BYTES = 512 << 20  # as on a PYNQ-Z2; the operating system commits what is written


def open_rtl(configuration: Configuration) -> AcceleratorDevice:
    """Generate, compile (or find in the cache) and open the simulated accelerator of `configuration`."""
    from bnnedge.hw.generate import to_verilog  # not on a board
    from bnnedge.sim.verilated import VerilatedBus

    bus = VerilatedBus.from_verilog(to_verilog(configuration, checks=True), PORTS, size=DDR_BYTES)
    return AcceleratorDevice(bus, configuration, "rtl")
