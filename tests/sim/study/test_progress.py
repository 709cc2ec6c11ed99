"""What is printed of a study that goes on, and the time that it will take."""

from __future__ import annotations

import pytest

from bnnedge.sim.study import Run, progress
from bnnedge.sim.study.kept import Told
from bnnedge.sim.study.progress import Left, Progress
from bnnedge.sim.study.table import Row


def run(seed: int, model: str = "integer", **more) -> Run:
    return Run(**{"label": model, "model": model, "data": "digits", "network": "digits", "epochs": 10, "seed": seed, **more})


def row(run: Run, seconds: float) -> Row:
    return Row(run, 0.875, 0.75, 1.25, seconds, (0.25, 0.875))


def told(run: Run, share: float, seconds: float, *curve: float) -> Told:
    return Told(run.key, share, len(curve), curve[-1] if curve else 0.0, seconds)


class TestLeft:
    def test_nothing_is_known_at_first(self):
        assert Left([run(1), run(2)], []).seconds is None

    def test_runs_like_those_that_ended(self):
        left = Left([run(2), run(3), run(4, epochs=20), run(5, "method")], [row(run(1), 100), row(run(6, "method"), 10)])
        assert left.seconds == pytest.approx(100 + 100 + 200 + 10)
        left.workers = 2
        assert left.seconds == pytest.approx(205)

    def test_runs_of_another_kind_are_guessed(self):
        assert Left([run(2, "standard")], [row(run(1), 100), row(run(6, "method"), 10)]).seconds == pytest.approx(55)

    def test_runs_that_go_on(self):
        left = Left([run(1), run(2), run(3)], [])
        left.went_on(run(1), told(run(1), 0.25, 30))  # with the seconds of all its parts
        assert left.seconds == pytest.approx(90 + 2 * 120)
        left.went_on(run(2), told(run(2), 0.0, 0))
        assert left.seconds == pytest.approx(90 + 2 * 120)
        left.workers = 3
        assert left.seconds == pytest.approx(120), "no run is spread over workers"
        left.ended(run(1), row(run(1), 100))
        left.ended(run(2), None)
        assert left.seconds == pytest.approx(100)
        left.ended(run(3), row(run(3), 100))
        assert left.seconds == 0


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_of_a_log(clock, capsys):
    runs = [run(1), run(2)]
    shown = Progress(runs, [], None)
    shown.began(1)
    for seconds, share, curve in ((5, 0.1, (0.5,)), (15, 0.2, (0.5, 0.75)), (40, 0.25, (0.5, 0.75)), (80, 0.28, (0.5, 0.75))):
        clock[0] = seconds
        shown.went_on(runs[0], told(runs[0], share, seconds, *curve))
    shown.went_on(runs[0], Told(runs[0].key, note="a disk is \x1b full"))
    shown.ended(runs[0], row(runs[0], 100), 1)
    shown.ended(runs[1], None, 0)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "integer, seed 1: 2.0 of 10 epochs, accuracy 75.00%, about 2 min left",
        "integer, seed 1: 2.8 of 10 epochs, accuracy 75.00%, about 8 min left",
        "integer, seed 1: 87.50% in 100 s; 1 to go, about 100 s left",
    ]
    assert printed.err == "note: a disk is \\x1b full\n"


def test_a_line_for_who_looks_on(clock, capsys):
    runs, said = [run(1), run(2), run(3)], []
    shown = Progress(runs, [], said.append)
    shown.began(2)
    shown.went_on(runs[0], told(runs[0], 0.1, 10, 0.5))
    shown.went_on(runs[1], told(runs[1], 0.05, 5))
    shown.ended(runs[0], row(runs[0], 100), 2)
    assert said == [
        "1 going, about 2 min left; integer, seed 1: 1.0 of 10 epochs, accuracy 50.00%",
        "2 going, about 2 min left; integer, seed 1: 1.0 of 10 epochs, accuracy 50.00%; integer, seed 2: 0.5 of 10 epochs",
        "1 going, about 100 s left; integer, seed 2: 0.5 of 10 epochs",
    ]
    assert capsys.readouterr().out == "integer, seed 1: 87.50% in 100 s; 2 to go, about 100 s left\n"
