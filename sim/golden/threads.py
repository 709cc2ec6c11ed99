"""Shares a step's loops among threads, as many as the work is worth.

Compiled loops and products release Python's lock. Of OpenMP's and Numba's own threads none are used: those of one wait in busy
loops for more, and take the cores from those of the other.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable
from typing import Any

_WORTH = 100_000  # nanoseconds' work that is worth a thread of its own: handing it over and waiting for it take as long


def usable() -> int:
    """Threads that a step may use: OMP_NUM_THREADS, as other libraries take it, at most the cores of this process."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


@functools.cache
def _executor(threads: int, process: int) -> concurrent.futures.ThreadPoolExecutor:
    """The threads beside the calling one; another process, a fork of this one, has none of them, and starts its own."""
    return concurrent.futures.ThreadPoolExecutor(threads - 1, "golden")


class Threads:
    """Runs parts of a loop side by side.

    most: threads to use, the calling one included.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def share(self, count: int, work: float, function: Callable[[int, int], Any]) -> list[Any]:
        """What function(start, stop) returns of the parts of range(count), in order; it is called in several threads at once.

        work: nanoseconds that all of it takes one thread, roughly. What the function raises comes when all parts have ended.
        """
        parts = max(1, min(self.most, count, int(work / _WORTH)))
        if parts == 1:
            return [function(0, count)]
        ends = [count * i // parts for i in range(parts + 1)]
        others: list[concurrent.futures.Future[Any]] = []
        try:
            try:
                pool = _executor(self.most, os.getpid())
                others += (pool.submit(function, ends[i], ends[i + 1]) for i in range(1, parts))
            except RuntimeError:  # Python ends, and starts no threads any more
                pass
            own = [function(ends[0], ends[1])]
        finally:
            concurrent.futures.wait(others)
        own += (other.result() for other in others)
        return [*own, *(function(ends[i], ends[i + 1]) for i in range(len(own), parts))]
