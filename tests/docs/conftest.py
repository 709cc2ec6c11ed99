"""The documentation as a site, built once a session."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from scripts import load_script


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("sphinx", "myst_parser", "pdoc"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("site")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # MyST uses what a later Sphinx will not have
        assert load_script("build").build(folder) == []
    return folder
