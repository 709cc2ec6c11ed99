"""Forward products on single bits against the plain ones: all kinds of windows, words that are full, short and single."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from limits import EXTREMES, description
from operands import LAYERS, second, signs

from bnnedge import Conv2D, Dense, Network
from bnnedge.layers import Geometry
from bnnedge.sim.golden import products, threads
from bnnedge.sim.golden.threads import Threads

bits = pytest.importorskip("bnnedge.sim.golden.bits", exc_type=ImportError)


@pytest.fixture(autouse=True)
def _bits_of_any_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "_FEWEST", 1)
    monkeypatch.setattr(threads, "_WORTH", 100)


def equal(x: np.ndarray, weight: np.ndarray, layer: Geometry, most: int = 2) -> None:
    y = bits.Bits(SimpleNamespace(data_gradient=None, weight_gradient=None), Threads(most)).forward(x, weight, layer, 0)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, products.forward(x, weight, layer, 0), layer.name)


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 31, 32, 33, 40, 63, 64, 65, 96, 130])
@pytest.mark.parametrize("layer", LAYERS)
def test_windows_and_words(monkeypatch: pytest.MonkeyPatch, layer: Conv2D | Dense, channels: int) -> None:
    geometry, random = second(layer, channels), np.random.RandomState(channels)
    x, weight = signs(random, 5, 7, 6, channels), signs(random, geometry.fan_in, geometry.fan_out)
    for most in (1, 2, 5):  # images at a time
        monkeypatch.setattr(bits, "_MAP", most * x[0].size)
        equal(x, weight, geometry)


@pytest.mark.parametrize("inputs", [1, 2, 31, 32, 33, 127, 128, 129, 1000])
def test_dense_layers(inputs: int) -> None:
    geometry, random = Network((3, 3), [Dense(inputs), Dense(10), Dense(2)]).geometry[1], np.random.RandomState(inputs)
    for images in (1, 3, 64):
        equal(signs(random, images, 1, 1, inputs), signs(random, inputs, 10), geometry)


def test_random_layers() -> None:
    """Those of random networks, with all signs alike too: the sums' ends."""
    config, count = EXTREMES["wide-words"], 0
    for seed in range(30):
        network, _ = description(seed, config, convolutions=seed % 3 > 0, most=150)
        random = np.random.RandomState(seed)
        for layer in network.geometry:
            x = signs(random, 3, layer.height, layer.width, layer.channels)
            weight = signs(random, layer.fan_in, layer.fan_out)
            equal(x, weight, layer, most=1 + seed % 3)
            equal(np.ones_like(x), np.ones_like(weight), layer)
            equal(np.ones_like(x), -np.ones_like(weight), layer)
            count += 1
    assert count > 60


def test_a_part_of_a_larger_map() -> None:
    geometry, random = Network((9, 8, 3), [Conv2D(6), Dense(2)]).geometry[0], np.random.RandomState(1)
    equal(signs(random, 8, 9, 8, 3)[1::2], signs(random, 27, 6), geometry)


def test_all_else_is_left_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "_FEWEST", 32)
    called = []

    class Rest:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: called.append((name, *arguments))

    narrow, wide = Network((7, 6), [Conv2D(31, 1), Conv2D(32, 1), Conv2D(4, 1), Dense(2)]).geometry[1:3]
    products_of = bits.Bits(Rest(), Threads(1))
    products_of.forward("x", "weight", narrow, 0)
    products_of.forward("x", "weight", wide, 1)
    products_of.data_gradient("code", "weight", wide, 1)
    products_of.weight_gradient("x", "code", wide, 0, 8)
    assert called == [
        ("forward", "x", "weight", narrow, 0),
        ("forward", "x", "weight", wide, 1),
        ("data_gradient", "code", "weight", wide, 1),
        ("weight_gradient", "x", "code", wide, 0, 8),
    ]
