"""Axes: pixels and ticks."""

from __future__ import annotations

import pytest

from bnnedge.report.plot import Axis, number


def test_linear() -> None:
    axis = Axis(0, 10, 100, 0)
    assert (axis(0), axis(2.5), axis(10)) == (100, 75, 0)
    assert axis.ticks(5) == [0, 2, 4, 6, 8, 10]
    assert Axis(1, 2, 0, 1).ticks(5) == pytest.approx([1, 1.2, 1.4, 1.6, 1.8, 2])


def test_logarithmic() -> None:
    axis = Axis(10, 5000, 0, 300, log=True)
    assert axis(10) == 0
    assert axis(5000) == 300
    assert axis.ticks() == [10, 100, 1000]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.2, "0.2"), (1000, "1k"), (2.5e6, "2.5M"), (0.1 + 0.2, "0.3")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
