"""What `bnnedge train --resume` need not be told again: it stands in the checkpoint, and in the report beside it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from bnnedge import checkpoint
from bnnedge.checkpoint import Checkpoint
from bnnedge.commands import options
from bnnedge.configuration import configuration
from bnnedge.data import Dataset
from bnnedge.devices import DEVICES
from bnnedge.report.evaluation import images_of
from bnnedge.report.run import Run, load_run

# Of a report: what it says of a training that took no time.
_PAST = (
    *("device", "config", "configuration", "memory_bytes"),
    *("wall_seconds", "wall_steps", "bit_exact", "checked_steps", "check_seconds"),
)
_OTHER = "give the same with --data, or begin a new run from its weights with --start"
_MEASURED = ("cycles_per_image", "images_per_second", "clock_hz", "engine_utilisation")


@dataclasses.dataclass(frozen=True)
class Begun:
    """A run to go on with: its checkpoint, its folder, unless the file is alone, and its report, if it lies there."""

    checkpoint: Checkpoint
    folder: Path | None
    run: Run | None

    def data(self, download: bool) -> Dataset:
        """The data set that the run was begun with; `DataError` if it is not there any more, or not the same."""
        assert self.run is not None
        return images_of(self.run, download, _OTHER)

    def check(self, name: str, sha256: str) -> None:
        """ValueError if the data set of this name is another than the run was begun with, as far as that is known."""
        own = self.run.report.get("data_sha256") if self.run else None
        if own and own != sha256:
            raise ValueError(f"--data {name}: these are not the images that the run was begun with: {_OTHER}")

    def past(self, step: int) -> dict[str, Any]:
        """What the report knows of the training up to this step, its last one; empty if it knows nothing of it."""
        report = self.run.report if self.run else {}
        if report.get("steps") != step:
            return {}
        kept = [key for key in _PAST if key in report]
        if report["cycles_per_image"] is not None:
            kept += _MEASURED
        if report["reference"] is not None:
            kept += ["reference", "reference_accuracy"]
        return {key: report[key] for key in kept}


def begun(arguments: argparse.Namespace) -> Begun:
    """Read the run of --resume, and fill in options as it was begun; ValueError if one is given that cannot change."""
    own = {f"--{name}": getattr(arguments, name) for name in ("network", "rate", "schedule", "augment")}
    given = [name for name, value in {**own, **options.given_settings(arguments)}.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)} cannot change with --resume: they come from the checkpoint")
    path = Path(arguments.resume)
    saved = checkpoint.load(path)
    if saved.plan is None:
        raise ValueError(f"{path}: there is no run in it to go on with: begin one from its weights with --start")
    _same_lanes(saved, arguments.config)
    folder = path if path.is_dir() else path.parent if path.name == "checkpoint.npz" else None
    found = Begun(saved, folder, _report(folder, saved) if folder else None)
    if found.run:
        _recall(arguments, found.run)
    if arguments.out is None and folder:
        for name in ("checkpoint.npz", "report.json", "curve.png", "reference.npz"):
            options.check_unasked(folder / name)
        arguments.out = folder
    return found


def _report(folder: Path, saved: Checkpoint) -> Run | None:
    """The report in the checkpoint's folder, if it is of the same run."""
    try:
        run = load_run(folder)
    except ValueError:  # none, or damaged: then the options must say all
        return None
    same = (run.network, run.settings, run.configuration) == (saved.network, saved.settings, saved.configuration)
    return run if same else None


def _recall(arguments: argparse.Namespace, run: Run) -> None:
    report, asked = run.report, run.report.get("asked", {})
    if arguments.device is None and report["device"] in DEVICES:
        arguments.device = report["device"]
    if arguments.arrays is None and isinstance(asked.get("arrays"), str) and arguments.device == report["device"]:
        arguments.arrays = asked["arrays"]
    if arguments.check is None and asked.get("check") in ("first", "all", "none") and arguments.device == report["device"]:
        arguments.check = asked["check"]
    if arguments.save_every is None and isinstance(asked.get("save_every"), (int, float)):
        arguments.save_every = max(0.0, asked["save_every"])
    if asked.get("reference") is True:
        arguments.reference = True
    if arguments.samples is None:
        arguments.samples = report["samples"]


def _same_lanes(saved: Checkpoint, name: str | None) -> None:
    """ValueError if a run would go on with other random numbers than it began with."""
    own, chosen = saved.configuration, configuration(name) if name else saved.configuration
    if chosen.lanes != own.lanes:
        raise ValueError(
            f"--config {name}: the run began on configuration {own.name!r}, with {own.lanes} lanes; with {chosen.lanes} it would "
            "draw other random numbers, and no longer be the same run: leave --config out, or begin a new run from its weights "
            "with --start"
        )
