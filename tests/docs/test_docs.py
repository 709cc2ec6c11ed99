"""Documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
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
