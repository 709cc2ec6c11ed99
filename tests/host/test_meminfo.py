"""Linux's file about its memory, as it is and as it might be."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnnedge import meminfo


def test_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meminfo"
    monkeypatch.setattr(meminfo, "PATH", path)
    assert meminfo.meminfo() == {}
    path.write_text("MemTotal:  512 kB\nMemAvailable:\t4 kB\nHugePages_Total: 0\nodd\nWrong: x kB\nShort:\n")
    assert meminfo.meminfo() == {"MemTotal": 512 << 10, "MemAvailable": 4096, "HugePages_Total": 0}
