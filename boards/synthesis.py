"""Resources and logic delay of a board's design: Yosys alone maps the whole top for the part."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
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
    """Cells: LUTs (logic, shift registers and RAM), flip-flops, block RAMs of 36 kbit, multiplier blocks."""

    lut: int
    ff: int
    bram36: float
    dsp: int

    @classmethod
    def of(cls, cells: Mapping[str, int]) -> Resources:
        """Those of mapped cells, counted by type."""
        return cls(
            lut=sum(count * (1 if re.fullmatch(r"LUT\d", kind) else LUTS.get(kind, 0)) for kind, count in cells.items()),
            ff=sum(count for kind, count in cells.items() if kind.startswith("FD")),
            bram36=cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2,
            dsp=cells.get("DSP48E1", 0),
        )


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """What Yosys made of a board's design.

    total: of the top. units: of the accelerator's units by name, and of what is between and around them. logic_delay_ns: of the
    accelerator's slowest path from register to register, without wires. slowest: the cells of that path, from its end.
    unregistered: outputs of block RAMs and multiplier blocks that want a register, see `netlist.unregistered`.
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
            f"synth_xilinx -family xc7 -abc9 -flatten -noiopad -top {MODULE}",
            "tee -q -o counts.json stat -json",
            *(f"setattr -mod -unset keep_hierarchy {unit}" for unit in units),
            f"hierarchy -top {clocked}",
            "flatten",
            "write_json flat.json",
            "delete =$paramod*",  # cells read before, without their delays
            "read_verilog -lib -specify -overwrite +/xilinx/cells_sim.v",
            "tee -q -o timing.txt sta",
        ]
        with underway(f"synth: Yosys maps it for {board.part.name}", "5 to 10 minutes"):
            yosys.run(passes, folder, log)
        counts, flat, timing = (folder / name for name in ("counts.json", "flat.json", "timing.txt"))
        modules = json.loads(counts.read_text())["modules"]
        core = json.loads(flat.read_text())["modules"][clocked]
        delay, slowest = _slowest(timing.read_text())
    cells = {name.lstrip("\\"): Counter(module["num_cells_by_type"]) for name, module in modules.items()}
    total = Resources.of(sum(cells.values(), Counter()))
    rest = sum((kinds for name, kinds in cells.items() if name not in units), Counter())
    by_unit = {name.rpartition(".")[2].partition("$")[0]: Resources.of(cells[name]) for name in units}
    return Synthesis(total, by_unit | {"rest": Resources.of(rest)}, delay, slowest, netlist.unregistered(core["cells"]))


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
