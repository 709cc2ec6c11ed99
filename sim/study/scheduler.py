"""Spreads the runs of a study over processes, here or on a cluster, by dask."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from bnnedge import data
from bnnedge.caches import environment
from bnnedge.callbacks.periodic import MINUTES
from bnnedge.data import DataError, Dataset
from bnnedge.files import alone
from bnnedge.sim.study.grid import Run
from bnnedge.sim.study.kept import Keeper, Told, cleaned, dropped, place
from bnnedge.sim.study.progress import Watch
from bnnedge.sim.study.shared import Shared, Sharing
from bnnedge.sim.study.sizing import workers as number_of_workers
from bnnedge.sim.study.table import Row, Table
from bnnedge.sim.study.training import carry_out
from bnnedge.underway import underway

_TOPIC = "bnnedge study"
_NEVER = 1e9  # seconds
TAKEN = "this study goes on already, in another process: wait for its end, or give another folder (--out)"
_REMEDY = "where memory is short, give fewer, --workers N"
# Of the libraries that would take a thread for each core: BLAS by OpenMP and of its own, Numba.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMBA_NUM_THREADS")


def work(
    runs: Sequence[Run],
    table: Table,
    cluster: Any = None,
    watch: Watch | None = None,
    arrays: str = "numpy",
    *,
    every: float = 60 * MINUTES,
    workers: int | None = None,
) -> list[str]:
    """Carry out those runs that `table` lacks, and add their rows as they end; return what went wrong with others.

    Runs keep their state in the table's `folder`: those that were stopped go on where they were, and so does the run of a worker
    that dies. One process at a time may do so: ValueError if another one does.

    Parameters
    ----------
    cluster: what dask's Client takes, such as a scheduler's address; by default workers here, each with one thread. Elsewhere a
        worker keeps states if it sees the folder, and loads the data itself.
    watch: is told how the runs go on.
    arrays: library that the workers compute with, see `bnnedge.sim.arrays.library`.
    every: seconds between two saves of a run's state within an epoch, see `Keeper`.
    workers: their number here; by default as many as there are cores and memory for.
    """
    from distributed import Client

    watch = watch or Watch()
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(table.folder, TAKEN))  # each would lose the rows of the other
        table.read()
        missing = {run.key: run for run in runs if run.key not in table.rows}
        stack.callback(lambda: cleaned(table.folder, table.rows))
        if not missing:
            return []
        shared: dict[str, Shared] = {}
        if cluster is None:
            sets = _datasets(missing.values())
            workers = min(len(missing), workers or number_of_workers(missing.values(), sets))
            shared = _shared(stack.enter_context(Sharing()), sets)
            sets.clear()  # from now on they are in memory once
            cluster = stack.enter_context(_cluster(workers))
        client = stack.enter_context(Client(cluster, set_as_default=False))  # type: ignore[no-untyped-call]
        # As it comes to an end, each part of dask complains that others have.
        stack.callback(logging.getLogger("distributed").setLevel, logging.CRITICAL)
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.subscribe_topic(_TOPIC, lambda event: told.put(Told(**event[1]["told"])))
        watch.began(workers or max(1, sum(client.nthreads().values())))
        folder, failures, waiting = table.folder.resolve(), list[str](), list(missing.values())
        futures: dict[str, Any] = {}
        while waiting or futures:
            # To workers of ours one at a time: dask would share out all at once, and let one wait for what another one has.
            while waiting and len(futures) < (workers or len(missing)):
                run = waiting.pop(0)
                given = (run, arrays, folder, every, shared.get(run.data))
                # The run's key is dask's, too: the same run asked for twice is carried out once.
                futures[run.key] = client.submit(_carried_out, *given, key=run.key, pure=False)
                futures[run.key].add_done_callback(told.put)
            new = told.get()
            if isinstance(new, Told):
                if new.key in futures:
                    watch.went_on(missing[new.key], new)
                continue
            run, left = missing[new.key], len(waiting) + len(futures) - 1
            del futures[new.key]
            row = new.result() if new.status == "finished" else _said(new.exception())
            if isinstance(row, Row):
                table.add(row)
                dropped(place(table.folder, run))
                watch.ended(run, row, left)
            else:
                failures.append(f"{run.label}, seed {run.seed}: {row}")
                watch.ended(run, None, left)
    return failures


def _carried_out(run: Run, arrays: str, folder: Path, every: float, shared: Shared | None) -> Row | str:
    """The row of a run, or what is wrong with it; in a worker."""
    from distributed import get_worker

    worker = get_worker()

    def tell(told: Told) -> None:
        worker.log_event(_TOPIC, {"told": dataclasses.asdict(told)})

    try:
        with underway("", after=_NEVER):  # what takes its time in a worker is no line of its own
            return carry_out(run, arrays, Keeper(run, folder, every, tell), shared)
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:  # as the command line has them
        return str(error)


def _said(error: BaseException) -> str:
    """What to say of an error that a worker does not return."""
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        deaths = error.allowed_failures + 1
        return f"each of {deaths} workers died with it: {_REMEDY}; the same command goes on from what is kept"
    return str(error)


def _datasets(runs: Any) -> dict[str, Dataset]:
    """The data sets of runs, by name, but for those that can't be loaded, which their runs will say."""
    found = {}
    for name in dict.fromkeys(run.data for run in runs):
        with contextlib.suppress(DataError, OSError):
            found[name] = data.load(name)
    return found


def _shared(sharing: Sharing, sets: dict[str, Dataset]) -> dict[str, Shared]:
    found = {}
    for name, dataset in sets.items():
        with contextlib.suppress(OSError, AttributeError):  # each worker loads it
            found[name] = sharing.share(dataset)
    return found


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Workers on this machine. What limits their memory is their number: dask would end one that is in its right."""
    from distributed import LocalCluster

    cluster: Any = None
    # It raises the level itself, until it is closed; what comes to an end later would say so, line by line.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    try:
        with _uninterrupted(), _single_threads():
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
            )
    except RuntimeError as error:
        raise RuntimeError(f"no worker could be started ({error}): {_REMEDY}") from error
    else:
        yield cluster
    finally:
        # Asked to end, they would wait for their runs, and complain. What they keep is whole at any time.
        with _held():  # of who presses Ctrl-C again
            for nanny in cluster.workers.values() if cluster else ():
                nanny.close_gracefully()
                with contextlib.suppress(ProcessLookupError):  # what asked us to end may have ended the worker
                    if nanny.pid:
                        os.kill(nanny.pid, signal.SIGKILL)
            if cluster:
                cluster.close()


@contextlib.contextmanager
def _single_threads() -> Iterator[None]:
    """Let the workers that are started within, and those that take their places later, compute in one thread each.

    Nor shall they hand each array's memory back as it is freed, as dask would have it: training would take twice as long.
    """
    import dask

    spawned = {**dask.config.get("distributed.nanny.pre-spawn-environ"), **dict.fromkeys(_THREADS, 1)}
    spawned.pop("MALLOC_TRIM_THRESHOLD_", None)
    # What the environment says goes before dask's own settings.
    with environment(dict.fromkeys(_THREADS, "1")), dask.config.set({"distributed.nanny.pre-spawn-environ": spawned}):
        yield


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back: for us until the end of the block, for the processes and threads that are started in it for good.

    A terminal sends it to all of them, and each worker would print where it was; `work` ends them itself.
    """
    resource_tracker.ensure_running()  # who starts it lets Ctrl-C through again
    with _held():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Know nothing of what asks us to end until the end of the block: a half of a cluster could not be closed."""
    asked, handlers = list[int](), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if asked:
            signal.raise_signal(asked[0])
