"""What users run into: rows of what somebody brings and what must come of it, a module for each kind of thing brought.

A module here holds a list `ROWS`; tests/system/test_situations.py runs the rows of all of them. To add one, write a function
that does what the user does, in an empty folder, and say how it must end:

    Row("labels of shape (N, 1), as Keras's CIFAR-10 has them", lambda folder: fit(labels=y[:, None]), works)
    Row("labels that are words", lambda folder: fit(labels=words), "labels must be whole numbers")
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """What is brought, and how it must end.

    name: what the user brings, or does.
    act: does it; gets an empty folder, which is also the working directory.
    outcome: of a refusal a regular expression that its text contains: one line of ValueError (TypeError, OSError, RuntimeError,
        ImportError, AttributeError); otherwise a function that asserts what `act` returned.
    needs: modules without which the row is skipped.
    """

    name: str
    act: Callable[[Path], Any]
    outcome: str | Callable[[Any], None]
    needs: tuple[str, ...] = ()


class Refused(RuntimeError):
    """The one line that a command wrote before it ended with an error."""


def works(result: Any) -> None:
    """An outcome: that `act` came to an end is enough."""


def says(*texts: str) -> Callable[[Any], None]:
    """An outcome: `act` returned text (or notes, joined) that has all of these in it."""

    def check(result: Any) -> None:
        text = result if isinstance(result, str) else "\n".join(result)
        assert all(part in text for part in texts), text

    return check


def bnnedge(*arguments: object) -> str:
    """Run a command of `bnnedge` in this process; return what it printed, both streams; `Refused` if it ends with an error."""
    from bnnedge.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # of argparse
            status = ended.code if isinstance(ended.code, int) else 1
    if status:
        raise Refused((err.getvalue().strip().splitlines() or [""])[-1])
    return out.getvalue() + err.getvalue()
