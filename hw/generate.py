"""Writes the accelerator as Verilog, with a manifest that tells what it is."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from amaranth.back import verilog
from amaranth.lib import wiring

from bnnedge.configuration import Configuration
from bnnedge.files import atomic
from bnnedge.hw.accelerator import Accelerator
from bnnedge.hw.checks import CHECKED
from bnnedge.manifest import write_manifest

MODULE = "accelerator"


def to_verilog(config: Configuration, *, checks: bool = False) -> str:
    """Verilog of the whole accelerator: module MODULE with ports clk, rst, s_axi_*, m0_axi_*, m1_axi_*, irq, busy, error.

    checks: with the assertions of `bnnedge.hw.checks`, for a simulation.
    """
    return convert(Accelerator(config), MODULE, platform=CHECKED if checks else None)


def convert(top: wiring.Component, module: str, *, platform: str | None = None, language: ModuleType = verilog) -> str:
    """Verilog (or, `language` rtlil, RTLIL) of a component, as a module of this name; `platform`: SERIES7, CHECKED, or any."""
    ports = {"_".join(map(str, path)): (value, None) for path, _, value in top.signature.flatten(top)}
    with _no_collection():
        return language.convert(top, name=module, ports=ports, platform=platform, emit_src=False)


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
    """Write accelerator.v and manifest.json to `directory`, which is made if need be; return the files."""
    files = write(directory, {f"{MODULE}.v": to_verilog(config)})
    return [*files, write_manifest(directory, config, [path.name for path in files])]
