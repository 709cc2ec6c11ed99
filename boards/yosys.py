"""Yosys, as pip installs it: a Python module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bnnedge import caches

# Before synthesis: abc9 trips over public names that differ by a number alone.
HIDE_NAMES = "rename -hide w:*"
# Enables and resets of fewer flip-flops become logic: each different one takes slices of its own.
SMALLEST_CONTROL = 8
_PROGRAM = (
    "import sys, pyosys.libyosys as yosys\ndesign = yosys.Design()\nfor line in sys.stdin: yosys.run_pass(line.strip(), design)"
)


def synth_xilinx(options: str) -> list[str]:
    """The passes of Yosys's synth_xilinx with these options, and before flip-flops are mapped what SMALLEST_CONTROL says."""
    return [
        f"synth_xilinx {options} -run :map_ffs",
        "dfflegalize -cell $_DFFE_?P?P_ 01 -cell $_SDFFE_?P?P_ 01 -cell $_DLATCH_?P?_ 01"
        f" -mince {SMALLEST_CONTROL} -minsrst {SMALLEST_CONTROL}",
        f"synth_xilinx {options} -run map_ffs:",
    ]


def run(passes: Sequence[str], folder: Path, log: Path) -> None:
    """Run the passes in `folder`; in a process of its own, since Yosys talks to the standard output, which goes to `log`.

    Files are to be named relative to the folder: Yosys splits its lines at spaces, and a path may have some.

    Raises ModuleNotFoundError without pyosys, RuntimeError if Yosys fails.
    """
    import pyosys  # type: ignore[import-untyped]  # noqa: F401 - the subprocess needs it

    environment = {**os.environ, "TMPDIR": str(caches.plain_folder())}  # it hands temporary files to ABC by name
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input="\n".join(passes),
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=folder,
            env=environment,
        )
    if done.returncode:
        raise RuntimeError(f"Yosys failed: the end of {log} says why")
