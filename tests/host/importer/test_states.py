"""States made of strangers' layers keep the ranges of a state, and decide as the layers do."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge import Dense, Network, configuration, formats
from bnnedge.importer.binary import Assembled, Binary
from bnnedge.importer.states import limited, state, tied, turning

INPUTS, UNITS, PLANES = 784, 64, 8
BOUND = INPUTS * (2**PLANES - 1)


def binary(random: np.random.RandomState, inputs: int, units: int, **fields: np.ndarray) -> Binary:
    return Binary("layer", random.rand(inputs, units) > 0.5, random.randn(inputs, units), **fields)


@pytest.mark.parametrize("name", ["sim-small", "pynq-z2", "pynq-z2-lean"])
@pytest.mark.parametrize("seed", range(8))
def test_hidden_layers_whose_means_lie_beyond_any_sum(name: str, seed: int) -> None:
    random, config = np.random.RandomState(seed), configuration(name)
    offset, deviation = random.uniform(-BOUND, BOUND, UNITS), 10 ** random.uniform(2, 7, UNITS)
    mean = np.tile([2.0 * BOUND, -2.0 * BOUND], UNITS // 2)
    hidden = binary(random, INPUTS, UNITS, scale=np.ones(UNITS), offset=offset, mean=mean, deviation=deviation)
    last = binary(random, UNITS, 10, scale=np.full(10, 0.01), offset=np.zeros(10))
    network = Network((INPUTS,), [Dense(UNITS), Dense(10)])
    made = state(Assembled(network, PLANES, (hidden, last), ()), config, 8, 1)
    made.check(network, config)
    layer = made.layers[0]
    assert made.step == 0
    assert not layer.centre.any() | layer.size.any() | layer.unit
    beta = layer.beta.astype(np.int64) >> formats.BETA_BITS - formats.BETA_USED
    tau = layer.mu - (beta * layer.psi >> formats.BETA_FRACTION)
    np.testing.assert_array_equal(-(-tau >> formats.STATISTICS), np.ceil(-offset))


def last(scale: float, offset: list[float], deviation: float | None = None) -> Binary:
    """Three classes of 1024 inputs."""
    fields = {} if deviation is None else {"mean": np.zeros(3), "deviation": np.full(3, deviation)}
    layer = binary(np.random.RandomState(1), 1024, 3, scale=np.full(3, scale), offset=np.array(offset), **fields)
    return layer


(GEOMETRY,) = Network((1024,), [Dense(3)]).geometry


@pytest.mark.parametrize(
    ("layer", "shrink"),
    [
        (last(0.01, [0, 1, -1]), 1.0),  # 10 nats
        (last(1, [0, 0, 0]), 1024 / 21.08),  # of all sums that can be
        (last(1, [0, 0, 0], 1.0), 16 * 32 / 21.08),  # a fresh batch norm: of 16 standard deviations
        (last(1, [0, 0, 0], 64.0), 1024 / 21.08),
        (last(0.01, [500, 501, 499]), 1.0),  # what all classes share counts for nothing
    ],
    ids=range(5),
)
def test_logits_that_could_saturate_are_made_smaller(layer: Binary, shrink: float) -> None:
    held, by = limited(layer, GEOMETRY, 1)
    assert by == pytest.approx(shrink, rel=1e-3)
    np.testing.assert_allclose(held.scale * by, layer.scale)
    np.testing.assert_allclose(np.diff(held.offset) * by, np.diff(layer.offset), atol=1e-9)


def test_a_class_that_never_wins_still_loses() -> None:
    held, by = limited(last(0.001, [0, 0, -1e9]), GEOMETRY, 1)
    assert by < 2
    assert held.offset[2] + 1.024 / by < held.offset[0] - 1.024 / by


def test_thresholds_of_ties_and_of_channels_without_scale() -> None:
    layer = binary(np.random.RandomState(1), 8, 5, scale=np.array([1, 0.1, 0, 0, 0]), offset=np.array([-3, 0.05, 1, 0, -1]))
    np.testing.assert_array_equal(turning(layer), [3, -0.5, -np.inf, -np.inf, np.inf])
    np.testing.assert_array_equal(tied(turning(layer)), [True, False, False, False, False])
    layer.at_zero = -1
    np.testing.assert_array_equal(turning(layer), [3, -0.5, -np.inf, np.inf, np.inf])
