"""The bytes of the three networks: the table's numbers are the sums of what they are made of."""

from __future__ import annotations

import pytest

from bnnedge import Settings, binarynet, cnv, configuration, mlp
from bnnedge.compiler import memory_of
from bnnedge.sim.reference import footprint
from bnnedge.sim.study import memory
from bnnedge.sim.study.memory import VARIANTS, Variant, bill, write


def test_a_bill_is_of_the_model_and_of_the_allocation():
    found = bill("MLP", mlp(), 128)
    taken = memory_of(mlp(), Settings(batch=128, gradient_planes=4), configuration("pynq-z2"))
    allocated = sum(taken.on_chip.values()) + sum(taken.ddr.values())
    standard = sum(footprint(mlp().geometry, 128, "adam", "standard").values())
    assert found.ratio(Variant("pynq-z2", 4, 8)) == standard / allocated
    ratios = [found.ratio(variant) for variant in VARIANTS]
    assert ratios == sorted(ratios), "the variants are in the order of what they need"


@pytest.mark.parametrize(("make", "least"), [(mlp, 8), (cnv, 10), pytest.param(binarynet, 8, marks=pytest.mark.long)])
def test_the_memory_that_is_promised(make, least):
    """Times less than the float32 standard at batch 128."""
    assert bill("", make(), 128).ratio(Variant("pynq-z2-lean", 4, 4)) >= least


def test_what_cannot_be_compiled_is_left_out():
    assert set(bill("CNV", cnv(), 128).ours) == {variant for variant in VARIANTS if variant.gradient_planes < 8}


def test_document(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "NETWORKS", {"MLP": mlp, "CNV": cnv})
    monkeypatch.setattr(memory, "BATCHES", (128,))
    document, picture = write(tmp_path)
    text = document.read_text()
    assert text.count("\n| ") - 1 == 2
    assert "| MLP | 128 | 8.15 | 2.89 (2.82) | 1.31 (6.21) |" in text
    assert "sums too large" in text
    assert "<svg" in picture.read_text()
