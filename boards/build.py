"""From a board and a configuration to a bitstream and its report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bnnedge.boards.board import Board
from bnnedge.boards.flows.flow import Flow, FlowError, Progress
from bnnedge.boards.generate import BITSTREAM, DESCRIBED, MODULE, REPORT, VERILOG, check_size, generate
from bnnedge.configuration import Configuration
from bnnedge.files import atomic, sha256
from bnnedge.hw.generate import write
from bnnedge.manifest import write_manifest


def build(board: Board, config: Configuration, directory: Path, flow: Flow) -> dict[str, Any]:
    """Generate into `directory`, run the flow in a folder of it, and put the bitstream and build.json there.

    Returns what build.json says. Before anything is written, ValueError if the part is too small, FlowError if tools are
    missing. FlowError also if a tool fails, or if the design does not reach the clock: then build.json tells the
    frequency, and the bitstream, if there is any, stays in the flow's folder: a board that runs it would compute nonsense.
    """
    if missing := flow.missing(board):
        raise FlowError(f"flow {flow.name} needs {'; '.join(missing)}: see docs/boards.md")
    check_size(board, config)
    directory = directory.absolute()
    folder = directory / f"{MODULE}.{flow.name}"
    with Progress(flow.name, folder) as progress:
        progress.begin("generation")
        for name in (BITSTREAM, REPORT):
            (directory / name).unlink(missing_ok=True)
        generate(board, config, directory)
        shutil.rmtree(folder, ignore_errors=True)  # nothing of an earlier build can pass for this one's
        folder.mkdir()
        outcome = flow.run(board, config.clock_hz, directory, progress)
        progress.end()
    made, fmax_hz = outcome.bitstream, round(outcome.fmax_hz)
    if made and not made.exists():
        raise FlowError(f"{flow.name} ended without an error, but wrote no {made}")
    report = {
        "board": board.name,
        "part": board.part.name,
        "configuration": config.name,
        "flow": flow.name,
        "clock_hz": config.clock_hz,
        "fmax_hz": fmax_hz,
        "utilisation": {name: {"used": used, "available": there} for name, (used, there) in outcome.utilisation.items()},
        "seconds": progress.seconds,
        "verilog_sha256": sha256(directory / VERILOG),
        "bitstream_sha256": sha256(made) if made else None,
    }
    write(directory, {REPORT: json.dumps(report, indent=2) + "\n"})
    if made is None or fmax_hz < config.clock_hz:
        kept = f"the bitstream stays in {made}" if made else f"there is no bitstream of it; reports are in {folder}"
        raise FlowError(
            f"the design reaches {fmax_hz / 1e6:.1f} MHz, less than its clock of {config.clock_hz / 1e6:g} MHz: "
            f"try --clock {fmax_hz // 10**6}; {kept}"
        )
    with atomic(directory / BITSTREAM) as file:
        file.write(made.read_bytes())
    write_manifest(directory, config, DESCRIBED, board)
    return report
