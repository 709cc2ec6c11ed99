"""Rooms for operands and results in the on-chip buffers, and whose turn it is."""

from __future__ import annotations

import pytest

from bnnedge import CONFIGURATIONS, Settings, configuration
from bnnedge.compiler.buffers import Piece, Streamed, fit
from bnnedge.compiler.emitter import Addresses, Emitter
from bnnedge.compiler.layout import layout
from bnnedge.compiler.tensors import Tensor, View
from bnnedge.network import BUILT_IN

CONFIG = configuration("sim-small")


def test_what_comes_early_lies_at_the_end() -> None:
    pieces = [Piece("x", 100, ("left",), copies=1), Piece("samples", 20, ("left",), copies=1, early=True)]
    rooms = fit(pieces, CONFIG, from_top=True)
    assert rooms == {"samples": (("left", CONFIG.left_depth - 20, 20),), "x": (("left", CONFIG.left_depth - 120, 100),)}


def test_what_does_not_fit_has_no_rooms() -> None:
    assert fit([Piece("x", CONFIG.left_depth + 1, ("left",))], CONFIG) is None


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
@pytest.mark.parametrize("uses", range(1, 12))
def test_the_last_copy_rests_at_the_end(copies: int, uses: int) -> None:
    emitter = Emitter(CONFIG, Addresses())
    buffers = Streamed(emitter)
    tensor = Tensor.of("t", CONFIG, CONFIG.lanes, (1, 1), 1, CONFIG.word)
    room = tuple(("left", n * tensor.size, tensor.size) for n in range(copies))
    buffers.begin({"rows": room}, {"rows": uses})
    bases = [buffers.give("rows", View.of(tensor))[0].base // tensor.size for _ in range(uses)]
    assert bases[-1] == max(0, copies - 2)
    assert copies - 1 not in bases[-copies + 1 :] if copies > 1 else bases == [0] * uses
    assert len(set(bases)) == min(copies, uses)  # by turns


@pytest.mark.parametrize("name", ["cnv-0.5", "cnv"])
@pytest.mark.parametrize("planes", [4, 8])
def test_the_copy_of_old_weights_lies_beside_their_update(name: str, planes: int) -> None:
    make, shape = BUILT_IN[name]
    there = layout(make(shape, 10), Settings(batch=64, gradient_planes=planes), CONFIGURATIONS["pynq-z2"])
    for i in range(1, there.plan.last + 1):
        copy = there.cutter.copy(i)
        assert copy.beside
        taken = [room for rooms in there.cutter.update(i).tiling.rooms.values() for room in rooms]
        for side, base, size in copy.room:
            assert base >= 0
            assert all(side != other or base + size <= low or low + high <= base for other, low, high in taken)
