"""Builds the documentation as a site: README, docs/, the notebooks, and the reference of the Python API. `make docs`.

python docs/build.py DIR

What Sphinx warns of, and links within the site that lead to no file or to no place in one, are printed, and the exit status is 1.
Other sites are not contacted.
"""

from __future__ import annotations

import html.parser
import io
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import reference  # beside this file
from sphinx.application import Sphinx

from bnnedge.underway import underway

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent


def build(folder: Path) -> list[str]:
    """Write the site into a folder, index.html first; return what Sphinx warned of."""
    warnings = io.StringIO()
    kept = folder / ".doctrees"  # what Sphinx has read
    names = {"api_names": reference.names()}
    Sphinx(ROOT, DOCS / "site", folder, kept, "html", names, status=None, warning=warnings, freshenv=True).build()
    shutil.rmtree(kept)
    shutil.copyfile(folder / "README.html", folder / "index.html")
    reference.write(folder / "api")
    return warnings.getvalue().splitlines()


class _Page(html.parser.HTMLParser):
    """What an HTML file links to within its site, as (file, place) each, and its own places."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[tuple[Path, str]] = []
        self.places = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.places |= {name for name in (values.get("id"), values.get("name")) if name}
        link = urlsplit(values.get("href") or values.get("src") or "#")
        if not link.scheme and not link.netloc and tag != "form":
            # Without a look at the disk, for there are tens of thousands.
            file = Path(os.path.normpath(self.path.parent / unquote(link.path))) if link.path else self.path
            self.links.append((file, unquote(link.fragment)))


def _pages(folder: Path) -> dict[Path, _Page]:
    return {path: _Page(path) for path in sorted(folder.resolve().rglob("*.html"))}


def dead_links(folder: Path) -> list[str]:
    """What leads nowhere in the HTML files of a folder, a line each."""
    pages = _pages(folder)
    linked = {file for page in pages.values() for file, _ in page.links}
    there = {file for file in linked if file.is_file()}
    return [
        f"{path.relative_to(folder.resolve())} links to {file.name}{place and '#'}{place}, which is not there"
        for path, page in pages.items()
        for file, place in page.links
        if file not in there or (file in pages and place not in pages[file].places)
    ]


def unreached(folder: Path) -> list[str]:
    """The HTML files of a folder to which no links lead from its index.html."""
    pages = _pages(folder)
    seen: set[Path] = set()
    ahead = [folder.resolve() / "index.html"]
    while ahead:
        path = ahead.pop()
        if path in pages and path not in seen:
            seen.add(path)
            ahead += [file for file, _ in pages[path].links]
    return [str(path.relative_to(folder.resolve())) for path in pages if path not in seen]


if __name__ == "__main__":
    site = Path(sys.argv[1])
    with underway("building the documentation", "one to three minutes"):
        faults = [*build(site), *dead_links(site)]
    print(*faults, site / "index.html", sep="\n")
    sys.exit(bool(faults))
