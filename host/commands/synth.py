"""`bnnedge synth`: resources and logic delay of a board's design, by Yosys alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bnnedge.boards import Board, board
from bnnedge.commands import options
from bnnedge.configuration import Configuration
from bnnedge.devices import DeviceError
from bnnedge.files import atomic, make_folder

if TYPE_CHECKING:
    from bnnedge.boards.synthesis import Synthesis


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_board(parser, "whose part to map the design for")
    options.add_board_configuration(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for synth.json and synth.log (default: build/BOARD/CONFIG)")


def run(arguments: argparse.Namespace) -> int:
    """Synthesise; return the exit status."""
    target = board(arguments.board)
    chosen = options.board_configuration(arguments, target.configuration)
    directory = make_folder(arguments.out or options.board_folder(target, chosen.name))
    log = directory / "synth.log"
    try:
        from bnnedge.boards.synthesis import synthesise, to_json

        found = synthesise(target, chosen, log)
    except ModuleNotFoundError as error:
        raise DeviceError(f"synthesis needs the Python module {error.name}: pip install 'bnnedge[hw,synth]'") from error
    with atomic(directory / "synth.json") as file:
        file.write(to_json(target, chosen, found).encode())
    print(table(target, chosen, found))
    print(directory / "synth.json")
    check(target, chosen, found)
    return 0


KINDS = {"lut": "LUTs", "ff": "flip-flops", "bram36": "block RAMs", "dsp": "multiplier blocks"}


def available(target: Board) -> dict[str, int]:
    """What the board's part has, by the names in `Resources`."""
    part = target.part
    return {"lut": part.luts, "ff": part.ffs, "bram36": part.bram36, "dsp": part.dsps}


def check(target: Board, config: Configuration, found: Synthesis) -> None:
    """ValueError if the part is too small."""
    lacks = []
    for kind, there in available(target).items():
        needed = getattr(found.total, kind)
        if needed > there:
            lacks.append(f"{needed:g} {KINDS[kind]}, {target.part.name} has {there} ({needed - there:g} too few)")
    if lacks:
        raise ValueError(f"configuration {config.name!r} does not fit {target.title}: it needs {'; '.join(lacks)}")


def table(target: Board, config: Configuration, found: Synthesis) -> str:
    """Resources by unit with the part's share, cost of the engine, the slowest path, and where registers are missing."""
    part, there = target.part, available(target)
    lines = [f"{'unit':<18}{'LUT':>9}{'FF':>9}{'BRAM36':>9}{'DSP':>9}{'control sets':>15}"]
    units = sorted(found.units.items(), key=lambda item: -item[1].lut)
    for name, unit in (*units, ("all", found.total)):
        counts = "".join(f"{getattr(unit, kind):>9g}" for kind in there)
        lines.append(f"{name:<18}{counts}{unit.control_sets:>15}")
    lines.append(f"{'of ' + part.name:<18}" + "".join(f"{getattr(found.total, kind) / there[kind]:>9.1%}" for kind in there))
    operations = config.lanes**2 * config.word
    lines.append(f"engine: {found.units['array'].lut / operations:.2f} LUTs per bit-operation ({operations:,} a cycle)")
    lines.append(f"slowest path: {found.logic_delay_ns:.2f} ns of logic, to {found.slowest[0] if found.slowest else '?'}")
    lines += [f"without a register: {path}" for path in found.unregistered]
    return "\n".join(lines)
