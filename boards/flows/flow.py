"""What a flow is, and how its programs are run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from bnnedge import caches
from bnnedge.boards.board import Board
from bnnedge.underway import underway

TAIL = 15  # lines of a failed program's output that its error shows


class FlowError(RuntimeError):
    """Tools are missing, one of them failed, or the design is too slow."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a flow made.

    bitstream: the file; None if the design is too slow and the flow writes none of such. utilisation: used and available, by
    resource. fmax_hz: fastest clock.
    """

    bitstream: Path | None
    utilisation: dict[str, tuple[float, float]]
    fmax_hz: float


class Flow(Protocol):
    """A way to a bitstream."""

    @property
    def name(self) -> str:
        """What the command line calls it, and the folder that it works in."""

    def missing(self, board: Board) -> list[str]:
        """What has to be installed or set first, a phrase each."""

    def run(self, board: Board, clock_hz: int, sources: Path, progress: Progress) -> Outcome:
        """Build from the files in `sources`, in the working directory of `progress`; FlowError if a tool fails."""


class Progress:
    """Runs programs in `folder`, tells on standard output which step is under way, and keeps the time of each.

    To be used with `with`: a step that fails ends there.
    """

    def __init__(self, flow: str, folder: Path) -> None:
        self.flow, self.folder = flow, folder
        self.seconds: dict[str, float] = {}
        self._step, self._began = "", 0.0
        self._line = contextlib.ExitStack()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._line.__exit__(kind, error, trace)

    def begin(self, step: str) -> None:
        """End the step under way and begin another."""
        self.end()
        self._step, self._began = step, time.monotonic()
        self._line.enter_context(underway(f"{self.flow}: {step}", stdout=True))

    def end(self) -> None:
        """End the step under way, if any."""
        if self._step:
            self.seconds[self._step] = round(time.monotonic() - self._began, 1)
            self._line.close()
        self._step = ""

    def run(self, command: Sequence[str], mark: str = "") -> str:
        """Run a program to its end and return its output, which also goes to FOLDER/PROGRAM.log.

        A line `mark` + name begins a step. FlowError if the program fails.
        """
        log = self.folder / f"{Path(command[0]).name}.log"
        lines = []
        with open(log, "w", encoding="utf-8") as file, _process(command, self.folder) as process:
            assert process.stdout
            for line in process.stdout:
                file.write(line)
                lines.append(line)
                if mark and line.startswith(mark):
                    self.begin(line[len(mark) :].strip())
            status = process.wait()
        if status:
            last = "".join(lines[-TAIL:]).rstrip()
            raise FlowError(f"{command[0]} failed in step {self._step!r} (exit status {status}); all it said: {log}\n{last}")
        return "".join(lines)


@contextlib.contextmanager
def _process(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program with its output in a pipe; it and those that it started end with the block."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **caches.tools()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # vendor tools are scripts that start programs: all of them end together
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def absent(programs: Sequence[str]) -> list[str]:
    """Those of the programs that are not on PATH, as one phrase, or none."""
    lacking = [program for program in programs if not shutil.which(program)]
    return [f"{', '.join(lacking)} on PATH"] if lacking else []
