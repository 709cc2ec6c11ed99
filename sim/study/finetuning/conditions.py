"""Images as a camera sees them that hangs askew, in other light, or whose sensor is noisy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DEGREES = 25
CONTRAST, LIGHT = 0.35, 150
DEVIATION = 80


def turned(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images (N, H, W) uint8, turned counterclockwise by DEGREES about their middle: bilinear, with black from outside."""
    height, width = images.shape[1:]
    y, x = np.mgrid[:height, :width].astype(float)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    sine, cosine = np.sin(np.radians(DEGREES)), np.cos(np.radians(DEGREES))
    # Where each pixel comes from, in the image with a black frame of one pixel.
    down = np.clip(cosine * y + sine * x + (height + 1) / 2, 0, height + 0.999)
    right = np.clip(cosine * x - sine * y + (width + 1) / 2, 0, width + 0.999)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1))).astype(float)
    top, left = down.astype(int), right.astype(int)
    below, beside = down - top, right - left
    upper = framed[:, top, left] * (1 - beside) + framed[:, top, left + 1] * beside
    lower = framed[:, top + 1, left] * (1 - beside) + framed[:, top + 1, left + 1] * beside
    return np.rint(upper * (1 - below) + lower * below).astype(np.uint8)


def shaded(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images (N, H, W) uint8 of a CONTRAST below 1, in light from the right, which adds up to LIGHT there and 0 at the left."""
    return np.rint(images * CONTRAST + np.linspace(0, LIGHT, images.shape[2])).astype(np.uint8)


def noisy(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Images (N, ...) uint8 with normal noise of that standard DEVIATION on each pixel, drawn by `seed`, cut off at 0 and 255."""
    noise = np.random.RandomState(seed).standard_normal(images.shape)
    return np.rint(np.clip(images + noise * DEVIATION, 0, 255)).astype(np.uint8)


CONDITIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"turned": turned, "shaded": shaded, "noisy": noisy}
"""Of each condition a function of images and a seed; the same seed, and as many images, give the same pixels."""
