"""`bnnedge notebooks`: copies of the notebooks, to work in."""

from __future__ import annotations

import argparse

from bnnedge.notebooks import copy


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", metavar="DIR", help="where to; what was changed there is not overwritten")


def run(arguments: argparse.Namespace) -> int:
    """Copy; return the exit status."""
    for path in copy(arguments.folder):
        print(path)
    return 0
