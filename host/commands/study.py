"""`bnnedge study`: a grid of training runs, over all cores or a cluster, and its document."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from bnnedge.files import make_folder
from bnnedge.terminal import counted, printable
from bnnedge.underway import underway

if TYPE_CHECKING:
    from bnnedge.sim.study.table import Row


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "study", metavar="NAME|FILE.yaml", help="a built-in study, or a file; `list` names those there are; `memory` counts bytes"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="studies", help="folder for table, document and curves (default: studies)"
    )
    parser.add_argument(
        "--scheduler",
        type=_address,
        metavar="ADDRESS",
        help="of a dask cluster, tcp://HOST:8786 (default: workers here, one for each core)",
    )
    parser.add_argument(
        "--arrays",
        default="numpy",
        metavar="LIBRARY",
        help="that computes: numpy, torch, torch:cuda, cupy (default: numpy); the integer form gives the same bits with each",
    )
    parser.add_argument("--report", action="store_true", help="make the document of what the table has, and run nothing")


def _address(text: str) -> str:
    """What dask can connect to, for argparse: of anything else it waits for a minute, and then shows where it did."""
    if not re.fullmatch(r"(\w+://)?[^/\s]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"must be the address of a scheduler, such as tcp://HOST:8786, not {text!r}")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run what the table lacks; return the exit status: 1 if a run failed."""
    try:
        from bnnedge.sim.study import STUDIES, Table, load_study
    except ModuleNotFoundError as error:
        raise ValueError("studies train the golden model and float32 references, which are not installed here") from error
    if arguments.study == "list":
        for name in STUDIES:
            study = load_study(name)
            print(f"{name:16}{len(study.runs):4} runs  {study.title}")
        return 0
    if arguments.study == "memory":
        from bnnedge.sim.study import memory

        with underway("counting bytes of networks and batches", "1 to 5 minutes"):
            paths = memory.write(make_folder(arguments.out))
        print(*paths, sep="\n")
        return 0
    study = load_study(arguments.study)
    out = make_folder(arguments.out)
    table = Table(out / f"{study.name}.csv")
    left = [run for run in study.runs if run.key not in table.rows]
    print(f"{printable(study.title)}: {len(study.runs)} runs, {len(study.runs) - len(left)} of them done", flush=True)
    failures: list[str] = []
    if left and not arguments.report:
        if arguments.scheduler is None:
            from bnnedge.sim.arrays import library

            library(arguments.arrays)  # at once, and not once for every run
        try:
            from bnnedge.sim.study.scheduler import work

            with underway(f"training, {counted(len(left), 'run')} to go", "seconds to minutes each", after=2):
                failures = work(study.runs, table, arguments.scheduler, _show, arguments.arrays)
        except ModuleNotFoundError as error:
            raise ValueError(f"studies need the Python module {error.name}: pip install 'bnnedge[study]'") from error
    from bnnedge.sim.study.report import write

    for failure in failures:
        print(f"failed: {printable(failure)}", file=sys.stderr)
    for path in write(study, table, out) if table.rows else []:
        print(path)
    return 1 if failures else 0


def _show(row: Row, left: int) -> None:
    print(f"{printable(row.run.label)}, seed {row.run.seed}: {row.accuracy:.2%} in {row.seconds:.0f} s; {left} to go", flush=True)
