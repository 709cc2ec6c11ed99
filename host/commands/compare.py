"""`bnnedge compare`: runs side by side, as a table and as a page."""

from __future__ import annotations

import argparse

from bnnedge.report.comparison import compare, save_comparison, text
from bnnedge.report.run import load_run


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("first", metavar="DIR", help="of a run: the --out of `bnnedge train`")
    parser.add_argument("others", metavar="DIR", nargs="+", help="of the runs to compare it with")
    parser.add_argument("--out", metavar="FILE.html", help="also write a page with the curves over each other")


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; return the exit status."""
    comparison = compare([load_run(folder) for folder in (arguments.first, *arguments.others)])
    print(text(comparison))
    if arguments.out:
        save_comparison(arguments.out, comparison)
        print(f"\n{arguments.out}")
    return 0
