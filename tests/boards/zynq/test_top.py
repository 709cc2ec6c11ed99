"""The top converts to Verilog, and connects the processor by ports that exist, all of a bus's, in their full width."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from amaranth import ClockDomain, Module, Signal
from amaranth.sim import Simulator
from hardware import TINY

from bnnedge.boards import BOARDS
from bnnedge.boards.zynq import ps7
from bnnedge.boards.zynq.axi3 import Axi3
from bnnedge.boards.zynq.top import ResetSynchroniser, Top
from bnnedge.hw.generate import convert


def yosys_cells() -> Path:
    """Yosys's declarations of the vendor's primitives."""
    spec = importlib.util.find_spec("pyosys")
    if spec and spec.origin:
        return Path(spec.origin).parent / "share" / "xilinx" / "cells_xtra.v"
    pytest.skip("no Yosys with declarations of the primitives: pip install 'bnnedge[synth]'")


@pytest.fixture(scope="module")
def primitive() -> dict[str, tuple[str, int]]:
    """Direction and width of each port of PS7."""
    text = yosys_cells().read_text()
    begin = text.index("\nmodule PS7(")
    body = text[begin : text.index("endmodule", begin)]
    ports = re.findall(r"^ +(input|output|inout) (?:\[(\d+):0\] )?(\w+);", body, re.MULTILINE)
    return {name: (direction, int(high or 0) + 1) for direction, high, name in ports}


def connected() -> dict[str, Any]:
    hp = {number: Axi3(64, 6).flip().create() for number in (0, 2)}
    gp0 = Axi3(32, 12).create()
    return ps7.connections(Signal(), Signal(4), Signal(4), Signal(), gp0, hp)


def test_every_connected_port_exists(primitive: dict[str, tuple[str, int]]) -> None:
    directions = {"i": "input", "o": "output"}
    for name, value in connected().items():
        assert primitive[name[2:]] == (directions[name[0]], len(value)), name


def test_no_port_of_a_connected_bus_is_left_out(primitive: dict[str, tuple[str, int]]) -> None:
    names = {name[2:] for name in connected()}
    for bus in ("MAXIGP0", "SAXIHP0", "SAXIHP2"):
        lacking = {name.removeprefix(bus) for name in primitive if name.startswith(bus)} - {n.removeprefix(bus) for n in names}
        # Fill levels and the limits that registers of the processor set otherwise.
        counts = {"RCOUNT", "WCOUNT", "RACOUNT", "WACOUNT", "RDISSUECAP1EN", "WRISSUECAP1EN"}
        assert lacking <= {"ARESETN", *counts}, bus


@pytest.fixture(scope="module")
def verilog() -> str:
    return convert(Top(BOARDS["pynq-z2"], TINY), "bnnedge")


def test_the_ports_are_the_pins(verilog: str) -> None:
    (header,) = re.findall(r"^module bnnedge\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)
    assert sorted(header.replace(" ", "").split(",")) == sorted(BOARDS["pynq-z2"].pins)


def test_the_processor_and_its_clock_buffer_are_cells_of_the_top(verilog: str) -> None:
    top = verilog[verilog.index("module bnnedge(") :]
    top = top[: top.index("endmodule")]
    assert top.count(" PS7 ps7 (") == 1, "constraints name the cell"
    clock = dict(re.findall(r"\.(\w+ACLK)\((\w+)\)", top))
    assert clock == dict.fromkeys(("MAXIGP0ACLK", "SAXIHP0ACLK", "SAXIHP2ACLK"), "clk")
    assert re.search(r"BUFG buffer \(\s+\.I\(.*\[0\]\),\s+\.O\(clk\)", top)
    assert verilog.count("ASYNC_REG") == 1


def test_reset_comes_at_once_and_goes_with_the_clock() -> None:
    m = Module()
    m.domains.sync = ClockDomain(reset_less=True)
    m.submodules.dut = dut = ResetSynchroniser()
    found = []

    async def bench(ctx: Any) -> None:
        for assert_n in (1, 1, 1, 0, 0, 1, 1, 1):
            ctx.set(dut.assert_n, assert_n)
            await ctx.delay(1e-9)
            found.append(ctx.get(dut.reset))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [1, 1, 0, 1, 1, 1, 1, 0]
