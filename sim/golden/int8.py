"""The three products of training on 8-bit multipliers: those of `products`, of the same arguments, with the same sums.

A sum of products with codes 2 q + 1 is twice that with their halves q, and the same sum with a map of ones in their place. That
one is the same for all images, or a product with a sum over the images: in both cases the work of one image.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from bnnedge.layers import Geometry
from bnnedge.sim.golden import products
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.threads import Threads
from bnnedge.sim.windows import gather

_WINDOWS = 1 << 19  # bytes of windows held at a time, which stay in a core's cache
_NARROW = 100  # columns; with fewer, PyTorch's product is up to a third faster the other way round
_SUMMED = (1 << 17) - 1  # products of two bytes whose sum fits 32 bits, whatever they are
_RATE = 1 / 150  # nanoseconds that a multiplication takes, roughly


class Multiplier(Protocol):
    """Multiplies matrices of bytes."""

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        """Write the product of (m, k) and (k, n) int8, of any strides, into (m, n) int32, in the calling thread."""

    def session(self) -> contextlib.AbstractContextManager[Any]:
        """Within it `__call__` may be used, by the calling thread and by others."""


class Torch:
    """PyTorch's products. ModuleNotFoundError where it is not installed."""

    def __init__(self) -> None:
        import torch

        self._torch = torch

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        if 1 in (*a.shape, *b.shape):  # PyTorch 2.13 computes something else with some of these, depending on their strides
            single = np.float32 if a.shape[1] <= 1 << 10 else np.float64  # in which sums of 2**14 are exact
            out[...] = a.astype(single) @ b.astype(single)
            return
        self._torch.set_num_threads(1)  # of this thread: its share of the work is one
        self._torch._int_mm(self._torch.from_numpy(a), self._torch.from_numpy(b), out=self._torch.from_numpy(out))

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        before = self._torch.get_num_threads()
        try:
            yield
        finally:
            self._torch.set_num_threads(before)


def transposed(layer: Geometry) -> Geometry:
    """The windows of a layer's inputs on its outputs, for steps of one: the taps stand in reverse order."""
    return dataclasses.replace(
        layer,
        height=layer.out_height,
        width=layer.out_width,
        channels=layer.filters,
        pad_y=layer.kernel_y - 1 - layer.pad_y,
        pad_x=layer.kernel_x - 1 - layer.pad_x,
        filters=layer.channels,
        out_height=layer.height,
        out_width=layer.width,
    )


def flat(layer: Geometry) -> Geometry | None:
    """A layer of one window, the whole map, as one of a pixel; None for others."""
    if layer.outputs > 1 or (layer.kernel_y, layer.kernel_x) != (layer.height, layer.width) or layer.pad_y or layer.pad_x:
        return None
    return dataclasses.replace(layer, height=1, width=1, channels=layer.fan_in, kernel_y=1, kernel_x=1, stride=1)


class Int8:
    """Products over threads, on NumPy's arrays. elementwise: what gathers windows, and doubles sums."""

    def __init__(self, multiply: Multiplier, threads: Threads, elementwise: Plain) -> None:
        self._multiply, self._share, self._elementwise = multiply, threads.share, elementwise

    def forward(self, x: np.ndarray, weight: np.ndarray, layer: Geometry, planes: int) -> np.ndarray:
        """`products.forward`."""
        y = np.empty((len(x), layer.outputs, layer.fan_out), np.int32)
        most, ones = max(1, _WINDOWS // (layer.outputs * layer.fan_in)), np.empty_like(y[:1])

        def part(start: int, stop: int) -> None:
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                rows = self._elementwise.gather(x[some], layer)
                self._multiply(rows, weight, y[some].reshape(-1, layer.fan_out))
                if planes:
                    self._elementwise.double(y[some], ones[0])

        with self._multiply.session():
            if planes:
                self._multiply(self._elementwise.gather(np.ones_like(x[:1]), layer), weight, ones[0])
            self._share(len(x), _RATE * y.size * layer.fan_in, part)
        return y.reshape(len(x), layer.out_height, layer.out_width, layer.fan_out)

    def data_gradient(self, code: np.ndarray, weight: np.ndarray, layer: Geometry, planes: int) -> np.ndarray:
        """`products.data_gradient`, as the forward product of the transposed windows."""
        shape, layer = (len(code), layer.height, layer.width, layer.channels), flat(layer) or layer
        if layer.stride > 1:
            return products.data_gradient(code, weight, layer, planes)
        taps = weight.reshape(layer.kernel_y, layer.kernel_x, layer.channels, layer.fan_out)[::-1, ::-1]
        back = np.ascontiguousarray(taps.transpose(0, 1, 3, 2)).reshape(-1, layer.channels)
        return self.forward(code, back, transposed(layer), planes).reshape(shape)

    def weight_gradient(self, x: np.ndarray, code: np.ndarray, layer: Geometry, x_planes: int, planes: int) -> np.ndarray:
        """`products.weight_gradient`, of int32 where that holds all sums."""
        most = min(_SUMMED // layer.outputs, max(1, _WINDOWS // (layer.outputs * layer.fan_in)))  # MAX_SIDE**2 outputs at most
        kind: Any = np.int32 if len(x) * layer.outputs << x_planes + planes < 1 << 31 else np.int64

        turned = layer.fan_out < min(layer.fan_in, _NARROW)

        def part(start: int, stop: int) -> np.ndarray:
            shape = (layer.fan_out, layer.fan_in) if turned else (layer.fan_in, layer.fan_out)
            slope, summed = (np.zeros(shape, each) for each in (kind, np.int32))
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                rows, codes = self._elementwise.gather(x[some], layer), code[some].reshape(-1, layer.fan_out)
                direct = first == start and kind is np.int32
                self._multiply(*((codes.T, rows) if turned else (rows.T, codes)), slope if direct else summed)
                if not direct:
                    slope += summed
            return slope

        with self._multiply.session():
            parts = self._share(len(x), _RATE * code.size * layer.fan_in, part)
            inputs = self._over_images(x)
            codes = self._over_images(code) if x_planes else None
        slope = sum(parts[1:], parts[0])
        slope = np.ascontiguousarray(slope.T) if turned else slope
        slope *= 2
        slope += gather(inputs, layer).sum(0, dtype=kind)[:, None]
        if codes is not None:
            images = (2.0 * codes + len(x)).reshape(-1, layer.fan_out)
            ones = gather(np.ones((1, *x.shape[1:])), layer)
            slope *= 2
            slope += (ones.T @ images).astype(kind)
        return slope

    def _over_images(self, x: np.ndarray) -> np.ndarray:
        """The sum (1, ...) int32 of the images of x (B, ...) int8."""
        summed = np.empty((2, x[0].size), np.int32)
        self._multiply(np.ones((2, len(x)), np.int8), x.reshape(len(x), -1), summed)
        return summed[:1].reshape(1, *x.shape[1:])
