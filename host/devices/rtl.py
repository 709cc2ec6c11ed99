"""The verilated RTL as a device: generated Verilog, compiled once, with a DDR model behind it."""

from __future__ import annotations

from bnnedge.configuration import Configuration
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.underway import underway

PORTS = 2
DDR_BYTES = 512 << 20  # as on a PYNQ-Z2; the operating system commits what is written


def open_rtl(configuration: Configuration) -> AcceleratorDevice:
    """Open the simulated accelerator of `configuration`: from the cache, or else generated and compiled.

    BuildError, a RuntimeError, if that fails.
    """
    from bnnedge.sim.verilated import VerilatedBus, library_of  # not on a board
    from bnnedge.sim.verilated.origin import origin

    def generate() -> str:
        with underway("generating the simulated accelerator's Verilog", "10 seconds to a minute"):
            from bnnedge.hw.generate import to_verilog

            return to_verilog(configuration, checks=True)

    bus = VerilatedBus(library_of(origin(configuration, checks=True), generate, PORTS), size=DDR_BYTES)
    return AcceleratorDevice(bus, configuration, "rtl")
