"""Spreads the runs of a study over processes, here or on a cluster, by dask."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

from bnnedge.sim.study.grid import Run
from bnnedge.sim.study.table import Row, Table
from bnnedge.sim.study.training import carry_out

Progress = Callable[[Row, int], None]


def work(
    runs: Sequence[Run], table: Table, cluster: Any = None, progress: Progress | None = None, arrays: str = "numpy"
) -> list[str]:
    """Carry out those runs that `table` lacks, and add their rows as they end; return what went wrong with others.

    A worker that dies costs no run but its own, which another one begins anew.

    Parameters
    ----------
    cluster: what dask's Client takes, such as a scheduler's address; by default workers here, one for each core.
    progress: called with each new row and the number of runs that are left.
    arrays: library that the workers compute with, see `bnnedge.sim.arrays.library`.
    """
    from distributed import Client, as_completed

    missing = {run.key: run for run in runs if run.key not in table.rows}
    if not missing:
        return []
    own, failures = None, []
    try:
        if cluster is None:
            with _uninterrupted():
                own = _workers()
        with Client(own or cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            # The run's key is dask's, too: the same run asked for twice is carried out once.
            futures = [client.submit(carry_out, run, arrays, key=key, pure=False) for key, run in missing.items()]
            left = len(futures)
            for future in as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
                left -= 1
                if future.status == "finished":
                    row = future.result()
                    table.add(row)
                    if progress:
                        progress(row, left)
                else:
                    run = missing[future.key]
                    failures.append(f"{run.label}, seed {run.seed}: {future.exception()}")
    finally:
        if own is not None:
            own.close()
    return failures


def _workers() -> Any:
    from distributed import LocalCluster

    return LocalCluster(threads_per_worker=1, dashboard_address=":0")  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back: for us until the end of the block, for the processes and threads that are started in it for good.

    A terminal sends it to all of them, and each worker would print where it was; `work` ends them itself.
    """
    resource_tracker.ensure_running()  # who starts it lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
