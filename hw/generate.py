"""Writes the accelerator as Verilog, with a manifest that tells what it is."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from amaranth.back import verilog
from amaranth.hdl import Fragment, Signal, Value
from amaranth.lib import wiring

from bnnedge import caches
from bnnedge.configuration import Configuration
from bnnedge.files import atomic
from bnnedge.hw import embed
from bnnedge.hw.accelerator import Accelerator
from bnnedge.hw.checks import CHECKED
from bnnedge.manifest import write_manifest
from bnnedge.underway import underway

MODULE = "accelerator"

STATE_TEXT = "_text"  # see `states` of `convert`

# Amaranth declares signals of no width, too, which nothing can refer to. In Verilog [-1:0] would be two bits.
_NO_WIDTH = re.compile(r"(?:^ *\(\* .* \*\)\n)*^ *wire \[-1:0\] .*;\n", re.MULTILINE)
_SOURCE = re.compile(r'((?:^ *)?\(\* src = ")((?:[^"\\]|\\.)*)(" \*\)[ \n])', re.MULTILINE)


def to_verilog(config: Configuration, *, checks: bool = False, sources: bool = False, states: bool = False) -> str:
    """Verilog of the whole accelerator: module MODULE with ports clk, rst, s_axi_*, m0_axi_*, m1_axi_*, irq, busy, error.

    checks: with the assertions of `bnnedge.hw.checks`, for a simulation. sources, states: see `convert`.
    """
    return convert(Accelerator(config), MODULE, platform=CHECKED if checks else None, sources=sources, states=states)


def convert(
    top: wiring.Component,
    module: str,
    *,
    platform: str | None = None,
    language: ModuleType = verilog,
    sources: bool = False,
    states: bool = False,
) -> str:
    """Verilog (or, `language` rtlil, RTLIL) of a component, as a module of this name; `platform`: SERIES7, CHECKED, or any.

    sources: Verilog's modules, signals, processes and operators have an attribute `src` that names the Python line they come
    from: file within the package, such as ``bnnedge/hw/heads/softmax.py``, and line. The same wherever the package lies.
    states: beside the register of each state machine stands a signal, `fsm_state_text` by name, that spells the state in ASCII.
    """
    ports = {"_".join(map(str, path)): (Value.cast(value), None) for path, _, value in top.signature.flatten(top)}
    try:
        with underway(f"writing {module}", "10 seconds to two minutes", after=2), _no_collection(), caches.followed():
            design = Fragment.get(top, platform)
            text, names = language.convert_fragment(design, ports, module, emit_src=sources)
    except verilog.YosysError as error:
        last = (str(error).strip().splitlines() or ["it says nothing"])[-1]
        raise RuntimeError(f"Yosys, which writes the Verilog, failed: {last}: see bnnedge doctor") from error
    text = _NO_WIDTH.sub("", text)
    if states:
        text = _spelled(text, names)
    return _within_packages(text) if sources else text


def _spelled(text: str, names: Mapping[Signal, tuple[str, ...]]) -> str:
    """The Verilog with the names of states in signals of their own; Amaranth has them as the decoders of registers."""
    for signal, (*path, name) in names.items():
        if signal.decoder is not None and name.endswith("_state"):
            states = [signal.decoder(value).rpartition("/")[0] for value in range(_states_of(signal))]
            width = 8 * max(map(len, states))
            choice = " ".join(f'{name} == {value} ? "{state}" :' for value, state in enumerate(states[:-1]))
            start = re.search(rf"^module \\?{re.escape('.'.join(path))} ?\(", text, re.MULTILINE)
            assert start, path
            end = text.index("endmodule", start.end())
            line = f'  wire [{width - 1}:0] {name}{STATE_TEXT} = {choice} "{states[-1]}";\n'
            text = text[:end] + line + text[end:]
    return text


def _states_of(signal: Signal) -> int:
    """How many states a register tells apart; they are numbered from 0."""
    count = 0
    with contextlib.suppress(KeyError):
        while count < 1 << len(signal):
            signal.decoder(count)
            count += 1
    return count


def without_sources(text: str) -> str:
    """Verilog without the attributes `src`: as `convert` writes it without `sources`, and the same while only lines move."""
    return _SOURCE.sub("", text)


def _within_packages(text: str) -> str:
    """The attributes `src` with files named as modules are imported; those that lead to no module are left out."""
    files = {getattr(module, "__file__", None): name for name, module in list(sys.modules.items()) if name != "__main__"}

    def place(match: re.Match[str]) -> str:
        file, _, line = match[2].rpartition(":")
        name = files.get(file.replace("\\\\", "\\").replace('\\"', '"'))
        if name is None or name.partition(".")[0] in sys.stdlib_module_names:
            return ""
        path = name.replace(".", "/") + ("/__init__.py" if file.endswith("__init__.py") else ".py")
        return f"{match[1]}{path}:{line}{match[3]}"

    return _SOURCE.sub(place, text)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Leave Python's cycle collector off: it takes half the time of a conversion, and finds nothing to free."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Write texts by file name to `directory`, which is made if need be; return the files."""
    for name, content in files.items():
        with atomic(directory / name) as file:
            file.write(content.encode())
    return [directory / name for name in files]


def generate(config: Configuration, directory: Path) -> list[Path]:
    """Write accelerator.v and what belongs to it to `directory`, which is made if need be; return the files.

    That is: waivers of Verilator's lint, a top with standard buses and its descriptions (`bnnedge.hw.embed`), and manifest.json.
    """
    with underway(f"generating the Verilog of {config.name}", "10 seconds to a minute"):
        text = to_verilog(config, sources=True)
    waivers = Path(__file__).with_name(f"{MODULE}.vlt").read_text()
    source, lint = f"{MODULE}.v", f"{MODULE}.vlt"
    files = {source: text, lint: waivers, **embed.files(config, source, lint)}
    return [*write(directory, files), write_manifest(directory, config, (source, embed.WRAPPER))]
