"""Benches that drive the generated Verilog through its bus ports, with cocotb on Verilator or Icarus Verilog.

For verification: cocotbext-axi's models are independent of ours, and stall as they like. To train, use
`bnnedge.sim.verilated`, which is ten times faster.
"""
