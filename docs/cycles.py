"""Writes results/cycles.csv: cycles of training an image, of every ready-made network on every configuration.

python docs/cycles.py                  # what `bnnedge estimate` says: minutes, for BinaryNet
python docs/cycles.py --rtl sim-small  # and what the simulated RTL of this configuration takes; or of all

Tests hold estimate and RTL to this file, and pages to it: a figure that moves has to be accepted here.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnnedge import CONFIGURATIONS, Network, Settings, TrainingState
from bnnedge.compiler import estimate
from bnnedge.configuration import Configuration
from bnnedge.devices import Device, StepResult, open_device
from bnnedge.files import atomic
from bnnedge.network import BUILT_IN

FILE = Path(__file__).parent / "results" / "cycles.csv"
FIELDS = ("network", "config", "batch", "grad_planes", "estimate", "rtl")


class Case(NamedTuple):
    """A line of the file: what is trained on what."""

    network: str
    config: str
    batch: int
    planes: int

    @property
    def built(self) -> tuple[Network, Settings, Configuration]:
        """Network, settings and configuration."""
        make, shape = BUILT_IN[self.network]
        return make(shape, 10), Settings(batch=self.batch, gradient_planes=self.planes), CONFIGURATIONS[self.config]


CASES = tuple(itertools.starmap(Case, itertools.product(BUILT_IN, CONFIGURATIONS, (64, 128, 256), (4, 8))))
SIMULATED = {  # BinaryNet would take hours
    Case("digits", "sim-small", 64, 4): 4,  # steps; the last one counts
    Case("digits", "sim-small", 64, 8): 4,
    Case("digits", "sim-small", 128, 4): 4,
    Case("digits", "sim-small", 128, 8): 4,
    Case("mlp", "pynq-z2", 128, 4): 4,
    Case("mlp", "pynq-z2-x64", 128, 4): 4,
    Case("mlp", "pynq-z2-lean", 128, 4): 4,
    Case("cnv", "pynq-z2", 64, 4): 2,
    Case("cnv", "pynq-z2", 64, 8): 2,
    Case("cnv", "pynq-z2-x64", 64, 4): 2,
}


def figure(cycles: float) -> str:
    """Cycles as they stand in the file, with a decimal if they are few: NaN, of what does not fit, is nothing."""
    return "" if cycles != cycles else f"{cycles:.{1 if cycles < 10_000 else 0}f}"


def read() -> dict[Case, tuple[str, str]]:
    """Of each line what was estimated and what was simulated; an empty string for what does not fit, or was not."""
    with FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = [Case(row["network"], row["config"], int(row["batch"]), int(row["grad_planes"])) for row in rows]
    return {key: (row["estimate"], row["rtl"]) for key, row in zip(keys, rows, strict=True)}


def estimated(case: Case) -> str:
    """What `bnnedge estimate` says."""
    return figure(estimate(*case.built).cycles_per_image)


def last_step(results: list[StepResult], batch: int) -> str:
    """Cycles an image of the last of several steps that were taken in one call."""
    return figure((results[-1].cycles - results[-2].cycles) / batch)


def simulated(case: Case, device: Device) -> str:
    """What the RTL takes, on random images."""
    network, settings, config = case.built
    random, images = np.random.RandomState(1), 2 * case.batch
    pixels = random.randint(0, 256, (images, *network.input_shape)).astype(np.uint8)
    labels = random.randint(0, 10, images).astype(np.int64)
    order = random.randint(0, images, SIMULATED[case] * case.batch)
    device.prepare(network, settings)
    device.load_state(TrainingState.initial(network, config.latent, case.planes, 1))
    return last_step(device.train(pixels, labels, order, 400), case.batch)


def main() -> None:
    """Write the file; keep what was simulated unless it is simulated again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtl", choices=[*CONFIGURATIONS, "all"], help="the configuration to simulate anew")
    wanted = parser.parse_args().rtl
    kept = {case: rtl for case, (_, rtl) in read().items()} if FILE.exists() else {}
    for name in CONFIGURATIONS if wanted == "all" else [wanted] if wanted else []:
        device = open_device("rtl", CONFIGURATIONS[name])
        kept.update({case: simulated(case, device) for case in SIMULATED if case.config == name})
        device.close()
    rows = [(*case, estimated(case), kept.get(case, "") if case in SIMULATED else "") for case in CASES]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([FIELDS, *rows])
    with atomic(FILE) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
