"""The exact products against loops over every tap; pooling and means against their definitions."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from operands import LAYERS, halves, second, signs, whole

from bnnedge import Conv2D, Dense, Network
from bnnedge.formats import Code
from bnnedge.layers import Geometry
from bnnedge.sim import pooling
from bnnedge.sim.golden import products
from bnnedge.sim.golden.mean import Mean, averaged


def taps(layer: Geometry):
    """(output, input, rows of the weight matrix) of every tap that lies inside the map."""
    for oy, ox, y, x in itertools.product(*map(range, (layer.out_height, layer.out_width, layer.kernel_y, layer.kernel_x))):
        iy, ix = oy * layer.stride + y - layer.pad_y, ox * layer.stride + x - layer.pad_x
        if 0 <= iy < layer.height and 0 <= ix < layer.width:
            first = (y * layer.kernel_x + x) * layer.channels
            yield (oy, ox), (iy, ix), slice(first, first + layer.channels)


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize(
    ("planes", "code"),
    [
        (0, Code(8)),
        (8, Code(8)),
        (2, Code(4)),
        (1, Code(1)),
        (5, Code(7)),
        (0, Code(2, True)),
        (8, Code(8, True)),
        (3, Code(5, True)),
    ],
)
@pytest.mark.parametrize("layer", LAYERS)
def test_products(monkeypatch: pytest.MonkeyPatch, layer: Conv2D | Dense, planes: int, code: Code, most: int) -> None:
    """Of five images, up to `most` at a time."""
    layer, random = second(layer), np.random.RandomState(1)
    monkeypatch.setattr(products, "_PART", most * layer.outputs * layer.fan_in)
    half, weight = halves(random, planes, 5, 7, 6, 3), signs(random, layer.fan_in, layer.fan_out)
    gradient_half = halves(random, code, 5, layer.out_height, layer.out_width, layer.fan_out)
    x, gradient = whole(half, planes), whole(gradient_half, code)
    y, d, slope = np.zeros_like(gradient), np.zeros_like(x), np.zeros(weight.shape, int)
    for (oy, ox), (iy, ix), rows in taps(layer):
        y[:, oy, ox] += x[:, iy, ix] @ weight[rows]
        d[:, iy, ix] += gradient[:, oy, ox] @ weight[rows].T
        slope[rows] += x[:, iy, ix].T @ gradient[:, oy, ox]
    np.testing.assert_array_equal(products.forward(half, weight, layer, planes), y)
    np.testing.assert_array_equal(products.data_gradient(gradient_half, weight, layer, code), d)
    np.testing.assert_array_equal(products.weight_gradient(half, gradient_half, layer, planes, code), slope)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(64, 128, 128), (129, 64, 100), (17, 128, 128), (1000, 5, 7), (40, 784, 256), (3, 9, 2)])
def test_products_of_any_size(shape: tuple[int, int, int], turned: bool) -> None:
    rows, inputs, columns = shape
    random = np.random.RandomState(2)
    a, b = random.randint(-255, 256, (rows, inputs)), random.randint(-255, 256, (inputs, columns))
    single = a.astype(np.float32) if not turned else np.ascontiguousarray(a.T.astype(np.float32)).T
    np.testing.assert_array_equal(products._product(single, b.astype(np.float32)), a @ b)


def test_small_products_stay_in_the_calling_thread() -> None:
    """Of those of the digits' network: other threads of a BLAS would take time of the processor, too."""
    program = (
        "import time; import numpy as np; from bnnedge.sim.golden import products;"
        "a, b = np.ones((64, 128), np.float32), np.ones((128, 128), np.float32); products._product(a, b);"
        "process, thread = time.process_time(), time.thread_time();"
        "[products._product(a, b) for _ in range(300)];"
        "print(time.process_time() - process, time.thread_time() - thread)"
    )
    # In a process of its own: other tests leave threads behind that may be busy.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    process, thread = map(float, done.stdout.split())
    assert process < 1.2 * thread, (process, thread)


@pytest.mark.parametrize("planes", [2, 5, 8])
def test_large_products_are_not_rounded(planes: int) -> None:
    """Sums beyond 2**24, of one image from 5 planes on: odd, so that float32 would lose their last bit."""
    layer, largest = Network((63, 65), [Conv2D(2, 1), Dense(2)]).geometry[0], 2**planes - 1
    x, code = np.full((97, 63, 65, 1), largest // 2, np.int8), np.full((97, 63, 65, 2), 127, np.int8)
    code[-1, -1, -1, 0] = 126
    total = 97 * 63 * 65 * 255 * largest
    assert products.weight_gradient(x, code, layer, planes, Code(8)).tolist() == [[total - 2 * largest, total]]


def test_long_sums_are_not_rounded() -> None:
    """Odd ones, a little beyond 2**24."""
    layer = Network((70_001,), [Dense(2)]).geometry[0]
    x = np.full((1, 1, 1, layer.fan_in), 127, np.int8)
    x[0, 0, 0, 0] = 126
    weight = np.ones((layer.fan_in, 2), np.int8)
    assert products.forward(x, weight, layer, 8).ravel().tolist() == [255 * layer.fan_in - 2] * 2
    layer = Network((2,), [Dense(70_001), Dense(2)]).geometry[0]
    code = np.full((1, 1, 1, layer.fan_out), 127, np.int8)
    code[0, 0, 0, 0] = 126
    weight = np.ones((2, layer.fan_out), np.int8)
    assert products.data_gradient(code, weight, layer, Code(8)).ravel().tolist() == [255 * layer.fan_out - 2] * 2


@pytest.mark.parametrize("kind", [bool, np.int32])
def test_pooling(kind: type) -> None:
    a = np.random.RandomState(2).randint(0, 2 if kind is bool else 4, (3, 4, 6, 5)).astype(kind)
    pooled, route = pooling.maximum(a)
    back = np.zeros_like(a)
    pooling.put(back, pooled, route)
    for b, y, x, c in np.ndindex(pooled.shape):
        four = a[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c].ravel().tolist()
        assert pooled[b, y, x, c] == max(four)
        assert route[b, y, x, c] == four.index(max(four))
        put = back[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c].ravel().tolist()
        assert put == [max(four) if i == route[b, y, x, c] else 0 for i in range(4)]
    assert pooled.dtype == kind
    np.testing.assert_array_equal(pooling.pick(a, route), pooled)


@pytest.mark.parametrize("samples", [64, 512 * 4096, 64 * 900, 64 * 5, 128 * 7])
def test_means(samples: int) -> None:
    mean, totals = Mean(samples), [0, 1, -1, samples, 12345 * samples - 1, 3 - (1 << 36), (1 << 37) + 11]
    assert 1 << 16 <= mean.reciprocal < 1 << 17
    assert abs(mean.reciprocal - Fraction(1 << 16 + mean.log2, samples)) <= Fraction(1, 2)
    floored = mean.of(np.array(totals), 6)
    for total, low in zip(totals, floored.tolist(), strict=True):
        error = abs(total) / samples * 2**-16  # of the reciprocal
        assert abs(low - Fraction(64 * total, samples)) <= 1 + 64 * error
        if samples & samples - 1 == 0:
            assert low == 64 * total // samples


@pytest.mark.parametrize("slowest", [3, 10])
def test_moving_averages(slowest: int) -> None:
    """To the nearest; the last value alone in the first four steps, then slower every four."""
    olds, news = np.array([0, 100, -100, 7, -(1 << 40), 1 << 39]), np.array([1, -3, 100, 7, (1 << 40) - 1, 0])
    for step in (0, 3, 4, 7, 8, 11, 12, 15, 23, 24, 27, 39, 40, 1 << 31):
        part = Fraction(1, 2 ** min(slowest, step // 4))
        for old, new, found in zip(olds.tolist(), news.tolist(), averaged(olds, news, slowest, step).tolist(), strict=True):
            assert abs(found - (old + part * (new - old))) <= (Fraction(1, 2) if part < 1 else 0)
            assert min(old, new) <= found <= max(old, new)
