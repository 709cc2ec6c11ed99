"""How a step's loops are shared among threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from bnnedge.sim.golden.threads import Threads, usable

_SAID = [("1", 1), (" 1", 1), ("2,1", 2), ("3", 3), ("99", 3), ("", 3), ("0", 3), ("-1", 3), ("many", 3), ("\u00b2", 3)]


@pytest.mark.parametrize(("said", "threads"), [*_SAID, (None, 3)])
def test_usable_threads(monkeypatch: pytest.MonkeyPatch, said: str | None, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert usable() == threads


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_parts_follow_each_other(most: int, count: int) -> None:
    parts = Threads(most).share(count, 1e9, lambda start, stop: list(range(start, stop)))
    assert [each for part in parts for each in part] == list(range(count))
    assert len(parts) == min(most, count)


def test_little_work_stays_in_the_calling_thread() -> None:
    assert Threads(2).share(100, 1000, lambda start, stop: threading.current_thread()) == [threading.current_thread()]
    one, other = Threads(2).share(100, 1e9, lambda start, stop: threading.current_thread())
    assert one is threading.current_thread()
    assert other is not one


@pytest.mark.parametrize("failing", [0, 1])
def test_failures_come_when_all_have_ended(failing: int) -> None:
    ended = []

    def part(start: int, stop: int) -> None:
        if start == failing:
            raise ValueError(f"part {start}")
        ended.append(start)

    with pytest.raises(ValueError, match=f"part {failing}"):
        Threads(2).share(2, 1e9, part)
    assert ended == [1 - failing]


@pytest.mark.parametrize("late", ["atexit.register(share)", "threading.Thread(target=lambda: (main.join(), share())).start()"])
def test_as_python_ends_the_calling_thread_computes(late: str) -> None:
    program = (
        "import atexit, threading; from bnnedge.sim.golden.threads import Threads;"
        "main = threading.main_thread();"
        "share = lambda: print(Threads(3).share(7, 1e9, lambda start, stop: (start, stop)));"
        f"share(); {late}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[(0, 2), (2, 4), (4, 7)]\n" * 2, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_has_threads_of_its_own() -> None:
    names = Threads(2).share(2, 1e9, lambda start, stop: os.getpid())
    assert names == [os.getpid()] * 2
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # seconds, after which the child ends as failed: threads that aren't there would never answer
        own = Threads(2).share(2, 1e9, lambda start, stop: os.getpid())
        os._exit(own != [os.getpid()] * 2)
    assert os.waitpid(child, 0)[1] == 0
