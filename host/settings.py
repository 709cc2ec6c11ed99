"""Run-time settings of training: nothing here is built into the hardware."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnnedge import formats
from bnnedge.keywords import explained_class

OPTIMISERS = ("sign-momentum", "sign-sgd")
AUTO = "auto"


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


def _planes(given: Any) -> int | tuple[int, ...] | str:
    """`Settings.gradient_planes`, checked: lists become tuples."""
    if isinstance(given, str) and given == AUTO:
        return AUTO
    several = isinstance(given, (list, tuple)) or (isinstance(given, np.ndarray) and given.ndim == 1)
    numbers = [whole(number) for number in given] if several else [whole(given)]
    fitting = tuple(number for number in numbers if number is not None and 1 <= number <= formats.MAX_PLANES)
    if not numbers or len(fitting) < len(numbers):
        raise ValueError(
            f"gradient_planes must be {AUTO!r}, a whole number in 1..{formats.MAX_PLANES}, or a list of such numbers, one for "
            f"each layer with weights, not {given!r:.80}"
        )
    return fitting if several else fitting[0]


def parsed_planes(text: str) -> int | tuple[int, ...] | str:
    """Gradient planes of text: "auto", "8" or, for each layer with weights, "6,6,8"; ValueError for other text."""
    if text == AUTO:
        return AUTO
    try:
        numbers = tuple(map(int, text.split(",")))
    except ValueError:
        wanted = f"gradient planes must be {AUTO}, a number, or one for each layer with weights, such as 6,6,8"
        raise ValueError(f"{wanted}, not {text!r:.80}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def gradients(planes: int | Sequence[int] | str) -> str:
    """`Settings.gradient_planes` in words, as headings have it."""
    if planes == AUTO:
        return "automatic gradient planes"
    return f"{planes}-bit gradients" if isinstance(planes, int) else f"gradients of {', '.join(map(str, planes))} bits"


@explained_class
@dataclasses.dataclass(frozen=True)
class Settings:
    """How one network is trained.

    Parameters
    ----------
    batch: images per step; a multiple of 16, 16..512.
    gradient_planes: bits of a gradient code, 1..8: accuracy against speed. One number for all layers, a list with one for each
        layer with weights, or "auto": 6 in convolutions, 8 in dense layers (`bnnedge.codes.codes`).
    input_planes: bits of a pixel that the first layer sees, 1..8 (the uppermost ones).
    slope_planes: how many of these enter the first layer's weight gradient, 1..input_planes.
    optimiser: "sign-momentum" (m = 7/8 m + 1/8 sgn dW in 6 bits) or "sign-sgd" (m = sgn dW).
    seed: of the device's random numbers, 64 bits; also draws the initial weights.
    """

    batch: int = 128
    gradient_planes: int | Sequence[int] | str = AUTO
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

        step, most = formats.BATCH_STEP, formats.MOST_BATCH
        within("batch", step, most)
        if self.batch % step:
            below = self.batch // step * step
            raise ValueError(f"batch must be a multiple of {step}, not {self.batch}; {below} and {below + step} fit")
        object.__setattr__(self, "gradient_planes", _planes(self.gradient_planes))
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
