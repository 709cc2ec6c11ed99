"""The verilated RTL as a device: generated Verilog, compiled once, with a DDR model behind it."""

from __future__ import annotations

from bnnedge.configuration import Configuration
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.waves import TracedDevice, Waves
from bnnedge.underway import underway

PORTS = 2
DDR_BYTES = 512 << 20  # as on a PYNQ-Z2; the operating system commits what is written


def open_rtl(configuration: Configuration, waves: Waves | None = None) -> AcceleratorDevice:
    """Open the simulated accelerator of `configuration`: from the cache, or else generated and compiled.

    waves: what to write of its signals. That takes another compilation, and the steps in question take many times as long.
    BuildError, a RuntimeError, if that fails; OSError if the file of waveforms cannot be written.
    """
    from bnnedge.sim.verilated import VerilatedBus, library_of  # not on a board
    from bnnedge.sim.verilated.origin import origin

    options = {"checks": True, "states": True} if waves else {"checks": True}

    def generate() -> str:
        with underway("generating the simulated accelerator's Verilog", "10 seconds to a minute"):
            from bnnedge.hw.generate import to_verilog

            return to_verilog(configuration, **options)

    if waves:
        waves.check()
    trace = waves.format if waves else None
    library = library_of(lambda: origin(configuration, **options), generate, PORTS, trace=trace)
    bus = VerilatedBus(library, size=DDR_BYTES)
    return TracedDevice(bus, configuration, "rtl", waves) if waves else AcceleratorDevice(bus, configuration, "rtl")
