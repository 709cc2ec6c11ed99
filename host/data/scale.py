"""Whether images are of the scale of others: held against each other, for in 0..16 nothing is seen of what 0..255 taught."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bnnedge.data.arrays import DataError, note

_SHARES = 0.001, 0.01, 0.1, 0.5
_CHANCE = 1e-3  # that so many images are all of so narrow a range; below, it is no chance
_SUSPECT, _WRONG = 1 / 2, 1 / 4  # of the other range


@dataclasses.dataclass(frozen=True)
class Scale:
    """What images, as bytes, tell of their scale.

    images: their number.
    low, high: limits of all pixels, 0..255.
    spans: what a part of 0.001, 0.01, 0.1 and 0.5 of such images at most stays below, an image's span being its highest
        pixel less its lowest one; 0 where there are too few images to tell.
    """

    images: int
    low: int
    high: int
    spans: tuple[int, ...]

    @classmethod
    def of(cls, images: np.ndarray) -> Scale:
        """Of images (N, ...) uint8."""
        flat = images.reshape(len(images), -1)
        lows, highs = flat.min(1), flat.max(1)
        spans = np.sort(highs - lows)
        ranks = [int(share * (len(spans) + 1)) - 1 for share in _SHARES]
        found = tuple(int(spans[rank]) if rank >= 0 else 0 for rank in ranks)
        return cls(len(images), int(lows.min()), int(highs.max()), found)

    def part(self, other: Scale) -> float:
        """What part of this range the other images span, if that is less than half, and can't be chance; else 1.

        If too many of these images span as little as the others do all together, it can.
        """
        span = other.high - other.low
        part = span / max(1, self.high - self.low)
        share = next((share for share, most in zip(_SHARES, self.spans, strict=True) if span < most), 1.0)
        return part if part < _SUSPECT and share**other.images < _CHANCE else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes."""
        return dataclasses.asdict(self) | {"spans": list(self.spans)}

    @classmethod
    def from_dict(cls, data: Any) -> Scale:
        """Make one of what `to_dict` returned; ValueError for anything else."""
        if not isinstance(data, dict) or set(data) != {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("the scale of the training images lacks fields, or has unknown ones")
        spans = data["spans"]
        numbers = [data["low"], data["high"], *spans] if isinstance(spans, list) and len(spans) == len(_SHARES) else [-1]
        count = data["images"]
        if type(count) is not int or not 1 <= count <= 1 << 32 or not all(type(n) is int and 0 <= n <= 255 for n in numbers):
            raise ValueError(f"the scale of the training images is {data!r:.200}, not of whole numbers, limits in 0..255")
        return cls(**{**data, "spans": tuple(spans)})


def ranged(images: np.ndarray) -> str:
    """Range and type of images, for `compare`."""
    return f"{images.min():g}..{images.max():g} ({images.dtype})"


def compare(one: Scale, other: Scale, names: tuple[str, str], ranges: tuple[str, str]) -> None:
    """Hold two sets of images against each other: DataError if their scales differ, a warning (`DataWarning`) if they may."""
    part = min(one.part(other), other.part(one))
    if part < 1:
        text = f"{_said(names, ranges)}: bring both to one scale, with the same divisor"
        if part < _WRONG:
            raise DataError(text)
        note(text)


def note_other(scale: Scale, images: np.ndarray, name: str, said: str) -> None:
    """Warn if the range of images (N, ...) uint8 differs from that of the training images by more than can be chance."""
    other = Scale.of(images)
    if min(scale.part(other), other.part(scale)) < 1:
        names, ranges = (name, "the training images"), (said, f"{scale.low}..{scale.high} of 255")
        note(f"{_said(names, ranges)}: give images of the scale of these")


def _said(names: tuple[str, str], ranges: tuple[str, str]) -> str:
    return f"{names[0]} lies in {ranges[0]}, {names[1]} in {ranges[1]}"
