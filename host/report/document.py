"""HTML pages that need no other file: their look, and the parts that all of them have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bnnedge.report.markup import Markup, element, join

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f8; color: #1f2933; font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 36px 24px 48px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 14px; }
section { background: #fff; border: 1px solid #e3e6ea; border-radius: 10px; padding: 22px 24px; margin-top: 18px; }
p { margin: 0 0 10px; max-width: 80ch; }
.note { color: #5b6673; font-size: 13.5px; margin: 10px 0 0; max-width: 100ch; }
.sub { color: #5b6673; margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin-top: 22px; }
.tile { background: #fff; border: 1px solid #e3e6ea; border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 25px; font-weight: 650; line-height: 1.25; letter-spacing: -0.01em; }
.tile span { display: block; color: #5b6673; font-size: 13px; line-height: 1.4; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 12px 32px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 8px 40px; align-items: start; }
svg + .columns { margin-top: 14px; }
.scroll { overflow-x: auto; }
svg { display: block; font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid #eceef1; white-space: nowrap; }
th { color: #5b6673; font-weight: 600; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
tr.total td { font-weight: 650; border-bottom: 0; }
.share { display: inline-block; width: 52px; text-align: right; margin-right: 9px; }
.bar { display: inline-block; height: 9px; border-radius: 2px; background: #0b6e99; }
.passes td:nth-child(4), .passes th:nth-child(4), .passes td:last-child, .passes th:last-child { text-align: left; }
.warning { margin: 16px 0 0; padding: 10px 14px; border-left: 4px solid #d9822b; background: #fdf3e7; max-width: none; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 22px; margin-bottom: 14px; font-size: 13.5px; }
.keys span span { display: inline-block; width: 22px; margin-right: 7px; vertical-align: middle; border-top: 3px solid; }
.keys span .dashed { border-top-style: dashed; }
.compared { table-layout: fixed; }
.compared td, .compared th { white-space: normal; overflow-wrap: anywhere; }
.narrow { width: auto; min-width: 270px; }
.confusion { width: auto; margin: 0; }
.confusion th, .confusion td { min-width: 38px; border: 1px solid #fff; }
.confusion th, .confusion td, .confusion th:first-child, .confusion th:last-child { text-align: center; padding: 5px 4px; }
.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.settings td:first-child { color: #5b6673; width: 45%; }
@media print {
  body { background: #fff; font-size: 11pt; }
  main { max-width: none; padding: 0; }
  section, .tile { border-color: #ccc; break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@page { margin: 14mm; }
"""


def document(title: str, body: Iterable[object]) -> str:
    """A whole HTML document."""
    head = [element("meta", charset="utf-8"), element("meta", name="viewport", content="width=device-width, initial-scale=1")]
    head += [element("title", title), element("style", Markup(_STYLE))]
    content = element("html", element("head", head), "\n", element("body", element("main", list(body))), lang="en")
    return f"<!DOCTYPE html>\n{content}\n"


def section(title: str, *content: object) -> Markup:
    """A part of a page, under a heading."""
    return join(["\n", element("section", element("h2", title), *content)])


def table(names: Sequence[str], rows: Iterable[Sequence[object]], *, class_: str | None = None, total: bool = False) -> Markup:
    """A table; its last row is a sum if `total`."""
    lines = [element("tr", [element("td", cell) for cell in row]) for row in rows]
    if total:
        lines[-1] = Markup(lines[-1].replace("<tr>", '<tr class="total">', 1))
    head = element("thead", element("tr", [element("th", name) for name in names])) if names else ""
    return element("div", element("table", head, element("tbody", lines), class_=class_), class_="scroll")
