"""Studies over processes: what is killed goes on, bit for bit; one thread each; one study at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnedge import cli
from bnnedge.sim.study import Table, load_study
from bnnedge.sim.study.kept import Kept, Told, place
from bnnedge.sim.study.progress import Watch
from bnnedge.sim.study.table import Row

distributed = pytest.importorskip("distributed")

GRID = """
title: A trial
common: {data: digits, network: digits, epochs: 12, batch: 64, rate: 0.01, config: sim-small}
seeds: [1]
runs:
  - {label: integer, model: integer, augment: "shift=0.1"}
  - {label: standard, model: standard}
  - {label: method, model: method}
  - {label: ablation, model: ablation, steps: l1}
  - {label: tanh, model: tanh, momentum: 0.5}
"""
OFTEN = ["--save-every", "0.0001", "--workers", "2"]


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> tuple[Path, dict[str, Row]]:
    """The study, and its rows when nothing stops it."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "trial.yaml"
    path.write_text(GRID)
    assert cli.main(["study", str(path), "--out", str(folder), "--workers", "2"]) == 0
    assert not (folder / "trial.runs").exists()
    return path, Table(folder / "trial.csv").rows


class Running:
    """A study in a process of its own, with its workers in its group."""

    def __init__(self, path: Path, out: Path) -> None:
        command = [sys.executable, "-m", "bnnedge.cli", "study", str(path), "--out", str(out), *OFTEN]
        pipe = subprocess.PIPE
        # Who runs the tests in the background may have it ignore interruptions.
        heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        self.process = subprocess.Popen(command, start_new_session=True, stdout=pipe, stderr=pipe, text=True, preexec_fn=heeds)
        self.out, self.study = out, load_study(path)

    def workers(self) -> list[int]:
        """Processes that carry out runs."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
                if parent == self.process.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has ended
                pass
        return found

    def kept(self) -> list[Kept]:
        """States of its runs, so far, that have ended an epoch and are within another."""
        found = []
        for run in self.study.runs:
            try:
                kept = Kept.load(place(self.out / "trial.runs", run), whole=False)
            except ValueError:
                continue
            if 1 <= len(kept.curve) < run.epochs:
                found.append(kept)
        return found

    def wait(self, until: Callable[[], object]) -> None:
        for _ in range(3000):
            if until():
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)
        raise TimeoutError

    def end(self, number: int) -> tuple[str, str]:
        """Send a signal to all of them; return what they said."""
        os.killpg(self.process.pid, number)
        return self.process.communicate(timeout=60)


def assert_same(rows: dict[str, Row], wanted: dict[str, Row]) -> None:
    def timeless(rows: dict[str, Row]) -> dict[str, Row]:
        return {key: dataclasses.replace(row, seconds=0) for key, row in rows.items()}

    assert timeless(rows) == timeless(wanted)


def test_a_study_that_is_killed_goes_on(trial, tmp_path, capsys):
    path, whole = trial
    running, keys = Running(path, tmp_path), {run.key for run in load_study(path).runs}
    running.wait(lambda: len(running.kept()) >= 2)
    assert cli.main(["study", str(path), "--out", str(tmp_path)]) == 1
    assert "this study goes on already, in another process: wait for its end, or" in capsys.readouterr().err
    assert cli.main(["study", str(path), "--out", str(tmp_path), "--report"]) == 0
    assert "**Unfinished**" in (tmp_path / "trial.md").read_text()
    assert "unfinished" in (tmp_path / "trial.svg").read_text()
    running.wait(lambda: len(running.kept()) >= 2)
    running.end(signal.SIGKILL)
    stopped = running.kept()
    assert stopped
    damaged, *_ = stopped
    file = tmp_path / "trial.runs" / f"{damaged.key}.npz"
    file.write_bytes(file.read_bytes()[:-100])
    capsys.readouterr()
    assert cli.main(["study", str(path), "--out", str(tmp_path), *OFTEN]) == 0
    printed = capsys.readouterr()
    (note,) = printed.err.splitlines()
    assert note.startswith(f"note: {file}: truncated, or no checkpoint at all")
    assert note.endswith("; the run begins anew")
    rows = Table(tmp_path / "trial.csv").rows
    assert set(rows) == keys
    assert_same(rows, whole)
    assert not (tmp_path / "trial.runs").exists()
    assert "Unfinished" not in (tmp_path / "trial.md").read_text()


def test_a_worker_that_is_killed_costs_no_run(trial, tmp_path):
    path, whole = trial
    running, killed = Running(path, tmp_path), []
    for _ in range(2):
        running.wait(lambda: running.kept() and running.workers() and not set(killed) & set(running.workers()))
        killed.append(running.workers()[0])
        os.kill(killed[-1], signal.SIGKILL)
    out, err = running.process.communicate(timeout=120)
    assert running.process.returncode == 0, err
    assert "begins anew" not in err
    assert "0 to go" in out
    assert_same(Table(tmp_path / "trial.csv").rows, whole)
    assert not (tmp_path / "trial.runs").exists()


@pytest.mark.long
def test_a_run_whose_workers_are_killed_each_time_is_given_up_and_kept(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text(GRID[: GRID.index("  - {label: standard")].replace("epochs: 12", "epochs: 2000"))
    running = Running(path, tmp_path)
    for _ in range(4):
        running.wait(lambda: running.kept())
        before = running.kept()[0].curve
        running.wait(lambda before=before: len(running.kept()[0].curve) > len(before))
        os.kill(running.workers()[0], signal.SIGKILL)
    _, err = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    (said,) = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert said.endswith(
        "seed 1: each of 4 workers died with it: where memory is short, give fewer, --workers N; "
        "the same command goes on from what is kept"
    )
    assert running.kept()


def test_a_worker_that_cannot_be_started_is_told(trial, tmp_path, monkeypatch, capsys):
    def none(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", none)
    assert cli.main(["study", str(trial[0]), "--out", str(tmp_path)]) == 1
    wanted = "bnnedge: error: no worker could be started (Nanny failed to start.): where memory is short, give fewer, --workers N"
    assert capsys.readouterr().err.strip() == wanted
    assert not (tmp_path / "trial.runs").exists()


def test_it_goes_on_from_what_was_kept(trial, tmp_path, monkeypatch):
    """Not from the beginning, which would give the same row: from a state that nothing else could lead to."""
    path, whole = trial
    running = Running(path, tmp_path)
    running.wait(lambda: running.kept())
    running.end(signal.SIGKILL)
    kept = running.kept()[0]
    file = tmp_path / "trial.runs" / f"{kept.key}.npz"
    dataclasses.replace(Kept.load(file), seconds=5000.0).save(file)
    assert cli.main(["study", str(path), "--out", str(tmp_path)]) == 0
    rows = Table(tmp_path / "trial.csv").rows
    assert_same(rows, whole)
    assert [key for key, row in rows.items() if row.seconds > 5000] == [kept.key]


@pytest.mark.parametrize("when", ["starting", "training"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_a_line_and_keeps_the_state(when, number, trial, tmp_path):
    """A terminal sends Ctrl-C to the workers, too: to those that are still starting, and to those that train."""
    path, _ = trial
    running = Running(path, tmp_path)
    assert "0 of them done" in running.process.stdout.readline()
    if when == "training":
        running.wait(lambda: running.kept())
    else:
        time.sleep(0.5)
    _, err = running.end(number)
    assert running.process.returncode == (130 if number == signal.SIGINT else 128 + number)
    # SIGTERM ends the workers at once: dask may say so of one before we close it.
    said = [line for line in err.splitlines() if line and "WARNING - Restarting worker" not in line]
    kept = [f"{tmp_path}/trial.runs keeps the states of runs: the same command goes on"] if when == "training" else []
    assert said == [*kept, "bnnedge: interrupted"]
    assert running.workers() == []
    assert bool(running.kept()) == (when == "training")


def test_who_interrupts_again_and_again_sees_the_same_lines(trial, tmp_path):
    path, _ = trial
    running = Running(path, tmp_path)
    running.wait(running.kept)
    with contextlib.suppress(ProcessLookupError):  # it has ended by then
        for _ in range(40):
            os.killpg(running.process.pid, signal.SIGINT)
            time.sleep(0.02)
            if running.process.poll() is not None:
                break
    _, err = running.process.communicate(timeout=60)
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "bnnedge: interrupted"
    assert running.workers() == []


def test_a_worker_has_one_thread(monkeypatch, capfd):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    from bnnedge.sim.study import scheduler

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")

    def threads() -> tuple[list[int], set[str]]:
        import numpy as np

        from bnnedge.sim.golden.threads import usable

        np.ones((300, 300)) @ np.ones((300, 300))
        assert usable() == 1, "the golden model takes as many"
        return [library["num_threads"] for library in threadpoolctl.threadpool_info()], set(os.environ)

    with scheduler._cluster(1) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        for _ in range(2):
            found, names = client.submit(threads, pure=False).result()
            assert found, "there is a BLAS"
            assert set(found) == {1}
            assert set(scheduler._THREADS) <= names
            assert "MALLOC_TRIM_THRESHOLD_" not in names
            (worker,) = cluster.workers.values()
            assert worker.memory_manager.memory_limit is None
            os.kill(worker.pid, signal.SIGKILL)  # the one in its place has one thread, too
            before = worker.pid
            for _ in range(1200):
                if worker.pid not in (before, None):
                    break
                time.sleep(0.05)


def test_runs_on_a_cluster_that_is_there(tmp_path, capsys):
    path = tmp_path / "trial.yaml"
    path.write_text(GRID.replace("epochs: 12", "epochs: 2"))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://")
        assert cli.main(["study", str(path), "--out", str(tmp_path), "--scheduler", address]) == 0
        seen = {transition[0] for transition in cluster.scheduler.transition_log}
    assert "0 to go" in capsys.readouterr().out
    rows = Table(tmp_path / "trial.csv").rows
    assert len(rows) == 5
    assert set(rows) <= seen, "that cluster carried them out"


def test_who_watches_is_told(trial, tmp_path):
    from bnnedge.sim.study.scheduler import work

    path, whole = trial
    told: list[object] = []

    class Told_(Watch):
        def began(self, workers: int) -> None:
            told.append(workers)

        def went_on(self, run, new: Told) -> None:
            told.append((run.label, new.epochs))

        def ended(self, run, row: Row | None, left: int) -> None:
            told.append((run.label, left))

    study, table = load_study(path), Table(tmp_path / "t.csv")
    assert work([run for run in study.runs if run.label == "tanh"], table, watch=Told_(), workers=3) == []
    assert told == [1, *(("tanh", epoch) for epoch in range(1, 13)), ("tanh", 0)]
    assert_same(Table(table.path).rows, {key: row for key, row in whole.items() if row.run.label == "tanh"})


def test_no_run_waits_for_a_worker_while_another_has_none(tmp_path, monkeypatch):
    from bnnedge.sim.study.scheduler import work

    path = tmp_path / "trial.yaml"
    path.write_text(GRID.replace("epochs: 12", "epochs: 1"))
    at_once, given, submit = [], [], distributed.Client.submit

    def counted(self, *arguments, **named):
        future = submit(self, *arguments, **named)
        given.append(future)
        at_once.append(sum(not other.done() for other in given))
        return future

    monkeypatch.setattr(distributed.Client, "submit", counted)
    table = Table(tmp_path / "t.csv")
    assert work(load_study(path).runs, table, workers=2) == []
    assert len(table.rows) == len(given) == 5
    assert max(at_once) <= 2
