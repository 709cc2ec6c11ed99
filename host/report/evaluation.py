"""What the trained network of a run makes of the test set."""

from __future__ import annotations

import dataclasses

import numpy as np

from bnnedge.data import DataError, load
from bnnedge.data.labels import check_classes
from bnnedge.data.places import NAMES
from bnnedge.report.run import Run
from bnnedge.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Confusion:
    """counts: test images, (classes, classes) int64: of true class (row), taken for class (column)."""

    counts: np.ndarray

    @property
    def accuracy(self) -> float:
        """Part of the images on the diagonal, 0..1."""
        return float(np.trace(self.counts) / self.counts.sum())

    def most_confused(self, most: int = 5) -> list[tuple[int, int, int]]:
        """(true class, taken for, images) of the most frequent mistakes, the most frequent one first."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        found = [(int(i // len(wrong)), int(i % len(wrong))) for i in order]
        return [(true, taken, int(wrong[true, taken])) for true, taken in found if wrong[true, taken]]


def confusion(run: Run, data: str | None = None) -> Confusion:
    """Evaluate the run's checkpoint on the test set in the golden model.

    data: the data set's name or file; by default the name in the report. ValueError (`DataError`, `CheckpointError`) says
    why it can't be done.
    """
    named = run.report["data"]
    # A report may come from a stranger: it chooses among the sets that have names, and no file of this machine.
    if data is None and named not in ("digits", *NAMES):
        raise DataError(f"the data set {named!r} is needed, see option --data, which takes a file, too")
    try:
        images = load(data or named)
    except DataError as error:
        if data:
            raise
        raise DataError(f"the data set {named!r} is needed, see option --data; {error}") from error
    with Trainer.load(run.checkpoint, "golden") as trainer:
        step = trainer.plan.step if trainer.plan else 0
        if trainer.network != run.network or step != run.report["steps"]:
            raise ValueError(
                f"{run.checkpoint} (network {trainer.network.name!r}, step {step}) is not what report.json describes "
                f"(network {run.network.name!r}, step {run.report['steps']})"
            )
        classes = run.network.classes
        check_classes(f"y_test of {images.name}", images.y_test, classes)
        taken = trainer.predict(images.x_test).argmax(1)
    return Confusion(np.bincount(images.y_test * classes + taken, minlength=classes**2).reshape(classes, classes))
