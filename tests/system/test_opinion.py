"""The verilated RTL against the second opinion on the page: states at the corners of their ranges."""

from __future__ import annotations

import pytest
from cornered import case_of, compare

from bnnedge.devices.accelerator import AcceleratorDevice


@pytest.mark.parametrize("seed", range(2000, 2012))
def test_rtl_agrees_with_the_page(small: AcceleratorDevice, seed: int) -> None:
    compare(case_of(seed, small.configuration), small)


@pytest.mark.long
@pytest.mark.parametrize("start", range(2012, 3012, 100))
def test_rtl_agrees_with_the_page_in_many_cases(small: AcceleratorDevice, start: int) -> None:
    for seed in range(start, start + 100):
        compare(case_of(seed, small.configuration), small)
