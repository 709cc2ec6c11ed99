"""Elements: content and attributes are escaped, once."""

from __future__ import annotations

from bnnedge.report.markup import Markup, element, join


def test_escapes() -> None:
    assert element("p", "a < b & c", title='"x"') == '<p title="&quot;x&quot;">a &lt; b &amp; c</p>'
    assert element("p", element("b", "<"), ["&", element("i")]) == "<p><b>&lt;</b>&amp;<i></i></p>"
    assert join([Markup("<br>"), 3]) == "<br>3"


def test_attributes() -> None:
    assert (
        element("line", x1=1.0, stroke_width=0.126, class_="a", fill=None) == '<line x1="1" stroke-width="0.13" class="a"></line>'
    )
    assert element("meta", name="x") == '<meta name="x">'


def test_a_sum_is_no_markup() -> None:
    assert element("p", "<" + element("b")) == "<p>&lt;&lt;b&gt;&lt;/b&gt;</p>"
