"""Cycles of the ready-made networks are those of docs/results/cycles.csv. tests/system holds the simulated RTL against it."""

from __future__ import annotations

import pytest
from scripts import load_script

cycles = load_script("cycles")
WRITTEN = cycles.read()


def quick(case: cycles.Case) -> bool:
    """Whether the estimate takes less than a second or two; README has one case of BinaryNet."""
    if case.network == "binarynet":
        return case == cycles.Case("binarynet", "pynq-z2", 64, 4)
    return case.network in ("mlp", "digits") or case.batch == 64


def check(case: cycles.Case) -> None:
    now, (before, _) = cycles.estimated(case), WRITTEN[case]
    assert now == before, (
        f"{case}: {now or 'does not fit'} now, {before or 'did not fit'} in results/cycles.csv. "
        "If that is meant: python docs/cycles.py, and correct the pages that tests/docs/test_figures.py names"
    )


def test_the_file_has_every_case() -> None:
    assert tuple(WRITTEN) == cycles.CASES
    assert {case for case, (_, rtl) in WRITTEN.items() if rtl} == set(cycles.SIMULATED)


@pytest.mark.parametrize("case", [case for case in cycles.CASES if quick(case)], ids=str)
def test_estimates(case: cycles.Case) -> None:
    check(case)


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in cycles.CASES if not quick(case)], ids=str)
def test_estimates_that_take_long(case: cycles.Case) -> None:
    check(case)


@pytest.mark.parametrize("case", cycles.SIMULATED, ids=str)
def test_estimates_are_within_5_percent_of_the_rtl(case: cycles.Case) -> None:
    expected, measured = map(float, WRITTEN[case])
    assert expected == pytest.approx(measured, rel=0.05)


def test_a_figure_that_moves_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cycles.CASES[0]
    monkeypatch.setattr(cycles, "estimated", lambda case: "1.0")
    with pytest.raises(AssertionError, match=rf"1\.0 now, {WRITTEN[case][0]} in results/cycles.csv.*python docs/cycles.py"):
        check(case)
