"""The vendor's tools, driven by a script of our own: no project, no block design, no board files."""

from __future__ import annotations

import re
from pathlib import Path

from bnnedge.boards.board import Board
from bnnedge.boards.flows.flow import FlowError, Outcome, Progress, absent
from bnnedge.configuration import Configuration

_MARK = "bnnedge step: "
_SITES = {"Slice LUTs": "luts", "Slice Registers": "ffs", "Block RAM Tile": "bram36", "DSPs": "dsps"}

_SCRIPT = """\
# vivado -mode batch -source bnnedge.tcl
# Reads the files beside this script; leaves routed.dcp, the reports and, if the design is fast enough, bnnedge.bit in the
# working directory.
set sources [file dirname [file normalize [info script]]]
set top bnnedge
proc step {{name}} {{ puts "{mark}$name"; flush stdout }}

# The processor sets the clock's frequency, so that only its period is stated here. Nobody times a light.
set clocks [open clocks.xdc w]
puts $clocks {{create_clock -name fabric -period {period:.3f} [get_pins {{ps7/FCLKCLK[0]}}]}}
{lights}close $clocks

step synthesis
read_verilog [list $sources/bnnedge.v]
read_xdc [list $sources/bnnedge.xdc]
read_xdc clocks.xdc
synth_design -top $top -part {part}

step optimisation
opt_design

step placement
place_design
phys_opt_design

step routing
route_design
write_checkpoint -force routed.dcp

step reports
report_utilization -file utilization.rpt
report_timing_summary -file timing.rpt
report_drc -file drc.rpt

# What misses its clock computes nonsense: there is no bitstream of it.
step timing
foreach {{kind check}} {{-setup "setup time" -hold "hold time"}} {{
    set slack [get_property SLACK [get_timing_paths -max_paths 1 -nworst 1 $kind]]
    if {{$slack eq ""}} {{ error "no path has a $check: are there clocks?" }}
    if {{$slack < 0}} {{ error "a path misses its $check by [expr {{-$slack}}] ns, see timing.rpt: no bitstream is written" }}
}}

step bitstream
# The digest of the configuration, as in manifest.json and in the register CONFIGURATION.
set_property BITSTREAM.CONFIG.USERID {digest:#010x} [current_design]
write_bitstream -force $top.bit
"""


def script(board: Board, config: Configuration) -> str:
    """The Tcl script that builds the bitstream."""
    picoseconds = 10**12 // config.clock_hz  # which Vivado counts in; rounded to the stricter side
    lights = f"puts $clocks {{set_false_path -to [get_ports {{{' '.join(board.pins)}}}]}}\n" if board.pins else ""
    period = picoseconds / 1000
    return _SCRIPT.format(mark=_MARK, part=board.part.name, period=period, lights=lights, digest=config.digest)


class Vivado:
    """Vivado in batch mode."""

    name = "vivado"

    def missing(self, board: Board) -> list[str]:
        return absent(["vivado"])

    def run(self, board: Board, clock_hz: int, sources: Path, progress: Progress) -> Outcome:
        command = ["vivado", "-mode", "batch", "-notrace", "-nojournal", "-nolog", "-source", str(sources / "bnnedge.tcl")]
        progress.begin("start")
        timing = progress.folder / "timing.rpt"
        bitstream: Path | None = progress.folder / "bnnedge.bit"
        try:
            progress.run(command, mark=_MARK)
        except FlowError:
            if not timing.exists() or worst_slack(timing.read_text()) >= 0:
                raise
            bitstream = None  # the script's own refusal: the design is too slow
        used = utilisation(_report(progress.folder / "utilization.rpt"))
        return Outcome(bitstream, used, 1e9 / (1e9 / clock_hz - worst_slack(_report(timing))))


def utilisation(report: str) -> dict[str, tuple[float, float]]:
    """Used and available sites in a report of report_utilization; FlowError if it lacks some."""
    found = {}
    for line in report.splitlines():
        site, *columns = (cell.strip() for cell in line.strip("| ").split("|"))
        if len(columns) >= 4 and site.rstrip("*") in _SITES:
            # Used, Fixed, Prohibited (of late), Available, Util%.
            found[_SITES[site.rstrip("*")]] = (float(columns[0]), float(columns[-2]))
    if lacking := [site for site, name in _SITES.items() if name not in found]:
        raise FlowError(f"vivado's utilisation report has no line {' or '.join(lacking)}")
    return found


def worst_slack(report: str) -> float:
    """Worst negative slack in ns (positive if there is time left) in a report of report_timing_summary."""
    found = re.search(r"^ *WNS\(ns\).*\n[ -]+\n *(-?\d+\.\d+)", report, re.MULTILINE)
    if not found:
        raise FlowError("vivado's timing report has no worst slack: are there clocks?")
    return float(found[1])


def _report(path: Path) -> str:
    if not path.exists():
        raise FlowError(f"vivado ended without an error, but wrote no {path}")
    return path.read_text()
