"""Windows of a map as rows of a matrix, so that a convolution is a matrix product, and back.

Maps are (B, height, width, channels), rows of windows (B * outputs, K) in the order (y, x, channel); a dense layer's
window is the whole map.
"""

from __future__ import annotations

from typing import Any

from bnnedge.layers import Geometry
from bnnedge.sim.arrays import Array, array_namespace, library_of

Place = tuple[Any, ...]
"""Index of a part of a map."""


def _padded(layer: Geometry) -> tuple[int, int]:
    """Height and width of the map with what the windows reach beyond its edges."""
    height, width = (
        max(pad + side, (outputs - 1) * layer.stride + kernel)
        for pad, side, outputs, kernel in (
            (layer.pad_y, layer.height, layer.out_height, layer.kernel_y),
            (layer.pad_x, layer.width, layer.out_width, layer.kernel_x),
        )
    )
    return height, width


def _taps(layer: Geometry) -> list[Place]:
    """Where the windows' elements (y, x) stand in the padded map, all of one at once."""
    s = layer.stride
    return [
        (slice(None), slice(y, y + s * (layer.out_height - 1) + 1, s), slice(x, x + s * (layer.out_width - 1) + 1, s), ...)
        for y in range(layer.kernel_y)
        for x in range(layer.kernel_x)
    ]


def _inside(layer: Geometry) -> Place:
    """Where the map stands in the padded one."""
    return slice(None), slice(layer.pad_y, layer.pad_y + layer.height), slice(layer.pad_x, layer.pad_x + layer.width), ...


def gather(x: Array, layer: Geometry) -> Array:
    """Windows of a map (B, H, W, C) as rows: (B * outputs, K), with zeros outside the map."""
    xp, images = array_namespace(x), x.shape[0]
    height, width = _padded(layer)
    if (height, width) == (layer.kernel_y, layer.kernel_x) == (layer.height, layer.width):
        return xp.reshape(x, (images, layer.fan_in))
    if (height, width) != (layer.height, layer.width):
        whole = xp.zeros((images, height, width, layer.channels), dtype=x.dtype, device=library_of(x).device)
        whole[_inside(layer)] = x
        x = whole
    return xp.reshape(xp.stack([x[tap] for tap in _taps(layer)], axis=3), (images * layer.outputs, layer.fan_in))


def scatter(rows: Array, layer: Geometry) -> Array:
    """Transpose of `gather`: sums (B, H, W, C) of what the windows (B * outputs, K) hold for each input."""
    xp = array_namespace(rows)
    height, width = _padded(layer)
    if (height, width) == (layer.kernel_y, layer.kernel_x) == (layer.height, layer.width):
        return xp.reshape(rows, (-1, height, width, layer.channels))
    rows = xp.reshape(rows, (-1, layer.out_height, layer.out_width, layer.kernel_y * layer.kernel_x, layer.channels))
    total = xp.zeros((rows.shape[0], height, width, layer.channels), dtype=rows.dtype, device=library_of(rows).device)
    for i, tap in enumerate(_taps(layer)):
        total[tap] += rows[..., i, :]
    return total[_inside(layer)]
