"""Models of other libraries for tests: statistics as training leaves them, and the comparison with the library itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnnedge import Trainer
from bnnedge.importer import Imported


def statistics(rng: np.random.Generator, channels: int, fan_in: int, signed: bool = True) -> dict[str, np.ndarray]:
    """A batch norm's numbers, float32 (channels,), for sums of that many signs; scales of both signs if `signed`."""
    size = np.sqrt(fan_in)
    gamma = rng.uniform(0.5, 2, channels) * (rng.choice([-1, 1], channels) if signed else 1)
    return {
        "gamma": gamma.astype(np.float32),
        "beta": rng.normal(0, 0.5, channels).astype(np.float32),
        "mean": rng.normal(0, 0.3 * size, channels).astype(np.float32),
        "variance": (size * rng.uniform(0.5, 2, channels)).astype(np.float32) ** 2,
    }


def agree(imported: Imported, library: Callable[[np.ndarray], np.ndarray], images: int = 300) -> None:
    """Assert that the device predicts what a library does, of every one of many random images.

    Where classes are as good as equal, rounding decides: the device's logits are whole numbers of log2(p) / 256.

    library: takes (N, *input_shape) float32 from 0 for black to 1 for white, gives (N, classes), or classes, (N,).
    """
    shape = images, *imported.checkpoint.network.input_shape
    pixels = np.random.default_rng(11).integers(0, 256, shape, dtype=np.uint8)
    theirs = np.asarray(library((pixels / 255).astype(np.float32)))
    theirs = theirs.argmax(1) if theirs.size > images else theirs.reshape(-1)
    with Trainer.load(imported.checkpoint) as trainer:
        ours = trainer.predict(pixels)
    assert len(set(theirs)) > 1, "a model that always says the same tells nothing"
    lost = np.log2(ours.max(1) / ours[np.arange(images), theirs]) * 256
    assert lost.max() <= 3
    assert np.mean(lost > 0) < 0.04
