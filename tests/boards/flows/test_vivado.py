"""The Vivado flow with a program that pretends to be Vivado: script, reports, faults."""

from __future__ import annotations

import dataclasses
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
printf 'a bitstream' >bnnedge.bit
"""


def fake(slack: str = "0.312", utilisation: str = UTILISATION) -> str:
    return FAKE.format(utilisation=utilisation, timing=TIMING.replace("SLACK", slack))


def test_the_script_reads_what_is_generated_and_has_no_project() -> None:
    text = script(BOARD, TINY)
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert set(re.findall(r"\$sources/([\w.]+)", text)) == {"bnnedge.v", "bnnedge.xdc"}
    assert f"synth_design -top $top -part {BOARD.part.name}" in commands
    assert "write_bitstream -force $top.bit" in commands
    assert not re.search(r"project|board_part|create_bd|start_gui|launch_runs|\bip\b", text)
    assert text.count("{") == text.count("}")
    order = [line.split()[0] for line in commands]
    stages = [
        "read_verilog",
        "synth_design",
        "opt_design",
        "place_design",
        "route_design",
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
    steps = ["start", "synthesis", "optimisation", "placement", "routing", "reports", "bitstream"]
    assert list(report["seconds"]) == ["generation", *steps]
    assert (out / "bnnedge.bit").read_bytes() == b"a bitstream"


@pytest.mark.usefixtures("converted")
def test_slack_below_zero_is_too_slow(tmp_path: Path, tool: Tool) -> None:
    tool("vivado", fake("-0.740"))
    with pytest.raises(FlowError, match=r"reaches 93\.1 MHz, less than its clock of 100 MHz: try --clock 93"):
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
