"""How many runs of a study go on side by side: as many as there are cores and memory for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from bnnedge.commands import options
from bnnedge.data import Dataset
from bnnedge.meminfo import meminfo
from bnnedge.sim.study.grid import Run

# Measured with networks of the package, and rounded up: see tests/sim/study/test_sizing.py.
_PROCESS = 448 << 20  # bytes of a worker with its libraries, PyTorch and Numba among them
_COLUMN = 12  # for each number of a batch's windows, in the layer that has the most: gathered, and gradients of them
_WEIGHT = 32  # for each weight: itself, moments, gradient
_EVALUATION = 160 << 20  # of the integer form, which classifies many images at a time


def need(run: Run, dataset: Dataset | None) -> int:
    """About how many bytes a worker takes for a run, its data set left out; of a data set that is not known, at least so many."""
    if dataset is None:
        return _PROCESS
    images = dataset.x_train[: run.samples or None]
    if run.model == "tanh":
        pixels = math.prod(images.shape[1:])
        return _PROCESS + 4 * (images.size + 3 * dataset.x_test.size) + _WEIGHT * pixels * pixels
    try:
        network = options.network(run.network, images.shape[1:], dataset.classes)
    except (ValueError, OSError):  # the run will say so
        return _PROCESS
    windows = run.batch * max(layer.outputs * layer.fan_in for layer in network.geometry)
    own = _EVALUATION if run.model == "integer" else 0
    varied = images.nbytes if run.augment else 0
    return _PROCESS + _COLUMN * windows + _WEIGHT * network.weights + own + varied


def workers(runs: Iterable[Run], datasets: Mapping[str, Dataset]) -> int:
    """How many workers to start for these runs: at most one for each run and each core, and as many as memory allows."""
    from dask.system import CPU_COUNT  # cores that this process may use, by affinity and control group
    from distributed.system import MEMORY_LIMIT  # bytes, by limits and control group

    free = min(meminfo().get("MemAvailable", MEMORY_LIMIT), MEMORY_LIMIT)
    needs = sorted((need(run, datasets.get(run.data)) for run in runs), reverse=True)[:CPU_COUNT]
    # The largest runs may come together.
    return max(1, sum(sum(needs[: count + 1]) <= free for count in range(len(needs))))
