"""Where tensors live, how operations are cut, and what does not fit."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from networks import random_network

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, bounds, cnv, configuration, formats, mlp
from bnnedge.compiler import Addresses, Compiler, cutter, fitting
from bnnedge.compiler.buffers import Allocator, Piece, fit
from bnnedge.compiler.layout import Layout, layout
from bnnedge.compiler.plan import ALWAYS
from bnnedge.compiler.tensors import Tensor, View

SMALL, BOARD = configuration("sim-small"), configuration("pynq-z2")
LARGE = dataclasses.replace(BOARD, left_depth=1 << 16, right_depth=1 << 16, tile_rows=4096)


def dense(*sizes: int) -> Network:
    """A dense network with these inputs and outputs."""
    return Network((sizes[0],), [Dense(n) for n in sizes[1:]])


# Tensors and views


def test_addresses_of_a_tensor_follow_its_shape() -> None:
    tensor = Tensor.of("t", SMALL, vectors=20, size=(4, 5), planes=3, bits=70)
    assert (tensor.groups, tensor.words, tensor.size) == (3, 3, 3 * 4 * 5 * 3 * 3)
    view = View.of(tensor, "left", 100, groups=(1, 2), rows=(2, 2))
    assert view.size == 2 * 2 * 5 * 3 * 3
    assert view.address(1, 2, 0) == 100
    assert view.address(2, 3, 4, 2) == 100 + 90 + 45 + 4 * 9 + 2 * 3
    assert view.top(1, 2, 1) == 100 + 9 + 6


def test_a_planar_tensor_has_its_uppermost_plane_first() -> None:
    tensor = Tensor.of("t", SMALL, vectors=8, size=(4, 5), planes=3, bits=32, planar=True)
    view = View.of(tensor)
    assert view.top(0, 0, 0) == 0
    assert view.address(0, 1, 2, 0) == 2 * 20 + 5 + 2
    assert view.along_plane == -20


# Places


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.integers(1, 8), st.sampled_from([64, 128, 256]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_tensors_that_live_together_never_overlap(sizes: list[int], planes: int, batch: int) -> None:
    there = layout(dense(*sizes, 10), Settings(batch=batch, gradient_planes=planes, slope_planes=1), LARGE)
    assert there.resident is not None
    lives = {name: item.life for name, item in there.plan.tensors.items()}
    for (a, here), (b, home) in itertools.combinations(there.resident.homes.items(), 2):
        together = lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]
        apart = here.base + here.size <= home.base or home.base + home.size <= here.base
        assert here.buffer != home.buffer or apart or not together, (a, b)


@pytest.mark.parametrize("seed", range(20))
def test_tensors_in_memory_never_overlap_while_they_live(seed: int) -> None:
    network, settings = random_network(seed, 1e5)
    there = layout(network, settings, LARGE)
    offsets, size = there.arena()
    separate, all_of_it = there.arena(shared=False)
    bank = LARGE.lanes * LARGE.word // 8
    assert size <= all_of_it
    for places, shared in ((offsets, True), (separate, False)):
        for a, b in itertools.combinations(places, 2):
            first, second = there.plan.tensors[a], there.plan.tensors[b]
            together = not shared or (first.life[0] <= second.life[1] and second.life[0] <= first.life[1])
            ends = places[a] + first.tensor.size * bank, places[b] + second.tensor.size * bank
            assert ends[0] <= places[b] or ends[1] <= places[a] or not together, (a, b)
            assert max(ends) <= (size if shared else all_of_it)


@pytest.mark.parametrize("planes", [3, 4, 6])
def test_places_in_memory_waste_little(planes: int) -> None:
    there = layout(cnv(), Settings(batch=128, gradient_planes=planes), configuration("pynq-z2"))
    moving = [item for name, item in there.plan.tensors.items() if there.moves(name)]
    alive = [
        sum(item.tensor.size for item in moving if item.life[0] <= time <= item.life[1])
        for time in range(1 + max(item.life[1] for item in moving))
    ]
    bank = there.config.lanes * there.config.word // 8
    assert max(alive) * bank <= there.arena()[1] <= 1.02 * max(alive) * bank


def test_allocator_fills_gaps_and_respects_lives() -> None:
    allocator = Allocator()
    assert [allocator.place(10, (0, 1)), allocator.place(10, (1, 2)), allocator.place(10, (2, 3))] == [0, 10, 0]
    assert allocator.place(5, ALWAYS) == 20
    assert allocator.used == 25


@pytest.mark.parametrize("from_top", [False, True])
@pytest.mark.parametrize(("left", "right", "copies"), [(1024, 2048, 2), (256, 2048, 1), (128, 640, 1)])
def test_rooms_do_not_overlap_and_copies_are_given_up(left: int, right: int, copies: int, from_top: bool) -> None:
    config = dataclasses.replace(SMALL, left_depth=left, right_depth=right)
    pieces = [Piece("x", 160, ("left",)), Piece("w", 100, ("right",)), Piece("rows", 120, ("left", "right"))]
    rooms = fit(pieces, config, from_top=from_top)
    if left < 160:
        assert rooms is None
        return
    assert rooms is not None
    assert set(rooms) == {"x", "w", "rows"}
    assert len(rooms["x"]) == copies
    taken = [place for places in rooms.values() for place in places]
    for a, b in itertools.combinations(taken, 2):
        assert a[0] != b[0] or a[1] + a[2] <= b[1] or b[1] + b[2] <= a[1]
    depth = {"left": config.left_depth, "right": config.right_depth}
    assert all(base >= 0 and base + size <= depth[buffer] for buffer, base, size in taken)


def test_the_papers_networks_fit_the_board() -> None:
    for planes in (4, 8):
        there = layout(mlp(), Settings(batch=128, gradient_planes=planes), BOARD)
        assert there.resident is not None
        assert there.resident.used["left"] <= 4096
        assert there.resident.used["right"] <= 3072
    assert layout(cnv(), Settings(batch=128, gradient_planes=4), BOARD).resident is None


def test_inference_needs_less() -> None:
    training, inference = (layout(mlp(), Settings(), BOARD, training=t).resident for t in (True, False))
    assert training is not None
    assert inference is not None
    assert inference.used["left"] < training.used["left"]
    assert inference.used["right"] < training.used["right"]


def test_signs_live_until_the_next_layer_and_masks_until_the_gradient() -> None:
    network = Network((9, 9, 2), [Conv2D(12, padding="same"), MaxPool2D(), Conv2D(10), Dense(3)])
    lives = {name: item.life for name, item in layout(network, Settings(batch=64), SMALL).plan.tensors.items()}
    assert lives["1.active"] == (0, 1)
    assert lives["1.mask"] == lives["1.route_low"] == lives["1.route_high"] == (0, 6)
    assert lives["1.active_columns.0"] == (0, 5)
    assert "2.route_low" not in lives


def test_a_pass_takes_no_more_rows_than_its_sums_have_bits_for() -> None:
    network = Network((36, 36, 3), [Conv2D(8, 5), MaxPool2D(), Dense(3)])
    there = layout(network, Settings(batch=64), dataclasses.replace(LARGE, word=64))
    tiling = there.cutter.forward(0)
    largest = bounds.deviation(network.geometry[0], 0, there.settings, there.config)
    assert 64 * 32 * 32 * largest >= 1 << formats.SUM_BITS - 1
    assert tiling.tiles * there.config.lanes * tiling.rows * 2 * 32 * largest < 1 << formats.SUM_BITS - 1
    Compiler(there, Addresses(latents=(0, 0))).training(1, 1)


def test_ways_of_a_weight_gradient_that_take_as_long_are_told_apart_by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(batch=64, gradient_planes=8)
    chosen = Layout(cnv(), settings, BOARD).cutter
    monkeypatch.setattr(cutter, "NEAR", 0.0)
    fastest = Layout(cnv(), settings, BOARD).cutter
    ways = [(chosen.update(i).tiling, fastest.update(i).tiling) for i in range(9)]
    for taken, least in ways:
        assert least.cycles <= taken.cycles <= 1.01 * least.cycles
    assert [(t.rows, t.groups, t.tiles) for t in ways[5]] == [(1, 1, 3), (1, 3, 1)]  # the gradient is read less often
    assert [t.rows for t in ways[1]] == [2, 4]  # smaller operands are there sooner
    assert [t.tiles for t in ways[3]] == [2, 3]  # even parts of 8 groups
    assert ways[0][0] == ways[0][1]


# Limits


@pytest.mark.parametrize(
    ("network", "settings", "config", "text"),
    [
        (dense(20000, 10), {"batch": 64}, "pynq-z2", "layer 1 .dense 10.: its forward sums reach 5100000"),
        (
            Network((9, 9, 1), [Conv2D(8, padding="same"), Dense(10)]),
            {"slope_planes": 8, "batch": 512, "gradient_planes": 8},
            "pynq-z2",
            "layer 1 .conv2d 8.: its weight gradients reach 2696716800.*fewer slope planes or gradient planes",
        ),
        (dense(64, 200), {}, "pynq-z2", "200 classes: the last layer can have 64 at most"),
        (dense(64, 128, 40), {"batch": 64}, "sim-small", "40 classes: the last layer can have 32 at most"),
        (dense(64, 10), {"batch": 512}, "sim-small", "batch of 512 does not fit the tile buffer: 256 at most"),
        (dense(8, *[8] * 70, 10), {}, "pynq-z2", "71 layers, the program format holds 64"),
        (
            Network((64, 64, 3), [Conv2D(8, padding="same"), Dense(10)]),
            {"batch": 512},
            "pynq-z2",
            r"layer 1 .conv2d 8.: a batch has 2097152 samples of a channel, 262144 fit; use a smaller batch or map",
        ),
        (dense(64, 10), {"batch": 48}, "pynq-z2", "a batch of 48 does not fill words of 32 .*; use 32 or 64; this fits: a batch"),
        (dense(64, 10), {"batch": 32}, "pynq-z2-x64", "a batch of 32 does not fill words of 64 images.*; use 64; "),
        (
            Network((12, 12, 2), [Conv2D(33, 1), Dense(6)]),
            {"batch": 64},
            "sim-small",
            "layer 2 .dense 6.: .*does not fit the buffers .left 1024, right 2048.*use a smaller batch",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_limit(network: Network, settings: dict[str, int], config: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        layout(network, Settings(**settings), configuration(config))  # type: ignore[arg-type]


def test_totals_of_less_than_a_word_of_channels_are_named_with_the_limit() -> None:
    config = dataclasses.replace(SMALL, channels=64)
    with pytest.raises(ValueError, match=r"layer 1 .conv2d 17.: its forward pass takes several passes.*16 channels at most"):
        layout(Network((9, 9, 1), [Conv2D(17), Dense(3)]), Settings(batch=64), config)


def test_weight_gradients_that_exceed_a_pass_are_refused_with_what_fits() -> None:
    config = dataclasses.replace(SMALL, accumulator=16)
    with pytest.raises(ValueError, match=r"layer 1 .dense 9.: its weight gradients .* use 6 gradient planes or 2 slope planes"):
        layout(dense(16, 9, 5), Settings(batch=64, slope_planes=4, gradient_planes=8), config)


def test_too_many_channels_of_a_layer_are_named_with_the_limit() -> None:
    config = dataclasses.replace(LARGE, channels=64)
    with pytest.raises(ValueError, match=r"layer 1 .dense 80.: the parameter memory .* holds 62 channels of a layer"):
        layout(dense(16, 80, 10), Settings(batch=64), config)


@pytest.mark.parametrize("config", ["sim-small", "pynq-z2"])
def test_pooled_windows_wider_than_a_word_are_refused(config: str) -> None:
    network = Network((8, 8, 16), [Conv2D(8, 1, 2), MaxPool2D(), Dense(4)])
    with pytest.raises(ValueError, match=r"layer 1 .conv2d 8.: "):
        layout(network, Settings(batch=64), configuration(config))


def test_outputs_too_far_apart_in_a_word_are_refused() -> None:
    network = Network((8, 8, 16), [Conv2D(8, 1, 2), MaxPool2D(), Dense(4)])
    with pytest.raises(ValueError, match=r"layer 1 .conv2d 8.: its outputs lie 64 bits of a word apart, 63 fit"):
        layout(network, Settings(batch=64), configuration("pynq-z2-x64"))


def test_the_first_configuration_that_fits_is_found() -> None:
    assert fitting(dense(64, 128, 10), Settings(batch=64)).name == "sim-small"
    assert fitting(dense(784, 256, 40), Settings(batch=128)).name == "pynq-z2"
    with pytest.raises(ValueError, match=r"no configuration holds network 'network': .*classes"):
        fitting(dense(784, 200), Settings())


@pytest.mark.parametrize("seed", range(30))
def test_a_layout_is_found_or_the_layer_named(seed: int) -> None:
    tight = dataclasses.replace(SMALL, left_depth=256, right_depth=256, channels=64, tile_rows=128)
    network, settings = random_network(seed, 3e5)
    for training in (True, False):
        try:
            Layout(network, settings, tight, training=training)
        except ValueError as error:
            if not any(what in str(error) for what in [*(g.name for g in network.geometry), "the last layer", "the tile buffer"]):
                pytest.fail(str(error))
