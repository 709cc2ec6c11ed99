"""Writes the API reference, HTML made by pdoc of the docstrings, into a folder; docs/build.py puts it beside the pages."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import jinja2
import pdoc
from pdoc import extract, render
from pdoc.render_helpers import to_markdown_with_context

import bnnedge

TEMPLATES = Path(__file__).parent / "site" / "api"

# What users and contributors call, with all that lies in it. What `bnnedge` itself re-exports is described there.
MODULES = (
    "bnnedge",
    *(["bnnedge.classifier"] if importlib.util.find_spec("sklearn") else []),
    "bnnedge.checkpoint",
    "bnnedge.compiler",
    "bnnedge.data",
    "bnnedge.devices",
    "bnnedge.devices.accelerator",
    "bnnedge.devices.bus",
    "bnnedge.devices.waves",
    "bnnedge.export",
    "bnnedge.formats",
    "bnnedge.importer",
    "bnnedge.isa",
    "bnnedge.network",
    "bnnedge.notebooks",
    "bnnedge.registers",
    "bnnedge.report",
    "bnnedge.schedule",
    "bnnedge.selftest",
    "bnnedge.state",
    "bnnedge.terminal",
    "bnnedge.tuner",
    "bnnedge.boards",
    "bnnedge.boards.ecp5",
    "bnnedge.sim",
    "bnnedge.hw",
)

_HEADING = re.compile(r"^([A-Z][A-Za-z ]*)\n-{3,}\n+", re.MULTILINE)
_PAGE = re.compile(r"`?\bdocs/([a-z/-]+)\.md`?")
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
    module = context.get("module")  # none in the list of modules, which lies beside `bnnedge`
    up = "../" * (1 + (module.modulename.count(".") if module else 0))
    return to_markdown_with_context(context, _PAGE.sub(rf"[docs/\1.md]({up}docs/\1.html)", as_markdown(docstring)))


def write(folder: Path) -> None:
    """Write the reference's pages into the folder."""
    render.env.filters["to_markdown"] = _to_markdown
    render.configure(docformat="markdown", template_directory=TEMPLATES)
    pdoc.pdoc(*MODULES, output_directory=folder)


def names() -> dict[str, str]:
    """Where a name that pages may speak of is described, below the folder: of a module, or of what `bnnedge` re-exports."""
    found = {module: f"{module.replace('.', '/')}.html" for module in extract.walk_specs(MODULES)}
    for name in bnnedge.__all__:
        value = getattr(bnnedge, name)
        if inspect.ismodule(value):
            continue
        members = [member for member in vars(value) if not member.startswith("_")] if inspect.isclass(value) else []
        for path in (name, *(f"{name}.{member}" for member in members)):
            found[path] = found[f"bnnedge.{path}"] = f"bnnedge.html#{path}"
    return found
