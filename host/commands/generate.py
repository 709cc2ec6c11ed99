"""`bnnedge generate`: the accelerator's Verilog and its manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnedge.commands import options
from bnnedge.configuration import configuration
from bnnedge.devices import DeviceError


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_configuration(parser, "pynq-z2")
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: build/CONFIG)")


def run(arguments: argparse.Namespace) -> int:
    """Generate; return the exit status."""
    chosen = configuration(arguments.config or "pynq-z2")
    try:
        from bnnedge.hw.generate import generate
    except ModuleNotFoundError as error:
        raise DeviceError(f"generating needs the Python module {error.name}: pip install 'bnnedge[hw]'") from error
    for path in generate(chosen, Path(arguments.out or Path("build") / chosen.name)):
        print(path)
    return 0
