"""The API reference builds, and has what it should have."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from scripts import load_script

import bnnedge

pytest.importorskip("pdoc")
reference = load_script("reference")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    reference.write(folder)
    return folder


def _page(folder: Path, module: str) -> str:
    return (folder / (module.replace(".", "/") + ".html")).read_text(encoding="utf-8")


def test_has_every_public_name(folder: Path) -> None:
    page = _page(folder, "bnnedge")
    for name in bnnedge.__all__:
        # pdoc takes a name that is also a module's for the module.
        there = _page(folder, f"bnnedge.{name}") if f"bnnedge.{name}" in sys.modules else page
        assert f'id="{name}"' in there, name
    for name in ("Trainer.fit", "Trainer.evaluate", "Trainer.predict", "Trainer.save", "Trainer.load", "Settings.batch"):
        assert f'id="{name}"' in page, name


def test_has_a_page_for_each_module(folder: Path) -> None:
    for module in reference.MODULES:
        assert f"<title>{module}" in _page(folder, module)
    assert 'id="Accelerator"' in _page(folder, "bnnedge.hw.accelerator")


def test_parameters_are_lists(folder: Path) -> None:
    page = _page(folder, "bnnedge")
    (text,) = re.findall(r'id="Settings">.*?<div class="docstring">(.*?)</div>', page, re.DOTALL)
    assert re.search(r"<h6 id=[^>]*>Parameters</h6>\s*<ul>\s*<li><strong>batch</strong>: images per step;", text)
    assert text.count("<li>") == 6


def test_headings_items_and_plain_paragraphs() -> None:
    docstring = (
        "What: it is.\n\nParameters\n----------\na: one\n    and more.\nb, c: two.\n\nNote: this\nis text.\n\n    code: 1\n"
    )
    assert reference.as_markdown(docstring) == (
        "What: it is.\n\n###### Parameters\n\n* **a**: one\n    and more.\n* **b, c**: two.\n\nNote: this\nis text.\n\n"
        "    code: 1\n"
    )
