"""What takes long says so: before it begins, as it goes on, and in the end."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bnnedge import underway as module
from bnnedge.terminal import guarded
from bnnedge.underway import beating, underway


class Screen(io.StringIO):
    """A terminal, of which each write is kept."""

    encoding = "ascii"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long this machine takes."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))


def wait(reached: Callable[[], bool]) -> None:
    for _ in range(1000):
        if reached():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_a_pipe_gets_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with underway("compiling", "1 to 4 minutes"):
        assert capsys.readouterr().err == "compiling (1 to 4 minutes) ..."
        with underway("a part of it"):
            pass
    assert capsys.readouterr().err == " 0 s\n"
    monkeypatch.setattr(module, "_ELSEWHERE", 0.02)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with underway("compiling", stdout=True):
        wait(lambda: stream.getvalue().count(" 0 s") > 2)
    assert stream.getvalue().count("\n") == 1
    assert not capsys.readouterr().err


def test_a_terminal_counts_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "_TERMINAL", 0.02)
    monkeypatch.setenv("COLUMNS", "60")
    with guarded(), underway("a\x1b[2J é " + 40 * "long "):
        wait(lambda: screen.getvalue().count("\r") > 2)
    *parts, last = screen.getvalue().split("\r")
    assert len(parts) > 2
    assert all(part.startswith("a\\x1b[2J \\xe9 long") and len(part.rstrip()) < 60 for part in (*parts, last))
    assert last.endswith(" ... 0 s\n")


def test_a_terminal_shows_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "_TERMINAL", 0.02)
    monkeypatch.setenv("COLUMNS", "60")
    with guarded(), underway("training for long") as say:
        say("9 to\x1b go")
        wait(lambda: "9 to" in screen.getvalue())
        say(40 * "long ")
        wait(lambda: "long long" in screen.getvalue())
        with underway("within") as ignored:
            ignored("nothing")
        say("end")
    parts = [part.rstrip("\n") for part in screen.getvalue().split("\r")]
    assert any(part.startswith("9 to\\x1b go ... 0 s") and len(part) >= len("training for long ... 0 s") for part in parts)
    assert all(len(part.rstrip()) < 60 for part in parts)
    assert parts[-1].rstrip() == "end ... 0 s"
    assert len(parts[-1]) >= len(parts[0])
    assert "nothing" not in screen.getvalue()


def test_a_pipe_keeps_to_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    with underway("training") as say:
        say("something else")
    assert capsys.readouterr().err == "training ... 0 s\n"


def test_what_stops_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), underway("compiling"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "compiling ... stopped after 0 s\n"


def test_what_may_be_quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with underway("reading", after=1000):
        pass
    assert not stream.getvalue()
    with underway("reading", after=0.01):
        wait(lambda: bool(stream.getvalue()))
    assert stream.getvalue() == "reading ... 0 s\n"


def test_another_thread_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with underway("another"):
            pass

    with underway("one"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "another" not in capsys.readouterr().err
    work()
    assert capsys.readouterr().err == "another ... 0 s\n"


def test_a_closed_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with underway("one"):
        stream.close()


def test_what_is_printed_meanwhile_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    with guarded(), underway("training"):
        print("one of two")
        print("two of two")
    print("done")
    assert screen.getvalue() == "training ...\r\x1b[Kone of two\ntwo of two\n\rtraining ... 0 s\ndone\n"


def test_beating() -> None:
    beats: list[int] = []
    with beating(lambda: beats.append(1), every=0.01, after=1000):
        time.sleep(0.05)
    assert not beats
    with beating(lambda: beats.append(1), every=0.01):
        wait(lambda: len(beats) > 3)
    count = len(beats)
    time.sleep(0.05)
    assert len(beats) == count


def test_a_notebook_shows_it_with_the_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    with underway("compiling"):
        pass
    told = capsys.readouterr()
    assert (told.out, told.err) == ("compiling ...\rcompiling ... 0 s\n", "")
