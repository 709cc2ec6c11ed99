"""`bnnedge generate`: the accelerator's Verilog and its manifest, or all that the build for a board needs."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnedge.boards import board
from bnnedge.commands import options
from bnnedge.devices import DeviceError


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    text = "also write constraints, build script and metadata for pynq"
    options.add_board(parser, text, required=False)
    options.add_board_configuration(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: build/CONFIG, or build/BOARD/CONFIG)")


def run(arguments: argparse.Namespace) -> int:
    """Generate; return the exit status."""
    target = board(arguments.board) if arguments.board else None
    chosen = options.board_configuration(arguments, target.configuration if target else "pynq-z2")
    folder = options.board_folder(target, chosen.name) if target else Path("build", chosen.name)
    directory = Path(arguments.out or folder)
    options.check_folder(directory)
    try:
        if target:
            from bnnedge.boards.generate import generate as generate_for

            files = generate_for(target, chosen, directory)
        else:
            from bnnedge.hw.generate import generate

            files = generate(chosen, directory)
    except ModuleNotFoundError as error:
        raise DeviceError(f"generating needs the Python module {error.name}: pip install 'bnnedge[hw]'") from error
    for path in files:
        print(path)
    return 0
