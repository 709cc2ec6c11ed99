"""What products of the golden model are made of: layers with all kinds of windows, random maps and weights, and a multiplier."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from bnnedge import Conv2D, Dense, Network
from bnnedge.formats import Code
from bnnedge.layers import Geometry
from bnnedge.sim.golden import int8

LAYERS = [
    Conv2D(5),
    Conv2D(4, 2, 2),
    Conv2D(3, 4, 1, "same"),
    Conv2D(70, 5, 2, "same"),
    Conv2D(2, 7, 2, "same"),
    Conv2D(2, 1, 2),
    Conv2D(1, 1),
    Dense(1),
    Dense(130),
]


def second(layer: Conv2D | Dense, channels: int = 3) -> Geometry:
    """Geometry of a layer behind a map of 7 x 6 pixels."""
    return Network((7, 6), [Conv2D(channels, 1), layer, Dense(2)]).geometry[1]


def signs(random: np.random.RandomState, *shape: int) -> np.ndarray:
    """+1 and -1, int8."""
    return (2 * random.randint(0, 2, shape) - 1).astype(np.int8)


def halves(random: np.random.RandomState, code: Code | int, *shape: int) -> np.ndarray:
    """Halves of codes, or of so many planes, int8, the ends more often; of 0 planes signs."""
    if code == 0:
        return signs(random, *shape)
    code = Code(code) if isinstance(code, int) else code
    top = 2 ** (code.bits - 1)
    ends = [-top, top] if code.twin else [-top, top - 1]
    return random.choice(np.array([*ends, *range(-top, top)], np.int8), shape)


def whole(half: np.ndarray, code: Code | int) -> np.ndarray:
    """The numbers that halves of codes stand for, or signs."""
    return half.astype(int) if code == 0 else 2 * half.astype(int) + (not isinstance(code, Code) or not code.twin)


class Whole:
    """A multiplier of NumPy's integers, as `golden.int8.Multiplier` describes it."""

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        assert a.dtype == b.dtype == np.int8
        assert out.dtype == np.int32
        np.matmul(a, b, out=out, dtype=np.int32)

    session = contextlib.nullcontext


def pytorch() -> int8.Torch:
    """PyTorch's multiplier; the test is skipped where it is not there, or not exact."""
    pytest.importorskip("torch")
    multiply = int8.Torch()
    with multiply.session():
        if not int8.exact(multiply):
            pytest.skip("PyTorch's products of bytes are not exact on this processor")
    return multiply
