"""The float32 standard and the paper's method by PyTorch, as the rows of a study whose model is "pytorch" or "pytorch-method".

    python tests/benchmarks/standard.py cifar10 --out studies

An independent program: layers, gradients, optimiser and batch norm are PyTorch's (`torch_step`), and the loop over the images
is its own. With the package it shares the data, the augmentation, and the table, in which it leaves a row for each run that ends.
A run that is stopped goes on where it was, as those of `bnnedge study` do, which makes the other rows; not at the same time. It
ends with the same bits if it has the same number of threads: PyTorch adds in another order with others.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, cast

import numpy as np
import torch
import torch_step

from bnnedge.callbacks.periodic import MINUTES
from bnnedge.commands.options import positive
from bnnedge.data.augment import Epochs
from bnnedge.files import alone, make_folder
from bnnedge.sim.reference import Course
from bnnedge.sim.reference.training import cosine_rate, variation
from bnnedge.sim.study import Run, Study, Table, load_study
from bnnedge.sim.study.kept import Keeper, Kept, cleaned, dropped, place
from bnnedge.sim.study.progress import Progress
from bnnedge.sim.study.scheduler import TAKEN
from bnnedge.sim.study.table import Row
from bnnedge.sim.study.training import Samples, augment_of, carry_out, network_of, row_of
from bnnedge.terminal import counted, printable


def train(run: Run, samples: Samples, arrays: object, keeper: Keeper, kept: Kept | None) -> Row:
    """Train what a run says, as `bnnedge.sim.study.training.Train` has it."""
    method, batches = run.model == "pytorch-method", len(samples.x) // run.batch
    training = torch_step.Training(network_of(run, samples), run.rate, run.seed, method=method)
    if not 2 <= run.batch <= len(samples.x):
        raise ValueError(f"batch must be in 2..{len(samples.x)}, the number of training images, not {run.batch}")
    course, shown = Course(cast(Any, training), run.epochs, batches), Epochs(samples.x, augment_of(run))
    labels, *test = (torch.tensor(array) for array in (samples.y.astype(np.int64), samples.x_test, samples.y_test))
    if kept is not None:
        course.restore(cast(dict[str, np.ndarray], kept.state))
    while course.epoch < run.epochs:
        images = torch.tensor(shown.show(course.epoch, variation(run.seed, course.epoch)))
        order = torch.from_numpy(np.random.default_rng((run.seed, course.epoch)).permutation(len(images)))
        while course.steps < batches:
            chosen = order[course.steps * run.batch :][: run.batch]
            rate = cosine_rate(run.rate, course.epoch * batches + course.steps, run.epochs * batches)
            loss, right = training.step(images[chosen], labels[chosen], rate)
            course.took(loss, right)
            keeper.went_on(course.share, course.history.test_accuracy, lambda: ((), course.state()))
        course.closed(run.batch, training.accuracy(*test))
        keeper.went_on(course.share, course.history.test_accuracy, lambda: ((), course.state()))
    return row_of(run, course.history)


def work(study: Study, table: Table, every: float = 60 * MINUTES) -> None:
    """Carry out those independent runs of a study that its table lacks, one after the other; ValueError for what can't be.

    every: seconds between two saves of a run's state within an epoch.
    """
    with alone(table.folder, TAKEN):
        table.read()
        left = [run for run in study.runs if run.independent and run.key not in table.rows]
        print(f"{printable(study.title)}: {counted(len(left), 'run')} of PyTorch to go", flush=True)
        watch = Progress(left, table.rows.values(), None)
        watch.began(1)
        for number, run in enumerate(left, 1):
            keeper = Keeper(run, table.folder, every, lambda told, run=run: watch.went_on(run, told))  # type: ignore[misc]
            row = carry_out(run, keeper=keeper, train=train)
            table.add(row)
            dropped(place(table.folder, run))
            watch.ended(run, row, len(left) - number)
        cleaned(table.folder, table.rows)


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", metavar="NAME|FILE.yaml", help="a study, as bnnedge study takes it")
    parser.add_argument("--out", metavar="DIR", default="studies", help="folder of the table (default: studies)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of PyTorch (default: 1)")
    a = parser.parse_args(arguments)
    torch.set_num_threads(a.threads)
    try:
        study = load_study(a.study)
        work(study, Table(make_folder(a.out) / f"{study.name}.csv"))
    except (ValueError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
