"""Settings of Sphinx for the site of README, docs/ and the notebooks; docs/build.py runs it (`make docs`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import tomllib
from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
_about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project, version, author = _about["name"], _about["version"], _about["authors"][0]["name"]
extensions = ["myst_parser"]
root_doc = "README"
# Pages stand where they are read in the repository, so that their links hold in both places.
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "host/notebooks/*.ipynb"]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
myst_heading_anchors = 4
# The list of contents is made of README's links; results are reached from docs/results.md.
suppress_warnings = ["toc.not_included"]
html_theme = "alabaster"
html_theme_options = {"description": _about["description"], "page_width": "1200px", "sidebar_width": "260px"}
html_sidebars = {"**": ["about.html", "searchfield.html", "api.html", "navigation.html"]}
templates_path = ["sidebar"]
html_show_copyright = False
html_copy_source = False
html_use_index = False


class NotebookParser(MystParser):
    """A notebook as a page: its text, and each cell's code with what it printed and drew."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse(_as_markdown(json.loads(inputstring)), document)


def _as_markdown(notebook: dict[str, Any]) -> str:
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            elif "image/png" in output["data"]:
                parts.append(f"![what this cell draws](data:image/png;base64,{''.join(output['data']['image/png']).strip()})")
    return "\n\n".join(parts)


def _add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give README a hidden list of the pages in its table of documentation, in that order: the site's navigation."""
    if docname == root_doc:
        table = source[0].partition("\n## Documentation\n")[2]
        pages = []
        for page in re.findall(r"\]\(([^):#]+\.(?:md|ipynb))\)", table):
            # The first notebook stands for all of them.
            folder = ROOT / Path(page).parent
            pages += sorted(str(each.relative_to(ROOT)) for each in folder.glob("*.ipynb")) if page.endswith(".ipynb") else [page]
        source[0] += "\n```{toctree}\n:hidden:\n" + "\n".join(dict.fromkeys(pages)) + "\n```\n"


def _link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let names of the Python API that stand in code lead to the reference."""
    up = "../" * docname.count("/")
    for literal in list(doctree.findall(nodes.literal)):
        target = app.config.api_names.get(literal.astext().removesuffix("()"))
        if target and not isinstance(literal.parent, nodes.reference):
            reference = nodes.reference("", "", refuri=f"{up}api/{target}", internal=True)
            literal.replace_self(reference)
            reference += literal


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_source_parser(NotebookParser)
    app.add_config_value("api_names", {}, "env")
    app.connect("source-read", _add_contents)
    app.connect("doctree-resolved", _link_names)
