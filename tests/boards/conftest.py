"""What the tests of generation and of the flows share: a tiny design, and tools that only pretend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hardware import TINY
from pretend import BOARD, Tool

from bnnedge.boards import generate as generation
from bnnedge.boards.generate import MODULE
from bnnedge.boards.zynq.top import Top
from bnnedge.hw.generate import convert


@pytest.fixture(scope="session")
def verilog() -> str:
    """The Verilog of BOARD's top with the configuration TINY."""
    return convert(Top(BOARD, TINY), MODULE, sources=True)


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, verilog: str) -> None:
    """Spare the conversion."""
    monkeypatch.setattr(generation, "Top", lambda board, config: None)
    monkeypatch.setattr(generation, "convert", lambda top, module, **options: verilog)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A function that puts a shell script on PATH, beside nothing but the system's own programs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\nset -e\n{script}\n")
        os.chmod(path, 0o755)
        return path

    return make
