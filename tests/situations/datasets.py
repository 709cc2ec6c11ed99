"""Data as people have it: shapes, scales, labels, files."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnedge import Dense, Network, Settings, Trainer
from situations import Row, works


def fit(x: Any, y: Any) -> Any:
    """One epoch of a small dense network on the golden device."""
    network = Network(np.shape(x)[1:], [Dense(16), Dense(4)])
    with Trainer(network, "golden", settings=Settings(batch=64)) as trainer:
        return trainer.fit(x, y, epochs=1)


X = np.random.RandomState(1).randint(0, 256, (64, 4, 4)).astype(np.uint8)
Y = np.arange(64) % 4

ROWS = [
    Row("bytes and whole numbers", lambda folder: fit(X, Y), works),
    Row("labels that are words", lambda folder: fit(X, np.array(list("abcd"))[Y]), "y must be integers"),
]
