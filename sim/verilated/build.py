"""From the Verilog of the accelerator to a shared library, by Verilator and g++, with a cache."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bnnedge.caches import cache_folder, is_plain, plain_folder
from bnnedge.files import atomic
from bnnedge.underway import underway

from . import waves
from .tools import BuildError, Tools, cpu_flags, find_tools, run

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
    return _library(verilog, _recipe(masters), _folder(cache))


def library_of(
    origin: Callable[[], str | None],
    generate: Callable[[], str],
    masters: int,
    cache: Path | None = None,
    trace: str | None = None,
) -> Path:
    """The library of what `generate` returns, which is called only if it is not known what the origin became earlier.

    origin: returns that of :func:`~bnnedge.sim.verilated.origin.origin`, all that the Verilog is made from, or None, which
    calls `generate`. trace: "fst" or "vcd": it writes waveforms in this format. Otherwise as :func:`library`.
    """
    recipe, folder = _recipe(masters, trace), _folder(cache)
    source = origin()
    if source is None:
        return _library(generate(), recipe, folder)
    note = folder / f"origin-{_digest([source, *recipe.parts])}"
    with contextlib.suppress(OSError, ValueError):
        known = note.read_text()
        if re.fullmatch(r"accelerator-[0-9a-f]{24}\.so", known) and (folder / known).exists():
            return folder / known
    finished = _library(generate(), recipe, folder)
    if origin() == source:  # else sources were changed as it was generated
        with atomic(note) as file:
            file.write(finished.name.encode())
    return finished


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """How a library is made of Verilog. parts: all that its bytes depend on, beside the Verilog. trace: see `library_of`."""

    tools: Tools
    compiler_flags: str
    parts: tuple[str, ...]
    trace: str | None = None


def _recipe(masters: int, trace: str | None = None) -> _Recipe:
    if masters not in (1, 2):
        raise ValueError(f"masters must be 1 or 2, not {masters!r}")
    tools = find_tools()
    flags = f"{_COMPILER_FLAGS} {cpu_flags(tools)} -DMASTERS={masters}"
    if trace:
        _check_headers(trace, tools)
        flags += f" -DBNNEDGE_{trace.upper()}"
    parts: tuple[str, ...]
    parts = (HARNESS.read_text(), tools.version, flags, _LINKER_FLAGS, *_VERILATOR_FLAGS, *_MAKE_VARIABLES)
    if trace:
        parts += (waves.HARNESS.read_text(), Path(waves.__file__).read_text())
    return _Recipe(tools, flags, parts, trace)


def _check_headers(trace: str, tools: Tools) -> None:
    """BuildError, before minutes have passed, if what Verilator's writer of FST includes is not there."""
    headers = {"fst": ("lz4.h", "zlib.h")}.get(trace, ())
    try:
        run(["g++", "-E", "-x", "c++", *(f"-include{header}" for header in headers), os.devnull], tools.environment, None)
    except BuildError as error:
        raise BuildError(
            "waveforms in FST need the headers of LZ4 and zlib (apt install liblz4-dev zlib1g-dev); those in VCD need nothing: "
            "name a file that ends in .vcd"
        ) from error


def _digest(parts: Iterable[str]) -> str:
    """Each part with its length: no two different inputs run together into the same text."""
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:24]


def _folder(cache: Path | None) -> Path:
    folder = cache_folder() if cache is None else cache
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"the cache folder {folder} cannot be made ({error.strerror}): set BNNEDGE_CACHE to another") from error
    return folder


def _library(verilog: str, recipe: _Recipe, folder: Path) -> Path:
    verilog = _reporting(verilog)
    key = _digest([verilog, *recipe.parts])
    finished = folder / f"accelerator-{key}.so"
    if finished.exists():
        return finished
    with _locked(folder, key):
        if not finished.exists():
            _clean(folder)
            with (
                underway("compiling the simulated accelerator with Verilator and g++", "once, 1 to 4 minutes"),
                _work(folder, key) as work,
            ):
                try:
                    _build(verilog, HARNESS.read_text(), recipe.compiler_flags, recipe.tools, work, trace=recipe.trace)
                    made = work / "obj" / "accelerator.so"
                    if work.parent == folder:
                        os.replace(made, finished)
                    else:
                        with atomic(finished) as file:
                            file.write(made.read_bytes())
                except OSError as error:  # of a write, without a name
                    raise BuildError(f"{error.filename or work}: {error.strerror or error}") from error
    return finished


@contextlib.contextmanager
def _locked(folder: Path, key: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a build; BlockingIOError if another process does, and we are not to wait."""
    with open(folder / f"accelerator-{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _clean(folder: Path) -> None:
    """Remove what builds left that were killed: their locks are free."""
    for work in folder.glob("build-*"):
        with contextlib.suppress(OSError), _locked(folder, work.name.removeprefix("build-"), wait=False):
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _work(folder: Path, key: str) -> Iterator[Path]:
    """A new folder to build in, gone afterwards: in `folder`, unless make and the makefiles' shell would break up its path."""
    if is_plain(folder.absolute()):
        work = folder / f"build-{key}"
        shutil.rmtree(work, ignore_errors=True)  # the lock is ours
        work.mkdir()
    else:
        work = Path(tempfile.mkdtemp(prefix="bnnedge-build-", dir=plain_folder()))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build(
    verilog: str,
    harness: str,
    compiler_flags: str,
    tools: Tools,
    work: Path,
    variables: Iterable[str] = _MAKE_VARIABLES,
    trace: str | None = None,
) -> None:
    """Leave obj/accelerator.so in `work`, whose path must be plain."""
    (work / "accelerator.v").write_text(verilog)
    (work / HARNESS.name).write_text(harness)
    program, more = HARNESS.name, []
    if trace:
        program, more = waves.HARNESS.name, [f"--trace-{trace}"]
        (work / program).write_text(waves.HARNESS.read_text())
        (work / "hierarchy.h").write_text(waves.as_header(waves.hierarchy(verilog)))
        compiler_flags += " -I.."  # the harness is included from beside the folder of objects
    # Compilers that are killed leave their temporary files: they go with the folder.
    environment = {**tools.environment, "TMPDIR": str(work.absolute())}
    if tools.root and not is_plain(tools.root):
        (work / "verilator").symlink_to(tools.root)
        environment["VERILATOR_ROOT"] = str(work.absolute() / "verilator")
    command = [
        tools.verilator, *_VERILATOR_FLAGS, *more, "-o", "accelerator.so", "-CFLAGS", compiler_flags, "-LDFLAGS", _LINKER_FLAGS,
        "accelerator.v", program,
    ]  # fmt: skip
    for variable in variables:
        command += ["-MAKEFLAGS", variable]
    run(command, environment, work)


def trial() -> str:
    """Compile and load something tiny as the accelerator is; return what Verilator calls itself. BuildError says what failed."""
    tools = find_tools()
    verilog = "module accelerator(input clk, output q); assign q = ~clk; endmodule\n"
    harness = '#include "Vaccelerator.h"\nextern "C" int sound() { return sizeof(Vaccelerator); }\n'
    quick = [re.sub("-O.$", "-O0", variable) for variable in _MAKE_VARIABLES]
    with tempfile.TemporaryDirectory(prefix="bnnedge-build-", dir=plain_folder()) as folder:
        work = Path(folder)
        _build(verilog, harness, "-fPIC", tools, work, quick)
        try:
            ctypes.CDLL(str(work / "obj" / "accelerator.so")).sound()
        except OSError as error:
            raise BuildError(f"what g++ compiled cannot be loaded: {error}") from error
    return tools.version.strip()


def _reporting(verilog: str) -> str:
    """Assertions that have a message tell it to the harness; Yosys writes it to the terminal, in front of the assertion."""
    written = re.compile(r'\$write\((".*)\);\n *assert \(.*\);')
    text, found = written.subn(r"bnnedge_failed($sformatf(\1));", verilog)
    return f'import "DPI-C" function void bnnedge_failed(input string message);\n{text}' if found else verilog
