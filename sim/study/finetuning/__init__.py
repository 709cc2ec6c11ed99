"""Fine-tuning on few images: a network that was trained in float32 is imported, and meets images of another kind.

The paper's MLP is trained in float32 on MNIST, and then, on few images of a new condition or with two new classes, on the device
and in float32. The table has a row for each run as it ends; a study that was stopped goes on with the runs that lack.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bnnedge import data
from bnnedge.files import atomic
from bnnedge.sim.study.finetuning.document import markdown
from bnnedge.sim.study.finetuning.experiment import Experiment
from bnnedge.sim.study.finetuning.grid import runs
from bnnedge.sim.study.finetuning.table import read, save

__all__ = ["write"]

NAME = "fine-tuning"


def write(folder: Path, say: Callable[[str], object] = lambda text: None) -> list[Path]:
    """Carry out what the table in `folder` lacks, and write the document; ValueError if the file is no such table.

    say: is told how far it is.
    """
    from threadpoolctl import threadpool_limits  # only here: the compiler's estimates of the document need no study

    table, document = folder / f"{NAME}.csv", folder / f"{NAME}.md"
    rows, wanted = read(table) if table.exists() else {}, runs()
    missing = [run for run in wanted if run not in rows]
    experiment = Experiment(data.load("mnist")) if missing else None
    # Sums of floats go by the number of threads, and signs of latent weights by the sums.
    with threadpool_limits(1, "blas"):
        for done, run in enumerate(missing):
            assert experiment is not None
            say(f"fine-tuning, run {len(wanted) - len(missing) + done + 1} of {len(wanted)}")
            rows[run] = experiment.carry_out(run)
            save(table, rows.values())
    rows = {run: rows[run] for run in wanted}
    save(table, rows.values())
    with atomic(document) as file:
        file.write(markdown(rows, table.name).encode())
    return [table, document]
