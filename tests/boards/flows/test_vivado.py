"""The Vivado flow with a program that pretends to be Vivado: script, reports, faults."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hardware import TINY
from pretend import BOARD, Tool

from bnnedge.boards.build import build
from bnnedge.boards.flows.flow import FlowError
from bnnedge.boards.flows.vivado import Vivado, script, utilisation, worst_slack

UTILISATION = """\
1. Slice Logic
--------------

+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| Slice LUTs                 | 31204 |     0 |          0 |     53200 | 58.65 |
|   LUT as Logic             | 28004 |     0 |          0 |     53200 | 52.64 |
| Slice Registers            | 45601 |     0 |          0 |    106400 | 42.86 |
+----------------------------+-------+-------+------------+-----------+-------+

3. Memory
---------

+-------------------+-------+-------+------------+-----------+-------+
|     Site Type     |  Used | Fixed | Prohibited | Available | Util% |
+-------------------+-------+-------+------------+-----------+-------+
| Block RAM Tile    | 128.5 |     0 |          0 |       140 | 91.79 |
|   RAMB36/FIFO*    |   127 |     0 |          0 |       140 | 90.71 |
+-------------------+-------+-------+------------+-----------+-------+

| DSPs           |   26 |     0 |          0 |       220 | 11.82 |
"""

TIMING = """\
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
      SLACK        0.000                      0               123456        0.021        0.000
"""

USED = {"luts": (31204, 53200), "ffs": (45601, 106400), "bram36": (128.5, 140), "dsps": (26, 220)}

# Takes its script as Vivado does, and leaves what that script asks for.
FAKE = """\
for last; do script=$last; done
case "$*" in *"-mode batch"*) ;; *) echo "no batch mode"; exit 1 ;; esac
grep -o '^step .*' "$script" | while read -r _ name; do echo "bnnedge step: $name"; echo "Phase 1"; done
cat >utilization.rpt <<'END'
{utilisation}
END
cat >timing.rpt <<'END'
{timing}
END
{end}
"""
# What becomes of a script that ends with an error, in batch mode.
REFUSED = "echo 'ERROR: a path misses its setup time'; exit 1"


def fake(slack: str = "0.312", end: str = "printf 'a bitstream' >bnnedge.bit") -> str:
    return FAKE.format(utilisation=UTILISATION, timing=TIMING.replace("SLACK", slack), end=end)


def test_the_script_reads_what_is_generated_and_has_no_project() -> None:
    text = script(BOARD, TINY)
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert set(re.findall(r"\$sources/([\w.]+)", text)) == {"bnnedge.v", "bnnedge.xdc"}
    assert f"synth_design -top $top -part {BOARD.part.name}" in commands
    assert "write_bitstream -force $top.bit" in commands
    assert not re.search(r"project|board_part|create_bd|start_gui|launch_runs|\bip\b", text)
    order = [line.split()[0] for line in commands]
    assert "write_checkpoint -force routed.dcp" in commands
    assert f"set_property BITSTREAM.CONFIG.USERID {TINY.digest:#010x} [current_design]" in commands
    stages = [
        "read_verilog",
        "synth_design",
        "opt_design",
        "place_design",
        "route_design",
        "write_checkpoint",
        "report_utilization",
        "write_bitstream",
    ]
    assert [name for name in order if name in stages] == stages


@pytest.mark.parametrize(("clock_hz", "period"), [(100_000_000, "10.000"), (93_000_000, "10.752"), (142_857_143, "6.999")])
def test_the_period_is_never_longer_than_the_clocks(clock_hz: int, period: str) -> None:
    text = script(BOARD, dataclasses.replace(TINY, clock_hz=clock_hz))
    assert f"create_clock -name fabric -period {period} [get_pins {{ps7/FCLKCLK[0]}}]" in text
    assert float(period) <= 1e9 / clock_hz


@pytest.mark.usefixtures("converted")
def test_build(tmp_path: Path, tool: Tool) -> None:
    tool("vivado", fake())
    out = tmp_path / "with space"
    report = build(BOARD, TINY, out, Vivado())
    assert report["utilisation"] == {name: {"used": used, "available": there} for name, (used, there) in USED.items()}
    assert report["fmax_hz"] == round(1e9 / (10 - 0.312))
    steps = ["start", "synthesis", "optimisation", "placement", "routing", "reports", "timing", "bitstream"]
    assert list(report["seconds"]) == ["generation", *steps]
    assert (out / "bnnedge.bit").read_bytes() == b"a bitstream"


class Interpreter:
    """Runs a script in Tcl, with commands that only note how they are called.

    slack: what the paths have, of setup and of hold; "" if there are none.
    """

    def __init__(self, text: str, folder: Path, slack: tuple[str, str] = ("0.3", "0.02")) -> None:
        tkinter = pytest.importorskip("tkinter", reason="Python is without Tcl here")
        self.calls: list[tuple[str, ...]] = []
        self.script = folder / "sources" / "bnnedge.tcl"
        self.script.parent.mkdir()
        self.script.write_text(text)
        self.tcl = tkinter.Tcl()
        commands = set(re.findall(r"^([a-z]+_[a-z_]+)\b", text, re.MULTILINE))
        for name in commands | {"current_design", "get_timing_paths", "get_property"}:
            self.tcl.createcommand(name, lambda *words, name=name: self._call(name, *words))
        self.slack = dict(zip(("-setup", "-hold"), slack, strict=True))
        self.tcl.eval(f"cd {{{folder}}}")

    def _call(self, name: str, *words: str) -> str:
        self.calls.append((name, *words))
        return words[-1] if name == "get_timing_paths" else self.slack[words[-1]] if name == "get_property" else name

    def run(self) -> list[str]:
        """The commands that were called, without those that only look."""
        self.tcl.eval(f"source {{{self.script}}}")
        return [name for name, *_ in self.calls if not name.startswith(("get_", "current_"))]


def test_the_script_runs(tmp_path: Path) -> None:
    interpreter = Interpreter(script(BOARD, TINY), tmp_path)
    called = interpreter.run()
    assert called[-2:] == ["set_property", "write_bitstream"]
    assert called.count("read_xdc") == 2
    assert ("read_verilog", str(tmp_path / "sources" / "bnnedge.v")) in interpreter.calls
    assert ("set_property", "BITSTREAM.CONFIG.USERID", f"{TINY.digest:#010x}", "current_design") in interpreter.calls
    assert (tmp_path / "clocks.xdc").read_text() == (
        "create_clock -name fabric -period 10.000 [get_pins {ps7/FCLKCLK[0]}]\n"
        "set_false_path -to [get_ports {led_busy led_error}]\n"
    )


def test_a_board_without_lights(tmp_path: Path) -> None:
    interpreter = Interpreter(script(dataclasses.replace(BOARD, pins={}), TINY), tmp_path)
    interpreter.run()
    assert (tmp_path / "clocks.xdc").read_text() == "create_clock -name fabric -period 10.000 [get_pins {ps7/FCLKCLK[0]}]\n"


@pytest.mark.parametrize(
    ("slack", "message"),
    [
        (("-0.74", "0.02"), "a path misses its setup time by 0.74 ns, see timing.rpt: no bitstream is written"),
        (("0.3", "-0.015"), "a path misses its hold time by 0.015 ns"),
        (("", "0.02"), "no path has a setup time: are there clocks"),
    ],
)
def test_a_design_that_misses_its_clock_gets_no_bitstream(tmp_path: Path, slack: tuple[str, str], message: str) -> None:
    interpreter = Interpreter(script(BOARD, TINY), tmp_path, slack)
    with pytest.raises(Exception, match=message):
        interpreter.run()
    called = [name for name, *_ in interpreter.calls]
    assert "write_bitstream" not in called
    assert {"write_checkpoint", "report_timing_summary"} <= set(called), "what was routed is kept"


@pytest.mark.parametrize("end", [REFUSED, "printf 'a bitstream' >bnnedge.bit"])
@pytest.mark.usefixtures("converted")
def test_slack_below_zero_is_too_slow(tmp_path: Path, tool: Tool, end: str) -> None:
    tool("vivado", fake("-0.740", end))
    with pytest.raises(FlowError, match=r"reaches 93\.1 MHz, less than its clock of 100 MHz: try --clock 93; the"):
        build(BOARD, TINY, tmp_path, Vivado())
    assert not (tmp_path / "bnnedge.bit").exists()
    report = json.loads((tmp_path / "build.json").read_text())
    assert (report["fmax_hz"], report["bitstream_sha256"] is None) == (93109870, end == REFUSED)


@pytest.mark.usefixtures("converted")
def test_an_error_of_another_kind(tmp_path: Path, tool: Tool) -> None:
    tool("vivado", fake("0.1", "echo 'ERROR: a path misses its hold time by 0.015 ns'; exit 1"))
    with pytest.raises(FlowError, match=r"vivado failed in step 'bitstream' .*\n(.*\n)*ERROR: a path misses its hold time"):
        build(BOARD, TINY, tmp_path, Vivado())


@pytest.mark.usefixtures("converted")
def test_no_slack_is_enough(tmp_path: Path, tool: Tool) -> None:
    tool("vivado", fake("0.000"))
    config = dataclasses.replace(TINY, clock_hz=93_000_000)
    assert build(BOARD, config, tmp_path, Vivado())["fmax_hz"] == 93_000_000


def test_missing(tool: Tool) -> None:
    assert Vivado().missing(BOARD) == ["vivado on PATH"]
    tool("vivado", "true")
    assert Vivado().missing(BOARD) == []


def test_reports_of_other_versions() -> None:
    older = re.sub(r"( *)Prohibited \|", "", UTILISATION).replace("|          0 |     ", "|     ")
    assert utilisation(older) == USED
    assert utilisation(UTILISATION.replace("Slice LUTs ", "Slice LUTs*")) == USED
    assert worst_slack(TIMING.replace("SLACK", "-12.5")) == -12.5


def test_faulty_reports(tmp_path: Path, tool: Tool) -> None:
    with pytest.raises(FlowError, match="utilisation report has no line Slice LUTs or DSPs"):
        utilisation(UTILISATION.replace("Slice LUTs", "CLB LUTs").replace("DSPs", "DSP"))
    with pytest.raises(FlowError, match="timing report has no worst slack: are there clocks"):
        worst_slack(TIMING.replace("SLACK", "   NA"))
