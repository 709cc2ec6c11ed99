"""Where `fit` shows how it goes on: on a terminal and in a notebook, and nowhere else; once, and not at all if told so."""

import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from trainings import Stop

from bnnedge import Callback, Dense, Network, Settings, Trainer
from bnnedge.report import LivePlot, Progress, progress
from bnnedge.runner import call_steps

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (640, 4, 4)).astype(np.uint8), np.arange(640) % 4


@pytest.fixture
def trainer():
    return Trainer(NETWORK, settings=Settings(batch=64))


class Where:
    """Where a run is, and all that it showed there on standard output and error."""

    def __init__(self, name, capsys):
        self.name, self.capsys, self.texts = name, capsys, ("", "")

    def shown(self):
        self.texts = tuple(map(str.__add__, self.texts, self.capsys.readouterr()))
        return self.texts


@pytest.fixture(params=["terminal", "notebook", "pipe"])
def where(request, monkeypatch, capsys):
    monkeypatch.setattr(progress, "can_show", lambda: request.param != "pipe")
    monkeypatch.setattr(progress, "in_notebook", lambda: request.param == "notebook")
    return Where(request.param, capsys)


def test_unless_told_otherwise(trainer, where):
    trainer.fit(X, Y, epochs=2, validation_data=(X, Y))
    out, err = where.shown()
    bar, other = (out, err) if where.name == "notebook" else (err, out)
    assert other == ""
    assert (bar == "") == (where.name == "pipe")
    if bar:
        assert "epoch 1/2 |" in bar.split("\r")[1]
        assert "epoch 2/2 |" in bar
        assert "test accuracy" in bar
        assert bar.endswith("\n")


def test_none(trainer, where):
    trainer.fit(X, Y, epochs=2, progress=False)
    assert where.shown() == ("", "")


def test_in_any_case(trainer, where):
    trainer.fit(X, Y, epochs=2, progress=True)
    out, err = where.shown()
    assert out + err
    if where.name == "pipe":
        assert out.startswith("epoch   1/2: loss ")
        assert out.count("\n") == 2


def test_only_once(trainer, where):
    trainer.fit(X, Y, epochs=2, callbacks=[Progress()])
    once = [text.count("epoch 2/2") for text in where.shown()]
    trainer.fit(X, Y, epochs=2, callbacks=[Callback(), Progress()])
    assert [text.count("epoch 2/2") for text in where.shown()] == [2 * count for count in once]


def test_no_bar_beside_a_plot(trainer, where, monkeypatch):
    import IPython.display

    pictures = []
    handle = type("Handle", (), {"update": lambda self, image: None})()
    monkeypatch.setattr(IPython.display, "display", lambda image, display_id: pictures.append(image) or handle)
    trainer.fit(X, Y, callbacks=LivePlot())
    assert len(pictures) == 1
    assert where.shown() == ("", "")


def test_a_resumed_run_begins_where_it_was(trainer, where):
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=4, callbacks=Stop(25), steps_per_call=5, progress=False)
    trainer.fit(X, Y, resume=True)
    bar = "".join(where.shown())
    if where.name != "pipe":
        assert "epoch 3/4 |" in bar.split("\r")[1]
        assert " 62 % " in bar.split("\r")[1]
        assert "epoch 1/4" not in bar
    trainer.fit(X, Y, resume=True)
    assert "".join(where.shown()) == bar, "nothing was left to do"


def test_calls_return_often_enough_where_somebody_looks_on(trainer, where, monkeypatch):
    monkeypatch.setattr("bnnedge.trainer.call_steps", lambda network, batch: 4)
    seen = []

    class Steps(Callback):
        def on_batch_end(self, step, logs):
            seen.append(step)

    trainer.fit(X, Y, callbacks=Steps())
    assert seen == ([10] if where.name == "pipe" else [4, 8, 10])
    assert call_steps(NETWORK, 64) > 1000
    assert call_steps(Network((100, 100), [Dense(1000), Dense(4)]), 64) == 4


def test_without_tqdm(trainer, where, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    trainer.fit(X, Y, epochs=2)
    assert where.shown()[1] == ""
    assert where.shown()[0].count("\n") == (0 if where.name == "pipe" else 2)


@pytest.mark.parametrize("wanted", ["bar", 2, ()])
def test_other_answers(trainer, wanted):
    with pytest.raises(ValueError, match="progress must be True, False or None"):
        trainer.fit(X, Y, progress=wanted)


@pytest.mark.parametrize("notebook", [True, False])
@pytest.mark.parametrize("terminal", [True, False, None])
def test_where_somebody_looks_on(monkeypatch, notebook, terminal):
    stream = None if terminal is None else type("Stream", (), {"isatty": lambda self: terminal})()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "in_notebook", lambda: notebook)
    assert progress.can_show() == (notebook or bool(terminal))


def test_a_terminal_without_a_size():
    """As a serial console: none is set."""
    code = (
        "import sys, numpy as np\n"
        "from bnnedge import Dense, Network, Settings, Trainer\n"
        "trainer = Trainer(Network((4, 4), [Dense(16), Dense(4)]), settings=Settings(batch=64))\n"
        "trainer.fit(np.full((64, 4, 4), 200, np.uint8), np.arange(64) % 4)\n"
    )
    parent, child = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], stdin=child, stdout=child, stderr=child, check=True)
        assert b"epoch 1/1 |" in os.read(parent, 1 << 16)
    finally:
        os.close(parent)
        os.close(child)
