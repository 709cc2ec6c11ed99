"""`bnnedge study`: a grid of training runs, over all cores or a cluster, and its document."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnnedge.callbacks.periodic import MINUTES
from bnnedge.commands import options
from bnnedge.files import make_folder
from bnnedge.report.progress import can_show
from bnnedge.terminal import counted, printable
from bnnedge.underway import underway

if TYPE_CHECKING:
    from bnnedge.sim.study import Run, Table


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "study",
        metavar="NAME|FILE.yaml",
        help="a built-in study, or a file; `list` names those there are; `memory` counts bytes; `fine-tuning`: on few images",
    )
    parser.add_argument(
        "--out", metavar="DIR", default="studies", help="folder for table, document and curves (default: studies)"
    )
    parser.add_argument(
        "--scheduler",
        type=_address,
        metavar="ADDRESS",
        help="of a dask cluster, tcp://HOST:8786 (default: workers here)",
    )
    parser.add_argument(
        "--workers",
        type=options.positive,
        metavar="N",
        help="runs side by side, each in one thread (default: as many as there are cores and memory for)",
    )
    parser.add_argument(
        "--save-every",
        type=options.minutes,
        metavar="MINUTES",
        help="within an epoch, between two saves of a run's state, from which it goes on after a kill (default: "
        f"{MINUTES:g}); another one comes as an epoch ends",
    )
    parser.add_argument(
        "--arrays",
        default="numpy",
        metavar="LIBRARY",
        help="that computes: numpy, torch, torch:cuda, cupy (default: numpy); the integer form gives the same bits with each",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="make the document of what there is, with the curves so far of runs that go on or were stopped, and run nothing",
    )


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
    if arguments.study in ("memory", "fine-tuning"):
        _check_alone(arguments)
    if arguments.study == "memory":
        from bnnedge.sim.study import memory

        with underway("counting bytes of networks and batches", "1 to 5 minutes"):
            paths = memory.write(make_folder(arguments.out))
        print(*paths, sep="\n")
        return 0
    if arguments.study == "fine-tuning":
        from bnnedge.sim.study import finetuning

        with underway("fine-tuning on few images", "10 to 30 minutes") as say:
            paths = finetuning.write(make_folder(arguments.out), say)
        print(*paths, sep="\n")
        return 0
    if arguments.scheduler and arguments.workers:
        raise ValueError("--workers are those of this machine: leave it out with --scheduler, whose cluster has its own")
    study = load_study(arguments.study)
    out = make_folder(arguments.out)
    table = Table(out / f"{study.name}.csv")
    missing = [run for run in study.runs if run.key not in table.rows]
    left = [run for run in missing if not run.independent]
    print(f"{printable(study.title)}: {len(study.runs)} runs, {len(study.runs) - len(missing)} of them done", flush=True)
    if len(missing) > len(left):
        print(_left_out(missing, arguments), flush=True)
    failures = _work(left, table, arguments) if left and not arguments.report else []
    from bnnedge.sim.study.kept import unfinished
    from bnnedge.sim.study.report import write

    for failure in failures:
        print(f"failed: {printable(failure, chr(10))}", file=sys.stderr)
    on_the_way = unfinished(table.folder, [run for run in study.runs if run.key not in table.rows])
    for path in write(study, table, out, on_the_way) if table.rows or on_the_way else []:
        print(path)
    return 1 if failures else 0


def _check_alone(arguments: argparse.Namespace) -> None:
    """ValueError for options of grids, which a study that is none would not heed."""
    given = {"--scheduler": arguments.scheduler, "--workers": arguments.workers, "--report": arguments.report}
    given["--arrays"], given["--save-every"] = arguments.arrays != "numpy", arguments.save_every is not None
    for option in (option for option, value in given.items() if value):
        raise ValueError(f"{option} is of studies that are grids of runs, and {arguments.study!r} has its own way: leave it out")


def _left_out(missing: Sequence[Run], arguments: argparse.Namespace) -> str:
    """A line on those runs that another program makes, and how."""
    from bnnedge.sim.study.grid import PROGRAM

    seeds: dict[str, list[str]] = {}
    for run in missing:
        if run.independent:
            seeds.setdefault(printable(run.label), []).append(str(run.seed))
    rows = "; ".join(f"{label}, {'seeds' if len(of) > 1 else 'seed'} {', '.join(of)}" for label, of in seeds.items())
    command = shlex.join(["python", PROGRAM, arguments.study, "--out", arguments.out])
    return f"not trained here, but by {printable(command)}: {rows}"


def _work(left: Sequence[Run], table: Table, arguments: argparse.Namespace) -> list[str]:
    """Carry out these runs, which the table lacks; return what failed."""
    if arguments.scheduler is None:
        from bnnedge.sim.arrays import library

        library(arguments.arrays)  # at once, and not once for every run
    with contextlib.ExitStack() as stack:
        say = stack.enter_context(underway(f"training, {counted(len(left), 'run')} to go", after=2)) if can_show() else None
        try:
            from bnnedge.sim.study.progress import Progress
            from bnnedge.sim.study.scheduler import work

            watch = Progress(left, table.rows.values(), say)
            return work(
                left,
                table,
                arguments.scheduler,
                watch,
                arguments.arrays,
                every=60 * (MINUTES if arguments.save_every is None else arguments.save_every),
                workers=arguments.workers,
            )
        except ModuleNotFoundError as error:
            raise ValueError(f"studies need the Python module {error.name}: pip install 'bnnedge[study]'") from error
        except KeyboardInterrupt:
            if table.folder.exists():  # else there is nothing yet, and the lines above say which runs have ended
                print(f"\n{printable(str(table.folder))} keeps the states of runs: the same command goes on", file=sys.stderr)
            raise
