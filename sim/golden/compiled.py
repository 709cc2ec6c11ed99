"""The operations of `plain.Plain` in loops that Numba compiles: on NumPy's arrays, over threads, with the same bits."""

from __future__ import annotations

import numpy as np

from bnnedge.formats import Code, Kind
from bnnedge.layers import Geometry
from bnnedge.sim.golden import loops, rounding
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.random import Random
from bnnedge.sim.golden.threads import Threads

Pair = tuple[np.ndarray, np.ndarray]


def _rows(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1, a.shape[-1])


def _int32(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a, np.int32)


class Compiled(Plain):
    """`Plain`, compiled. random: the accelerator's; an ablation's needs `Plain`."""

    def __init__(self, random: Random, latent_top: int, threads: Threads) -> None:
        super().__init__(random, latent_top)
        self._share, self._keys = threads.share, np.array(random.keys, np.uint64)

    def signs(self, bits: np.ndarray) -> np.ndarray:
        out, rows = np.empty(bits.shape, np.int8), _rows(bits)
        self._share(len(rows), 0.06 * bits.size, lambda start, stop: loops.signs(rows, start, stop, _rows(out)))
        return out

    def gather(self, x: np.ndarray, layer: Geometry) -> np.ndarray:
        images, height, width, channels = x.shape
        if layer.outputs == 1 and layer.fan_in == height * width * channels and not layer.pad_y | layer.pad_x:
            return x.reshape(images, -1)
        rows = np.empty((images * layer.outputs, layer.fan_in), np.int8)
        loops.gather(x.reshape(images, height, width * channels), channels, *_window(layer), rows)
        return rows

    def scatter(self, rows: np.ndarray, ones: np.ndarray, layer: Geometry, out: np.ndarray) -> None:
        images, height, width, channels = out.shape
        assert out.flags.c_contiguous  # of others `reshape` would make a copy
        loops.scatter(rows, ones, channels, *_window(layer), out.reshape(images, height, width * channels))

    def double(self, y: np.ndarray, ones: np.ndarray) -> None:
        loops.double(y, ones)

    def statistics(self, y: np.ndarray, pivot: np.ndarray) -> Pair:
        rows, pivot = _rows(y), _int32(pivot)

        def part(start: int, stop: int) -> np.ndarray:
            sums = np.zeros((2, rows.shape[1]), np.int64)
            loops.statistics(rows, pivot, start, stop, sums[0], sums[1])
            return sums

        sums: np.ndarray = sum(self._share(len(rows), 0.15 * y.size, part))
        return sums[0], sums[1]

    def normalise(self, y: np.ndarray, tau: np.ndarray, psi: np.ndarray) -> Pair:
        active, mask = np.empty(y.shape, bool), np.empty(y.shape, bool)
        rows, tau, psi = _rows(y), _int32(tau), _int32(psi)

        def part(start: int, stop: int) -> None:
            loops.normalise(rows, tau, psi, start, stop, _rows(active), _rows(mask))

        self._share(len(rows), 0.2 * y.size, part)
        return active, mask

    def pool_sums(self, y: np.ndarray) -> Pair:
        shape = _halved(y.shape)
        best, route = np.empty(shape, np.int32), np.empty(shape, np.uint8)
        self._share(len(y), 0.15 * y.size, lambda start, stop: loops.pool_sums(y, start, stop, best, route))
        return best, route

    def pool_signs(self, active: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = _halved(active.shape)
        pooled, kept, route = np.empty(shape, bool), np.empty(shape, bool), np.empty(shape, np.uint8)

        def part(start: int, stop: int) -> None:
            loops.pool_signs(active, mask, start, stop, pooled, kept, route)

        self._share(len(active), 0.1 * active.size, part)
        return pooled, kept, route

    def masked(self, d: np.ndarray, mask: np.ndarray) -> Pair:
        rows = _rows(d)
        assert d.flags.c_contiguous

        def part(start: int, stop: int) -> np.ndarray:
            sums = np.zeros(rows.shape[1], np.int64)
            loops.masked_sums(rows, _rows(mask), start, stop, sums)
            return sums

        sums: np.ndarray = sum(self._share(len(rows), 0.4 * d.size, part))
        return d, sums

    def codes(
        self, d: np.ndarray, route: np.ndarray | None, layer: Geometry, c1: np.ndarray, e: int, code: Code, at: tuple[int, int]
    ) -> tuple[np.ndarray, tuple[int, int]]:
        halves = np.empty((len(d), layer.out_height, layer.out_width, layer.fan_out), np.int8)
        pooled = layer.pool != "none"
        assert code.twin == pooled
        c1 = _int32(c1)
        of_maps: tuple[np.ndarray | None, ...] = (d, c1)
        if pooled:  # where sums are pooled there is no sample of the statistics but the routed one
            of_maps = d, route, c1, c1 if layer.pool == "signs" else np.zeros_like(c1)
        loop = rounding.codes_of_pooled if pooled else rounding.codes
        given = (*of_maps, e, 1 << code.bits - 1, self._keys, *at, int(Kind.CODE), self.random.lanes)
        parts = self._share(layer.out_height, 0.6 * halves.size, lambda start, stop: loop(*given, start, stop, halves))
        clipped, large = map(sum, zip(*parts, strict=True))
        return halves, (clipped, large)

    def updated(
        self, words: np.ndarray, slope: np.ndarray, rate: int, momentum: bool, at: tuple[int, int, Kind], places: tuple[int, int]
    ) -> np.ndarray:
        out, (step, layer, kind), lanes = np.empty_like(words), at, self.random.lanes
        given = (words, slope, rate, self.latent_top, momentum, self._keys, step, layer, int(kind), lanes, places[1])
        tiles = places[0] * -(-places[1] // lanes)
        self._share(tiles, 0.5 * words.size, lambda start, stop: rounding.updated(*given, start, stop, out))
        return out


def _window(layer: Geometry) -> tuple[int, ...]:
    return layer.kernel_y, layer.kernel_x, layer.stride, layer.pad_y, layer.pad_x, layer.out_height, layer.out_width


def _halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    images, height, width, channels = shape
    return images, height // 2, width // 2, channels
