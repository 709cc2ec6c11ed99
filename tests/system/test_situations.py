"""What users run into (tests/situations): each row ends as it says."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
import situations

MODULES = [module.name for module in pkgutil.iter_modules(situations.__path__)]
ROWS = [
    pytest.param(row, id=f"{module}: {row.name}")
    for module in MODULES
    for row in importlib.import_module(f"situations.{module}").ROWS
]

REFUSALS = (ValueError, TypeError, OSError, RuntimeError, ImportError, AttributeError)


@pytest.mark.parametrize("row", ROWS)
def test_ends_as_it_says(row, tmp_path, monkeypatch):
    for module in row.needs:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    if not isinstance(row.outcome, str):
        row.outcome(row.act(tmp_path))
        return
    with pytest.raises(REFUSALS) as refusal:
        row.act(tmp_path)
    text = str(refusal.value)
    assert re.search(row.outcome, text), text
    assert "\n" not in text
    assert "Traceback" not in text
