"""The API reference builds, and has what it should have."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest
from scripts import ROOT, load_script

import bnnedge

pytest.importorskip("pdoc")
reference = load_script("reference")


@pytest.fixture
def folder(site: Path) -> Path:
    return site / "api"


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


def test_modules_that_pages_and_notebooks_speak_of_have_one(folder: Path) -> None:
    sources = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "host" / "notebooks").glob("*.ipynb")]
    spoken_of = set()
    for path in sources:
        for module in re.findall(r"\bbnnedge(?:\.[a-z_0-9]+)+", path.read_text(encoding="utf-8")):
            while not (found := importable(module)):
                module = module.rpartition(".")[0]
            spoken_of.add(found)
    assert {"bnnedge.compiler", "bnnedge.devices", "bnnedge.sim.golden"} <= spoken_of
    lacking = [module for module in sorted(spoken_of) if not (folder / (module.replace(".", "/") + ".html")).exists()]
    assert [module for module in lacking if installed(module)] == []


def installed(module: str) -> bool:
    """Whether all is there that the module imports; without it, it has no page."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return True


def importable(name: str) -> str | None:
    """The name, if it is a module's."""
    try:
        return name if importlib.util.find_spec(name) else None
    except ModuleNotFoundError:
        return None


def test_docstrings_lead_to_pages(folder: Path) -> None:
    assert 'href="../../docs/arithmetic.html"' in _page(folder, "bnnedge.formats")


def test_names_in_pages_lead_to_the_reference(site: Path) -> None:
    page = (site / "docs" / "tutorial.html").read_text(encoding="utf-8")
    assert 'href="../api/bnnedge.html#Trainer.load"' in page
    assert "host/notebooks/1-first-training.html" in (site / "index.html").read_text(encoding="utf-8")


def test_names_are_those_of_things_that_are_described(folder: Path) -> None:
    for name, target in reference.names().items():
        file, _, place = target.partition("#")
        assert place == "" or f'id="{place}"' in (folder / file).read_text(encoding="utf-8"), name
