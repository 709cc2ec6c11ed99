"""`bnnedge train` killed at every kind of place, and gone on with by --resume FOLDER alone."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnnedge import Dense, Network, Trainer, checkpoint
from bnnedge.cli import main
from bnnedge.commands import train as command
from bnnedge.course import Course
from bnnedge.devices import DEVICES
from bnnedge.devices.golden import GoldenDevice
from bnnedge.report import folder as run_folder
from bnnedge.report.page import page
from bnnedge.report.run import load_run
from bnnedge.sim.arrays import NUMPY


class Other(GoldenDevice):
    """A device that can be checked: the golden model itself cannot."""

    name = "rtl"


@pytest.fixture(autouse=True)
def other(monkeypatch):
    """Make --device rtl open a device that needs no simulation, and report with each checkpoint."""
    monkeypatch.setitem(DEVICES, "rtl", Other)
    monkeypatch.setattr(run_folder, "_SHARE", 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A data file of small images, with a network beside it."""
    folder, random, arrays = tmp_path_factory.mktemp("files"), np.random.RandomState(2), {}
    for part, count in (("train", 200), ("test", 40)):
        labels = random.randint(0, 3, count)
        arrays[f"y_{part}"] = labels
        arrays[f"x_{part}"] = (random.randint(0, 100, (count, 3, 3)) + 70 * labels[:, None, None]).astype(np.uint8)
    np.savez(folder / "small.npz", **arrays)
    (folder / "net.yaml").write_text("name: little\ninput_shape: [3, 3]\nlayers: [{dense: 16}, {dense: 3}]\n")
    return folder


def words(files: Path, out: Path, *more: object) -> list[str]:
    """Three steps an epoch."""
    own = ["train", "--data", files / "small.npz", "--network", files / "net.yaml", "--batch", 64, "--out", out, *more]
    return [str(word) for word in own]


def report_in(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


HISTORIES = "train_loss", "train_accuracy", "test_loss_history", "test_accuracy_history", "rate_history"


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """A run that nobody interrupts: 192 of 200 images, four epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEVICES, "rtl", Other)
        out = tmp_path_factory.mktemp("whole")
        assert main(words(files, out, "--epochs", 4, "--samples", 199, "--check", "--reference")) == 0
    return out


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(place: object, name: str, call: int, after: bool = False) -> None:
    """Let a function kill the process in one of its calls, from 1: before it does anything, or after it."""
    usual, calls = getattr(place, name), [0]

    def function(*arguments, **keywords):
        calls[0] += 1
        if calls[0] == call and not after:
            kill()
        result = usual(*arguments, **keywords)
        if calls[0] == call:
            kill()
        return result

    setattr(place, name, function)


def killed(prepare: Callable[[], None], arguments: list[str]) -> None:
    """Run a command in a process that is killed."""

    def run() -> None:
        prepare()
        main(arguments)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


# Where a process is killed, and steps of the run, of 12, that are not lost.
PLACES = {
    "in the second epoch": (lambda: dying(Course, "_advance", 5), 3),
    "in the validation": (lambda: dying(Trainer, "_evaluate", 3), 6),
    "as the third checkpoint is written": (lambda: dying(os, "fsync", 5), 3),
    "before the checkpoint takes its place": (lambda: dying(checkpoint, "atomic", 3), 6),
    "behind the checkpoint": (lambda: dying(checkpoint, "save", 2, after=True), 6),
    "as the report is written": (lambda: dying(run_folder, "summary", 2), 6),
    "in the last validation": (lambda: dying(Trainer, "_evaluate", 4), 9),
    "as the run has ended": (lambda: dying(Trainer, "fit", 1, after=True), 12),
    "as a step is measured": (lambda: dying(Trainer, "measure", 1), 12),
    "in the reference": (lambda: dying(command, "train_standard", 1), 12),
    "as the curve is drawn": (lambda: dying(command, "save_curve", 1), 12),
}


@pytest.mark.parametrize("place", PLACES)
def test_goes_on_bit_for_bit(files, whole, tmp_path, place, capfd):
    prepare, steps = PLACES[place]
    out = tmp_path / "run"
    killed(prepare, words(files, out, "--epochs", 4, "--samples", 199, "--check", "--reference"))
    begun = checkpoint.load(out)
    assert begun.plan is not None
    assert begun.plan.step == steps
    assert steps == 12 or load_run(out).unfinished
    trained = report_in(out)["checked_steps"]
    # The folder alone: data, samples, device, checks and reference are those of the run.
    assert main(["train", "--resume", str(out)]) == 0
    assert (out / "checkpoint.npz").read_bytes() == (whole / "checkpoint.npz").read_bytes()
    assert not list(out.glob(".*")), "what the kill left has gone"
    report, expected = report_in(out), report_in(whole)
    for name in (*HISTORIES, "steps", "samples", "reference", "reference_accuracy", "finished", "data_sha256", "asked"):
        assert report[name] == expected[name], name
    assert report["checked_steps"] == (trained if steps == 12 else 12 - steps)
    assert report["bit_exact"] is True
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert f"going on after step {steps} of 12" in capfd.readouterr().out


def test_killed_before_anything_was_kept(files, tmp_path, capsys):
    out = tmp_path / "run"
    killed(lambda: dying(checkpoint, "save", 1), words(files, out, "--epochs", 4))
    assert main(["train", "--resume", str(out)]) == 1
    assert f"checkpoint {out / 'checkpoint.npz'}: there is no such file" in capsys.readouterr().err


def test_a_run_that_has_ended(files, whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    arguments = words(files, out, "--epochs", 4, "--samples", 199, "--check")
    assert main(arguments) == 0
    saved, report = (out / "checkpoint.npz").read_bytes(), report_in(out)
    assert report["finished"] is True
    (out / "curve.png").unlink()
    capsys.readouterr()
    assert main(["train", "--resume", str(out / "checkpoint.npz")]) == 0
    assert "this run has come to its end already: nothing was left to train" in capsys.readouterr().out
    assert (out / "checkpoint.npz").read_bytes() == saved
    assert report_in(out) == report
    assert (out / "curve.png").exists()
    # With a reference it lacked; then it has one, and another time none is trained.
    assert main(["train", "--resume", str(out), "--reference"]) == 0
    with_reference = report_in(out)
    assert with_reference["reference"] == report_in(whole)["reference"]
    monkeypatch.setattr(command, "train_standard", None)
    assert main(["train", "--resume", str(out)]) == 0
    assert report_in(out) == with_reference


def test_longer_than_it_was_planned_and_elsewhere(files, whole, tmp_path):
    out = tmp_path / "longer"
    before = (whole / "checkpoint.npz").read_bytes()
    assert main(["train", "--resume", str(whole), "--epochs", "5", "--out", str(out), "--no-check"]) == 0
    assert (whole / "checkpoint.npz").read_bytes() == before
    report = report_in(out)
    assert (report["steps"], report["planned_steps"], report["checked_steps"]) == (15, 15, 0)
    assert report["train_loss"][:4] == report_in(whole)["train_loss"]


def test_other_options_than_the_runs(files, whole, tmp_path, capsys):
    """What is given counts, as long as it is the same run."""
    out = tmp_path / "run"
    killed(lambda: dying(Course, "_advance", 8), words(files, out, "--epochs", 4, "--check", "--samples", 199))
    resume = ["train", "--resume", str(out)]
    assert main([*resume, "--data", "digits"]) == 1
    text = "--data digits: these are not the images that the run was begun with: give the same with --data"
    assert text in capsys.readouterr().err
    assert main([*resume, "--samples", "128"]) == 1
    assert "the run to resume began with other data (199 images; these are 128)" in capsys.readouterr().err
    assert main([*resume, "--batch", "128"]) == 1
    assert "--batch cannot change with --resume" in capsys.readouterr().err
    assert main([*resume, "--device", "golden"]) == 0, "which is not compared with itself"
    assert (out / "checkpoint.npz").read_bytes() == (whole / "checkpoint.npz").read_bytes()
    assert (report_in(out)["device"], report_in(out)["checked_steps"]) == ("golden", 0)


def test_data_that_have_changed_or_gone(files, tmp_path, capsys):
    data = tmp_path / "own.npz"
    data.write_bytes((files / "small.npz").read_bytes())
    arguments = words(files, tmp_path / "run", "--epochs", 4, "--samples", 199)
    arguments[arguments.index("--data") + 1] = str(data)
    killed(lambda: dying(Course, "_advance", 3), arguments)
    arrays = dict(np.load(data))
    arrays["x_test"] = arrays["x_test"] // 2
    np.savez(data, **arrays)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 1
    text = f"{data} is no longer what the run was trained on; give the same with --data, or begin a new run from its weights"
    assert text in capsys.readouterr().err
    # The training images are the same: but the accuracies before and after would be of other test images.
    assert main(["train", "--resume", str(tmp_path / "run"), "--data", str(data)]) == 1
    assert f"--data {data}: these are not the images that the run was begun with" in capsys.readouterr().err
    data.unlink()
    assert main(["train", "--resume", str(tmp_path / "run")]) == 1
    assert f"{data} is not there any more" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "run"), "--data", str(files / "small.npz")]) == 0
    assert report_in(tmp_path / "run")["samples"] == 199


@pytest.mark.parametrize("content", [None, "{}", "{", "another's"])
def test_without_its_report_all_must_be_said(files, whole, tmp_path, content, capsys):
    killed(lambda: dying(Course, "_advance", 3), words(files, tmp_path, "--epochs", 4, "--samples", 199))
    report = report_in(tmp_path)
    (tmp_path / "report.json").unlink()
    if content:
        other = json.dumps({**report, "settings": {**report["settings"], "seed": 7}})
        (tmp_path / "report.json").write_text(other if content == "another's" else content)
    assert main(["train", "--resume", str(tmp_path), "--device", "golden"]) == 1
    assert "bnnedge: error: " in capsys.readouterr().err
    own = ["--device", "golden", "--data", str(files / "small.npz"), "--samples", "199"]
    assert main(["train", "--resume", str(tmp_path), *own]) == 0
    assert (tmp_path / "checkpoint.npz").read_bytes() == (whole / "checkpoint.npz").read_bytes()


def test_a_process_that_is_killed_whenever(files, tmp_path):
    """Not at places of our choice: as soon as it has come a step further."""
    out, saved = tmp_path / "run", tmp_path / "run" / "checkpoint.npz"
    own = ["--device", "golden", "--epochs", "20", "--save-every", "0"]  # which it keeps as it is resumed
    arguments, steps, kills = words(files, out, *own), 0, 0
    while kills < 2:
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen([sys.executable, "-m", "bnnedge.cli", *arguments], stdout=log, stderr=log)
        try:
            while process.poll() is None and (not saved.exists() or checkpoint.load(saved).plan.step <= steps):
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        kills += 1
        steps, arguments = checkpoint.load(saved).plan.step, ["train", "--resume", str(out)]
    assert main(arguments) == 0
    assert report_in(out)["asked"]["save_every"] == 0
    assert main(words(files, tmp_path / "whole", *own)) == 0
    assert saved.read_bytes() == (tmp_path / "whole" / "checkpoint.npz").read_bytes()
    assert [report_in(out)[name] for name in HISTORIES] == [report_in(tmp_path / "whole")[name] for name in HISTORIES]


def test_on_another_device_after_its_end_it_is_still_the_run_of_its_own(files, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "run")
    before = report_in(whole)
    assert main(["train", "--resume", str(tmp_path / "run"), "--device", "golden"]) == 0
    assert {**report_in(tmp_path / "run"), "asked": before["asked"]} == before
    # Nor is anything measured on a device that did not train.
    golden = tmp_path / "golden"
    assert main(words(files, golden, "--epochs", 1, "--device", "golden")) == 0
    monkeypatch.setattr(Trainer, "measure", None)
    assert main(["train", "--resume", str(golden), "--device", "rtl"]) == 0
    assert report_in(golden)["device"] == "golden"


def test_a_checkpoint_without_a_run(tmp_path, capsys):
    with Trainer(Network((8, 8), [Dense(10)])) as trainer:
        trainer.save(tmp_path / "new.npz")
    assert main(["train", "--resume", str(tmp_path / "new.npz"), "--device", "golden"]) == 1
    assert "new.npz: there is no run in it to go on with: begin one from its weights with --start" in capsys.readouterr().err


def test_two_at_once_in_a_folder(files, whole, tmp_path, capsys, monkeypatch):
    """The second would mix its files with the first one's."""
    out, usual, codes = tmp_path / "run", Course._advance, []

    def advance(self, *arguments):
        if not codes:
            codes.append(main(words(files, out, "--epochs", 4, "--seed", 2)))
            codes.append(main(words(files, tmp_path / "other", "--epochs", 1)))
        return usual(self, *arguments)

    monkeypatch.setattr(Course, "_advance", advance)
    assert main(words(files, out, "--epochs", 4, "--samples", 199)) == 0
    assert codes == [1, 0]
    assert f"{out}: another `bnnedge train` writes there just now: wait for its end" in capsys.readouterr().err
    assert (out / "checkpoint.npz").read_bytes() == (whole / "checkpoint.npz").read_bytes()


def test_a_folder_that_cannot_be_written_to_is_told_of_before_the_training(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a file system that is read-only
    monkeypatch.setattr(Trainer, "fit", None)
    assert main(words(files, tmp_path, "--epochs", 1)) == 1
    assert capsys.readouterr().err == f"bnnedge: error: {tmp_path}: Permission denied\n"


@pytest.mark.parametrize("minutes", ["inf", "1e300"])
def test_never_within_an_epoch(files, tmp_path, minutes):
    """The report must hold it: otherwise the run goes on by the default, or as if there were no report."""
    assert main(words(files, tmp_path, "--epochs", 1, "--save-every", minutes)) == 0
    asked = load_run(tmp_path).report["asked"]
    assert asked["save_every"] > 60 * 24 * 365
    assert main(["train", "--resume", str(tmp_path)]) == 0
    assert report_in(tmp_path)["asked"] == asked


def test_an_unfinished_run_can_be_looked_at(files, whole, tmp_path, capsys):
    out = tmp_path / "run"
    killed(lambda: dying(Course, "_advance", 3), words(files, out, "--epochs", 4, "--samples", 199))
    text = "unfinished, after 6 of 12 steps: `bnnedge train --resume` goes on"
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out == f"run: {text}\n{out / 'report.html'}\n"
    assert f"The run is {text}." in (out / "report.html").read_text()
    assert main(["compare", str(whole), str(out)]) == 0
    assert f"\nrun is {text}\n" in capsys.readouterr().out
    assert main(["report", str(whole)]) == 0
    assert "unfinished" not in capsys.readouterr().out + page(load_run(whole), "")


def test_a_report_that_is_behind_its_checkpoint(files, tmp_path):
    """As of a run that goes on meanwhile."""
    killed(lambda: dying(run_folder, "summary", 2), words(files, tmp_path, "--epochs", 4))
    assert (report_in(tmp_path)["steps"], checkpoint.load(tmp_path).plan.step) == (3, 6)
    assert main(["report", str(tmp_path)]) == 0
    assert "test images," in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("text", ["-1", "nan", "soon"])
def test_save_every_what_cannot_be(files, tmp_path, text, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words(files, tmp_path, f"--save-every={text}"))
    assert caught.value.code == 2
    assert "--save-every" in capsys.readouterr().err


def test_the_library_that_computes(files, whole, tmp_path, capsys, monkeypatch):
    pytest.importorskip("array_api_strict")
    used, usual = [], GoldenDevice.__init__

    def opened(self, configuration, library=NUMPY, *more):
        used.append(library.xp.__name__ if library is not NUMPY else "numpy")
        usual(self, configuration, library, *more)

    monkeypatch.setattr(GoldenDevice, "__init__", opened)
    own = ["--epochs", "4", "--samples", "199", "--device", "golden", "--arrays", "array_api_strict"]
    killed(lambda: dying(Course, "_advance", 3), words(files, tmp_path, *own))
    assert main(["train", "--resume", str(tmp_path)]) == 0
    assert used == ["array_api_strict"]
    assert (tmp_path / "checkpoint.npz").read_bytes() == (whole / "checkpoint.npz").read_bytes()
    # Another one is a matter of the command; a device that is not the golden model has none.
    assert main(["train", "--resume", str(tmp_path), "--arrays", "numpy"]) == 0
    assert main(["train", "--resume", str(tmp_path), "--device", "rtl"]) == 0
    assert used == ["array_api_strict", "numpy", "numpy", "numpy"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--arrays", "torch"], "--arrays goes with --device golden alone, not rtl"),
        (["--arrays", "jax", "--device", "golden"], "arrays must be one of numpy, torch, cupy, array_api_strict, or"),
    ],
)
def test_libraries_that_cannot_be(files, tmp_path, capsys, options, text):
    assert main(words(files, tmp_path, *options)) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("name", ["checkpoint.npz", "report.json", "curve.png", "reference.npz"])
def test_a_link_in_a_strangers_folder_is_not_written_through(files, whole, tmp_path, capsys, name):
    out, own = tmp_path / "run", tmp_path / "own"
    shutil.copytree(whole, out)
    own.write_bytes((out / name).read_bytes() if (out / name).exists() else b"mine")
    before = own.read_bytes()
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(own)
    assert main(["train", "--resume", str(out), "--epochs", "5"]) == 1
    assert f"{out / name} is a link, or no file, and nobody asked to write there" in capsys.readouterr().err
    assert own.read_bytes() == before
    assert main(["train", "--resume", str(out), "--epochs", "5", "--out", str(tmp_path / "other")]) == 0
