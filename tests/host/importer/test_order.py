"""Places of numbers that a graph transposes, flattens and pads."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge.importer.order import Order
from bnnedge.importer.steps import UnsupportedError

SIDES = 3, 5, 2  # height, width, channels


def pixels(*shape: int) -> Order:
    return Order(np.arange(np.prod(shape)).reshape(1, *shape))


def test_a_map_comes_back_in_the_order_of_the_device():
    value = np.arange(30).reshape(SIDES)
    first = value.transpose(2, 0, 1)[None]
    order = Order.of(*SIDES)
    assert np.array_equal(order.take(first), value)
    for moved, there in (
        (order.transpose((0, 3, 2, 1)), first.transpose(0, 3, 2, 1)),
        (order.reshape((1, 30)), first.reshape(1, 30)),
        (order.pad([0, 0, 1, 2], [0, 0, 0, 3]), np.pad(first, ((0, 0), (0, 0), (1, 0), (2, 3)))),
    ):
        assert np.array_equal(moved.take(there), value)


def test_rows_of_weights_follow_a_flattened_map():
    rng = np.random.default_rng(1)
    value, weight = rng.normal(0, 1, SIDES), rng.normal(0, 1, (30, 4))
    order = Order.of(*SIDES)
    flat = value.transpose(2, 0, 1).reshape(-1)
    rows = np.argsort(order.reshape((1, 30)).vector("a layer"))
    assert np.allclose(flat @ weight, value.reshape(-1) @ weight[rows])


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 3, 1), (0, 3, 2, 1)])
def test_a_convolution_tells_the_order_of_pixels(axes: tuple[int, ...]):
    """Whatever the input's order: an image of the device becomes the input, and comes by at the convolution."""
    shape = [0, 2, 3, 5]
    for place, axis in enumerate(axes[1:], 1):
        shape[axis] = (0, 2, 3, 5)[place]
    before = pixels(*shape[1:])
    order = before.transpose(axes)
    places, around = order.map("a layer")
    assert (places.shape, around) == (SIDES, (0, 0, 0, 0))
    image = np.random.default_rng(1).normal(0, 1, SIDES)
    given = np.empty(30)
    given[places.reshape(-1)] = image.reshape(-1)
    at = given.reshape(1, *shape[1:]).transpose(axes)
    assert np.array_equal(at[0].transpose(1, 2, 0), image)
    for one, values in ((before, given), (order, at)):
        assert np.array_equal(one.settled(places.reshape(-1), SIDES).take(values), image)


@pytest.mark.parametrize(
    ("shape", "sides"), [((7,), (7,)), ((7, 6), (7, 6)), ((3, 8, 9), (8, 9, 3)), ((8, 9, 3), (8, 9, 3)), ((5, 6, 7), (6, 7, 5))]
)
def test_images_of_dense_layers(shape: tuple[int, ...], sides: tuple[int, ...]):
    places, found = pixels(*shape).image()
    assert found == sides
    assert sorted(places) == list(range(int(np.prod(shape))))


def test_numbers_of_channels():
    order = Order.of(*SIDES)
    assert np.array_equal(order.channels("x", np.array([4.0, 5.0]).reshape(2, 1, 1)), [4, 5])
    assert np.array_equal(order.channels("x", np.full((3, 5), 2.0)), [2])
    assert np.array_equal(order.transpose((0, 2, 3, 1)).channels("x", np.array([4.0, 5.0])), [4, 5])
    with pytest.raises(UnsupportedError, match=r"^x has numbers for other axes than the channels of \[3, 5, 2\]$"):
        order.channels("x", np.arange(5.0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda order: order.transpose((0, 1, 3, 2)).map("x"), "axes have been exchanged"),
        (lambda order: order.reshape((1, 30)).map("x"), r"x gets \[1, 30\]: it must be one map"),
        (lambda order: order.pad([0, 1, 0, 0], [0] * 4).map("x"), "channels of padding"),
        (lambda order: order.pad([0, 0, 1, 0], [0] * 4).channels("x", np.zeros(1)), "zeros of padding"),
        (lambda order: order.vector("x"), "treats each row by itself"),
        (lambda order: Order.of(24).reshape((1, 24, 1, 1)).map("x"), "behind one there are dense layers alone"),
    ],
    ids=range(6),
)
def test_what_has_no_form_is_refused(call, said: str):
    with pytest.raises(UnsupportedError, match=said):
        call(Order.of(*SIDES))
