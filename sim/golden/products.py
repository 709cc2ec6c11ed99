"""The three products of training, exact: on float BLAS for speed, in a type and in parts that no rounding can touch.

Maps are (B, height, width, channels), weights (K, M) with rows in the order (y, x, channel) of the window; B images. A
dense layer is a window over the whole map.
"""

from __future__ import annotations

import numpy as np

from bnnedge.layers import Geometry
from bnnedge.sim.windows import gather, scatter

_PART = 1 << 22  # elements of windows held at a time


def exact(terms: int, bound: int) -> type[np.floating]:
    """Float type in which sums of that many integers in +-`bound` are exact."""
    return np.float32 if terms * bound <= 1 << 24 else np.float64


def _parts(images: int, most: int) -> list[slice]:
    """Slices of `images`, of up to `most` of them each."""
    most = max(1, most)
    return [slice(start, min(start + most, images)) for start in range(0, images, most)]


def _memory(layer: Geometry) -> int:
    return _PART // (layer.outputs * layer.fan_in)


def forward(x: np.ndarray, weight: np.ndarray, layer: Geometry, bound: int) -> np.ndarray:
    """Sums (B, out_height, out_width, M) int32 of a map with elements in +-`bound` and weights of +-1."""
    kind = exact(layer.fan_in, bound)
    x, weight = x.astype(kind), weight.astype(kind)
    y = np.empty((len(x), layer.out_height, layer.out_width, layer.fan_out), np.int32)
    for part in _parts(len(x), _memory(layer)):
        y[part] = (gather(x[part], layer) @ weight).reshape(y[part].shape)
    return y


def data_gradient(code: np.ndarray, weight: np.ndarray, layer: Geometry, bound: int) -> np.ndarray:
    """Sums (B, H, W, C) int32 over the outputs that each input reaches; codes in +-`bound`, weights of +-1."""
    kind = exact(layer.reach, bound)
    back = np.ascontiguousarray(weight.T, kind)
    d = np.empty((len(code), layer.height, layer.width, layer.channels), np.int32)
    for part in _parts(len(code), _memory(layer)):
        d[part] = scatter(code[part].reshape(-1, layer.fan_out).astype(kind) @ back, layer)
    return d


def weight_gradient(x: np.ndarray, code: np.ndarray, layer: Geometry, bound: int) -> np.ndarray:
    """Sums (K, M) int64 over all samples of inputs times codes, their products in +-`bound`."""
    most = max(1, min(_memory(layer), (1 << 24) // (layer.outputs * bound)))
    kind = exact(most * layer.outputs, bound)
    slope = np.zeros((layer.fan_in, layer.fan_out), np.int64)
    for part in _parts(len(x), most):
        rows = code[part].reshape(-1, layer.fan_out).astype(kind)
        slope += (gather(x[part].astype(kind), layer).T @ rows).astype(np.int64)
    return slope
