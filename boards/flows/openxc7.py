"""The open tools: Yosys, nextpnr-xilinx, Project X-Ray."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bnnedge.boards import yosys
from bnnedge.boards.board import Board
from bnnedge.boards.flows.flow import FlowError, Outcome, Progress, absent

PROGRAMS = ("yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit")
_BELS = {"SLICE_LUTX": "luts", "SLICE_FFX": "ffs", "RAMB36E1": "bram36", "DSP48E1": "dsps"}


class OpenXC7:
    """openXC7; its frequencies are optimistic, as nextpnr-xilinx leaves out paths from block RAMs and multipliers."""

    name = "openxc7"

    def missing(self, board: Board) -> list[str]:
        found = absent(PROGRAMS)
        for variable, file in (("CHIPDB", _chip(board)), ("PRJXRAY_DB_DIR", _part(board))):
            folder = os.environ.get(variable, "")
            if not folder or not Path(folder, file).is_file():
                found.append(f"a folder with {file} in the environment variable {variable} (now {folder!r})")
        return found

    def run(self, board: Board, clock_hz: int, sources: Path, progress: Progress) -> Outcome:
        part = board.part.name
        chips, database = Path(os.environ["CHIPDB"]), Path(os.environ["PRJXRAY_DB_DIR"])
        design = "bnnedge"
        passes = (
            f'read_verilog "{os.path.relpath(sources / "bnnedge.v", progress.folder)}"',  # the path itself may hold quotes
            *yosys.synth_xilinx(f"-flatten -abc9 -arch xc7 -top {design}"),
            "delete */t:$scopeinfo",  # nextpnr takes them for cells
            f"write_json {design}.json",
        )
        progress.begin("synthesis")
        progress.run(["yosys", "-p", "; ".join(passes)])
        progress.begin("placement and routing")
        log = progress.run(
            [
                *("nextpnr-xilinx", "--chipdb", str(chips / _chip(board)), "--xdc", str(sources / "bnnedge.xdc")),
                *("--json", f"{design}.json", "--fasm", f"{design}.fasm"),
                *("--freq", f"{clock_hz / 1e6:g}", "--timing-allow-fail"),
            ]
        )
        progress.begin("frames")
        progress.run(["fasm2frames", "--part", part, "--db-root", str(database / "zynq7"), f"{design}.fasm", f"{design}.frames"])
        progress.begin("bitstream")
        progress.run(
            [
                *("xc7frames2bit", "--part_file", str(database / _part(board)), "--part_name", part),
                *("--frm_file", f"{design}.frames", "--output_file", f"{design}.bit"),
            ]
        )
        return Outcome(progress.folder / f"{design}.bit", utilisation(log), fmax_hz(log))


def _chip(board: Board) -> str:
    """The file of nextpnr's chip database: named after the part without its speed grade."""
    return board.part.name.rsplit("-", 1)[0] + ".bin"


def _part(board: Board) -> str:
    """The file of the part in Project X-Ray's database."""
    return f"zynq7/{board.part.name}/part.yaml"


def utilisation(log: str) -> dict[str, tuple[float, float]]:
    """Used and available sites that nextpnr reports; it counts each LUT as two, which may share its inputs."""
    counts = {
        name: (float(used), float(there))
        for name, used, there in re.findall(r"^Info:\s+(\w+?)(?:_RAMB\w+|_DSP\w+)?:\s+(\d+)/\s*(\d+)", log, re.MULTILINE)
    }
    if lacking := [bel for bel in _BELS if bel not in counts]:
        raise FlowError(f"nextpnr-xilinx reports no number of {' or '.join(lacking)}")
    found = {name: counts[bel] for bel, name in _BELS.items()}
    whole, there = found["bram36"]
    found["bram36"] = (whole + counts.get("RAMB18E1", (0, 0))[0] / 2, there)
    return found


def fmax_hz(log: str) -> float:
    """The slowest clock's frequency after routing: the last that nextpnr reports for each."""
    found = dict(re.findall(r"Max frequency for clock\s+'([^']+)':\s+([\d.]+) MHz", log))
    if not found:
        raise FlowError("nextpnr-xilinx reports no frequency of a clock")
    return 1e6 * min(map(float, found.values()))
