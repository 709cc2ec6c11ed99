"""The bytes of the three networks: the table's numbers are the sums of what they are made of."""

from __future__ import annotations

from bnnedge import Settings, cnv, configuration, mlp
from bnnedge.compiler import memory_of
from bnnedge.sim.reference import footprint
from bnnedge.sim.study import memory
from bnnedge.sim.study.memory import bill, write


def test_a_bill_is_of_the_model_and_of_the_allocation():
    found = bill("MLP", mlp(), 128)
    taken = memory_of(mlp(), Settings(batch=128, gradient_planes=4), configuration("pynq-z2"))
    allocated = sum(taken.on_chip.values()) + sum(taken.ddr.values())
    standard = sum(footprint(mlp().geometry, 128, "adam", "standard").values())
    assert found.ratio(4) == standard / allocated
    assert found.ratio(2) > found.ratio(4) > found.ratio(8) > 6


def test_what_cannot_be_compiled_is_left_out():
    assert set(bill("CNV", cnv(), 128).ours) == {4, 2}


def test_document(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "NETWORKS", {"MLP": mlp, "CNV": cnv})
    monkeypatch.setattr(memory, "BATCHES", (128,))
    document, picture = write(tmp_path)
    text = document.read_text()
    assert text.count("\n| ") - 1 == 2
    assert "| MLP | 128 | 8.15 | 2.89 (2.82) | 1.33 (6.1) |" in text
    assert "sums too large" in text
    assert "<svg" in picture.read_text()
