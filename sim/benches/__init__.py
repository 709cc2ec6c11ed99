"""Benches that drive the generated Verilog through its bus ports, with cocotb on Verilator or Icarus Verilog.

For verification: cocotbext-axi's models are independent of ours, and stall as they like. To train, use
`bnnedge.sim.verilated`, which is ten times faster. The names below are for benches of one's own, and stay as they are:
docs/how-to/own-bench.md begins one.
"""

from .build import SIMULATORS, configuration_of_bench, run_bench
from .bus import BASE, PERIOD, CocotbBus, Ddr

__all__ = ["BASE", "PERIOD", "SIMULATORS", "CocotbBus", "Ddr", "configuration_of_bench", "run_bench"]
