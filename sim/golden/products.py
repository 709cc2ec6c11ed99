"""The three products of training, exact: on float BLAS for speed, in a type and in parts that no rounding can touch.

Maps are (B, height, width, channels), weights (K, M) with rows in the order (y, x, channel) of the window; B images. A
dense layer is a window over the whole map. All are int8: signs, +1 and -1; the halves q of codes, 2 q of twin planes and else
2 q + 1. What a layer sees are signs where `planes` is 0, else pixels' codes of so many planes, none of them twin.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnedge.formats import Code
from bnnedge.layers import Geometry
from bnnedge.sim.arrays import Array, array_namespace, library_of
from bnnedge.sim.windows import gather, scatter

_PART = 1 << 22  # elements of windows held at a time
_ALONE = 1 << 18  # multiplications up to which OpenBLAS, NumPy's usual BLAS, computes a product in the calling thread
_FEWEST = 8  # rows that are worth a product of their own


def exact(terms: int, bound: int, xp: Any) -> Any:
    """Float type of a library in which sums of that many integers in +-`bound` are exact."""
    return xp.float32 if terms * bound <= 1 << 24 else xp.float64


def _product(a: Array, b: Array) -> Array:
    """a @ b, exact: the elements are whole numbers, and `exact` says in which type.

    A product that OpenBLAS would spread over threads for tens of microseconds' work is one of many small ones instead: waking
    the threads takes longer, and where other programs want the cores, each waits for them.
    """
    rows = _ALONE // (b.shape[0] * b.shape[1])
    if not isinstance(a, np.ndarray) or not _FEWEST <= rows < a.shape[0]:
        return a @ b
    whole = a.shape[0] // rows * rows
    y = np.empty((a.shape[0], b.shape[1]), a.dtype)
    np.matmul(a[:whole].reshape(-1, rows, a.shape[1]), b, out=y[:whole].reshape(-1, rows, b.shape[1]))
    np.matmul(a[whole:], b, out=y[whole:])
    return y


def _parts(images: int, most: int) -> list[slice]:
    """Slices of `images`, of up to `most` of them each."""
    most = max(1, most)
    return [slice(start, min(start + most, images)) for start in range(0, images, most)]


def _memory(layer: Geometry) -> int:
    return _PART // (layer.outputs * layer.fan_in)


def _inputs(x: Array, planes: int, kind: Any) -> Array:
    """The numbers that bytes of a map stand for."""
    return _codes(x, Code(planes), kind) if planes else array_namespace(x).astype(x, kind)


def _codes(halves: Array, code: Code, kind: Any) -> Array:
    """The numbers that halves of codes stand for."""
    doubled = 2 * array_namespace(halves).astype(halves, kind)
    return doubled if code.twin else doubled + 1


def _largest(planes: int) -> int:
    """The largest number of a map."""
    return Code(planes).largest if planes else 1


def forward(x: Array, weight: Array, layer: Geometry, planes: int) -> Array:
    """Sums (B, out_height, out_width, M) int32 of a map, of `planes`, and signs of weights."""
    xp, images = array_namespace(x), x.shape[0]
    kind, shape = exact(layer.fan_in, _largest(planes), xp), (layer.out_height, layer.out_width, layer.fan_out)
    weight = xp.astype(weight, kind)
    y = xp.empty((images, *shape), dtype=xp.int32, device=library_of(x).device)
    for part in _parts(images, _memory(layer)):
        rows = gather(_inputs(x[part, ...], planes, kind), layer)
        y[part, ...] = xp.astype(xp.reshape(_product(rows, weight), (-1, *shape)), xp.int32)
    return y


def data_gradient(halves: Array, weight: Array, layer: Geometry, code: Code) -> Array:
    """Sums (B, H, W, C) int32 over the outputs that each input reaches, of codes and signs of weights."""
    xp, images = array_namespace(halves), halves.shape[0]
    kind = exact(layer.reach, code.largest, xp)
    back = xp.astype(weight, kind).T
    d = xp.empty((images, layer.height, layer.width, layer.channels), dtype=xp.int32, device=library_of(halves).device)
    for part in _parts(images, _memory(layer)):
        rows = xp.reshape(_codes(halves[part, ...], code, kind), (-1, layer.fan_out))
        d[part, ...] = xp.astype(scatter(_product(rows, back), layer), xp.int32)
    return d


def weight_gradient(x: Array, halves: Array, layer: Geometry, planes: int, code: Code) -> Array:
    """Sums (K, M) int64 over all samples of a map, of `planes`, times codes."""
    xp, images, bound = array_namespace(x), x.shape[0], _largest(planes) * code.largest
    most = max(1, min(_memory(layer), (1 << 24) // (layer.outputs * bound)))
    kind = exact(most * layer.outputs, bound, xp)
    slope = xp.zeros((layer.fan_in, layer.fan_out), dtype=xp.int64, device=library_of(x).device)
    for part in _parts(images, most):
        rows = xp.reshape(_codes(halves[part, ...], code, kind), (-1, layer.fan_out))
        slope += xp.astype(_product(gather(_inputs(x[part, ...], planes, kind), layer).T, rows), xp.int64)
    return slope
