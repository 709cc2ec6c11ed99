"""Runs that are stopped in their middle: they go on bit for bit, or begin anew and say why."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from bnnedge import checkpoint, data
from bnnedge.sim.study import Run, kept
from bnnedge.sim.study.kept import Keeper, Kept, Told, cleaned, dropped, place
from bnnedge.sim.study.table import Row
from bnnedge.sim.study.training import carry_out


class Stopped(BaseException):
    """In the place of a kill."""


def run(model: str = "integer", **more) -> Run:
    fields = {"data": "digits", "network": "digits", "epochs": 3, "batch": 64, "rate": 0.01, "samples": 200}
    return Run(**{"label": "a", "model": model, "config": "sim-small", **fields, **more})


RUNS = [
    run(augment="shift", schedule="plateau"),
    run(rounding="nearest", optimiser="sign-sgd", holdout=50),
    run("standard", seed=3, augment="shift"),
    run("method", optimiser="sign-momentum"),
    run("method", optimiser="sign-bop"),
    run("ablation", steps="l1 no-mask"),
    run("tanh", momentum=0.5),
]


def same(one: Row, other: Row) -> bool:
    return dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)


def stopped(asked: Run, folder: Path, after: int, arrays: str = "numpy") -> list[Told]:
    """Carry out a run that is stopped after so many reports, its state kept at each."""
    told: list[Told] = []

    def tell(new: Told) -> None:
        told.append(new)
        if len(told) == after:
            raise Stopped

    with pytest.raises(Stopped):
        carry_out(asked, arrays, Keeper(asked, folder, 0, tell))
    return told


@pytest.fixture(autouse=True)
def each_call(monkeypatch):
    """Let each call of the device be a step, and each be told."""
    monkeypatch.setattr(kept, "_TELL", 0)
    monkeypatch.setattr("bnnedge.trainer.call_steps", lambda network, batch: 1)
    monkeypatch.setattr("bnnedge.runner.Pace.took", lambda self, steps, seconds: None)


@pytest.mark.parametrize("asked", RUNS, ids=lambda run: f"{run.model}-{run.optimiser or run.steps}")
def test_a_run_goes_on_bit_for_bit(asked, tmp_path):
    whole = carry_out(asked)
    reports: list[Told] = []
    assert same(carry_out(asked, keeper=Keeper(asked, tell=reports.append)), whole)
    assert len(reports) >= 9
    for after in range(1, len(reports)):
        place(tmp_path, asked).unlink(missing_ok=True)
        assert stopped(asked, tmp_path, after)[-1].share == reports[after - 1].share
        later: list[Told] = []
        row = carry_out(asked, keeper=Keeper(asked, tmp_path, 0, later.append))
        assert same(row, whole)
        assert [dataclasses.replace(t, seconds=0) for t in later] == [dataclasses.replace(t, seconds=0) for t in reports[after:]]


@pytest.mark.parametrize("asked", RUNS[:3] + RUNS[-1:], ids=lambda run: run.model)
def test_stopped_again_and_again(asked, tmp_path):
    whole, parts = carry_out(asked), 0
    for _ in range(12):
        try:
            row = carry_out(asked, keeper=Keeper(asked, tmp_path, 0, stop_at(2)))
            break
        except Stopped:
            parts += 1
    assert parts > 3
    assert same(row, whole)


def stop_at(number: int):
    seen = []

    def tell(told: Told) -> None:
        seen.append(told)
        if len(seen) == number:
            raise Stopped

    return tell


def test_is_read_as_it_was_written(tmp_path):
    spread = (0.1, float("inf"), np.float64(1) / 3)
    one = Kept("0" * 12, 1.5, (np.float32(0.1), 1 / 3), spread, 1 << 31, "numpy", {"a": np.array([float("nan"), 0.1])})
    one.save(tmp_path / "a.npz")
    other = Kept.load(tmp_path / "a.npz")
    assert dataclasses.replace(other, state=one.state) == one
    assert other.state["a"].tobytes() == one.state["a"].tobytes()
    assert Kept.load(tmp_path / "a.npz", whole=False) == dataclasses.replace(one, state={})


def test_seconds_are_those_of_all_parts(tmp_path):
    stopped(run(), tmp_path, 4)
    path = place(tmp_path, run())
    found = Kept.load(path)
    assert 0 < found.seconds < 60
    dataclasses.replace(found, seconds=1000.0).save(path)
    assert 1000 < carry_out(run(), keeper=Keeper(run(), tmp_path)).seconds < 1060


class TestWhenItIsKept:
    @pytest.fixture
    def clock(self, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(kept.time, "monotonic", lambda: now[0])
        return now

    def saved(self, keeper: Keeper, clock: list[float], steps: list[tuple[float, float, int]], cost: float = 0.0) -> list[bool]:
        """Whether a state was kept after each step, of: seconds that it takes, share of the run, epochs closed."""
        found = []

        def keep():
            found[-1] = True
            clock[0] += cost
            return (1.0,) * (epochs + 1), {"a": np.zeros(3)}

        for seconds, share, epochs in steps:
            clock[0] += seconds
            found.append(False)
            keeper.went_on(share, (0.5,) * epochs, keep)
        return found

    def test_after_each_epoch(self, clock, tmp_path):
        steps = [(1, 0.1, 0), (1, 0.2, 0), (1, 0.2, 1), (1, 0.3, 1), (1, 0.4, 1), (0, 0.4, 2), (1, 1, 2), (0, 1, 3)]
        found = self.saved(Keeper(run(), tmp_path), clock, steps)
        assert found == [False, False, True, False, False, True, False, False], "a run that ends is a row"

    def test_within_long_epochs(self, clock, tmp_path):
        found = self.saved(Keeper(run(), tmp_path), clock, [(100, 0.01 * n, 0) for n in range(1, 8)])
        assert found == [False, False, True, False, False, True, False]

    def test_as_often_as_one_sets(self, clock, tmp_path):
        steps = [(10, 0.01 * n, n // 5) for n in range(1, 9)]
        found = self.saved(Keeper(run(epochs=99), tmp_path, 30), clock, steps)
        assert found == [False, False, True, False, True, False, False, True]

    def test_short_epochs_lose_little_time(self, clock, tmp_path):
        found = self.saved(Keeper(run(epochs=99), tmp_path), clock, [(0.1, 0.01 * n, n) for n in range(1, 60)], cost=0.05)
        assert found[0], "what it costs is known then"
        assert 4 <= sum(found) <= 6
        assert 0.05 * sum(found) < 0.06 * 0.1 * len(found)

    def test_nowhere_without_a_folder(self, clock, tmp_path):
        for folder in (None, tmp_path / "none"):
            assert not any(self.saved(Keeper(run(), folder, 0), clock, [(10, 0.1, 1)]))
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_told_and_costs_no_run(self, clock, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "write", full)
        told: list[Told] = []
        assert self.saved(Keeper(run(), tmp_path, 0, told.append), clock, [(10, 0.1, 0), (10, 0.2, 0)]) == [True, False]
        (note,) = [t.note for t in told if t.note]
        assert note == f"{place(tmp_path, run())}: No space left on device; the run goes on without being kept"


def noted(asked: Run, folder: Path, arrays: str = "numpy") -> str:
    """Carry out the run, whose kept state is of no use, and return what is told of that."""
    told: list[Told] = []
    row = carry_out(asked, arrays, Keeper(asked, folder, tell=told.append))
    assert same(row, carry_out(asked))
    (note,) = [t.note for t in told if t.note]
    assert note.startswith(f"{place(folder, asked)}: ")
    assert note.endswith("; the run begins anew")
    assert "\n" not in note
    return note


class TestDamage:
    @pytest.mark.parametrize("model", ["integer", "standard", "tanh"])
    def test_cut_short_or_altered(self, model, tmp_path):
        asked = run(model, epochs=1)
        stopped(asked, tmp_path, 2)
        path = place(tmp_path, asked)
        content = path.read_bytes()
        draw = np.random.default_rng(1)
        for length in (0, 1, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            noted(asked, tmp_path)
        whole = carry_out(asked)
        for position in draw.integers(0, len(content), 12):
            altered = bytearray(content)
            altered[position] ^= 1 << int(draw.integers(8))
            path.write_bytes(altered)
            assert same(carry_out(asked, keeper=Keeper(asked, tmp_path)), whole), "whatever was altered, the row is right"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"version": 1}, "its format is version 1; this bnnedge reads version 4"),
            ({"format": "bnnedge checkpoint"}, "it is not the state of a study's run"),
            ({"key": "0" * 12}, "it is of another run, another network or other data"),
            ({"digest": 1}, "it is of another run, another network or other data"),
            ({"spread": ""}, "it is of another run, another network or other data"),
            ({"curve": "0.5 x"}, "could not convert string to float"),
            ({"curve": 3}, "it is of another run, another network or other data"),
            ({"seconds": None}, "float() argument"),
            ({"seconds": -1e6}, "seconds must be a number in 0..1e+09, not -9"),
            ({"training": None}, "it is of another run, another network or other data"),
            ({"training": 3}, "it is not a checkpoint of bnnedge"),
        ],
    )
    def test_of_another_version_or_run(self, change, said, tmp_path):
        asked = run(epochs=1)
        stopped(asked, tmp_path, 2)
        path = place(tmp_path, asked)
        with np.load(path) as file:
            arrays = dict(file)
        header = {**json.loads(arrays.pop("header").tobytes()), **change}
        checkpoint.write(path, header, arrays)
        assert said in noted(asked, tmp_path)

    def test_of_results_that_are_none(self, tmp_path):
        for model, name in (("standard", "history.test_accuracy"), ("tanh", "accuracy")):
            asked = run(model, epochs=2)
            stopped(asked, tmp_path, 5)
            path = place(tmp_path, asked)
            found = Kept.load(path)
            assert len(found.curve) == 1
            dataclasses.replace(found, state={**found.state, name: np.array([1.5])}).save(path)
            assert "curve must be a number in 0..1, not 1.5" in noted(asked, tmp_path)

    def test_of_other_arrays(self, tmp_path):
        asked = run("standard", epochs=1)
        stopped(asked, tmp_path, 2)
        path = place(tmp_path, asked)
        dataclasses.replace(Kept.load(path), arrays="torch").save(path)
        assert "it was computed with torch, not numpy" in noted(asked, tmp_path)

    def test_of_a_network_that_was_changed(self, tmp_path):
        """A network's file has the same name, and so the run the same key."""
        for model in ("integer", "standard"):
            file = tmp_path / "own.yaml"
            file.write_text("{input_shape: [8, 8], layers: [{dense: 32}, {dense: 10}]}")
            asked = run(model, network=str(file), epochs=1)
            stopped(asked, tmp_path, 2)
            file.write_text("{input_shape: [8, 8], layers: [{dense: 64}, {dense: 10}]}")
            assert "another network" in noted(asked, tmp_path)

    def test_of_a_network_with_as_many_weights(self, tmp_path):
        file, layers = tmp_path / "own.yaml", "{input_shape: [8, 8], layers: [{conv2d: 8}, %s, flatten, {dense: 10}]}"
        file.write_text(layers % "maxpool2d")
        asked = run("standard", network=str(file), epochs=1)
        stopped(asked, tmp_path, 2)
        file.write_text(layers % "{maxpool2d: sums}")
        assert "another network" in noted(asked, tmp_path)

    @pytest.mark.parametrize("model", ["integer", "standard", "tanh"])
    @pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
    def test_of_a_file_that_was_changed(self, model, name, tmp_path):
        """Of test images, too: the curve would begin with accuracies on others."""
        found = data.load("digits")
        arrays = {key: getattr(found, key)[:200] for key in ("x_train", "y_train", "x_test", "y_test")}
        np.savez(tmp_path / "own.npz", **arrays)
        asked = run(model, data=str(tmp_path / "own.npz"), samples=0, epochs=1)
        stopped(asked, tmp_path, 2)
        np.savez(tmp_path / "own.npz", **{**arrays, name: np.roll(arrays[name], 1, 0)})
        assert "other data" in noted(asked, tmp_path)

    @pytest.mark.parametrize("name", ["steps", "hits", "network.steps"])
    def test_of_numbers_beyond_all(self, name, tmp_path):
        asked = run("standard", epochs=1)
        stopped(asked, tmp_path, 2)
        path = place(tmp_path, asked)
        found = Kept.load(path)
        dataclasses.replace(found, state={**found.state, name: np.array(np.inf)}).save(path)
        assert "infinity" in noted(asked, tmp_path)

    @pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "folder"])
    def test_what_is_no_file_stays_as_it_is(self, kind, tmp_path):
        """A link would have us write elsewhere, and a pipe wait for ever."""
        asked, elsewhere, told = run("standard", epochs=1), tmp_path / "elsewhere", list[Told]()
        path = place(tmp_path, asked)
        if kind == "link":
            elsewhere.write_text("precious")
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(elsewhere)
        assert same(carry_out(asked, keeper=Keeper(asked, tmp_path, 0, told.append)), carry_out(asked))
        assert [t.note for t in told if t.note] == [
            f"{path} is a link, or no file, and nobody asked to write there: move it away; the run goes on without being kept"
        ]
        assert [elsewhere.read_text()] == ["precious"] if kind == "link" else not elsewhere.exists()

    def test_a_run_that_is_wrong_is_wrong(self, tmp_path):
        asked = run("standard", batch=201)
        with pytest.raises(ValueError, match="Batch must lie in"):
            carry_out(asked, keeper=Keeper(asked, tmp_path, 0))


def test_what_has_ended_is_removed(tmp_path):
    folder = tmp_path / "a.runs"
    folder.mkdir()
    for name in ("0" * 12, "1" * 12):
        (folder / f"{name}.npz").write_bytes(b"")
    (folder / f".{'0' * 12}.npz.01234567.tmp").write_bytes(b"of a save that was killed")
    cleaned(folder, {"0" * 12: None})
    assert [path.name for path in folder.iterdir()] == [f"{'1' * 12}.npz"]
    cleaned(folder, {"1" * 12: None})
    assert not folder.exists()
    cleaned(folder, {})


def test_what_cannot_be_removed_stays(tmp_path):
    path = tmp_path / "a.runs" / f"{'0' * 12}.npz"
    path.mkdir(parents=True)
    dropped(path)
    cleaned(path.parent, {"0" * 12: None})
    assert path.is_dir()
