"""The products on bytes against the plain ones: all kinds of windows and bounds, sums at the end of their range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from operands import LAYERS, Whole, halves, pytorch, second

from bnnedge import Conv2D, Dense, Network
from bnnedge.formats import Code
from bnnedge.layers import MAX_SIDE
from bnnedge.sim.golden import Random, int8, products
from bnnedge.sim.golden.int8 import Blas, Int8, Torch
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.threads import Threads

PLAIN = Plain(Random(1, 8), 128)


@pytest.fixture(params=["numpy", "blas", "torch"])
def multiply(request: pytest.FixtureRequest) -> Whole | Blas | Torch:
    made: Whole | Blas | Torch = {"numpy": Whole, "blas": Blas, "torch": pytorch}[request.param]()
    return made


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize(
    ("planes", "code"),
    [
        *[(x, Code(g)) for x, g in ((0, 1), (0, 8), (1, 8), (7, 7), (8, 8), (8, 1), (2, 6))],
        *[(x, Code(g, True)) for x, g in ((0, 2), (0, 8), (8, 8), (2, 6))],
    ],
)
@pytest.mark.parametrize("layer", LAYERS)
def test_products(
    monkeypatch: pytest.MonkeyPatch, multiply: Whole, layer: Conv2D | Dense, planes: int, code: Code, most: int
) -> None:
    """Of five images, up to `most` at a time."""
    layer, random = second(layer), np.random.RandomState(1)
    for held in ("_WINDOWS", "_SUMS"):
        monkeypatch.setattr(int8, held, most * layer.outputs * layer.fan_in)
    x, weight = halves(random, planes, 5, 7, 6, 3), halves(random, 0, layer.fan_in, layer.fan_out)
    gradient = halves(random, code, 5, layer.out_height, layer.out_width, layer.fan_out)
    fast = Int8(multiply, Threads(2), PLAIN)
    y, d = fast.forward(x, weight, layer, planes), fast.data_gradient(gradient, weight, layer, code)
    assert y.dtype == d.dtype == np.int32
    np.testing.assert_array_equal(y, products.forward(x, weight, layer, planes))
    np.testing.assert_array_equal(d, products.data_gradient(gradient, weight, layer, code))
    slope = fast.weight_gradient(x, gradient, layer, planes, code)
    np.testing.assert_array_equal(slope, products.weight_gradient(x, gradient, layer, planes, code))


@pytest.mark.parametrize("images", [7, 12, 96])
@pytest.mark.parametrize("planes", [2, 7, 8])
@pytest.mark.parametrize("x_end", [-1, 1])
@pytest.mark.parametrize("half", [-128, 127])
def test_sums_at_the_end_of_their_range(multiply: Whole, half: int, x_end: int, planes: int, images: int) -> None:
    """All products of one sign but for one code; of 8 planes, 7 images' sum fits 32 bits, 12 images' 32 bits without a sign."""
    layer, x_half = Network((64, 64), [Conv2D(3, 1), Dense(2)]).geometry[0], (x_end << planes - 1) - (x_end > 0)
    x, code = np.full((images, 64, 64, 1), x_half, np.int8), np.full((images, 64, 64, 3), half, np.int8)
    code[-1, -1, -1, 0] -= 1 if half > 0 else -1
    total = images * 64 * 64 * (2 * half + 1) * (2 * x_half + 1)
    less = (2 if half > 0 else -2) * (2 * x_half + 1)
    slope = Int8(multiply, Threads(2), PLAIN).weight_gradient(x, code, layer, planes, Code(8))
    assert slope.tolist() == [[total - less, total, total]]


def test_sums_of_the_largest_maps() -> None:
    small = Network((8, 8), [Conv2D(2, 1), Dense(2)]).geometry[0]
    layer = dataclasses.replace(small, height=MAX_SIDE, width=MAX_SIDE, out_height=MAX_SIDE, out_width=MAX_SIDE)
    x, code = (np.full((3, MAX_SIDE, MAX_SIDE, channels), -128, np.int8) for channels in (1, 2))
    slope = Int8(Whole(), Threads(1), PLAIN).weight_gradient(x, code, layer, 8, Code(8))
    assert slope.tolist() == [[3 * MAX_SIDE**2 * 255**2] * 2]


def matrix(random: np.random.RandomState, rows: int, columns: int) -> np.ndarray:
    """Any bytes, or the smallest in all places, in either order."""
    shape = [(rows, columns), (columns, rows)][random.randint(2)]
    made = np.full(shape, -128, np.int8) if random.randint(4) == 0 else random.randint(-128, 128, shape).astype(np.int8)
    return made if made.shape == (rows, columns) and rows != columns else made.reshape(columns, rows).T


def test_products_of_any_size(multiply: Whole) -> None:
    random = np.random.RandomState(2)
    sizes = [1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 27, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 576]
    with multiply.session():
        for _ in range(2000):
            m, k, n = random.choice(sizes, 3)
            a, b, out = matrix(random, m, k), matrix(random, k, n), np.empty((m, n), np.int32)
            multiply(a, b, out)
            np.testing.assert_array_equal(out, a.astype(np.float64) @ b, f"{a.shape} {a.strides} {b.shape} {b.strides}")


@pytest.mark.parametrize("inputs", [1024, 1025, 2047, (1 << 17) - 1])
def test_long_products_of_a_single_row_or_column(multiply: Whole, inputs: int) -> None:
    """The largest sums, odd where float32 would round those beyond 2**24."""
    ends = np.full((3, inputs), -128, np.int8)
    ends[:, 0] = -127
    with multiply.session():
        for a, b in ((ends[:1], ends.T), (ends, ends[:1].T), (ends[:1], ends[:1].T)):
            out = np.empty((len(a), b.shape[1]), np.int32)
            multiply(a, b, out)
            assert (out == (inputs - 1) * 128**2 + 127**2).all()


def test_pytorch_keeps_its_threads() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        layer, random = second(Conv2D(5)), np.random.RandomState(1)
        x, weight = halves(random, 0, 64, 7, 6, 3), halves(random, 0, layer.fan_in, layer.fan_out)
        Int8(Torch(), Threads(2), PLAIN).forward(x, weight, layer, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pytorch_keeps_its_threads_with_sessions_in_several_threads() -> None:
    torch = pytest.importorskip("torch")
    before, multiply = torch.get_num_threads(), Torch()
    try:
        torch.set_num_threads(2)
        a, out = np.ones((2, 2), np.int8), np.empty((2, 2), np.int32)
        first, second_ = multiply.session(), multiply.session()
        first.__enter__()
        multiply(a, a, out)
        second_.__enter__()  # it finds one thread
        first.__exit__(None, None, None)
        multiply(a, a, out)
        second_.__exit__(None, None, None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
