"""The three products of training on 8-bit multipliers: those of `products`, of the same arguments, with the same sums.

A sign fits a byte as it is. A code x of eight planes does not, but it is odd, and its half h = (x - 1) / 2 fits: x = 2 h + 1, so
a sum of products with x is twice that with h, and the same sum with a map of ones in place of x. That one is the same for all
images, or a product with a sum over the images: in both cases the work of one image.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from bnnedge.layers import Geometry
from bnnedge.sim.golden import products
from bnnedge.sim.golden.threads import Threads
from bnnedge.sim.windows import gather as plain_gather

Gather = Callable[[np.ndarray, Geometry], np.ndarray]
"""Windows of a map as rows, as `windows.gather` does it."""

_LARGEST = 127  # of a byte
_WINDOWS = 1 << 19  # bytes of windows held at a time, which stay in a core's cache
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
            np.matmul(a, b, out=out, dtype=np.int32)
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


class Int8:
    """Products over threads, on NumPy's arrays."""

    def __init__(self, multiply: Multiplier, threads: Threads, gather: Gather = plain_gather) -> None:
        self._multiply, self._share, self._gather = multiply, threads.share, gather

    def forward(self, x: np.ndarray, weight: np.ndarray, layer: Geometry, bound: int) -> np.ndarray:
        """`products.forward`; x has odd elements if `bound` is beyond 127."""
        y = np.empty((len(x), layer.outputs, layer.fan_out), np.int32)
        most = max(1, _WINDOWS // (layer.outputs * layer.fan_in))
        ones: np.ndarray | None = None

        def part(start: int, stop: int) -> None:
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                self._multiply(self._gather(_narrow(x[some], bound), layer), weight, y[some].reshape(-1, layer.fan_out))
                if ones is not None:
                    y[some] *= 2
                    y[some] += ones

        with self._multiply.session():
            ones = self._of_ones(x, weight, layer) if bound > _LARGEST else None
            self._share(len(x), _RATE * y.size * layer.fan_in, part)
        return y.reshape(len(x), layer.out_height, layer.out_width, layer.fan_out)

    def data_gradient(self, code: np.ndarray, weight: np.ndarray, layer: Geometry, bound: int) -> np.ndarray:
        """`products.data_gradient`, as the forward product of the transposed windows."""
        if layer.stride > 1:
            return products.data_gradient(code, weight, layer, bound)
        taps = weight.reshape(layer.kernel_y, layer.kernel_x, layer.channels, layer.fan_out)[::-1, ::-1]
        back = np.ascontiguousarray(taps.transpose(0, 1, 3, 2)).reshape(-1, layer.channels)
        return self.forward(code, back, transposed(layer), bound)

    def weight_gradient(self, x: np.ndarray, code: np.ndarray, layer: Geometry, bound: int, largest: int) -> np.ndarray:
        """`products.weight_gradient`, of int32 where that holds them; x has odd elements if `bound` is beyond 127."""
        most = min(_SUMMED // layer.outputs, max(1, _WINDOWS // (layer.outputs * layer.fan_in)))  # MAX_SIDE**2 outputs at most
        narrow = _narrow(x, bound)
        kind: Any = np.int32 if code.size // layer.fan_out * bound * largest < 1 << 31 else np.int64

        def part(start: int, stop: int) -> np.ndarray:
            slope = np.zeros((layer.fan_in, layer.fan_out), kind)
            summed = np.empty(slope.shape, np.int32)
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                codes = _narrow(code[some], largest).reshape(-1, layer.fan_out)
                self._multiply(self._gather(narrow[some], layer).T, codes, summed)
                slope += summed
            return slope

        with self._multiply.session():
            parts = self._share(len(x), _RATE * code.size * layer.fan_in, part)
            inputs = self._over_images(narrow) if largest > _LARGEST else None
        slope: np.ndarray = sum(parts[1:], parts[0])
        if inputs is not None:
            slope *= 2
            slope += plain_gather(inputs, layer).sum(0, dtype=kind)[:, None]
        if bound > _LARGEST:
            images = code.sum(0, np.float64).reshape(-1, layer.fan_out)
            ones = plain_gather(np.ones((1, *x.shape[1:])), layer)
            slope *= 2
            slope += (ones.T @ images).astype(kind)
        return slope

    def _over_images(self, x: np.ndarray) -> np.ndarray:
        """The sum (1, ...) int32 of the images of x (B, ...) int8."""
        summed = np.empty((2, x[0].size), np.int32)
        self._multiply(np.ones((2, len(x)), np.int8), x.reshape(len(x), -1), summed)
        return summed[:1].reshape(1, *x.shape[1:])

    def _of_ones(self, x: np.ndarray, weight: np.ndarray, layer: Geometry) -> np.ndarray:
        """The sums (outputs, M) int32 of an image of ones."""
        y = np.empty((layer.outputs, layer.fan_out), np.int32)
        self._multiply(self._gather(np.ones((1, *x.shape[1:]), np.int8), layer), weight, y)
        return y


def _narrow(x: np.ndarray, bound: int) -> np.ndarray:
    """A tensor with elements in +-`bound` as bytes, where they don't fit the halves of odd numbers."""
    return (x >> 1 if bound > _LARGEST else x).astype(np.int8, copy=False)
