"""Documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomllib
import yaml
from scripts import ROOT, load_script

from bnnedge import formats

generate = load_script("generate")

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", generate.PAGES)
def test_generated_page_is_up_to_date(page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == generate.PAGES[page](), "run python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_arithmetic_states_the_constants_of_the_code() -> None:
    text = (ROOT / "docs" / "arithmetic.md").read_text()
    named = re.findall(r"\b([A-Z][A-Z0-9_]+) = (\d+)\b", text)
    constants = {name: int(value) for name, value in named if hasattr(formats, name)}
    assert {"STATISTICS", "DECAY", "MU_BITS", "EXPONENT_BITS", "LOGIT", "PROBABILITY"} <= set(constants)
    for name, value in constants.items():
        # LOG2_E is a fraction in the text: 1477 / 2^10
        assert getattr(formats, name) == value, name


def test_citation() -> None:
    """As the Citation File Format 1.2.0 wants it, and of this version."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    for own, theirs in (("title", "name"), ("version", "version"), ("license", "license"), ("abstract", "description")):
        assert citation[own].rstrip(".") == project[theirs].rstrip("."), own
    assert citation["authors"] == project["authors"]
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["url"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_changelog_has_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    first = re.search(r"^## \[(.*?)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1] == project["version"].partition(".dev")[0]
    assert (first[2] == "unreleased") == (".dev" in project["version"])
