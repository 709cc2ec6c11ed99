"""How many runs go on side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peak import peak

from bnnedge import Dataset
from bnnedge.sim.study import Run, sizing

pytest.importorskip("distributed")


def images(count: int, *shape: int) -> Dataset:
    random = np.random.default_rng(1)
    x, y = random.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % 10
    return Dataset("some", x, y, x, y)


def run(model: str, network: str, batch: int = 64, **more) -> Run:
    return Run("a", model, "some", network, 1, batch, 0.01, **more)


_PREPARED = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = {folders!r}
from test_sizing import images, run
from bnnedge.sim.golden import ways
from bnnedge.sim.study import training
ways.summary()  # the libraries are loaded
found = images({count}, *{shape})
training.data.load = lambda name: found
asked = run({model!r}, {network!r}, {batch})
"""


@pytest.mark.parametrize(
    ("model", "network", "batch", "count", "shape"),
    [
        ("integer", "mlp", 128, 2000, (28, 28)),
        ("tanh", "mlp", 64, 2000, (28, 28)),
        pytest.param("integer", "cnv", 64, 320, (32, 32, 3), marks=pytest.mark.long),
        pytest.param("standard", "cnv", 128, 128, (32, 32, 3), marks=pytest.mark.long),
        pytest.param("method", "cnv", 64, 64, (32, 32, 3), marks=pytest.mark.long),
        pytest.param("standard", "binarynet", 32, 32, (32, 32, 3), marks=pytest.mark.long),
    ],
)
def test_a_run_takes_no_more_than_is_reckoned_with(model, network, batch, count, shape):
    folders = [str(Path(__file__).parents[level]) for level in (0, 2)]
    prepared = _PREPARED.format(folders=folders, count=count, shape=shape, model=model, network=network, batch=batch)
    said, taken = peak(prepared, "training.carry_out(asked)")
    assert said == "read"
    reckoned = sizing.need(run(model, network, batch), images(count, *shape)) - sizing._PROCESS
    assert taken * 1e6 <= reckoned
    if network != "mlp":
        assert reckoned < 4 * taken * 1e6


def test_a_process_with_its_libraries_takes_no_more():
    program = (
        "import distributed, bnnedge.sim.study.scheduler\n"
        "from bnnedge.sim.golden import ways\n"
        "assert ways.summary()\n"  # which loads what computes
        "print(open('/proc/self/status').read())"
    )
    status = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(status.partition("VmHWM:")[2].split()[0]) << 10 < sizing._PROCESS


@pytest.mark.parametrize(
    ("cores", "free", "count", "wanted"),
    [(8, 1000, 5, 5), (2, 1000, 5, 2), (8, 300, 5, 3), (8, 299, 5, 2), (8, 50, 5, 1), (8, 0, 1, 1)],
)
def test_number_of_workers(cores, free, count, wanted, monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", cores)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 10_000)
    monkeypatch.setattr(sizing, "meminfo", lambda: {"MemAvailable": free})
    monkeypatch.setattr(sizing, "need", lambda run, dataset: 100)
    assert sizing.workers([run("tanh", "x")] * count, {}) == wanted
    monkeypatch.setattr(sizing, "meminfo", lambda: {"MemAvailable": 10_000})
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", free)
    assert sizing.workers([run("tanh", "x")] * count, {}) == wanted


def test_the_largest_may_come_together(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    monkeypatch.setattr(sizing, "meminfo", lambda: {"MemAvailable": 1000})
    monkeypatch.setattr(sizing, "need", lambda run, dataset: run.batch)
    assert sizing.workers([run("tanh", "x", batch) for batch in (10, 10, 680, 10, 300, 10)], {}) == 4


def test_what_is_not_known_takes_a_process():
    assert sizing.need(run("integer", "cnv"), None) == sizing._PROCESS
    assert sizing.need(run("integer", "no such network"), images(20, 8, 8)) == sizing._PROCESS


def test_images_that_vary_are_a_copy():
    found = images(100, 8, 8)
    varied = sizing.need(run("integer", "digits", augment="shift"), found)
    assert varied - sizing.need(run("integer", "digits"), found) == 6400
