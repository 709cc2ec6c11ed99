"""Shapes of images: (height, width), or (height, width, channels), in this order."""

from __future__ import annotations

from collections.abc import Sequence

MOVE = "channels first? move them last: np.moveaxis(x, 1, -1)"  # what to say of such images

_CHANNELS = 1, 3, 4  # grey, colours, colours and opacity
_LONGEST = 3  # height of a picture, to its width


def channels_first(shape: Sequence[int]) -> bool:
    """Whether an image's shape is (channels, height, width), as PyTorch and ONNX have it, as far as numbers can tell.

    What is more than three times as long as wide is a signal of some height, (1, samples, channels) say, and no picture.
    """
    if len(shape) != 3 or shape[0] not in _CHANNELS or shape[2] in _CHANNELS or min(shape[1:]) <= max(_CHANNELS):
        return False
    return shape[1] <= _LONGEST * shape[2]
