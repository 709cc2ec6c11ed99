"""Windows of a map as rows of a matrix, so that a convolution is a matrix product, and back.

Maps are (B, height, width, channels), rows of windows (B * outputs, K) in the order (y, x, channel); a dense layer's
window is the whole map.
"""

from __future__ import annotations

import numpy as np

from bnnedge.layers import Geometry


def gather(x: np.ndarray, layer: Geometry) -> np.ndarray:
    """Windows of a map (B, H, W, C) as rows: (B * outputs, K), with zeros outside the map."""
    after = [
        max(0, (outputs - 1) * layer.stride + kernel - side - pad)
        for outputs, kernel, side, pad in (
            (layer.out_height, layer.kernel_y, layer.height, layer.pad_y),
            (layer.out_width, layer.kernel_x, layer.width, layer.pad_x),
        )
    ]
    if layer.pad_y or layer.pad_x or any(after):
        x = np.pad(x, ((0, 0), (layer.pad_y, after[0]), (layer.pad_x, after[1]), (0, 0)))
    x = np.ascontiguousarray(x)
    image, row, column, channel = x.strides
    # The columns of a window lie side by side: one axis for them and their channels.
    windows = np.lib.stride_tricks.as_strided(
        x,
        (len(x), layer.out_height, layer.out_width, layer.kernel_y, layer.kernel_x * layer.channels),
        (image, row * layer.stride, column * layer.stride, row, channel),
        writeable=False,
    )
    return windows.reshape(len(x) * layer.outputs, layer.fan_in)


def scatter(rows: np.ndarray, layer: Geometry) -> np.ndarray:
    """Transpose of `gather`: sums (B, H, W, C) of what the windows (B * outputs, K) hold for each input."""
    s, high, wide = layer.stride, layer.out_height, layer.out_width
    rows = rows.reshape(-1, high, wide, layer.kernel_y, layer.kernel_x, layer.channels)
    height, width = (
        max(pad + side, (outputs - 1) * s + kernel)
        for pad, side, outputs, kernel in (
            (layer.pad_y, layer.height, high, layer.kernel_y),
            (layer.pad_x, layer.width, wide, layer.kernel_x),
        )
    )
    total = np.zeros((len(rows), height, width, layer.channels), rows.dtype)
    for y in range(layer.kernel_y):
        for x in range(layer.kernel_x):
            total[:, y : y + s * high : s, x : x + s * wide : s] += rows[..., y, x, :]
    return total[:, layer.pad_y : layer.pad_y + layer.height, layer.pad_x : layer.pad_x + layer.width]
