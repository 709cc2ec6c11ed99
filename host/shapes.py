"""Shapes of images: (height, width), or (height, width, channels), in this order."""

from __future__ import annotations

from collections.abc import Sequence

MOVE = "channels first? move them last: np.moveaxis(x, 1, -1)"  # what to say of such images

_CHANNELS = 1, 3, 4  # grey, colours, colours and opacity


def channels_first(shape: Sequence[int]) -> bool:
    """Whether an image's shape is (channels, height, width), as PyTorch and ONNX have it, as far as numbers can tell."""
    return len(shape) == 3 and shape[0] in _CHANNELS and shape[2] not in _CHANNELS and min(shape[1:]) > max(_CHANNELS)
