"""The checkpoint that follows a run: when it is written, and that a run goes on from it wherever it was killed."""

import errno
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from trainings import Stop

from bnnedge import Callback, Dense, EarlyStopping, Network, PeriodicCheckpoint, Settings, Trainer, checkpoint
from bnnedge.callbacks import periodic

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (320, 4, 4)).astype(np.uint8), np.arange(320) % 4
TEST = RANDOM.randint(0, 256, (100, 4, 4)).astype(np.uint8), np.arange(100) % 4


def make():
    return Trainer(NETWORK, settings=Settings(batch=64), rate=0.1)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by the second, one for each call of the device."""
    now = [0.0]
    monkeypatch.setattr(periodic.time, "monotonic", lambda: now[0])

    class Ticks(Callback):
        def on_batch_end(self, step, logs):
            now[0] += 1

    return Ticks()


class Steps(PeriodicCheckpoint):
    """Notes the steps after which it saved."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.steps = []

    def save(self):
        super().save()
        self.steps.append(checkpoint.load(self.filepath).plan.step)


def test_after_each_epoch(tmp_path):
    saved = Steps(tmp_path / "new" / "c.npz")
    make().fit(X, Y, epochs=3, callbacks=saved)
    assert saved.steps == [5, 10, 15]


@pytest.mark.parametrize(("seconds", "steps"), [(0, [1, 2, 3, 4, 5, 5]), (2, [2, 4, 5]), (3, [3, 5]), (60, [5])])
def test_within_an_epoch(tmp_path, clock, seconds, steps):
    saved = Steps(tmp_path / "c.npz", seconds / 60)
    make().fit(X, Y, callbacks=[clock, saved], steps_per_call=1)
    assert saved.steps == steps


@pytest.mark.parametrize(("short", "steps"), [(5, [5, 5]), (6, [5])])
def test_before_a_validation_that_much_would_be_lost_in(tmp_path, clock, monkeypatch, short, steps):
    monkeypatch.setattr(periodic, "_SHORT", short)
    saved = Steps(tmp_path / "c.npz")
    make().fit(X, Y, callbacks=[clock, saved], steps_per_call=1, validation_data=TEST)
    assert saved.steps == steps
    saved.steps.clear()
    make().fit(X, Y, callbacks=[clock, saved], steps_per_call=1)
    assert saved.steps == [5], "without one there is nothing to wait for"


def test_calls_return_often_enough(tmp_path, monkeypatch):
    monkeypatch.setattr("bnnedge.trainer.call_steps", lambda network, batch: 2)
    monkeypatch.setattr("bnnedge.runner._CALL", 0)  # each takes longer than it should
    saved = Steps(tmp_path / "c.npz", 0)
    make().fit(X, Y, callbacks=saved)
    assert saved.steps == [2, 4, 5, 5]


def test_an_interrupted_run_keeps_its_last_step_and_goes_on(tmp_path):
    whole, part, path = make(), make(), tmp_path / "c.npz"
    expected = whole.fit(X, Y, epochs=4, validation_data=TEST)
    whole.save(tmp_path / "whole.npz")
    with pytest.raises(KeyboardInterrupt):
        part.fit(X, Y, epochs=4, validation_data=TEST, callbacks=[PeriodicCheckpoint(path), Stop(8)], steps_per_call=1)
    assert checkpoint.load(path).plan.step == 8
    again = Trainer.load(path)
    assert again.fit(X, Y, validation_data=TEST, resume=True, callbacks=PeriodicCheckpoint(path)) == expected
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_the_run_of_its_weights_that_come_back(tmp_path):
    trainer, path = make(), tmp_path / "c.npz"
    early = EarlyStopping(patience=2, restore_best_weights=True)
    trainer.fit(X, Y, epochs=20, validation_data=TEST, callbacks=[early, PeriodicCheckpoint(path)])
    assert early.stopped_epoch is not None
    assert checkpoint.load(path).plan.closed == early.best_epoch + 1


class Fails(Callback):
    def __init__(self, hook, error):
        setattr(self, hook, lambda *arguments: self.fail(error))

    def fail(self, error):
        raise error


def test_nothing_is_kept_of_a_run_that_took_no_step(tmp_path):
    path = tmp_path / "c.npz"
    path.write_bytes(b"another's")
    with pytest.raises(KeyboardInterrupt):
        make().fit(X, Y, callbacks=[PeriodicCheckpoint(path), Fails("on_epoch_begin", KeyboardInterrupt())])
    for callbacks in ([PeriodicCheckpoint(path), Fails("on_train_begin", RuntimeError())],) * 2:
        with pytest.raises(RuntimeError):
            make().fit(X, Y, callbacks=callbacks)
        callbacks.reverse()
    assert path.read_bytes() == b"another's"


def test_a_full_disk_is_told_once_and_keeps_what_was_there(tmp_path, monkeypatch, recwarn):
    trainer, path = make(), tmp_path / "c.npz"
    trainer.fit(X, Y, callbacks=PeriodicCheckpoint(path))
    before = path.read_bytes()

    def full(self, place):
        raise OSError(errno.ENOSPC, "No space left on device", str(place))

    monkeypatch.setattr(Trainer, "save", full)
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(X, Y, callbacks=PeriodicCheckpoint(path))
    assert path.read_bytes() == before
    assert not recwarn.list


def test_says_what_it_does(tmp_path, capsys):
    make().fit(X, Y, callbacks=PeriodicCheckpoint(tmp_path / "c.npz", verbose=1))
    assert capsys.readouterr().out == f"step 5: saved to {tmp_path / 'c.npz'}\n"


@pytest.mark.parametrize("minutes", [-1, float("nan"), "5", None, True])
def test_minutes_that_cannot_be(tmp_path, minutes):
    with pytest.raises(ValueError, match="PeriodicCheckpoint: minutes must be a number, 0 or more"):
        PeriodicCheckpoint(tmp_path / "c.npz", minutes)


def test_a_place_where_none_can_stand(tmp_path):
    trainer = make()
    with pytest.raises(IsADirectoryError, match="give the name of a file"):
        trainer.fit(X, Y, callbacks=PeriodicCheckpoint(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        trainer.fit(X, Y, callbacks=PeriodicCheckpoint(tmp_path / "file" / "c.npz"))
    assert trainer.plan is None


class Dies(Callback):
    """Kills its process after some steps."""

    def __init__(self, after):
        self.left = after

    def on_batch_end(self, step, logs):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def go_on(path: Path, after: int) -> None:
    """What a program does that may be killed at any time."""
    trainer = Trainer.load(path) if path.exists() else make()
    callbacks = [PeriodicCheckpoint(path, 0), Dies(after)]
    trainer.fit(X, Y, epochs=3, resume=trainer.plan is not None, callbacks=callbacks, steps_per_call=1, validation_data=TEST)


def test_a_program_that_is_killed_again_and_again(tmp_path):
    whole, path, codes = make(), tmp_path / "c.npz", []
    whole.fit(X, Y, epochs=3, validation_data=TEST)
    whole.save(tmp_path / "whole.npz")
    while not codes or codes[-1]:
        process = multiprocessing.get_context("fork").Process(target=go_on, args=(path, 4))
        process.start()
        process.join()
        codes.append(process.exitcode)
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert path.read_bytes() == (tmp_path / "whole.npz").read_bytes()
