"""The documentation's site has no dead links, and all of it is reached from its first page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts import load_script

from bnnedge.notebooks import notebooks

pytest.importorskip("sphinx")
build = load_script("build")


def test_no_link_is_dead(site: Path) -> None:
    assert build.dead_links(site) == []


def test_every_page_is_reached(site: Path) -> None:
    assert build.unreached(site) == []
    assert (site / "api" / "bnnedge" / "sim" / "golden.html").exists()


def test_notebooks_are_pages_with_their_outputs(site: Path) -> None:
    page = (site / "host" / "notebooks" / "1-first-training.html").read_text(encoding="utf-8")
    assert "XNOR and popcount: 7 of 16 are ones" in page
    assert "data:image/png;base64," in page
    assert 'href="2-without-a-board.html"' in page


@pytest.mark.parametrize(
    ("link", "dead"),
    [
        ("other.html", None),
        ("other.html#there", None),
        ("#here", None),
        ("", None),
        ("https://example.org/nowhere", None),
        ("mailto:someone@example.org", None),
        ("deep/../other.html", None),
        ("missing.html", "missing.html"),
        ("missing.png", "missing.png"),
        ("deep", "deep"),
        ("other.html#gone", "other.html#gone"),
        ("#gone", "index.html#gone"),
    ],
)
def test_dead_links_are_found(link: str, dead: str | None, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "other.html").write_text('<a name="there">x</a>')
    (tmp_path / "index.html").write_text(f'<h1 id="here">x</h1><a href="{link}">x</a>')
    assert build.dead_links(tmp_path) == ([f"index.html links to {dead}, which is not there"] if dead else [])


def test_a_dead_image_is_found_and_an_unreached_page(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<img src="gone.svg"><a href="a.html">a</a>')
    (tmp_path / "a.html").write_text('<a href="index.html">back</a>')
    (tmp_path / "alone.html").write_text('<a href="a.html">a</a>')
    assert build.dead_links(tmp_path) == ["index.html links to gone.svg, which is not there"]
    assert build.unreached(tmp_path) == ["alone.html"]


def test_navigation_has_the_order_of_the_readme(site: Path) -> None:
    page = (site / "docs" / "boards.html").read_text(encoding="utf-8")
    targets = re.findall(r'class="toctree-l1[^>]*><a class="[^"]*" href="([^"]*)"', page)
    assert targets[0] == "tutorial.html"
    assert targets[1 : 1 + len(notebooks())] == [f"../host/notebooks/{path.stem}.html" for path in notebooks()]
    assert targets[1 + len(notebooks())] == "commands.html"
