"""Run-time settings of training: nothing here is built into the hardware."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnedge import formats
from bnnedge.keywords import explained_class

OPTIMISERS = ("sign-momentum", "sign-sgd")


def whole(value: Any) -> int | None:
    """A Python or NumPy integer as int; None for anything else, bool too."""
    try:
        return None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        return None


def count(name: str, value: int | None) -> int | None:
    """A positive Python or NumPy integer as int, or None if it is not given; ValueError otherwise."""
    if value is None:
        return None
    number = whole(value)
    if number is None or number < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r}")
    return number


def flag(name: str, value: Any) -> bool:
    """True or False of Python or NumPy as bool; ValueError for anything else, such as the "batch" that Keras's shuffle takes."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, not {value!r:.80}")
    return bool(value)


@explained_class
@dataclasses.dataclass(frozen=True)
class Settings:
    """How one network is trained.

    Parameters
    ----------
    batch: images per step; a power of two, 64 or more.
    gradient_planes: g, bits of a gradient code, 1..8: accuracy against speed.
    input_planes: bits of a pixel that the first layer sees, 1..8 (the uppermost ones).
    slope_planes: how many of these enter the first layer's weight gradient, 1..input_planes.
    optimiser: "sign-momentum" (m = 7/8 m + 1/8 sgn dW in 4 bits) or "sign-sgd" (m = sgn dW).
    seed: of the device's random numbers, 64 bits; also draws the initial weights.
    """

    batch: int = 128
    gradient_planes: int = 8
    input_planes: int = 8
    slope_planes: int = 2
    optimiser: str = "sign-momentum"
    seed: int = 1

    def __post_init__(self) -> None:
        def within(field: str, low: int, high: int) -> None:
            value = whole(getattr(self, field))
            if value is None or not low <= value <= high:
                raise ValueError(f"{field} must be a whole number in {low}..{high}, not {getattr(self, field)!r:.80}")
            object.__setattr__(self, field, value)

        within("batch", formats.LEAST_BATCH, formats.MOST_BATCH)
        if self.batch & (self.batch - 1):
            raise ValueError(f"batch must be a power of two (means are shifts): 64, 128, 256 or 512, not {self.batch}")
        within("gradient_planes", 1, formats.MAX_PLANES)
        within("input_planes", 1, formats.MAX_PLANES)
        within("slope_planes", 1, self.input_planes)
        within("seed", 0, 2**64 - 1)
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser must be one of {', '.join(OPTIMISERS)}, not {self.optimiser!r:.80}")

    @classmethod
    def of(cls, given: Settings | Mapping[str, Any] | None) -> Settings:
        """Settings as they are, of a dict, or for None the default ones; ValueError for anything else."""
        if isinstance(given, Mapping):
            return cls(**given)
        if given is not None and not isinstance(given, cls):
            raise ValueError(f"settings must be Settings(...), or a dict of them, not {given!r:.80}")
        return given or cls()

    @property
    def batch_log2(self) -> int:
        """log2 of the batch."""
        return self.batch.bit_length() - 1
