"""J of latent weights: 1 as they are drawn, and a value for each layer and epoch as they move."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge import Dense, Network, Settings, Trainer
from bnnedge.report import Spread, spread


def test_weights_begin_with_a_spread_of_one():
    with Trainer(Network((12, 12), [Dense(64), Dense(64), Dense(10)])) as trainer:
        assert spread(trainer.state, 10) == pytest.approx([1, 1, 1], abs=0.06)


def test_a_value_for_each_layer_and_epoch():
    random = np.random.RandomState(0)
    x, y = random.randint(0, 256, (128, 5, 5)).astype(np.uint8), random.randint(0, 3, 128)
    with Trainer(Network((5, 5), [Dense(16), Dense(3)]), settings=Settings(batch=64), rate=0.05) as trainer:
        record = Spread(trainer)
        trainer.fit(x, y, epochs=4, callbacks=[record])
        assert np.shape(record.history) == (4, 2)
        assert record.history[-1] == spread(trainer.state, 10)
        weight = (trainer.state.layers[0].weight >> 6) / 512  # of 25 inputs, which nothing scales
        assert record.history[-1][0] == pytest.approx(weight.std() * 5)
        assert record.history[-1][0] > record.history[0][0]
