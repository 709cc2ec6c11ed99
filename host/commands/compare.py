"""`bnnedge compare`: runs side by side, as a table and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnedge.commands import options
from bnnedge.report.comparison import compare, save_comparison, text
from bnnedge.report.run import load_run


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("first", metavar="DIR", help="of a run: the --out of `bnnedge train`")
    parser.add_argument("others", metavar="DIR", nargs="+", help="of the runs to compare it with")
    parser.add_argument("--out", metavar="FILE.html", help="also write a page with the curves over each other")


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; return the exit status."""
    out = Path(arguments.out) if arguments.out else None
    if out:
        options.check_file(out)
    comparison = compare([load_run(folder) for folder in (arguments.first, *arguments.others)])
    print(text(comparison), file=options.beside(out) if out else None)
    if out:
        save_comparison(out, comparison)
        print(f"\n{out}", file=options.beside(out))
    return 0
