"""`bnnedge bitstream`: a board's bitstream, by a flow whose tools are installed."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnedge.boards import board
from bnnedge.boards.flows import FLOWS
from bnnedge.commands import options
from bnnedge.devices import DeviceError


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_board(parser, "which to build for")
    parser.add_argument("--flow", choices=FLOWS, default="vivado", help="tools to build with (default: vivado)")
    options.add_board_configuration(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: build/BOARD/CONFIG)")


def run(arguments: argparse.Namespace) -> int:
    """Build; return the exit status."""
    target = board(arguments.board)
    chosen = options.board_configuration(arguments, target.configuration)
    directory = Path(arguments.out or options.board_folder(target, chosen.name))
    options.check_folder(directory)
    try:
        from bnnedge.boards.build import build
    except ModuleNotFoundError as error:
        raise DeviceError(f"building needs the Python module {error.name}: pip install 'bnnedge[hw]'") from error
    report = build(target, chosen, directory, FLOWS[arguments.flow])
    for name, sites in report["utilisation"].items():
        print(f"{name:<8}{sites['used']:>9g} of {sites['available']:g} ({sites['used'] / sites['available']:.0%})")
    print(f"fmax    {report['fmax_hz'] / 1e6:9.1f} MHz, clock {report['clock_hz'] / 1e6:g} MHz")
    print(directory / "bnnedge.bit")
    return 0
