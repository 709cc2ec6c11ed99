"""What the trained network of a run makes of the test set."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from bnnedge.data import DataError, Dataset, load
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


def origin(given: str, data: Dataset) -> dict[str, Any]:
    """What a report says of its data set, loaded as `given`: where its files lie (None: it has a name), and a digest."""
    path = None if given in ("digits", *NAMES) else os.fsencode(os.path.abspath(given)).decode("utf-8", "replace")
    return {"data_path": path, "data_sha256": _digest(data)}


def _digest(data: Dataset) -> str:
    """SHA-256 of all images and labels, and of their shapes."""
    found = hashlib.sha256()
    for array in (data.x_train, data.y_train, data.x_test, data.y_test):
        found.update(f"{array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def images_of(run: Run, download: bool = False, otherwise: str = "--data evaluates on what it is now") -> Dataset:
    """The data set of a run, if it is still the same; `DataError` if not.

    download: fetch it, if it has a name and is not on this machine. otherwise: what would work, if it has changed.
    """
    named, path, digest = (run.report.get(key) for key in ("data", "data_path", "data_sha256"))
    own = f"the data set {named!r} is needed, see option --data"
    # A report may come from a stranger. It chooses among the sets that have names, or an ordinary file or folder of which it
    # must know the content.
    if path is None:
        if named not in ("digits", *NAMES):
            raise DataError(f"{own}, which takes a file, too")
        path = named
    elif not digest or not (os.path.isfile(path) or os.path.isdir(path)):
        raise DataError(f"{own}: {path} is not there any more")
    try:
        found = load(path, download=download)
    except DataError as error:
        raise DataError(f"{own}; {error}") from error
    if digest and _digest(found) != digest:
        raise DataError(f"{own}: {path} is no longer what the run was trained on; {otherwise}")
    return found


def confusion(run: Run, data: str | None = None) -> Confusion:
    """Evaluate the run's checkpoint on the test set in the golden model.

    data: the data set's name or file; by default the one that the run had, as long as it is the same. ValueError
        (`DataError`, `CheckpointError`) says why it can't be done.
    """
    images = images_of(run) if data is None else load(data)
    with Trainer.load(run.checkpoint, "golden") as trainer:
        step = trainer.plan.step if trainer.plan else 0
        # Of a run that goes on, or was killed, the checkpoint may be some steps further than the report.
        if trainer.network != run.network or (step != run.report["steps"] and not run.unfinished):
            raise ValueError(
                f"{run.checkpoint} (network {trainer.network.name!r}, step {step}) is not what report.json describes "
                f"(network {run.network.name!r}, step {run.report['steps']})"
            )
        classes = run.network.classes
        check_classes(f"y_test of {images.name}", images.y_test, classes)
        taken = trainer.predict(images.x_test).argmax(1)
    pairs = (images.y_test * classes + taken).astype(np.intp)  # a board counts numbers of 32 bits alone
    return Confusion(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))
