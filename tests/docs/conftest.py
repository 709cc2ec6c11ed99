"""The documentation as a site, built once a session, by whichever worker needs it first."""

from __future__ import annotations

import fcntl
import os
import warnings
from pathlib import Path

import pytest
from scripts import load_script


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("sphinx", "myst_parser", "pdoc"):
        pytest.importorskip(name)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = shared / "site", shared / "site-in-the-making"
    with open(shared / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PendingDeprecationWarning)  # MyST uses what a later Sphinx will not have
                assert load_script("build").build(made) == []
            made.rename(folder)
    return folder
