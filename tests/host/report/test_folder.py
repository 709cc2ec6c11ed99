"""The folder of a run while it goes on: which files it has when, and what they take of the time."""

import json
import types

import numpy as np
import pytest

from bnnedge import Callback, Dense, Network, Settings, Trainer
from bnnedge.report import RunFolder, folder
from bnnedge.report.run import load_run

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
X, Y = np.random.RandomState(1).randint(0, 256, (192, 4, 4)).astype(np.uint8), np.arange(192) % 4


@pytest.fixture
def clock(monkeypatch):
    """Time that passes with an epoch (a second), a report (an eighth) and a curve (half a second), and not otherwise."""
    now = [0.0]
    monkeypatch.setattr(folder, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def taking(name, seconds):
        usual = getattr(folder, name)

        def function(*arguments):
            now[0] += seconds
            return usual(*arguments)

        monkeypatch.setattr(folder, name, function)

    taking("summary", 0.125)
    taking("save_curve", 0.5)
    return now


class Looks(Callback):
    """Notes after each epoch how many epochs the report has, and whether the curve was drawn anew."""

    def __init__(self, path, clock):
        self.path, self.clock, self.epochs, self.curves = path, clock, [], []

    def on_epoch_begin(self, epoch):
        self.clock[0] += 1

    def on_epoch_end(self, epoch, logs):
        curve, report = self.path / "curve.png", self.path / "report.json"
        self.epochs.append(len(json.loads(report.read_text())["train_loss"]))
        self.curves.append(curve.exists())
        curve.unlink(missing_ok=True)


def test_each_file_takes_a_small_share_of_the_time(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(folder, "_FIRST", 3)
    looks = Looks(tmp_path, clock)
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    trainer.fit(X, Y, epochs=30, callbacks=[RunFolder(tmp_path, "own"), looks])
    # Between two reports at least 2.5 s, between two curves 10.
    assert looks.epochs[:9] == [1, 1, 1, 4, 4, 6, 6, 6, 9]
    assert [i + 1 for i, drawn in enumerate(looks.curves) if drawn] == [4, 15, 26]


def test_a_long_epoch_has_its_curve_at_once(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(folder, "_FIRST", 1)
    looks = Looks(tmp_path, clock)
    Trainer(NETWORK, settings=Settings(batch=64)).fit(X, Y, epochs=2, callbacks=[RunFolder(tmp_path, "own"), looks])
    assert (looks.epochs[0], looks.curves[0]) == (1, True)


def test_the_report_is_complete_as_the_run_ends(tmp_path, clock):
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    keeps = RunFolder(tmp_path / "new", "own", {"asked": {"check": "first"}})
    trainer.fit(X, Y, epochs=3, callbacks=keeps)
    run = load_run(tmp_path / "new")
    assert run.report["steps"] == run.report["planned_steps"] == 9
    assert (run.report["data"], run.report["asked"]) == ("own", {"check": "first"})
    assert (run.report["finished"], run.unfinished) == (True, None)
    assert keeps.trained
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=5, resume=True, callbacks=[keeps, Interrupts()])
    run = load_run(tmp_path / "new")
    assert (run.report["steps"], run.report["planned_steps"], run.report["wall_steps"]) == (12, 15, 3)
    assert run.unfinished == "unfinished, after 12 of 15 steps: `bnnedge train --resume` goes on"


class Interrupts(Callback):
    def __init__(self, hook="on_epoch_end"):
        setattr(self, hook, self.interrupt)

    def interrupt(self, epoch, logs):
        raise KeyboardInterrupt


def test_a_run_that_was_finished_leaves_all_as_it_is(tmp_path):
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    trainer.fit(X, Y)
    (tmp_path / "report.json").write_text("another's")
    keeps = RunFolder(tmp_path, "own")
    trainer.fit(X, Y, resume=True, callbacks=keeps)
    assert not keeps.trained
    assert (tmp_path / "report.json").read_text() == "another's"


def test_the_curve_of_another_run_goes_with_its_checkpoint(tmp_path):
    curve, trainer = tmp_path / "curve.png", Trainer(NETWORK, settings=Settings(batch=64))
    curve.write_bytes(b"another's")
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=5, callbacks=[Interrupts("on_epoch_begin"), RunFolder(tmp_path, "own")])
    assert curve.exists(), "nothing was trained"
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=5, callbacks=[RunFolder(tmp_path, "own"), Interrupts()])
    assert not curve.exists()
    curve.write_bytes(b"its own")
    trainer.fit(X, Y, resume=True, callbacks=RunFolder(tmp_path, "own"))
    assert curve.exists()


def test_no_curve_where_it_cannot_be_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_FIRST", 0)

    def missing(*arguments):
        raise ModuleNotFoundError("matplotlib")

    monkeypatch.setattr(folder, "save_curve", missing)
    Trainer(NETWORK, settings=Settings(batch=64)).fit(X, Y, callbacks=RunFolder(tmp_path, "own"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.npz", "report.json"]
