"""HTML and SVG as text: elements whose content and attributes are escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from bnnedge.terminal import printable

_VOID = {"meta", "br"}  # have no end tag


class Markup(str):
    """Text that is markup already: `element` takes it as it is, and escapes any other."""

    __slots__ = ()


def element(tag: str, /, *children: object, **attributes: Any) -> Markup:
    """An element of HTML or SVG.

    children: `Markup`, other objects (their text, escaped), or lists of both. attributes: a trailing underscore goes
    (`class_`), others become hyphens; None leaves an attribute out, floats are rounded to hundredths.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>" if tag in _VOID else f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Markup:
    """The children of an element one after the other."""
    return Markup("".join(_child(child) for child in children))


def _child(child: object) -> str:
    if isinstance(child, Markup):
        return child
    return join(child) if isinstance(child, (list, tuple)) else _escaped(str(child))


def _escaped(text: str) -> str:
    """Text for a page: neither markup, nor characters that a page must not hold or that turn its direction."""
    return html.escape(printable(text, "\n\t"))


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
