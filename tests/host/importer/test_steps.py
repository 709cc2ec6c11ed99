from __future__ import annotations

import pytest

from bnnedge.importer.steps import first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (RuntimeError("\n \n  two \n"), "two"),
        (
            ValueError("Exception encountered when calling PReLU.call().\n\x1b[1mIncompatible shapes\x1b[0m\nArguments"),
            "Incompatible shapes",
        ),
        (ValueError("x" * 600), "x" * 500 + "..."),
        (ValueError("a\tb\x07"), "a\\tb\\x07"),
    ],
    ids=range(6),
)
def test_one_line_of_an_error(error: Exception, said: str):
    assert first_line(error) == said
