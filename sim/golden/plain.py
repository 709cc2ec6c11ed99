"""What is done to each element of a step's tensors, as docs/arithmetic.md says it: in any array library, one operation at a time.

This is the definition. `compiled.Compiled` does the same in fewer passes over the memory.
"""

from __future__ import annotations

from bnnedge import formats as f
from bnnedge.formats import Code, Kind
from bnnedge.layers import Geometry
from bnnedge.sim import pooling, windows
from bnnedge.sim.arrays import Array, array_namespace, library_of
from bnnedge.sim.golden.random import Random


def signs(bits: Array) -> Array:
    """Bits as +1 and -1, int8."""
    xp = array_namespace(bits)
    return xp.astype(bits, xp.int8) * 2 - 1


def total(a: Array) -> Array:
    """Sum of each channel of a map: (M,) int64."""
    xp = array_namespace(a)
    return xp.sum(xp.reshape(a, (-1, a.shape[-1])), axis=0, dtype=xp.int64)


def centred(d: Array, route: Array | None, layer: Geometry, c1: Array) -> Array:
    """dy, int32: the centred gradient of each sample of the statistics. Arguments as of `Plain.codes`."""
    xp = array_namespace(d)
    if layer.pool == "signs":
        shape = d.shape[0], layer.out_height, layer.out_width, layer.fan_out
        everywhere = xp.zeros(shape, dtype=xp.int32, device=library_of(d).device)
        pooling.put(everywhere, d, route)
        d = everywhere
    return (d << f.GRADIENT_MEAN) - c1


class Plain:
    """Operations on maps (B, height, width, M) and on words of weights (K, M).

    random: what rounding draws from. Words of latent weights have `latent_top` as the end of their range.
    """

    def __init__(self, random: Random, latent_top: int) -> None:
        self.random, self.latent_top = random, latent_top

    def signs(self, bits: Array) -> Array:
        """Bits as +1 and -1, int8."""
        return signs(bits)

    def gather(self, x: Array, layer: Geometry) -> Array:
        """Windows of a map as rows, see `windows.gather`."""
        return windows.gather(x, layer)

    def scatter(self, rows: Array, ones: Array, layer: Geometry, out: Array) -> None:
        """Windows of codes' sums into the map (B, H, W, C) int32, see `windows.scatter`.

        Each is 2 row + ones, from those of the codes' halves (B * outputs, K) and what codes of half 0 sum to (K,), int32.
        """
        out[...] = windows.scatter(2 * rows + ones, layer)

    def double(self, y: Array, ones: Array) -> None:
        """2 y + ones in place: sums (B, n, M) int32 of codes, from those of their halves and those (n, M) of ones."""
        y *= 2
        y += ones

    def statistics(self, y: Array, pivot: Array) -> tuple[Array, Array]:
        """Sums of y and of abs(y - pivot), (M,) int64; y: a map (B, h, w, M) int32 of up to 22 bits, pivot: (M,) likewise."""
        return total(y), total(array_namespace(y).abs(y - pivot))

    def normalise(self, y: Array, tau: Array, psi: Array) -> tuple[Array, Array]:
        """Signs and straight-through mask of a map y (B, h, w, M) int32, bool: y >= tau and abs(y - tau) <= psi.

        tau, psi: (M,) with STATISTICS fraction bits, within 30 bits.
        """
        xp = array_namespace(y)
        distance = (y << f.STATISTICS) - xp.astype(tau, xp.int32)
        return distance >= 0, xp.abs(distance) <= xp.astype(psi, xp.int32)

    def pool_sums(self, y: Array) -> tuple[Array, Array]:
        """The largest of each four sums of a map (B, 2h, 2w, M) int32, and its route: (B, h, w, M) int32 and uint8."""
        return pooling.maximum(y)

    def pool_signs(self, active: Array, mask: Array) -> tuple[Array, Array, Array]:
        """The pooled map of signs and the mask along its route, bool, and the route, uint8: (B, h, w, M) of (B, 2h, 2w, M)."""
        xp = array_namespace(active)
        pooled, route = pooling.maximum(xp.astype(active, xp.int8))
        return xp.astype(pooled, xp.bool), pooling.pick(mask, route), route

    def masked(self, d: Array, mask: Array) -> tuple[Array, Array]:
        """d (B, h, w, M) int32 where the mask is set, 0 elsewhere, and its sums, (M,) int64.

        d, C-contiguous, may be written over.
        """
        xp = array_namespace(d)
        d = d * xp.astype(mask, xp.int32)
        return d, total(d)

    def codes(
        self, d: Array, route: Array | None, layer: Geometry, c1: Array, e: int, code: Code, at: tuple[int, int]
    ) -> tuple[Array, tuple[int, int]]:
        """Halves of codes, int8, of the centred gradient over 2**e; how many are beyond their range, and beyond half of it.

        d: (B, h, w, M) int32, of what the next layer sees. route: with a pool, where d goes, of d's shape. c1: (M,) int32 with
        GRADIENT_MEAN bits. e: 0..16. code: twin where the layer has a pool. at: the step and the layer's number.
        """
        xp = array_namespace(d)
        dy = centred(d, route, layer, c1)
        draw = self.random.draw(*at, Kind.CODE, (layer.outputs, d.shape[0], layer.fan_out))
        draw = xp.reshape(xp.permute_dims(draw, (1, 0, 2)), (-1, layer.out_height, layer.out_width, layer.fan_out))
        if layer.pool == "sums":
            halves = xp.zeros_like(draw, dtype=xp.int8)
            routed, beyond = _rounded(dy, e, code, pooling.pick(draw, route))
            pooling.put(halves, routed, route)
        else:
            halves, beyond = _rounded(dy, e, code, draw)
        return halves, beyond

    def updated(
        self, words: Array, slope: Array, rate: int, momentum: bool, at: tuple[int, int, Kind], places: tuple[int, int]
    ) -> Array:
        """Words (K, M) int16 after a step of sign momentum (or sign-SGD) against the signs of a slope (K, M).

        slope: int32 or int64. rate: the layer's, 0..65535. at: the step, the layer's number, and the kind of tensor. places: how
        many draw each for itself, and their rows.
        """
        xp, top = array_namespace(words), self.latent_top
        draw = xp.reshape(self.random.draw(*at, (*places, words.shape[1])), words.shape)
        half, mask = 1 << f.MOMENT - 1, (1 << f.MOMENT) - 1
        k = target = xp.astype(slope >= 0, xp.int16) * mask - half
        if momentum:
            k = (words & mask ^ half) - half
            k = k + (target - k + xp.astype(draw & 7, xp.int16) >> 3)
        move = (2 * xp.astype(k, xp.int32) + 1) * rate + (draw >> f.RANDOM_BITS - f.RATE) >> f.RATE
        w = xp.clip(xp.astype(words >> f.MOMENT, xp.int32) - move, -top, top - 1)
        return xp.astype(w << f.MOMENT, xp.int16) | k & mask


def _rounded(dy: Array, e: int, code: Code, draw: Array) -> tuple[Array, tuple[int, int]]:
    """Halves q, int8, of the codes that dy / 2**e is rounded to, up or down at random: 2 q of twin planes, else 2 q + 1.

    Also returns how many are beyond their range, and how many beyond half of it.
    """
    xp = array_namespace(dy)
    noise = draw << 8 >> f.RANDOM_BITS + 8 - (e + 1)  # uniform in 0 .. 2**(e+1) - 1
    u, half = dy - (1 << e) + noise >> e, 1 << code.bits - 1
    q = xp.clip(u + 1 >> 1, -half, half) if code.twin else xp.clip(u >> 1, -half, half - 1)
    size = u ^ u >> 31  # u, or -1 - u of a negative one
    clipped, large = (int(xp.sum(xp.astype(size >= most, xp.int64))) for most in (2 * half, half))
    return xp.astype(q, xp.int8), (clipped, large)
