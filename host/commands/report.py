"""`bnnedge report`: a page about a run, made of what `bnnedge train` left."""

from __future__ import annotations

import argparse

from bnnedge.commands import options
from bnnedge.report.evaluation import Confusion, confusion
from bnnedge.report.page import save_page
from bnnedge.report.run import Run, load_run
from bnnedge.terminal import printable
from bnnedge.underway import underway


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", metavar="DIR", help="of a run: the --out of `bnnedge train`")
    parser.add_argument("--data", metavar="NAME|FILE.npz", help="its data set (default: the one of the report's name)")


def run(arguments: argparse.Namespace) -> int:
    """Write report.html into the run's folder; return the exit status."""
    found = load_run(arguments.folder)
    path = found.folder / "report.html"
    options.check_unasked(path)
    with underway("evaluating the network on its test set, and estimating a step", "up to a minute", after=2):
        matrix = _confusion(found, arguments.data)
        save_page(path, found, matrix)
    if found.unfinished:
        print(f"{printable(found.name)}: {found.unfinished}")
    print(path)
    return 0


def _confusion(found: Run, data: str | None) -> Confusion | str:
    """The confusion matrix, or why there is none; only for a data set that was asked for is that an error."""
    try:
        return confusion(found, data)
    except (ValueError, OSError) as error:
        if data is not None:
            raise
        print(f"no confusion matrix: {error}")
        return str(error)
