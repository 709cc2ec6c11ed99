"""Folders of small runs, as `bnnedge train` leaves them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnnedge.cli import main


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of digits, and the float32 standard."""
    folder = tmp_path_factory.mktemp("trained") / "digits"
    options = ["--device", "golden", "--samples", "256", "--epochs", "2", "--reference"]
    assert main(["train", *options, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def amend(folder: Path) -> Callable[..., Path]:
    """Change entries of that copy's report; returns the folder."""

    def changed(**changes: Any) -> Path:
        path = folder / "report.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return changed
