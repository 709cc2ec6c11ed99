"""Everything a board's build needs: Verilog, constraints, metadata, build script and manifest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bnnedge.boards.board import Board
from bnnedge.boards.flows.vivado import script
from bnnedge.boards.hwh import to_hwh
from bnnedge.boards.zynq.top import Top
from bnnedge.configuration import Configuration
from bnnedge.hw.generate import convert, without_sources, write
from bnnedge.hw.resources import block_rams, memories
from bnnedge.hw.series7 import SERIES7
from bnnedge.manifest import write_manifest
from bnnedge.underway import underway

MODULE = "bnnedge"
VERILOG, CONSTRAINTS, METADATA, SCRIPT = f"{MODULE}.v", f"{MODULE}.xdc", f"{MODULE}.hwh", f"{MODULE}.tcl"
BITSTREAM, REPORT = f"{MODULE}.bit", "build.json"
DESCRIBED = VERILOG, METADATA, BITSTREAM  # in the manifest


def generate(board: Board, config: Configuration, directory: Path) -> list[Path]:
    """Write the files to `directory`, which is made if need be; return them. ValueError if the part is too small.

    A bitstream that lies there is kept, and named in the manifest, if Verilog, constraints and script are the same as
    before (lines of the source that the Verilog names may have moved); otherwise it is deleted: files of a folder belong
    together.
    """
    check_size(board, config)
    with underway(f"generating the design of {config.name} for {board.title}", "half a minute to two minutes"):
        text = convert(Top(board, config), MODULE, platform=SERIES7, sources=True)
    files = {VERILOG: text, CONSTRAINTS: constraints(board), METADATA: to_hwh(board, config), SCRIPT: script(board, config)}
    before = {path.name: path.read_text() for path in directory.glob(f"{MODULE}.*") if path.name in files}
    if any(without_sources(before.get(name, "")) != without_sources(files[name]) for name in (VERILOG, CONSTRAINTS, SCRIPT)):
        for name in (BITSTREAM, REPORT):
            (directory / name).unlink(missing_ok=True)
    return [*write(directory, files), write_manifest(directory, config, DESCRIBED, board)]


def constraints(board: Board) -> str:
    """XDC: package pin and I/O standard of each port. The clock is the build script's: openXC7 knows ports alone."""
    lines = [f"# {board.title}, {board.part.name}"]
    for port, (pin, standard) in board.pins.items():
        lines.append(f"set_property PACKAGE_PIN {pin} [get_ports {port}]")
        lines.append(f"set_property IOSTANDARD {standard} [get_ports {port}]")
    return "\n".join(lines) + "\n"


def check_size(board: Board, config: Configuration) -> None:
    """ValueError if the configuration's memories exceed the part's block RAM."""
    needed, there = block_rams(config), board.part.bram36
    if needed > there:
        largest = max(memories(config), key=lambda memory: memory.block_rams)
        raise ValueError(
            f"configuration {config.name!r} does not fit {board.title}: it needs {needed:g} block RAMs, {board.part.name} "
            f"has {there} ({needed - there:g} too few); the {largest.name} takes {largest.block_rams:g} of them"
            f"{_remedy(config, there)}"
        )


def _remedy(config: Configuration, there: float) -> str:
    """Depths of the buffers, in eighths of the configuration's, that need no more block RAMs than there are."""
    for eighths in range(7, 0, -1):
        left, right = (max(depth * eighths // 8 & -64, 64) for depth in (config.left_depth, config.right_depth))
        if block_rams(dataclasses.replace(config, left_depth=left, right_depth=right)) <= there:
            return f"; with left_depth {left} and right_depth {right} it fits"
    return ""
