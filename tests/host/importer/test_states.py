"""States made of strangers' layers keep the ranges of a state, and decide as the layers do."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge import Dense, Network, configuration, formats
from bnnedge.importer.assemble import Assembled, Binary
from bnnedge.importer.states import state

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
    beta = layer.beta.astype(np.int64) >> formats.MOMENT
    tau = layer.mu - (beta * layer.psi >> config.latent - 1)
    np.testing.assert_array_equal(-(-tau >> formats.STATISTICS), np.ceil(-offset))
