"""Yosys, as pip installs it: a Python module."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Before synthesis: abc9 trips over public names that differ by a number alone.
HIDE_NAMES = "rename -hide w:*"
_PROGRAM = (
    "import sys, pyosys.libyosys as yosys\ndesign = yosys.Design()\nfor line in sys.stdin: yosys.run_pass(line.strip(), design)"
)


def run(passes: Sequence[str], log: Path) -> None:
    """Run the passes; in a process of its own, since Yosys talks to the standard output, which goes to `log`.

    Raises ModuleNotFoundError without pyosys, RuntimeError if Yosys fails.
    """
    import pyosys  # type: ignore[import-untyped]  # noqa: F401 - the subprocess needs it

    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input="\n".join(passes),
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"Yosys failed: the end of {log} says why")
