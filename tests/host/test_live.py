"""The live plot: what it shows, when, and how it ends; a fake takes the place of the notebook."""

import sys

import IPython.display
import numpy as np
import pytest
from trainings import Clocked, Stop

from bnnedge import Dense, Network, Settings, Trainer
from bnnedge.configuration import configuration
from bnnedge.devices import choose_device
from bnnedge.report import LivePlot, Progress, live, progress
from bnnedge.report.live import Rates

NETWORK = Network((4, 4), [Dense(32), Dense(4)], "tiny")
RANDOM = np.random.RandomState(1)
DATA = RANDOM.randint(0, 256, (200, 4, 4)).astype(np.uint8), RANDOM.randint(0, 4, 200)


class Counted(Clocked):
    """It also counts why the engine waits, and bytes."""

    def counters(self):
        cycles = self.cycles
        return {
            **super().counters(),
            "stall_token": cycles // 2,
            "stall_drain": 0,
            "stall_memory": cycles // 8,
            "read_0": cycles,
            "write_0": 0,
            "read_1": cycles // 2,
            "write_1": cycles // 4,
        }


class Screen:
    """What the notebook shows: the pictures of each display, newest last."""

    def __init__(self):
        self.displays = []

    def display(self, image, display_id):
        assert display_id
        shown = [image]
        self.displays.append(shown)
        return type("Handle", (), {"update": staticmethod(shown.append)})


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(IPython.display, "display", screen.display)
    return screen


@pytest.fixture
def texts(monkeypatch):
    """Titles and labels of the last picture."""
    found = []
    drawn = live.LivePlot._picture

    def picture(self, rates, width):
        found.clear()
        title, bars = live.title, live._bars
        with monkeypatch.context() as patch:
            patch.setattr(live, "title", lambda axes, text: (found.append(text), title(axes, text)))
            patch.setattr(live, "_bars", lambda axes, *rest: (bars(axes, *rest), found.append(axes.get_xlabel())))
            return drawn(self, rates, width)

    monkeypatch.setattr(live.LivePlot, "_picture", picture)
    return found


def test_one_display_that_changes(screen, texts, monkeypatch):
    monkeypatch.setattr(live, "_PAUSE", 0)
    monkeypatch.setattr(live, "_SHARE", 0)
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    history = trainer.fit(*DATA, epochs=2, validation_data=DATA, callbacks=[LivePlot(trainer)], steps_per_call=1).history
    (pictures,) = screen.displays
    assert len(pictures) == 2 * 3 + 2  # each call of the device, each epoch
    assert all(picture.data.startswith(b"\x89PNG") for picture in pictures)
    assert {picture.width for picture in pictures} == {756}
    assert texts == [
        f"cross-entropy (nats): {history['val_loss'][-1]:.3f}",
        f"accuracy: {100 * history['val_accuracy'][-1]:.1f} %",
    ]


def test_drawing_takes_a_part_of_the_time_only(screen, monkeypatch):
    monkeypatch.setattr(live, "_PAUSE", 3600)
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    trainer.fit(*DATA, epochs=3, callbacks=[LivePlot(trainer)], steps_per_call=1)
    assert len(screen.displays[0]) == 2  # the first step, and how it ended


def test_counters_beside_the_curves(screen, texts):
    trainer = Trainer(NETWORK, Counted(configuration("pynq-z2")), settings=Settings(batch=64))
    trainer.fit(*DATA, epochs=2)
    trainer.fit(*DATA, epochs=1, callbacks=[LivePlot(trainer)])
    assert screen.displays[0][-1].width == 1080
    assert texts[2:] == ["10,000,000 images/s at 100 MHz", "memory: 1.50 bytes read, 0.25 written a cycle"]


def test_rates():
    before = {"images": 6, "cycles": 100, "engine": 40, "read_0": 8, "write_0": 8}
    after = {"images": 10, "cycles": 300, "engine": 90, "read_0": 208, "write_0": 8}
    assert Rates.between(before, after, 1000) == Rates(20, {"engine multiplies": 0.25}, 1, 0)
    assert Rates.between(after, after, 1000) is None
    assert Rates.between({}, {}, 1000) is None


def test_interrupt_leaves_the_last_step(screen, texts, monkeypatch):
    monkeypatch.setattr(live, "_PAUSE", 3600)
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*DATA, epochs=3, callbacks=[LivePlot(trainer), Stop(5)], steps_per_call=1)
    assert len(screen.displays[0]) == 2
    running = trainer.plan.running()
    assert texts == [f"cross-entropy (nats): {running['loss']:.3f}", f"accuracy: {100 * running['accuracy']:.1f} %"]

    trainer.fit(*DATA, resume=True, callbacks=[LivePlot(trainer)])
    whole = Trainer(NETWORK, settings=Settings(batch=64))
    whole.fit(*DATA, epochs=3)
    assert trainer.state.differences(whole.state) == []
    assert len(screen.displays) == 2


def test_a_long_epoch_is_drawn_as_it_goes_on(screen, monkeypatch):
    monkeypatch.setattr(live, "_PAUSE", 0)
    monkeypatch.setattr(live, "_SHARE", 0)
    monkeypatch.setattr("bnnedge.trainer.call_steps", lambda network, batch: 2)
    monkeypatch.setattr("bnnedge.runner._CALL", 0)  # each call takes longer than it should
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    trainer.fit(*DATA, callbacks=LivePlot())
    steps = len(DATA[0]) // 64
    assert len(screen.displays[0]) >= -(-steps // 2)


@pytest.mark.parametrize("module", ["IPython.display", "matplotlib.figure"])
def test_missing_package(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"LivePlot needs .*pip install 'bnnedge\[notebook\]'"):
        LivePlot(Trainer(NETWORK))


def test_progress_bar_in_a_notebook_closes_after_an_interrupt(monkeypatch, capsys):
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    trainer = Trainer(NETWORK, settings=Settings(batch=64))
    bar = Progress()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*DATA, epochs=2, callbacks=[bar, Stop(4)], steps_per_call=1)
    assert bar._bar is None
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "epoch 2/2 |" in printed.out
    assert " left, loss" in printed.out
    assert printed.out.endswith("\n")


class TestChooseDevice:
    def test_without_a_board(self, monkeypatch):
        monkeypatch.delenv("PYNQ_REMOTE_DEVICES", raising=False)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        assert choose_device() == "golden"
        assert choose_device(otherwise="rtl") == "rtl"

    @pytest.mark.parametrize("installed", [True, False])
    def test_on_a_board(self, monkeypatch, installed):
        monkeypatch.setattr("platform.machine", lambda: "armv7l")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: installed or None)
        assert choose_device() == ("pynq" if installed else "golden")

    def test_board_afar(self, monkeypatch):
        monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "192.168.2.99")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
        assert choose_device() == "pynq"
