"""The report's numbers, the picture, and the progress display."""

import io
import json
import sys

import numpy as np
import pytest
from trainings import Clocked

from bnnedge import Dense, Network, Settings, Trainer
from bnnedge.configuration import configuration
from bnnedge.devices import Memory
from bnnedge.report import Reference, save_curve, summary, write_json
from bnnedge.report.progress import Progress

NETWORK = Network((4, 4), [Dense(32), Dense(4)], "tiny")


class Sized(Clocked):
    """It also says what memory it takes."""

    def memory(self):
        return Memory({"buffers": 1000}, {"weights": 2000, "statistics": 500})


@pytest.fixture
def trainer():
    random = np.random.RandomState(1)
    data = random.randint(0, 256, (200, 4, 4)).astype(np.uint8), random.randint(0, 4, 200)
    trainer = Trainer(NETWORK, Sized(configuration("pynq-z2")), settings=Settings(batch=64))
    trainer.fit(*data, epochs=3, validation_data=data)
    trainer.data = data
    return trainer


def test_rates_and_memory(trainer):
    report = summary(trainer, "noise", trainer.measure(*trainer.data))
    assert report["cycles_per_image"] == 10
    assert report["clock_hz"] == 100_000_000
    assert report["images_per_second"] == 10_000_000
    assert report["engine_utilisation"] == 0.25
    memory = report["memory_bytes"]
    assert memory["on_chip"] == {"buffers": 1000}
    assert memory["ddr"] == {"weights": 2000, "statistics": 500}
    # batch * (inputs + outputs) + two buffers of the largest tensor + statistics + four numbers a weight
    assert memory["float32_standard"] == 4 * (64 * 52 + 2 * 64 * 32 + 4 * 36 + 4 * 640)
    assert memory["ratio"] == memory["float32_standard"] / 3500


def test_nothing_trained():
    with pytest.raises(ValueError, match="nothing was trained"):
        summary(Trainer(NETWORK), "none", None)


def test_reference(trainer):
    report = summary(trainer, "noise", None, Reference(0.001, [1.0, 0.5], [0.5, 0.6], [0.4, 0.7]))
    assert report["reference_accuracy"] == 0.7
    assert report["reference"]["rate"] == 0.001


def test_files(trainer, tmp_path):
    reference = Reference(0.001, [1.0, 0.5, 0.4], [0.5, 0.6, 0.7], [0.4, 0.7, 0.7])
    report = summary(trainer, "noise", None, reference)
    write_json(tmp_path / "report.json", report)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    save_curve(tmp_path / "curve.png", report, reference)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "report.json"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(terminal, monkeypatch, capsys, trainer):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress()
    trainer.fit(*trainer.data, epochs=2, validation_data=trainer.data, callbacks=[progress])
    progress.close()
    printed = capsys.readouterr().out
    if terminal:
        assert printed == ""
        assert "epoch 2/2" in stream.getvalue()
        assert "test accuracy" in stream.getvalue()
    else:
        assert stream.getvalue() == ""
        assert printed.count("\n") == 2
        assert "epoch   2/2: loss" in printed
