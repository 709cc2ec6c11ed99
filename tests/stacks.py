"""Keras models of binary layers for tests, as people write them: untrained, or with statistics as training leaves them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from foreign import statistics

os.environ.setdefault("KERAS_BACKEND", "jax")


def binary(x: Any) -> Any:
    """+1 for zero, as Larq's `ste_sign`."""
    import keras

    return keras.ops.where(x >= 0, 1.0, -1.0)


def sign(x: Any) -> Any:
    """0 for zero."""
    import keras

    return keras.ops.sign(x)


def model(*stack: Any, trained: bool = False, seed: int = 3) -> Any:
    """A model of these layers, with weights of +1 and -1; `trained`: with statistics of a past, positive scales behind pools."""
    import keras

    for function in (binary, sign):  # so that files with them can be read
        keras.saving.register_keras_serializable("bnnedge-test")(function)
    made = keras.Sequential(list(stack))
    rng, fan_in = np.random.default_rng(seed), 1
    for before, layer in zip([None, *made.layers], made.layers, strict=False):
        kind, weights = type(layer).__name__, layer.get_weights()
        if kind in ("Dense", "Conv2D"):
            layer.set_weights([rng.choice([-1.0, 1.0], weights[0].shape), *weights[1:]])
            fan_in = int(np.prod(weights[0].shape[:-1]))
        elif kind == "BatchNormalization" and trained:
            drawn = statistics(rng, len(weights[0]), fan_in, type(before).__name__ != "MaxPooling2D")
            layer.set_weights([drawn[name] for name in ("gamma", "beta", "mean", "variance")][-len(weights) :])
    return made


def dense(
    *units: int, shape: tuple[int, ...] = (8, 8), activation: Callable[[Any], Any] = binary, norm: bool = True, **options: Any
) -> Any:
    """Dense layers with batch norm and sign, the last one without a sign."""
    from keras import layers

    stack = [layers.Input(shape), layers.Flatten()]
    for i, n in enumerate(units):
        stack.append(layers.Dense(n, use_bias=False))
        stack += [layers.BatchNormalization()] * norm if i % 2 else [layers.BatchNormalization(scale=False)] * norm
        stack += [layers.Activation(activation)] if i < len(units) - 1 else []
    return model(*stack, **options)


def cnv(width: float = 1.0, side: int = 32, classes: int = 10, **options: Any) -> Any:
    """The paper's CNV: valid convolutions, signs pooled twice."""
    return _convolutions((64, 128, 256), 512, "signs", width, side, classes, "valid", **options)


def binarynet(width: float = 1.0, side: int = 32, classes: int = 10, first: str = "same", **options: Any) -> Any:
    """The paper's BinaryNet: padded convolutions, sums pooled; with a `first` one that is valid, Larq's example."""
    return _convolutions((128, 256, 512), 1024, "sums", width, side, classes, first, **options)


def _convolutions(
    filters: tuple[int, ...], units: int, pool: str, width: float, side: int, classes: int, first: str, **options: Any
) -> Any:
    from keras import layers

    def scaled(n: int) -> int:
        return max(1, round(n * width))

    padding = "valid" if pool == "signs" else "same"
    stack: list[Any] = [layers.Input((side, side, 3))]
    for i, n in enumerate(filters):
        for place in range(2):
            around = first if i == place == 0 else padding
            stack.append(layers.Conv2D(scaled(n), 3, padding=around, use_bias=False))
            stack += [layers.MaxPooling2D()] if place and pool == "sums" else []
            stack += [layers.BatchNormalization(momentum=0.999, scale=False), layers.Activation(binary)]
        stack += [layers.MaxPooling2D()] if pool == "signs" and i < len(filters) - 1 else []
    stack.append(layers.Flatten())
    for n in (units, units):
        stack += [layers.Dense(scaled(n), use_bias=False), layers.BatchNormalization(scale=False), layers.Activation(binary)]
    stack += [layers.Dense(classes, use_bias=False), layers.BatchNormalization(scale=False), layers.Softmax()]
    return model(*stack, **options)
