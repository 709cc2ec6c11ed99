"""Where the numbers of a graph's tensor stand on the device, whatever the graph transposes, flattens and pads."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bnnedge.importer.steps import UnsupportedError

_COLOURS = (1, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """The numbers of a tensor of one image.

    places: of the tensor's shape: where a number stands on the device, along (y, x, channel); -1: a zero of padding.
    sides: the device's: (height, width, channels) of a map, or (numbers,); None while these are pixels whose order is open:
        places then count along the model's input.
    """

    places: np.ndarray
    sides: tuple[int, ...] | None = None

    @classmethod
    def of(cls, *sides: int) -> Order:
        """What a layer makes: a map, of the shape (1, channels, height, width), or a vector, (1, numbers)."""
        places = np.arange(math.prod(sides)).reshape(sides)
        return cls((places.transpose(2, 0, 1) if len(sides) == 3 else places)[None], sides)

    def reshape(self, shape: tuple[int, ...]) -> Order:
        """The same numbers in another shape."""
        return dataclasses.replace(self, places=self.places.reshape(shape))

    def transpose(self, axes: tuple[int, ...] | None) -> Order:
        """The same numbers with axes in another order."""
        return dataclasses.replace(self, places=self.places.transpose(axes))

    def pad(self, before: list[int], after: list[int]) -> Order:
        """Zeros put around."""
        margins = list(zip(before, after, strict=True))
        return dataclasses.replace(self, places=np.pad(self.places, margins, constant_values=-1))

    def settled(self, image: np.ndarray, sides: tuple[int, ...]) -> Order:
        """With the device's order of the image known: `image` says of each of its places where it is in the model's input."""
        if self.sides is not None:
            return self
        back = np.empty(image.size + 1, image.dtype)
        back[image], back[-1] = np.arange(image.size), -1
        return Order(back[self.places], sides)

    def map(self, name: str) -> tuple[np.ndarray, tuple[int, int, int, int]]:
        """Places of the map that a convolution or a pool goes over, (height, width, channels), and the zeros around it."""
        if self.places.ndim != 4 or len(self.places) != 1:
            raise UnsupportedError(f"{name} gets {list(self.places.shape)}: it must be one map of channels")
        kept = self.places[0] >= 0
        rows, columns = np.flatnonzero(kept.any((0, 2))), np.flatnonzero(kept.any((0, 1)))
        inner = self.places[0][:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = kept.shape[1:]
        found = inner.transpose(1, 2, 0)
        if inner.min() < 0:
            raise UnsupportedError(f"{name} gets channels of padding, or padding between pixels")
        if len(self.sides or ()) == 1:
            raise UnsupportedError(f"{name} takes what a dense layer makes: behind one there are dense layers alone")
        if self.sides is not None and (found.shape != self.sides or np.any(np.diff(found.ravel()) != 1)):
            raise UnsupportedError(
                f"{name} gets a map whose axes have been exchanged: it goes over {list(found.shape)} where the device has "
                f"{list(self.sides)}"
            )
        return found, (int(rows[0]), int(columns[0]), int(height - 1 - rows[-1]), int(width - 1 - columns[-1]))

    def vector(self, name: str) -> np.ndarray:
        """Places of what a dense layer gets."""
        self.check_no_padding(name)
        if self.places.size != self.places.shape[-1]:
            raise UnsupportedError(
                f"{name} gets {list(self.places.shape)} and treats each row by itself: the device's dense layers take "
                "all numbers of an image; flatten it first"
            )
        return self.places.reshape(-1)

    def image(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """As good as can be told of an input that no convolution takes: where each place of the device is, and the sides."""
        first, *rest = shape = self.places.shape[1:]
        places = np.arange(math.prod(shape)).reshape(shape)
        if len(shape) == 3 and (first in _COLOURS or shape[2] not in (*_COLOURS, 4)):
            return places.transpose(1, 2, 0).reshape(-1), (*rest, first)
        return places.reshape(-1), shape

    def channels(self, name: str, values: np.ndarray) -> np.ndarray:
        """Of numbers that are broadcast along the tensor: one for each channel; for pixels all, or the only one."""
        self.check_no_padding(name)
        if not np.isfinite(values).all():
            raise UnsupportedError(f"{name} has numbers that are infinite or none (NaN): the model cannot be taken over")
        if values.size == 1 or not np.any(values != values.flat[0]):
            return values.reshape(-1)[:1]
        full = np.broadcast_to(values, self.places.shape)
        if self.sides is None:
            return full.reshape(-1)
        ordered = np.empty(full.size)
        ordered[self.places.reshape(-1)] = full.reshape(-1)
        rows = ordered.reshape(-1, self.sides[-1])
        if np.any(rows != rows[0]):
            raise UnsupportedError(f"{name} has numbers for other axes than the channels of {list(self.sides)}")
        return rows[0]

    def check_no_padding(self, name: str) -> None:
        """UnsupportedError if there are zeros of padding."""
        if self.places.min() < 0:
            raise UnsupportedError(f"{name} gets zeros of padding: on the device a convolution alone can pad")

    def take(self, values: np.ndarray) -> np.ndarray:
        """Values of a tensor in the device's order, of the shape `sides`."""
        assert self.sides is not None
        places, values = self.places.reshape(-1), values.reshape(-1)
        made = np.empty(math.prod(self.sides), values.dtype)
        made[places[places >= 0]] = values[places >= 0]
        return made.reshape(self.sides)
