"""Layers as the user describes them, and what they come to: windows that slide over maps of pixels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from bnnedge import formats
from bnnedge.keywords import explained_class
from bnnedge.settings import whole

MAX_KERNEL = 7
MAX_SIDE = 255  # of a map of pixels
MAX_CHANNELS = 1 << 20  # of a layer's outputs: no accelerator takes as many


@explained_class
@dataclasses.dataclass(frozen=True)
class Conv2D:
    """Convolution of `filters` channels: binary weights, L1 batch norm, sign.

    Parameters
    ----------
    filters: output channels.
    kernel: side of the square window, 1..7.
    stride: steps of the window, 1 or 2.
    padding: "valid" (none) or "same": ceil(side / stride) outputs, of windows that reach over the edge, where there is
        nothing that could contribute.
    """

    filters: int
    kernel: int = 3
    stride: int = 1
    padding: str = "valid"

    def __post_init__(self) -> None:
        _positive(self, "filters", "Conv2D", "filters")
        _within(self, "kernel", MAX_KERNEL)
        _within(self, "stride", 2)
        if self.padding not in ("valid", "same"):
            raise ValueError(f"padding of a Conv2D must be 'valid' or 'same', not {self.padding!r:.80}")

    def outputs(self, side: int) -> int:
        """Outputs along a side of that many pixels; below 1 if the window does not fit in."""
        return -(-side // self.stride) if self.padding == "same" else (side - self.kernel) // self.stride + 1

    def before(self, side: int) -> int:
        """Rows (columns) by which the first window reaches over the edge: the smaller half of those missing."""
        return max(0, (self.outputs(side) - 1) * self.stride + self.kernel - side) // 2

    def fits(self, side: int) -> bool:
        """Whether each row (column) of the window meets a pixel somewhere."""
        before, outputs = self.before(side), self.outputs(side)
        return outputs > 0 and before <= (outputs - 1) * self.stride and self.kernel - before <= side


@explained_class
@dataclasses.dataclass(frozen=True)
class MaxPool2D:
    """Maximum of 2 x 2 neighbours, right behind a `Conv2D`. The last row (column) of an odd map has no part.

    on: "signs" (as CNV pools): of the signs behind batch norm; "sums" (as BinaryNet does): of the sums before it.
    """

    on: str = "signs"

    def __post_init__(self) -> None:
        if self.on not in ("signs", "sums"):
            size = "" if isinstance(self.on, str) else "; its windows are always of 2 x 2: MaxPool2D()"
            raise ValueError(f"a MaxPool2D is on 'signs' or 'sums', not {self.on!r:.80}{size}")


@explained_class
@dataclasses.dataclass(frozen=True)
class Flatten:
    """Says that the `Dense` layers begin; they flatten what they get by themselves."""


@explained_class
@dataclasses.dataclass(frozen=True)
class Dense:
    """Fully connected layer of `units` outputs: binary weights, L1 batch norm, sign (softmax after the last layer)."""

    units: int

    def __post_init__(self) -> None:
        _positive(self, "units", "Dense", "units")


Layer = Conv2D | MaxPool2D | Flatten | Dense
KINDS: dict[str, type[Layer]] = {"conv2d": Conv2D, "maxpool2d": MaxPool2D, "flatten": Flatten, "dense": Dense}


def _positive(layer: Layer, field: str, kind: str, what: str) -> None:
    number = whole(getattr(layer, field))
    if number is None or number < 1:
        raise ValueError(f"{kind} needs a positive whole number of {what}, not {getattr(layer, field)!r:.80}")
    if number > MAX_CHANNELS:
        raise ValueError(f"{kind} has {MAX_CHANNELS:,} {what} at most, not {number:,}")
    object.__setattr__(layer, field, number)


def _within(layer: Layer, field: str, high: int) -> None:
    number = whole(getattr(layer, field))
    if number is None or not 1 <= number <= high:
        square = "; windows are square, and so are their steps" if isinstance(getattr(layer, field), (tuple, list)) else ""
        raise ValueError(f"{field} of a Conv2D must be a whole number in 1..{high}, not {getattr(layer, field)!r:.80}{square}")
    object.__setattr__(layer, field, number)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """One layer of weights: a window over a map of pixels (docs/arithmetic.md, Notation).

    name: for messages, "layer 3 (conv2d 128)"; the number counts layers of weights from 1.
    height, width, channels: of the input map; of a dense first layer 1, 1 and all inputs.
    kernel_y, kernel_x, stride, pad_y, pad_x: the window, its steps, and how far the first reaches over the top and the
        left edge. A dense layer's window is the whole map.
    filters: output channels.
    out_height, out_width: of the output map, before pooling; with a pool both are even, and the last row or column of an odd
        map isn't computed.
    pool: "none", "signs" or "sums".
    pixels: a convolution of the network's input, whose window rows count as one place for random numbers.
    """

    name: str
    height: int
    width: int
    channels: int
    kernel_y: int
    kernel_x: int
    stride: int
    pad_y: int
    pad_x: int
    filters: int
    out_height: int
    out_width: int
    pool: str
    pixels: bool

    @property
    def fan_in(self) -> int:
        """Inputs of an output: K, rows of the weight matrix."""
        return self.kernel_y * self.kernel_x * self.channels

    @property
    def fan_out(self) -> int:
        """Output channels: M, columns of the weight matrix."""
        return self.filters

    @property
    def pooled_height(self) -> int:
        """Rows of the map that the next layer sees."""
        return self.out_height if self.pool == "none" else self.out_height // 2

    @property
    def pooled_width(self) -> int:
        """Columns of the map that the next layer sees."""
        return self.out_width if self.pool == "none" else self.out_width // 2

    @property
    def outputs(self) -> int:
        """Outputs of a channel in an image, before pooling."""
        return self.out_height * self.out_width

    @property
    def pooled_outputs(self) -> int:
        """Those that the next layer sees."""
        return self.pooled_height * self.pooled_width

    @property
    def samples(self) -> int:
        """Samples of an image in a channel's statistics: before pooling of signs, after pooling of sums."""
        return self.pooled_outputs if self.pool == "sums" else self.outputs

    @property
    def own_centre(self) -> bool:
        """Whether its gradients wait for the whole batch, whose own mean centres them: those of one output a channel do."""
        return self.outputs == 1

    @property
    def taps(self) -> int:
        """Places of the weight matrix that draw random numbers each for itself."""
        return self.kernel_y if self.pixels else self.kernel_y * self.kernel_x

    @property
    def tap_inputs(self) -> int:
        """Rows of the weight matrix at such a place."""
        return self.fan_in // self.taps

    @property
    def reach(self) -> int:
        """Outputs, of all channels, that one input reaches at most: T."""
        rows = min(-(-self.kernel_y // self.stride), self.out_height)
        return self.filters * rows * min(-(-self.kernel_x // self.stride), self.out_width)


def resolve(input_shape: Sequence[int], layers: Sequence[Layer]) -> tuple[Geometry, ...]:
    """Geometries of the layers with weights, for samples of that shape; ValueError names the layer that does not fit."""
    if isinstance(layers[0], Conv2D):
        if len(input_shape) not in (2, 3):
            raise ValueError(f"a Conv2D needs an input_shape (height, width, channels), not {tuple(input_shape)}")
        height, width, channels = (*input_shape, 1)[:3]
    else:
        height, width, channels = 1, 1, math.prod(input_shape)
    found: list[Geometry] = []
    for before, layer in zip((None, *layers), layers, strict=False):
        number = len(found) + 1
        if isinstance(layer, MaxPool2D):
            if not isinstance(before, Conv2D):
                raise ValueError(f"a MaxPool2D must stand right behind a Conv2D, not {_behind(before)}")
            found[-1] = _pooled(found[-1], layer, before)
        elif isinstance(layer, Flatten):
            if isinstance(before, (Flatten, Dense)):
                raise ValueError(f"a Flatten must stand in front of the first Dense, not {_behind(before)}")
        elif isinstance(layer, Dense):
            name = f"layer {number} (dense {layer.units})"
            size = height, width, channels, height, width, 1, 0, 0, layer.units, 1, 1
            found.append(_checked(Geometry(name, *size, "none", False)))
        else:
            if isinstance(before, (Flatten, Dense)):
                raise ValueError(f"layer {number} (conv2d {layer.filters}) stands {_behind(before)}: put it in front")
            found.append(_convolution(number, layer, height, width, channels))
        if found:
            last = found[-1]
            height, width, channels = last.pooled_height, last.pooled_width, last.filters
    return tuple(found)


def _behind(layer: object) -> str:
    return "first" if layer is None else f"behind a {type(layer).__name__}"


def _convolution(number: int, layer: Conv2D, height: int, width: int, channels: int) -> Geometry:
    name, kernel = f"layer {number} (conv2d {layer.filters})", layer.kernel
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"{name}: its input is {height} x {width}; maps of up to {MAX_SIDE} x {MAX_SIDE} fit")
    fitting = [k for k in range(1, kernel + 1) if all(map(dataclasses.replace(layer, kernel=k).fits, (height, width)))]
    if kernel not in fitting:
        raise ValueError(
            f"{name}: its window of {kernel} x {kernel}, padding {layer.padding!r}, is too large for its input of "
            f"{height} x {width}; a kernel of {fitting[-1]} fits"
        )
    if number == 1 and kernel * channels > formats.WINDOW_BITS:
        fits = formats.WINDOW_BITS // channels
        raise ValueError(
            f"{name}: a row of its window, {kernel} pixels of {channels} channels, has {kernel * channels} values; "
            f"{formats.WINDOW_BITS} fit, which is " + (f"a kernel of {fits}" if fits else "as many channels")
        )
    outputs = layer.outputs(height), layer.outputs(width)
    pads = layer.before(height), layer.before(width)
    size = height, width, channels, kernel, kernel, layer.stride, *pads, layer.filters, *outputs
    return _checked(Geometry(name, *size, "none", number == 1))


def _checked(geometry: Geometry) -> Geometry:
    limit = 1 << formats.PLACE_BITS
    side = math.isqrt(limit)
    if geometry.outputs > limit:
        shape = f"{geometry.out_height} x {geometry.out_width}"
        raise ValueError(f"{geometry.name}: {shape} outputs are more than {limit:,}; {side} x {side} fit")
    if geometry.taps > limit:
        shape = f"{geometry.kernel_y} x {geometry.kernel_x}"
        raise ValueError(f"{geometry.name}: an input map of {shape} is larger than {limit:,}; {side} x {side} fit")
    return geometry


def _pooled(geometry: Geometry, pool: MaxPool2D, layer: Conv2D) -> Geometry:
    """The convolution with a pool behind it: of an odd map it leaves out the last row (column), which no four pixels have."""
    height, width = geometry.out_height // 2 * 2, geometry.out_width // 2 * 2
    if not height or not width:
        shape = f"{geometry.out_height} x {geometry.out_width}"
        raise ValueError(f"{geometry.name}: {shape} outputs can't be pooled: 2 x 2 are needed at the least")
    sides = (geometry.height, (height - 1) * layer.stride), (geometry.width, (width - 1) * layer.stride)
    smaller = (dataclasses.replace(layer, kernel=k) for k in range(1, layer.kernel + 1))
    kernels = [other.kernel for other in smaller if all(other.before(side) <= reached for side, reached in sides)]
    if layer.kernel not in kernels:
        raise ValueError(
            f"{geometry.name}: pooling leaves {height} x {width} of its outputs, where the first rows of its window meet no "
            f"pixel; a kernel of {kernels[-1]} fits"
        )
    return dataclasses.replace(geometry, out_height=height, out_width=width, pool=pool.on)
