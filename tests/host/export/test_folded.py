"""Folding of states that training seldom reaches, and errors."""

import dataclasses

import numpy as np
import pytest

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, export
from bnnedge.checkpoint import Checkpoint
from bnnedge.configuration import configuration
from bnnedge.sim.golden import Golden
from bnnedge.state import TrainingState

NETWORK = Network((6, 6), [Conv2D(20, padding="same"), MaxPool2D(), Dense(16), Dense(8)])
SETTINGS = Settings(batch=64, input_planes=2)
SMALL = configuration("sim-small")
IMAGES = np.random.RandomState(1).randint(0, 256, (50, 6, 6)).astype(np.uint8)


def made(state, network=NETWORK, settings=SETTINGS):
    return Checkpoint(network, settings, SMALL, state, 0.1, "cosine")


@pytest.fixture
def state():
    return TrainingState.initial(NETWORK, SMALL.latent, 8, 1)


def golden(state):
    return Golden(NETWORK, SETTINGS, SMALL, state).infer(IMAGES)


def test_untrained(state):
    np.testing.assert_array_equal(export.fold(made(state)).infer(IMAGES), golden(state))


@pytest.mark.parametrize("seed", range(4))
def test_statistics_of_any_size(state, seed):
    random = np.random.RandomState(seed)
    for layer in state.layers:
        size = len(layer.mu)
        layer.mu[:] = random.randint(-(1 << 27), 1 << 27, size) >> random.randint(0, 27, size)
        layer.psi[:] = random.randint(0, 1 << 28, size) >> random.randint(0, 28, size)
        layer.beta[:] = random.randint(-(1 << 15), 1 << 15, size)
    np.testing.assert_array_equal(export.fold(made(state)).infer(IMAGES), golden(state))


def test_ties_at_the_threshold(state):
    # tau on, just below and just above a whole number: +1 from the sum on that is at least tau.
    state.layers[0].mu[:18] = [64 * y + d for y in range(-6, 6, 2) for d in (-1, 0, 1)]
    folded = export.fold(made(state))
    assert folded.thresholds[0][:6].tolist() == [-6, -6, -5, -4, -4, -3]
    np.testing.assert_array_equal(folded.infer(IMAGES), golden(state))


def test_thresholds_saturate_at_the_sums(state):
    state.layers[0].mu[:2] = [1 << 26, -(1 << 26)]
    folded = export.fold(made(state))
    assert folded.bound(0) == 27
    assert folded.thresholds[0][:2].tolist() == [28, -27]


def test_infer_of_no_images(state):
    assert export.fold(made(state)).infer(IMAGES[:0]).shape == (0, 8)


@pytest.mark.parametrize("images", [IMAGES.astype(np.int16), IMAGES[0], IMAGES[:, :5]])
def test_infer_of_other_images(state, images):
    with pytest.raises(ValueError, match=r"^pixels must be uint8 of shape \(N, 6, 6\), not u?int\d+ of shape \("):
        export.fold(made(state)).infer(images)


def test_sums_that_no_device_holds():
    network = Network((300, 300), [Dense(2)])
    state = TrainingState.initial(network, SMALL.latent, 8, 1)
    with pytest.raises(ValueError, match=r"^layer 1 \(dense 2\): its sums do not fit 22 bits$"):
        export.fold(made(state, network, dataclasses.replace(SETTINGS, input_planes=8)))


def test_unknown_format(state, tmp_path):
    with pytest.raises(ValueError, match=r"^there is no format 'tflite'; there are npz, c, onnx, qonnx$"):
        export.save(tmp_path / "model", export.fold(made(state)), "tflite")
