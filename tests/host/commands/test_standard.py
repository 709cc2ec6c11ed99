"""The float32 standard of `bnnedge train --reference`, killed and gone on with."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from bnnedge.cli import main
from bnnedge.sim.reference import Standard

OPTIONS = ["--device", "golden", "--samples", "256", "--epochs", "3", "--reference"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The report of a run that nobody interrupts: three epochs of four steps."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", *OPTIONS, "--out", str(folder)]) == 0
    return json.loads((folder / "report.json").read_text())


def counted(steps, dies=0):
    """Count the steps of the standard; let the process be killed in one of them, from 1."""
    usual = Standard.train_batch

    def train_batch(self, *arguments):
        steps.append(1)
        if len(steps) == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(self, *arguments)

    return train_batch


def killed(step, *arguments):
    def run():
        Standard.train_batch = counted([], step)
        main(["train", *arguments])

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def steps_of(monkeypatch, *arguments):
    """Steps that the standard takes in a command."""
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(Standard, "train_batch", counted(steps))
        assert main(["train", *arguments]) == 0
    return len(steps)


@pytest.mark.parametrize(("every", "lost"), [("0", 0), ("1000", 2)])
def test_goes_on_bit_for_bit(whole, tmp_path, monkeypatch, every, lost):
    killed(7, *OPTIONS, "--save-every", every, "--out", str(tmp_path))
    assert (tmp_path / "reference.npz").exists()
    assert steps_of(monkeypatch, "--resume", str(tmp_path), "--save-every", every) == 6 + lost
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["reference"] == whole["reference"]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.npz", "curve.png", "report.json"]


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Standard, "train_batch", interrupted)
        assert main(["train", *OPTIONS, "--out", str(tmp_path)]) == 130
    assert f"\ninterrupted; go on with --resume {tmp_path}\n" in capsys.readouterr().err
    assert (tmp_path / "curve.png").exists()


def damaged(path):
    path.write_bytes(path.read_bytes()[:-30])


def of_other_parameters(path):
    arrays = dict(np.load(path))
    arrays["1.weight"] = arrays["1.weight"][:-1]
    np.savez(path, **arrays)


def without_some(path):
    arrays = dict(np.load(path))
    del arrays["steps"]
    np.savez(path, **arrays)


@pytest.mark.parametrize("change", [damaged, of_other_parameters, without_some])
def test_what_cannot_be_used_begins_anew(whole, tmp_path, monkeypatch, change):
    killed(7, *OPTIONS, "--save-every", "0", "--out", str(tmp_path))
    change(tmp_path / "reference.npz")
    assert steps_of(monkeypatch, "--resume", str(tmp_path)) == 12
    assert json.loads((tmp_path / "report.json").read_text())["reference"] == whole["reference"]


def test_of_a_run_that_was_made_longer_there_is_another(tmp_path, monkeypatch):
    killed(7, *OPTIONS, "--save-every", "0", "--out", str(tmp_path))
    assert steps_of(monkeypatch, "--resume", str(tmp_path), "--epochs", "4") == 16
