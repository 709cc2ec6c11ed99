"""The verilated RTL as a device: generated Verilog, compiled once, with a DDR model behind it."""

from __future__ import annotations

from bnnedge.configuration import Configuration
from bnnedge.devices.accelerator import AcceleratorDevice

PORTS = 2


def open_rtl(configuration: Configuration) -> AcceleratorDevice:
    """Generate, compile (or find in the cache) and open the simulated accelerator of `configuration`."""
    from bnnedge.hw.generate import to_verilog  # not on a board
    from bnnedge.sim.verilated import VerilatedBus

    bus = VerilatedBus.from_verilog(to_verilog(configuration), PORTS)
    return AcceleratorDevice(bus, configuration, "rtl")
