"""Writes the API reference, HTML made by pdoc of the docstrings, into a folder: `make docs` into build/docs.

python docs/reference.py DIR
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import jinja2
import pdoc
from pdoc import render
from pdoc.render_helpers import to_markdown_with_context

# What users and contributors call. What `bnnedge` itself re-exports is described there.
MODULES = (
    "bnnedge",
    *(["bnnedge.classifier"] if importlib.util.find_spec("sklearn") else []),
    "bnnedge.checkpoint",
    "bnnedge.compiler",
    "bnnedge.data",
    "bnnedge.devices",
    "bnnedge.export",
    "bnnedge.importer",
    "bnnedge.report",
    "bnnedge.tuner",
    "bnnedge.boards",
    "bnnedge.sim.golden",
    "bnnedge.sim.reference",
    "bnnedge.sim.study",
    "bnnedge.sim.verilated",
    "bnnedge.hw",
)

_HEADING = re.compile(r"^([A-Z][A-Za-z ]*)\n-{3,}\n+", re.MULTILINE)
_ITEM = re.compile(r"(?:`[^`]+`|[\w*]+(?:, [\w*]+)*): \S")


def _is_list(lines: list[str]) -> bool:
    return bool(_ITEM.match(lines[0])) and all(line.startswith("    ") or _ITEM.match(line) for line in lines)


def as_markdown(docstring: str) -> str:
    """Markdown of a docstring in this project's style: headings are underlined, an item is `name: text`."""
    paragraphs = _HEADING.sub(r"###### \1\n\n", docstring).split("\n\n")
    for i, paragraph in enumerate(paragraphs):
        lines = paragraph.split("\n")
        if i and _is_list(lines):  # the first paragraph is what it all is, even with a colon in it
            names = ((line, line.partition(": ")) for line in lines)
            paragraphs[i] = "\n".join(
                line if line.startswith(" ") else f"* **{name}**: {text}" for line, (name, _, text) in names
            )
    return "\n\n".join(paragraphs)


@jinja2.pass_context
def _to_markdown(context: jinja2.runtime.Context, docstring: str) -> str:
    return to_markdown_with_context(context, as_markdown(docstring))


def write(folder: Path) -> None:
    """Write the reference's pages into the folder."""
    render.env.filters["to_markdown"] = _to_markdown
    render.configure(docformat="markdown")
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
