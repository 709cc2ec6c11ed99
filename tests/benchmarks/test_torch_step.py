"""PyTorch's training, which the golden model's speed is compared with, is the standard training of `sim.reference`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnnedge import Conv2D, Dense, MaxPool2D, Network
from bnnedge.sim.reference import Method, Standard, scale_pixels
from bnnedge.sim.reference.functions import softmax_cross_entropy

torch = pytest.importorskip("torch")

NETWORKS = {
    "dense": Network((6, 7), [Dense(20), Dense(16), Dense(5)]),
    "signs": Network((11, 10, 3), [Conv2D(8), MaxPool2D(), Conv2D(9, 2), Dense(12), Dense(4)]),  # a row of 9 is left out
    "sums": Network(
        (8, 9, 2), [Conv2D(6, padding="same"), MaxPool2D("sums"), Conv2D(8, padding="same"), MaxPool2D("sums"), Dense(3)]
    ),
    "strided": Network((9, 8), [Conv2D(6, 4, 1, "same"), Conv2D(7, 2, 2), Conv2D(5, 3, 2, "same"), Dense(3)]),
}


@pytest.fixture(scope="module")
def torch_step() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        return importlib.import_module("torch_step")


def batch(network: Network, images: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (images, *network.input_shape), np.uint8), rng.integers(0, network.classes, images)


@pytest.mark.parametrize("method", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_step_is_the_references(torch_step: Any, name: str, method: bool) -> None:
    network = NETWORKS[name]
    pixels, labels = batch(network, 64)
    ours, its = (Method if method else Standard)(network.geometry, seed=5), torch_step.Training(network, 1e-3, 5, method=method)
    rng = np.random.default_rng(7)
    for layer, other in zip(ours.layers, its.model.layers, strict=True):
        # Random offsets: without them some X are exactly 0, and the last bit of a mean decides their sign.
        layer.beta[:] = rng.normal(0, 0.2, layer.beta.shape)
        other.beta.data = torch.tensor(layer.beta)
    x = scale_pixels(pixels)
    logits, records = ours.forward(x)
    loss, right, gradient = softmax_cross_entropy(logits, labels)
    gradients = ours.backward(x, gradient, records)
    before = [layer.weight.copy() for layer in ours.layers]
    assert its.step(torch.tensor(pixels), torch.tensor(labels)) == (pytest.approx(loss, rel=1e-5), right)
    ours.train_batch(x, labels, 1e-3)
    for layer, other, wanted, old in zip(ours.layers, its.model.layers, gradients, before, strict=True):
        scale = np.abs(wanted.weight).max()
        assert scale > 0
        np.testing.assert_allclose(windows(other, other.weight.grad), wanted.weight, atol=1e-4 * scale)
        np.testing.assert_allclose(other.beta.grad.numpy(), wanted.beta, atol=1e-4 * np.abs(wanted.beta).max())
        clear = np.abs(wanted.weight) > 1e-3 * scale  # Adam's first step has the size of the rate, whatever the gradient's
        moved = windows(other, other.weight.detach()) - old
        np.testing.assert_allclose(moved[clear], (layer.weight - old)[clear], atol=1e-5)


def windows(layer: Any, weight: Any) -> np.ndarray:
    """A weight as the reference has it: (K, M)."""
    g = layer.geometry
    maps = weight.numpy().reshape(g.filters, g.channels, g.kernel_y, g.kernel_x)
    return maps.transpose(2, 3, 1, 0).reshape(g.fan_in, g.filters)


@pytest.mark.parametrize("name", NETWORKS)
def test_learns(torch_step: Any, name: str) -> None:
    network = NETWORKS[name]
    pixels, labels = map(torch.tensor, batch(network, 64))
    training = torch_step.Training(network, rate=1e-2)
    losses = [training.step(pixels, labels)[0] for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert all(layer.weight.abs().max() <= 1 for layer in training.model.layers)
