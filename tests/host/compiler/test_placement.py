"""Where tensors live, and what does not fit."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bnnedge import Configuration, Dense, Network, Settings, configuration, mlp
from bnnedge.compiler import fitting, layout
from bnnedge.compiler.placement import Allocator, Tensor, pass_times

LARGE = dataclasses.replace(configuration("pynq-z2"), left_depth=1 << 16, right_depth=1 << 16, tile_rows=4096)


def network(*sizes: int) -> Network:
    """A dense network with these inputs and outputs."""
    return Network((sizes[0],), [Dense(n) for n in sizes[1:]])


def lives(depth: int) -> dict[str, tuple[int, int]]:
    """First and last pass in which each tensor is needed, from the order of passes alone."""
    forward, data, weight = pass_times(depth)
    found = {"input, transposed": (forward[0], weight[0])}
    for i in range(depth):
        name = f"layer {i + 1} "
        found[name + "gradient codes, transposed"] = (data[i], weight[i])
        if i:
            found[name + "gradient codes"] = (data[i], data[i - 1])
        if i < depth - 1:
            found[name + "activations"] = found[name + "masks"] = (forward[i], data[i])
            found[name + "activations, transposed"] = (forward[i], weight[i + 1])
    return found


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.integers(1, 8), st.sampled_from([64, 128, 256]))
@hypothesis_settings(max_examples=60, deadline=None)
def test_tensors_that_live_together_never_overlap(sizes: list[int], planes: int, batch: int) -> None:
    plan = layout(network(*sizes, 10), Settings(batch=batch, gradient_planes=planes, slope_planes=1), LARGE)
    life = lives(len(sizes))
    always = (-1, 1 << 30)
    for a, b in itertools.combinations(plan.tensors(), 2):
        (first_a, last_a), (first_b, last_b) = life.get(a.name, always), life.get(b.name, always)
        together = first_a <= last_b and first_b <= last_a
        apart = a.base + a.words <= b.base or b.base + b.words <= a.base
        assert a.buffer != b.buffer or apart or not together, (a, b)


def test_places_of_tensors_that_never_meet_are_shared() -> None:
    deep = layout(network(64, *[64] * 10, 10), Settings(batch=64), LARGE)
    codes = [layer.code for layer in deep.layers[1:-1]]
    assert len({code.base for code in codes if code}) < len(codes)


def test_the_papers_mlp_fits_the_board_with_all_gradient_planes() -> None:
    plan = layout(mlp(), Settings(batch=128, gradient_planes=8), configuration("pynq-z2"))
    assert plan.left_words <= 4096
    assert plan.right_words <= 3072


def test_slots_and_strides_follow_the_shape() -> None:
    tensor = Tensor("t", "left", vectors=20, planes=3, bits=70, slots=3, plane_stride=3, base=100)
    assert (tensor.slot_stride, tensor.words, tensor.top) == (9, 27, 106)


def test_allocator_fills_gaps_and_respects_lives() -> None:
    allocator = Allocator()
    assert [allocator.place(10, (0, 1)), allocator.place(10, (1, 2)), allocator.place(10, (2, 3))] == [0, 10, 0]
    assert allocator.place(5, Allocator.ALWAYS) == 20
    assert allocator.used == 25


@pytest.mark.parametrize(
    ("sizes", "settings", "config", "text"),
    [
        (
            (256, 1024, 1024, 10),
            {"batch": 64, "input_planes": 1, "slope_planes": 1},
            "pynq-z2",
            "words of the right buffer .weights, gradient codes., there are 3072",
        ),
        ((20000, 10), {"batch": 64}, "pynq-z2", "layer 1 .20000 -> 10.: its forward sums reach 5100000"),
        ((64, 16, 10), {"slope_planes": 8}, "pynq-z2", "weight gradients reach 8323200.* use fewer slope planes"),
        ((64, 200), {}, "pynq-z2", "200 classes: the last layer can have 64 at most"),
        ((64, 128, 40), {"batch": 64}, "sim-small", "40 classes: the last layer can have 32 at most"),
        ((64, 10), {"batch": 512}, "sim-small", "batch of 512 does not fit the tile buffer: 256 at most"),
        ((3072, 64, 10), {}, "sim-small", "words of the left buffer .*largest part is input"),
        ((8, *[8] * 70, 10), {}, "pynq-z2", "70|71 layers"),
    ],
)
def test_what_does_not_fit_is_named_with_the_limit(
    sizes: tuple[int, ...], settings: dict[str, int], config: str, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        layout(network(*sizes), Settings(**settings), configuration(config))  # type: ignore[arg-type]


def test_too_many_channels_are_named_with_the_limit() -> None:
    config = dataclasses.replace(LARGE, channels=64)
    with pytest.raises(ValueError, match=r"66 words of the parameter memory .output channels., there are 64"):
        layout(network(16, 40, 10), Settings(batch=64), config)


def test_the_smallest_configuration_that_fits_is_found() -> None:
    assert fitting(network(64, 128, 10), Settings(batch=64)).name == "sim-small"
    assert fitting(mlp(), Settings(batch=128)).name == "pynq-z2"
    with pytest.raises(ValueError, match="needs 2628 words of the left buffer"):
        fitting(network(784, 4096, 10), Settings())


def test_inference_needs_less() -> None:
    config: Configuration = configuration("pynq-z2")
    training, inference = (layout(mlp(), Settings(), config, training=t) for t in (True, False))
    assert inference.left_words < training.left_words
    assert inference.right_words < training.right_words
