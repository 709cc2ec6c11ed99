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


def test_a_resumed_run_is_shown_in_its_own_epoch_at_once(trainer, monkeypatch):
    """Though its last epoch is to be a short one."""
    texts = []
    monkeypatch.setattr(progress, "_bar", lambda total, done, text: texts.append((total, done, text)))
    trainer.fit(X, Y, steps=19, callbacks=[Progress()])
    trainer.fit(X, Y, steps=31, resume=True, callbacks=[Progress()])
    assert texts == [(19, 0, "epoch 1/2"), (31, 19, "epoch 2/4")]


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
    once = [text.count("\n") for text in where.shown()]
    trainer.fit(X, Y, epochs=2, callbacks=[Callback(), Progress()])
    assert [text.count("\n") for text in where.shown()] == [2 * count for count in once]


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
    monkeypatch.setattr("bnnedge.runner._CALL", 0)  # each takes longer than it should
    seen = []

    class Steps(Callback):
        def on_batch_end(self, step, logs):
            seen.append(step)

    trainer.fit(X, Y, callbacks=Steps())
    assert seen == ([10] if where.name == "pipe" else [4, 6, 8, 10])


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


class TestLines:
    """Where the output goes to a file: by a clock that each step and each validation moves on."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(progress, "can_show", lambda: False)
        monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
        return now

    def ticks(self, clock, step, validation=0.0):
        class Ticks(Callback):
            def on_batch_end(self, step_, logs):
                clock[0] += step

        usual = Trainer._evaluate

        def evaluate(trainer, *arguments):
            clock[0] += validation
            return usual(trainer, *arguments)

        return Ticks(), evaluate

    def lines(self, capsys):
        return [(line.split(":")[0], line[line.index("(") :]) for line in capsys.readouterr().out.splitlines()]

    def test_the_time_left_is_that_of_the_whole_run(self, trainer, clock, capsys, monkeypatch):
        ticks, evaluate = self.ticks(clock, 1, 2)
        monkeypatch.setattr(Trainer, "_evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(X, Y, epochs=4, validation_data=(X, Y), callbacks=[ticks, Progress(), Stop(25)], steps_per_call=1)
        assert self.lines(capsys) == [("epoch   1/4", "(12 s, 36 s left)"), ("epoch   2/4", "(24 s, 24 s left)")]
        # From here on twice as slow: what is left is told from the steps since.
        ticks, evaluate = self.ticks(clock, 2, 0)
        trainer.fit(X, Y, resume=True, callbacks=[ticks, Progress()], steps_per_call=1)
        assert self.lines(capsys) == [("epoch   3/4", "(10 s, 20 s left)"), ("epoch   4/4", "(30 s)")]

    def test_a_long_epoch_tells_where_it_is(self, trainer, clock, capsys):
        ticks, _ = self.ticks(clock, 150)
        trainer.fit(X, Y, steps=12, callbacks=[ticks, Progress()], steps_per_call=1)
        assert self.lines(capsys) == [
            ("epoch   1/2, 20 %", "(5 min, 25 min left)"),
            ("epoch   1/2, 40 %", "(10 min, 20 min left)"),
            ("epoch   1/2, 60 %", "(15 min, 15 min left)"),
            ("epoch   1/2, 80 %", "(20 min, 10 min left)"),
            ("epoch   1/2, 100 %", "(25 min, 5 min left)"),
            ("epoch   1/2", "(25 min, 5 min left)"),
            ("epoch   2/2, 20 %", "(30 min)"),
            ("epoch   2/2", "(30 min)"),
        ]
