"""Keras and Larq models: a chain of layers, told by the names of their classes, which Keras 2, Keras 3 and Larq share.

What a layer computes is asked of the library itself: quantisers and activations are called, and so is the whole model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge.importer.config import FUNCTIONS, IDENTITIES, MOVES
from bnnedge.importer.order import Order
from bnnedge.importer.steps import (
    Affine,
    Ending,
    Flattening,
    Function,
    Linear,
    Model,
    Pool,
    Stage,
    Step,
    UnsupportedError,
    as_declared,
    batch_norm,
    first_line,
)


def understand(model: Any) -> Model:
    """The steps of a Keras model; UnsupportedError names the layer that the device has no form for."""
    if not hasattr(model, "layers"):
        raise UnsupportedError(
            f"a model of Keras or Larq is wanted, not {type(model).__name__}: others come as ONNX files, by `importer.load`"
        )
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):  # of Keras before 3.6 for a model that has not been built
        shape = None
    if not isinstance(shape, tuple) or len(model.outputs) != 1 or None in shape[1:]:
        raise UnsupportedError(
            f"model {model.name!r} must have one input of a stated shape, such as keras.Input((28, 28, 1)), and one output"
        )
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    order = Order(np.arange(math.prod(shape[1:])).reshape(1, *shape[1:]))
    stages: list[Stage] = []
    orders: list[Order] = []  # of pixels, as long as they are some
    for layer in layers:
        pixels = len(orders) == len(stages)
        order, steps = _moved(layer, order, pixels) if type(layer).__name__ in MOVES else (order, _steps(layer))
        if pixels and not any(isinstance(step, (Linear, Flattening)) for step in steps):
            orders.append(order)
        stages.append(Stage(_named(layer), tuple(steps)))
    image, sides = order.places.reshape(-1), order.places.shape[1:]
    settled = [order.settled(image, sides) for order in orders]
    (kind,) = (kind for kind in type(model).__mro__ if kind.__name__ == "Model")  # of Keras 2 or Keras 3
    taken = np.dtype(getattr(model.inputs[0].dtype, "name", model.inputs[0].dtype))
    within = kind(model.inputs[0], [layer.output for layer in layers])

    def trace(images: np.ndarray) -> Sequence[np.ndarray]:
        given = np.empty((len(images), image.size), taken if taken.kind in "iub" else images.dtype)
        given[:, image] = as_declared(images, model.inputs[0].name, taken).reshape(len(images), -1)
        try:
            made = within.predict(given.reshape(-1, *shape[1:]), batch_size=1, verbose=0)
        except Exception as error:  # whatever Keras and its backend raise
            raise UnsupportedError(f"Keras cannot compute it: {first_line(error)}") from error
        values = [np.asarray(value) for value in (made if isinstance(made, (list, tuple)) else [made])]
        front = [np.stack([order.take(one) for one in value]) for order, value in zip(settled, values, strict=False)]
        return [*front, *values[len(front) :]]

    return Model(model.name, sides, tuple(stages), trace)


def _moved(layer: Any, order: Order, pixels: bool) -> tuple[Order, Sequence[Step]]:
    """The order behind a Reshape or a Permute, which only pixels can have, and its steps."""
    config = layer.get_config()
    if not pixels or (type(layer).__name__ == "Reshape" and len(layer.output.shape) == 2):
        if len(layer.output.shape) != 2:
            raise UnsupportedError(f"{_named(layer)} stands behind weights, or a Flatten: there it can make vectors alone")
        return order, [Flattening(_named(layer))]
    if type(layer).__name__ == "Permute":
        return order.transpose((0, *config["dims"])), ()
    return order.reshape((1, *layer.output.shape[1:])), ()


def _named(layer: Any) -> str:
    return f"layer {layer.name!r} ({type(layer).__name__})"


def _steps(layer: Any) -> Sequence[Step]:
    """What a layer does, in order."""
    kind, name = type(layer).__name__, _named(layer)
    if kind in IDENTITIES:
        return ()
    if kind in _READERS:
        return _READERS[kind](name, layer, layer.get_config())
    if kind == "Softmax":
        return (Ending(name),)
    if kind == "PReLU":
        raise UnsupportedError(f"{name} has slopes for each of its inputs: the device has signs alone")
    if kind == "Activation":
        return _activation(name, layer.activation)
    if kind in FUNCTIONS or type(layer).__module__.startswith("larq.quantizers"):
        return (_function(name, layer),)
    known = [*_READERS, *MOVES, *IDENTITIES, "Activation", "Softmax"]
    raise UnsupportedError(f"{name}: the device has nothing like it; there are {', '.join(known)}")


def _function(name: str, call: Callable[[Any], Any]) -> Function:
    def apply(values: np.ndarray) -> np.ndarray:
        try:
            # As one sample of many numbers, and as many samples: what differs is no function of each number by itself.
            one, other = (np.asarray(call(values.reshape(shape))).reshape(values.shape) for shape in ((1, -1), (-1, 1)))
        except Exception as error:  # whatever a library, or a user's own function raises
            raise UnsupportedError(f"{name} is no function of each number by itself: {first_line(error)}") from error
        if not np.array_equal(one, other, equal_nan=True):
            raise UnsupportedError(f"{name} is no function of each number by itself, as the device's signs are")
        return one

    return Function(name, apply)


def _activation(name: str, activation: Any) -> tuple[Step, ...]:
    called = getattr(activation, "__name__", type(activation).__name__)
    if called == "softmax":
        return (Ending(name),)
    return () if called == "linear" else (_function(f"{name}, activation {called}", activation),)


def _array(variable: Any) -> np.ndarray:
    # A variable of Keras 3 takes no dtype.
    return np.asarray(variable).astype(np.float64)


def _weighted(name: str, layer: Any, kernel: Any, **more: Any) -> list[Step]:
    """The steps of a layer with weights: quantise the input, multiply, add, activate."""
    steps: list[Step] = []
    quantiser = getattr(layer, "input_quantizer", None)
    if quantiser is not None:
        steps.append(_function(f"{name}, input quantiser", quantiser))
    quantiser = getattr(layer, "kernel_quantizer", None)
    kernel = np.asarray(kernel)
    weight = kernel if quantiser is None else quantiser(kernel)
    steps.append(Linear(name, _array(weight), _array(kernel), **more))
    if layer.use_bias:
        steps.append(Affine(f"{name}, bias", np.array(1.0), _array(layer.bias)))
    steps += _activation(name, layer.activation)
    return steps


def _dense(name: str, layer: Any, config: dict[str, Any]) -> list[Step]:
    return _weighted(name, layer, layer.kernel)


def _conv(name: str, layer: Any, config: dict[str, Any]) -> list[Step]:
    _require(name, config, "data_format", "channels_last")
    _require(name, config, "dilation_rate", [1, 1])
    _require(name, config, "groups", 1)
    down, right = config["strides"]
    if down != right:
        raise UnsupportedError(f"{name} has strides {down} and {right}: the device's are equal")
    same = config["padding"] == "same"
    if same and config.get("pad_values", 0):
        raise UnsupportedError(
            f"{name} pads with {config['pad_values']:g}: the device's padding contributes nothing (pad_values=0)"
        )
    return _weighted(name, layer, layer.kernel, stride=down, pads=None if same else (0, 0, 0, 0))


def _norm(name: str, layer: Any, config: dict[str, Any]) -> list[Step]:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if axes[0] not in (-1, layer.input_spec.ndim - 1) or len(axes) > 1:
        raise UnsupportedError(f"{name} is over axis {layer.axis} of its input: the device's is over the last, the channels")
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    gamma = _array(layer.gamma) if config["scale"] else np.ones_like(mean)
    beta = _array(layer.beta) if config["center"] else np.zeros_like(mean)
    return [batch_norm(name, gamma, beta, mean, variance, config["epsilon"])]


def _pool(name: str, layer: Any, config: dict[str, Any]) -> list[Step]:
    _require(name, config, "data_format", "channels_last")
    _require(name, config, "pool_size", [2, 2])
    _require(name, config, "strides", [2, 2])
    sides = layer.input.shape[1:3]
    if config["padding"] == "same" and any(side % 2 for side in sides):
        raise UnsupportedError(f"{name} rounds up: of {sides[0]} x {sides[1]} the device leaves out what no four pixels have")
    return [Pool(name)]


def _flatten(name: str, layer: Any, config: dict[str, Any]) -> list[Step]:
    _require(name, config, "data_format", "channels_last")
    return [Flattening(name)]


def _rescaling(name: str, layer: Any, config: dict[str, Any]) -> list[Step]:
    scale, offset = (np.asarray(config[field], np.float64) for field in ("scale", "offset"))
    return [Affine(name, scale, offset)]


def _require(name: str, config: dict[str, Any], field: str, wanted: Any) -> None:
    value = config.get(field, wanted)
    if (list(value) if isinstance(value, tuple) else value) != wanted:
        raise UnsupportedError(f"{name} has {field} {value!r}: the device only {wanted!r}")


_READERS: dict[str, Callable[[str, Any, dict[str, Any]], list[Step]]] = {
    "Dense": _dense,
    "QuantDense": _dense,
    "Conv2D": _conv,
    "QuantConv2D": _conv,
    "BatchNormalization": _norm,
    "MaxPooling2D": _pool,
    "Flatten": _flatten,
    "Rescaling": _rescaling,
}
