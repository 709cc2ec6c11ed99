"""The list of mutations fits the hardware as it is; `make mutations` tries them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hardware_mutants import MUTANTS, Mutant

HARDWARE = Path(__file__).parents[2] / "hw"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.new}")
def test_what_is_to_be_mutated_stands_there_once(mutant: Mutant) -> None:
    assert (HARDWARE / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
