"""Training state: how it begins, copies, differences, and what does not fit a network."""

import dataclasses

import numpy as np
import pytest

from bnnedge import bounds, formats
from bnnedge.configuration import Configuration
from bnnedge.network import Conv2D, Dense, MaxPool2D, Network
from bnnedge.state import TrainingState

NETWORK = Network((4, 4), [Dense(32), Dense(4)])
CONFIG = Configuration("test")
PINNED = [103, -116, 153, 333]  # NumPy 1.26.4


def initial(seed=1, latent=10):
    return TrainingState.initial(NETWORK, latent, 8, seed)


def test_initial_weights_are_scaled_by_fan_in():
    network = Network((400,), [Dense(300), Dense(2)])
    weight = TrainingState.initial(network, 10, 8, 1).layers[0].weight
    assert weight.shape == (400, 300)
    assert weight.dtype == np.int16
    assert np.std(weight >> 6) == pytest.approx(4 * 512 / 20, rel=0.01)  # S = 2, half of 8, less 2
    assert not (weight & 63).any()


@pytest.mark.parametrize(("inputs", "times"), [(4, 1), (63, 1), (64, 2), (255, 2), (256, 4), (1023, 4), (1024, 8), (4096, 16)])
def test_latent_weights_begin_near_a_quarter(inputs, times):
    layer = TrainingState.initial(Network((inputs,), [Dense(200), Dense(2)]), 10, 8, 1).layers[0]
    if inputs > 9:
        assert np.std(layer.weight >> 6) == pytest.approx(512 * times / np.sqrt(inputs), rel=0.03)


def test_initial_weights_are_pinned():
    """Every NumPy version draws the same."""
    first = initial().layers[0]
    assert (first.weight[0, :4] >> 6).tolist() == PINNED
    assert first.sign[0, :4].tolist() == [value >= 0 for value in PINNED]


def test_initial_exponents():
    """The last layer's, and what each layer on the way down adds: half of log2 T, and 2 fraction bits of the mean."""
    network = Network((14, 10), [Conv2D(9), MaxPool2D("sums"), Conv2D(3, 3, 2, "same"), Dense(8), Dense(2)])
    assert [layer.reach for layer in network.geometry[1:]] == [12, 8, 2]
    state = TrainingState.initial(network, 10, 4, 1)
    last = 12 + 2 + 1 - 4
    # The first one's codes are twin, of half the range.
    assert [layer.exponent for layer in state.layers] == [last + 1 + 3 + 4 + 4, last + 3 + 4, last + 3, last]
    listed = TrainingState.initial(network, 10, [4, 8, 4, 3], 1)
    assert [a.exponent - b.exponent for a, b in zip(state.layers, listed.layers, strict=True)] == [0, 4, 0, -1]
    automatic = TrainingState.initial(network, 10, "auto", 1)
    assert [a.exponent - b.exponent for a, b in zip(state.layers, automatic.layers, strict=True)] == [2, 2, 4, 4]
    dense = TrainingState.initial(Network((9,), [Dense(4), Dense(100), Dense(10)]), 10, 8, 1)
    assert [layer.exponent for layer in dense.layers] == [7 + 4 + 6, 7 + 4, 7]


def test_all_else_begins_at_zero():
    state = initial()
    assert state.step == 0
    for layer in state.layers:
        assert layer.unit == 0
        for field in ("beta", "mu", "psi", "centre", "size"):
            values = getattr(layer, field)
            assert values.dtype == (np.int64 if field == "size" else np.int32)
            assert values.shape == layer.weight.shape[1:]
            assert not values.any()


def test_weights_of_a_convolution():
    network = Network((6, 6, 3), [Conv2D(5, 2), Dense(4)])
    state = TrainingState.initial(network, 10, 8, 1)
    assert [layer.weight.shape for layer in state.layers] == [(12, 5), (125, 4)]
    state.check(network, CONFIG)
    with pytest.raises(ValueError, match=r"layer 1: weight must be int16 of shape \(27, 5\), not int16 of shape \(12, 5\)"):
        state.check(Network((7, 7, 3), [Conv2D(5), Dense(4)]), CONFIG)


def test_initial_state_fits_its_network():
    for latent in (4, 10):
        initial(latent=latent).check(NETWORK, dataclasses.replace(CONFIG, latent=latent))


def test_copy_is_independent():
    state = initial()
    copy = state.copy()
    assert state.differences(copy) == []
    copy.layers[0].weight[0, 0] ^= 64
    copy.layers[1].exponent += 1
    copy.layers[1].psi[:3] += 1
    copy.layers[1].centre[:2] -= 1
    copy.layers[1].size[1] += 1
    copy.layers[1].unit = -3
    copy.step = 5
    assert state.differences(copy) == [
        "step: 0 and 5",
        "layer 1 weight: 1 of 512 values",
        "layer 2 psi: 3 of 4 values",
        "layer 2 centre: 2 of 4 values",
        "layer 2 size: 1 of 4 values",
        "layer 2 exponent: 1 of 1 values",
        "layer 2 unit: 1 of 1 values",
    ]


def test_differences_of_other_shapes():
    state = initial()
    other = TrainingState.initial(Network((4, 4), [Dense(16), Dense(4)]), 10, 8, 1)
    assert "layer 1 weight: shape (16, 32) and (16, 16)" in state.differences(other)
    assert state.differences(TrainingState(state.layers[:1])) == ["layers: 2 and 1"]


def damage(field, value):
    def change(state):
        setattr(state.layers[1], field, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("weight", np.zeros((4, 32), np.int16)), r"layer 2: weight must be int16 of shape \(32, 4\), not int16"),
        (damage("beta", np.zeros(4, np.int64)), r"layer 2: beta must be int32 of shape \(4,\), not int64"),
        (damage("mu", np.zeros(4, np.float32)), "layer 2: mu must be int32"),
        (damage("centre", np.zeros(3, np.int32)), r"layer 2: centre must be int32 of shape \(4,\), not int32 of shape \(3,\)"),
        (
            damage("weight", np.full((32, 4), 1 << 13, np.int16)),
            r"layer 2: weight lies in 8192\.\.8192, not in -8192\.\.8191, as latent weights of 8 bits do",
        ),
        (damage("beta", np.full(4, 1 << 19, np.int32)), r"layer 2: beta lies in 524288\.\.524288, not in -524288\.\.524287"),
        (damage("beta", np.full(4, -(1 << 19) - 1, np.int32)), "layer 2: beta lies in -524289"),
        (
            damage("mu", np.full(4, 33 * 64 + 1, np.int32)),
            r"layer 2: mu lies in 2113\.\.2113, not in -2112\.\.2112, as the mean of a sum of 32 inputs does",
        ),
        (damage("mu", np.full(4, -33 * 64 - 1, np.int32)), r"layer 2: mu lies in -2113\.\.-2113"),
        (damage("psi", np.full(4, -1, np.int32)), r"layer 2: psi lies in -1\.\.-1, not in 0\.\.268435455"),
        (damage("psi", np.full(4, 1 << 28, np.int32)), "layer 2: psi lies in 268435456"),
        (
            damage("centre", np.full(4, 1 << 27, np.int32)),
            r"layer 2: centre lies in 134217728\.\.134217728, not in -134217728\.\.13",
        ),
        (damage("size", np.array([3, 0, -(1 << 39) - 1, 2])), r"layer 2: size lies in -549755813889\.\.3, not in -549755813888"),
        (damage("unit", -1), "layer 2: unit is -1, and must be 0 in the last layer"),
        (lambda state: state.layers[0].size.fill(-1), r"layer 1: size lies in -1\.\.-1, not in 0\.\.1099511627775"),
        (lambda state: setattr(state.layers[0], "unit", 1 << 15), "layer 1: unit 32768 does not fit 16 bits"),
        (damage("exponent", -(1 << 15) - 1), "layer 2: exponent -32769 does not fit 16 bits"),
        (damage("exponent", 1 << 20), "layer 2: exponent 1048576 does not fit 16 bits"),
        (lambda state: state.layers.pop(), "state of 1 layers for a network of 2"),
        (lambda state: setattr(state, "step", -1), "step must be in"),
    ],
)
def test_check(change, message):
    state = initial(latent=8)
    change(state)
    with pytest.raises(ValueError, match=message):
        state.check(NETWORK, dataclasses.replace(CONFIG, latent=8))


def test_extremes_fit():
    state = initial(latent=8)
    first, layer = state.layers
    first.mu[:2] = -(16 * 255 + 1) * 64, (16 * 255 + 1) * 64
    layer.mu[:2], layer.psi[:2], layer.exponent = (-33 * 64, 33 * 64), (0, (1 << 28) - 1), -(1 << 15)
    layer.beta[:2], first.unit = (-(1 << 19), (1 << 19) - 1), (1 << 15) - 1
    layer.centre[:2], layer.size[:2] = (-(1 << 27), (1 << 27) - 1), (-(1 << 39), (1 << 39) - 1)
    first.size[:2] = 0, (1 << 40) - 1
    state.check(NETWORK, dataclasses.replace(CONFIG, latent=8))


def test_the_pivot_of_the_largest_mean_fits_the_accumulator():
    wide = Network((20_000,), [Dense(2)]).geometry[0]
    for bits in range(16, 23):
        config = dataclasses.replace(CONFIG, accumulator=bits)
        most = bounds.mean_sum(wide, 0, config)
        assert most < 1 << formats.MU_BITS - 1
        assert most + 32 >> formats.STATISTICS < 1 << bits - 1
        assert -most + 32 >> formats.STATISTICS >= -(1 << bits - 1)
