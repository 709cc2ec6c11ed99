"""What reaches the terminal: names in other people's files command nothing there."""

from __future__ import annotations

import io
import sys
import unicodedata
import warnings

import pytest

from bnnedge.report.markup import element
from bnnedge.terminal import Terminal, bare, duration, guarded, noting, printable

NAMES = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x9b2J": r"\x9b2J",
    "a\rb\tc\nd\0": r"a\rb\tc\nd\x00",
    "\u202etxt.exe\u2066\u200f": r"\u202etxt.exe\u2066\u200f",
    "\u2028\u2029\ufeff\xad": r"\u2028\u2029\ufeff\xad",
    "\udcff": r"\udcff",
    "\U000e0041": r"\U000e0041",
    "naïve 数字 – × 1\xa0MHz 😀": "naïve 数字 – × 1\xa0MHz 😀",
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_printable(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_all_characters() -> None:
    for code in range(sys.maxunicode + 1):
        assert not {unicodedata.category(char) for char in printable(chr(code))} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_a_terminal_keeps_lines_alone() -> None:
    stream = io.StringIO()
    print("a\x1b[2J\tb", "c\r", file=Terminal(stream), sep="\n")
    Terminal(stream).writelines(["x\n", "\x07"])
    assert stream.getvalue() == "a\\x1b[2J\tb\nc\\r\nx\n\\x07"
    assert bare(Terminal(stream)) is stream
    assert bare(stream) is stream
    assert not bare(None).isatty()


def test_what_cannot_be_encoded() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    print("ä – \udcff", file=Terminal(stream), flush=True)
    assert raw.getvalue() == b"\\xe4 \\u2013 \\udcff\n"


def test_guarded(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded(), guarded():
        print("\x1b")
        print("\x1b\x1b", file=sys.stderr)
    print("\x1b")
    shown = capsys.readouterr()
    assert shown.out == "\\x1b\n\x1b\n"
    assert shown.err == "\\x1b\\x1b\n"


def test_noting(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings of a kind are lines; others, and those behind it, are as ever."""

    class Kind(UserWarning):
        pass

    with warnings.catch_warnings(record=True) as usual:
        warnings.simplefilter("always")
        with noting(Kind):
            warnings.warn("what\nis \x1b[31mmeant", Kind, stacklevel=1)
            warnings.warn("other", RuntimeWarning, stacklevel=1)
        warnings.warn("behind", Kind, stacklevel=1)
    assert capsys.readouterr() == ("", "note: what\\nis \\x1b[31mmeant\n")
    assert [str(warning.message) for warning in usual] == ["other", "behind"]


def test_pages() -> None:
    assert element("p", "\x1b<\u202e", title="\x00\ud800") == r'<p title="\x00\ud800">\x1b&lt;\u202e</p>'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (7199 * 1.0, "2 h 00 min"),
        (7140, "119 min"),
        (18_360, "5 h 06 min"),
        (172_700, "47 h 58 min"),
        (172_790, "2 d 0 h"),
        (633_600, "7 d 8 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
