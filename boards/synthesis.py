"""Resources and logic delay of a board's design: Yosys alone maps the whole top for the part."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from bnnedge.boards import netlist, yosys
from bnnedge.boards.board import Board
from bnnedge.boards.generate import MODULE
from bnnedge.boards.zynq.top import Top
from bnnedge.configuration import Configuration
from bnnedge.hw.generate import convert
from bnnedge.hw.series7 import SERIES7
from bnnedge.underway import underway

# LUTs of cells that are called otherwise: inverters, shift registers and LUT RAM.
LUTS = {
    "INV": 1,
    "SRL16E": 1,
    "SRLC32E": 1,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM32M": 4,
    "RAM64M": 4,
}
TARGET = 6000  # ps: paths that are faster may be made smaller instead


@dataclasses.dataclass(frozen=True)
class Resources:
    """Cells: LUTs (logic, shift registers and RAM), flip-flops, block RAMs of 36 kbit, multiplier blocks.

    control_sets: different (clock, enable, set or reset) of the flip-flops, see `netlist.control_sets`.
    """

    lut: int
    ff: int
    bram36: float
    dsp: int
    control_sets: int

    @classmethod
    def of(cls, cells: Collection[netlist.Cell]) -> Resources:
        """Those of cells of a flat mapped netlist."""
        counts = Counter(cell["type"] for cell in cells)
        return cls(
            lut=sum(count * (1 if re.fullmatch(r"LUT\d", kind) else LUTS.get(kind, 0)) for kind, count in counts.items()),
            ff=sum(count for kind, count in counts.items() if kind.startswith("FD")),
            bram36=counts["RAMB36E1"] + counts["RAMB18E1"] / 2,
            dsp=counts["DSP48E1"],
            control_sets=netlist.control_sets(cells),
        )


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """What Yosys made of a board's design.

    total: of the top. units: of the accelerator's units by name, and of what is between and around them ("rest"); a control set
    counts in each unit that has it. logic_delay_ns: of the accelerator's slowest path from register to register, without wires.
    slowest: the cells of that path, from its end. unregistered: outputs of block RAMs and multiplier blocks that want a
    register, see `netlist.unregistered`.
    """

    total: Resources
    units: dict[str, Resources]
    logic_delay_ns: float
    slowest: list[str]
    unregistered: list[str]


def synthesise(board: Board, config: Configuration, log: Path) -> Synthesis:
    """Map the board's top; its units keep their borders, so that each has its share. `log` gets what Yosys says.

    Raises ModuleNotFoundError without pyosys, RuntimeError if Yosys fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with underway(f"synth: generating {config.name} for {board.title}", "half a minute"):
            text = convert(Top(board, config), MODULE, platform=SERIES7, language=rtlil)
        (folder / "top.il").write_text(text)
        units = re.findall(r"^module \\(\S+\.core\.[\w$]+)$", text, re.MULTILINE)
        clocked = f"{MODULE}.accelerator"  # its clock is a port: Yosys knows no arrival at an output of the processor
        passes = [
            f"scratchpad -set abc9.D {TARGET}",
            "read_rtlil top.il",
            *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in (clocked, *units)),
            yosys.HIDE_NAMES,
            *yosys.synth_xilinx(f"-family xc7 -abc9 -flatten -noiopad -top {MODULE}"),
            *(f"setattr -mod -unset keep_hierarchy {module}" for module in (clocked, *units)),
            "design -push-copy",
            "flatten",
            "write_json flat.json",
            "design -pop",
            f"hierarchy -top {clocked}",
            "flatten",
            "delete =$paramod*",  # cells read before, without their delays
            "read_verilog -lib -specify -overwrite +/xilinx/cells_sim.v",
            "tee -q -o timing.txt sta",
        ]
        with underway(f"synth: Yosys maps it for {board.part.name}", "5 to 10 minutes"):
            yosys.run(passes, folder, log)
        cells = json.loads((folder / "flat.json").read_text())["modules"][MODULE]["cells"]
        delay, slowest = _slowest((folder / "timing.txt").read_text())
    shares = _shares(cells, {name.rpartition(".")[2].partition("$")[0] for name in units})
    by_unit = {unit: Resources.of(share) for unit, share in shares.items()}
    return Synthesis(Resources.of(cells.values()), by_unit, delay, slowest, netlist.unregistered(cells))


def _shares(cells: Mapping[str, netlist.Cell], units: Collection[str]) -> dict[str, list[netlist.Cell]]:
    """The cells of each unit of the accelerator's core, and the others as "rest", by their names in the flattened top."""
    shares: dict[str, list[netlist.Cell]] = {unit: [] for unit in (*units, "rest")}
    for name, cell in cells.items():
        inside = re.match(r"accelerator\.core\.(\w+)(?:\$\d+)?\.", re.sub(r"\$flatten|\\", "", name))
        shares[inside[1] if inside and inside[1] in units else "rest"].append(cell)
    return shares


def _slowest(report: str) -> tuple[float, list[str]]:
    """Delay in ns of the slowest path in a report of Yosys's `sta`, and its cells from the end."""
    found = re.search(r"^Latest arrival time in '.*' is (\d+):$", report, re.MULTILINE)
    if not found:
        raise RuntimeError("Yosys reports no slowest path")
    path = report[found.end() :].partition("Warning: Endpoint")[0]
    return int(found[1]) / 1000, re.findall(r"^ *\d+ (\S+ \(\w+\.\S+\))$", path, re.MULTILINE)


def to_json(board: Board, config: Configuration, found: Synthesis) -> str:
    """The content of synth.json."""
    content: dict[str, Any] = {"board": board.name, "part": board.part.name, "configuration": config.name}
    return json.dumps(content | dataclasses.asdict(found), indent=2) + "\n"
