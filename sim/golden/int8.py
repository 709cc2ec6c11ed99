"""The three products of training as those of matrices of bytes: `products`, of the same arguments, with the same sums.

A sum of products with codes 2 q + 1 is twice that with their halves q, and the same sum with a map of ones in their place. That
one is the same for all images, or a product with a sum over the images: in both cases the work of one image. With twin codes,
2 q, it is twice that with their halves alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from bnnedge.formats import Code
from bnnedge.layers import Geometry
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.threads import Threads
from bnnedge.sim.windows import gather

_WINDOWS = 1 << 19  # bytes of windows held at a time, which stay in a core's cache
_SUMS = 1 << 18  # sums of windows, of four bytes, held at a time
_NARROW = 100  # columns; with fewer, PyTorch's product is up to a third faster the other way round
_SUMMED = (1 << 17) - 1  # products of two bytes whose sum fits 32 bits, whatever they are
_RATE = 1 / 150  # nanoseconds that a multiplication takes, roughly


class Multiplier(Protocol):
    """Multiplies matrices of bytes."""

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        """Write the product of (m, k) and (k, n) int8, of any strides, into (m, n) int32."""

    def session(self) -> contextlib.AbstractContextManager[Any]:
        """Within it `__call__` may be used, by the calling thread and by others."""


class Blas:
    """Products of NumPy's BLAS, in float32 where its sums are exact; it has threads of its own."""

    session = contextlib.nullcontext

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        terms, most = a.shape[1], 1 << 24
        exact = terms << 14 <= most or terms * _largest(a) * _largest(b) <= most
        single = np.float32 if exact else np.float64
        out[...] = a.astype(single) @ b.astype(single)


class Torch:
    """PyTorch's products. ModuleNotFoundError where it is not installed."""

    _lock, _sessions, _before = threading.Lock(), 0, 0  # of all: how many threads PyTorch has is one setting of the process

    def __init__(self) -> None:
        import torch

        self._torch = torch

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        if 1 in (*a.shape, *b.shape):  # PyTorch 2.13 computes something else with some of these, depending on their strides
            Blas()(a, b, out)
            return
        self._torch.set_num_threads(1)  # of this thread: its share of the work is one
        self._torch._int_mm(self._torch.from_numpy(a), self._torch.from_numpy(b), out=self._torch.from_numpy(out))

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Behind it PyTorch has as many threads again, in this thread and, when others are in none any more, in all."""
        with Torch._lock:
            if not Torch._sessions:
                Torch._before = self._torch.get_num_threads()
            Torch._sessions += 1
        try:
            yield
        finally:
            with Torch._lock:
                Torch._sessions -= 1
                self._torch.set_num_threads(Torch._before)


def _largest(a: np.ndarray) -> int:
    return max(int(a.max()), -int(a.min()))


def exact(multiply: Multiplier) -> bool:
    """Whether products are exact at the ends of bytes, within its session.

    Processors without an instruction for products of bytes (AVX-512 VNNI and the like) add pairs of them in 16 bits.
    """
    for left, right in itertools.product((1, 127, -128), (127, -128)):
        a, b, out = np.full((64, 64), left, np.int8), np.full((64, 64), right, np.int8), np.empty((64, 64), np.int32)
        multiply(a, b, out)
        if (out != 64 * left * right).any():
            return False
    return True


class Int8:
    """Products over threads, on NumPy's arrays. elementwise: what gathers and scatters windows, and doubles sums."""

    def __init__(self, multiply: Multiplier, threads: Threads, elementwise: Plain) -> None:
        self._multiply, self._share, self._elementwise = multiply, threads.share, elementwise

    def forward(self, x: np.ndarray, weight: np.ndarray, layer: Geometry, planes: int) -> np.ndarray:
        """`products.forward`."""
        y = np.empty((len(x), layer.outputs, layer.fan_out), np.int32)
        most, ones = max(1, _WINDOWS // (layer.outputs * layer.fan_in)), np.empty_like(y[:2])

        def part(start: int, stop: int) -> None:
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                rows = self._elementwise.gather(x[some], layer)
                self._multiply(rows, weight, y[some].reshape(-1, layer.fan_out))
                if planes:
                    self._elementwise.double(y[some], ones[0])

        with self._multiply.session():
            if planes:
                rows = self._elementwise.gather(np.ones_like(x[:2]), layer)  # of two images, as PyTorch likes it
                self._multiply(rows, weight, ones.reshape(-1, layer.fan_out))
            self._share(len(x), _RATE * y.size * layer.fan_in, part)
        return y.reshape(len(x), layer.out_height, layer.out_width, layer.fan_out)

    def data_gradient(self, halves: np.ndarray, weight: np.ndarray, layer: Geometry, code: Code) -> np.ndarray:
        """`products.data_gradient`."""
        d = np.empty((len(halves), layer.height, layer.width, layer.channels), np.int32)
        back, ones = weight.T, np.zeros((2, layer.fan_in), np.int32)
        most = max(1, _SUMS // (layer.outputs * layer.fan_in))

        def part(start: int, stop: int) -> None:
            rows = np.empty((min(most, stop - start) * layer.outputs, layer.fan_in), np.int32)
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                codes = halves[some].reshape(-1, layer.fan_out)
                self._multiply(codes, back, rows[: len(codes)])
                self._elementwise.scatter(rows[: len(codes)], ones[0], layer, d[some])

        with self._multiply.session():
            if not code.twin:
                self._multiply(np.ones((2, layer.fan_out), np.int8), back, ones)
            self._share(len(halves), _RATE * halves.size * layer.fan_in, part)
        return d

    def weight_gradient(self, x: np.ndarray, halves: np.ndarray, layer: Geometry, planes: int, code: Code) -> np.ndarray:
        """`products.weight_gradient`, int32 where that holds all sums."""
        most = min(_SUMMED // layer.outputs, max(1, _WINDOWS // (layer.outputs * layer.fan_in)))  # MAX_SIDE**2 outputs at most
        kind: Any = np.int32 if len(x) * layer.outputs << planes + code.planes < 1 << 31 else np.int64
        turned = layer.fan_out < min(layer.fan_in, _NARROW)

        def part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            shape = (layer.fan_out, layer.fan_in) if turned else (layer.fan_in, layer.fan_out)
            slope: np.ndarray | None = None
            summed: np.ndarray | None = None
            for first in range(start, stop, most):
                some = slice(first, min(first + most, stop))
                rows, codes = self._elementwise.gather(x[some], layer), halves[some].reshape(-1, layer.fan_out)
                left, right = (codes.T, rows) if turned else (rows.T, codes)
                out = np.empty(shape, np.int32) if summed is None else summed
                self._multiply(left, right, out)
                if slope is None:
                    slope = out.astype(kind, copy=False)
                else:
                    slope, summed = np.add(slope, out, out=slope), out
            assert slope is not None  # a part has an image
            return slope.T if turned else slope, self._over_images(x[start:stop])

        with self._multiply.session():
            slopes, summed = zip(*self._share(len(x), _RATE * halves.size * layer.fan_in, part), strict=True)
            codes = self._over_images(halves) if planes else None
        inputs = np.zeros(layer.fan_in, kind) if code.twin else gather(sum(summed), layer).sum(0, dtype=kind)
        slope = np.empty((layer.fan_in, layer.fan_out), kind)

        def finish(start: int, stop: int) -> None:
            some = slice(start, stop)
            np.multiply(slopes[0][some], 2, out=slope[some])
            for other in slopes[1:]:
                slope[some] += 2 * other[some]
            slope[some] += inputs[some, None]

        self._share(layer.fan_in, 0.5 * slope.size * len(slopes), finish)
        if codes is not None:
            images = (2 * codes.astype(np.int64) + (0 if code.twin else len(x))).reshape(-1, layer.fan_out)
            ones = gather(np.ones((1, *x.shape[1:3], 1), np.int64), dataclasses.replace(layer, channels=1))
            slope *= 2  # without BLAS, whose threads wait for more in busy loops, on cores that others need
            taps = slope.reshape(-1, layer.channels, layer.fan_out)
            taps += np.einsum("ot,om->tm", ones, images).astype(kind)[:, None]
        return slope

    def _over_images(self, x: np.ndarray) -> np.ndarray:
        """The sum (1, ...) int32 of the images of x (B, ...) int8."""
        summed = np.empty((2, x[0].size), np.int32)
        self._multiply(np.ones((2, len(x)), np.int8), x.reshape(len(x), -1), summed)
        return summed[:1].reshape(1, *x.shape[1:])
