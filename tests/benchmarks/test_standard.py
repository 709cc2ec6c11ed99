"""PyTorch's rows of a study: they are there, and those that were stopped go on bit for bit."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnedge.data.augment import Augment
from bnnedge.files import alone
from bnnedge.sim.reference.training import cosine_rate, variation
from bnnedge.sim.study import Run, Table, load_study, training
from bnnedge.sim.study.kept import Keeper, Told, place
from bnnedge.sim.study.table import Row

torch = pytest.importorskip("torch")

GRID = """
title: A trial
common: {data: digits, network: digits, epochs: 6, batch: 64, config: sim-small, rate: 1e-2}
seeds: [1, 2]
runs:
  - {label: standard, model: standard}
  - {label: pytorch, model: pytorch}
"""
MAPS = """
input_shape: [8, 8]
layers:
  - conv2d: {filters: 8, kernel: 3, padding: same}
  - maxpool2d
  - conv2d: {filters: 16, kernel: 3}
  - dense: 10
"""


class Stopped(BaseException):
    """In the place of a kill."""


@pytest.fixture(scope="module")
def standard() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        found = importlib.import_module("standard")
    torch.set_num_threads(1)
    return found


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "trial.yaml"
    path.write_text(GRID)
    return path


def same(one: Row, other: Row) -> bool:
    return dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)


def test_rows_are_those_of_a_study_and_those_there_are_stay(standard: Any, grid: Path, tmp_path: Path, capsys: Any) -> None:
    study, out = load_study(grid), tmp_path / "out"
    ours, its = study.runs[:2], study.runs[2:]
    table = Table(out / "trial.csv")
    table.add(Row(its[0], 0.5, 0.5, 1.0, 3.0, (0.5,)))
    assert standard.main([str(grid), "--out", str(out)]) == 0
    assert "A trial: 1 run of PyTorch to go" in capsys.readouterr().out
    rows = Table(table.path).rows
    assert set(rows) == {run.key for run in its}
    assert rows[its[0].key] == table.rows[its[0].key]
    made = rows[its[1].key]
    assert len(made.curve) == len(made.train_curve) == 6
    assert made.curve[0] < made.curve[-1] == made.accuracy
    assert made.accuracy == pytest.approx(training.carry_out(ours[1]).accuracy, abs=0.04), "the standard of sim.reference"
    assert not table.folder.exists()


def test_the_method_ends_as_that_of_the_package(standard: Any, grid: Path) -> None:
    ours, its = (dataclasses.replace(load_study(grid).runs[2], model=model) for model in ("method", "pytorch-method"))
    made = training.carry_out(its, train=standard.train)
    assert made.accuracy == pytest.approx(training.carry_out(ours).accuracy, abs=0.04)
    assert made.accuracy != training.carry_out(dataclasses.replace(its, model="pytorch"), train=standard.train).accuracy


@pytest.mark.parametrize("epoch", [0, 1])
def test_what_a_step_trains_on(standard: Any, grid: Path, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """All images of an epoch once, as they vary in it, with the rate of each step."""
    run = dataclasses.replace(load_study(grid).runs[2], augment="shift=0.2,flip", epochs=2, samples=200, seed=7)
    seen: list[Any] = []
    monkeypatch.setattr(standard.torch_step.Training, "step", lambda self, *given: seen.append(given) or (0.0, 0))
    training.carry_out(run, train=standard.train)
    samples = training.samples_of(run)
    varied = np.empty_like(samples.x)
    Augment(0.2, True).apply(samples.x, variation(7, epoch), varied)
    assert [rate for *_, rate in seen] == [cosine_rate(run.rate, step, 6) for step in range(6)]
    shown = seen[3 * epoch : 3 * epoch + 3]
    pairs = {(x.numpy().tobytes(), int(y)) for images, labels, _ in shown for x, y in zip(images, labels, strict=True)}
    assert len(pairs) > 180
    assert pairs <= {(x.tobytes(), int(y)) for x, y in zip(varied, samples.y, strict=True)}


@pytest.mark.parametrize("network", ["digits", "maps"])
def test_a_run_goes_on_bit_for_bit(
    standard: Any, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.setattr("bnnedge.sim.study.kept._TELL", 0)
    (tmp_path / "maps.yaml").write_text(MAPS)
    name = network if network == "digits" else str(tmp_path / "maps.yaml")
    run = dataclasses.replace(load_study(grid).runs[2], network=name, epochs=3, samples=200, holdout=50, augment="shift")
    reports: list[Told] = []
    whole = training.carry_out(run, keeper=Keeper(run, tell=reports.append), train=standard.train)
    assert len(reports) == 9
    for after in range(1, len(reports)):
        place(tmp_path, run).unlink(missing_ok=True)
        told: list[Told] = []

        def stop(new: Told, told: list[Told] = told, after: int = after) -> None:
            told.append(new)
            if len(told) == after:
                raise Stopped

        with pytest.raises(Stopped):
            training.carry_out(run, keeper=Keeper(run, tmp_path, 0, stop), train=standard.train)
        later: list[Told] = []
        row = training.carry_out(run, keeper=Keeper(run, tmp_path, 0, later.append), train=standard.train)
        assert same(row, whole)
        assert [now.share for now in later] == [now.share for now in reports[after:]]


def test_a_state_of_another_network_is_told(standard: Any, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = dataclasses.replace(load_study(grid).runs[2], epochs=2, samples=128)
    whole = training.carry_out(run, train=standard.train)
    keeper = Keeper(run, tmp_path, 0)
    monkeypatch.setattr(standard.torch_step.Training, "state", lambda self: {"layers.0.weight": np.zeros(3, np.float32)})
    training.carry_out(run, keeper=keeper, train=standard.train)
    monkeypatch.undo()
    notes: list[Told] = []
    again = training.carry_out(run, keeper=Keeper(run, tmp_path, 0, notes.append), train=standard.train)
    assert same(again, whole)
    assert "its layers.0.weight is of another network; the run begins anew" in notes[0].note


def test_errors(standard: Any, grid: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert standard.main(["nothing"]) == 1
    assert "there is no study 'nothing'" in capsys.readouterr().err
    with alone(Table(out / "trial.csv").folder, "taken"):
        assert standard.main([str(grid), "--out", str(out)]) == 1
    assert "this study goes on already, in another process" in capsys.readouterr().err
    grid.write_text(GRID.replace("model: pytorch", "model: pytorch, batch: 2000"))
    assert standard.main([str(grid), "--out", str(out)]) == 1
    assert "batch must be in 2..1437, the number of training images, not 2000" in capsys.readouterr().err


def test_a_run_is_told_from_the_packages_own() -> None:
    runs = [Run("a", model, "digits", "digits", 1) for model in ("standard", "method", "pytorch", "pytorch-method")]
    assert [run.independent for run in runs] == [False, False, True, True]
    assert len({run.key for run in runs}) == 4
