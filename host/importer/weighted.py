"""Nodes of an ONNX or QONNX graph with weights, and what stands around them: batch norms, pools, padding, the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnedge.importer import operators
from bnnedge.importer.graph import attribute, fields
from bnnedge.importer.order import Order
from bnnedge.importer.steps import Affine, Ending, Flattening, Linear, Pool, Step, UnsupportedError, batch_norm

if TYPE_CHECKING:
    from bnnedge.importer.chain import Chain


def dense(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """A MatMul or a Gemm of constants, rows in the order of the device."""
    if node.input[0] != tensor or attribute(node, "transA", 0):
        raise UnsupportedError(f"{name}: what a layer gets must stand on the left, not transposed")
    weight, latent = chain.constants.value(name, node.input[1])
    if attribute(node, "transB", 0):
        weight, latent = weight.T, latent.T
    places = chain.order.vector(name)
    if chain.order.sides is None:
        chain.settle(chain.image, chain.input_shape)
        places = chain.order.vector(name)
    flat = [Flattening(name)] if len(chain.order.sides or ()) > 1 else []
    rows = np.argsort(places)
    scale = attribute(node, "alpha", 1.0)
    chain.order = Order.of(weight.shape[1])
    made = Linear(name, weight[rows] * scale, latent[rows])
    return [*flat, made, *_bias(chain, name, node, attribute(node, "beta", 1.0))]


def conv(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """A convolution, with the zeros that a Pad has put around."""
    stride = attribute(node, "strides", [1, 1])
    if stride[0] != stride[1] or attribute(node, "group", 1) != 1 or set(attribute(node, "dilations", [1])) != {1}:
        raise UnsupportedError(f"{name} has groups, dilations or unequal strides, which the device has not")
    _one_data_input(chain, name, node, tensor)
    places, around = chain.order.map(name)
    if chain.order.sides is None:
        chain.settle(places.reshape(-1), places.shape)
    weight, latent = (value.transpose(2, 3, 1, 0) for value in chain.constants.value(name, node.input[1]))
    more = operators.pads(fields(node), chain.shapes[tensor][2:], weight.shape[:2])
    pads = tuple(before + given for before, given in zip(around, more, strict=True))
    _, _, height, width = chain.shapes[node.output[0]]
    chain.order = Order.of(height, width, weight.shape[3])
    linear = Linear(name, weight, latent, stride=stride[0], pads=(pads[0], pads[1], pads[2], pads[3]))
    return [linear, *_bias(chain, name, node)]


def norm(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """A batch norm of moving statistics."""
    _one_data_input(chain, name, node, tensor)
    shape = (-1, *[1] * (chain.order.places.ndim - 2))
    gamma, beta, mean, variance = (chain.constants.value(name, given)[0] for given in node.input[1:5])
    made = batch_norm(name, gamma, beta, mean, variance, attribute(node, "epsilon", 1e-5))
    if chain.order.sides is None:
        return (dataclasses.replace(made, mean=None, deviation=None),)
    # Statistics of the same numbers stay one for each channel.
    fields = {key: getattr(made, key) for key in ("scale", "offset", "mean", "deviation")}
    channels = {key: chain.order.channels(name, value.reshape(shape)) for key, value in fields.items()}
    return (Affine(name, **{key: np.broadcast_to(value, chain.order.sides[-1:]) for key, value in channels.items()}),)


def pool(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """A maximum of 2 x 2 neighbours."""
    size, strides = attribute(node, "kernel_shape", []), attribute(node, "strides", [1, 1])
    pads = operators.pads(fields(node), chain.shapes[tensor][2:], size)
    if [*size, *strides, *attribute(node, "dilations", [1, 1])] != [2, 2, 2, 2, 1, 1] or any(pads):
        raise UnsupportedError(f"{name} must pool 2 x 2 neighbours, without padding")
    places, around = chain.order.map(name)
    if any(around):
        raise UnsupportedError(f"{name} gets zeros of padding: on the device a convolution alone can pad")
    if chain.order.sides is None:
        chain.settle(places.reshape(-1), places.shape)
    _, channels, height, width = chain.shapes[node.output[0]]
    chain.order = Order.of(height, width, channels)
    return (Pool(name),)


def pad(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """Zeros around, which the next convolution takes; no step."""
    wanted = [chain.constants.value(name, given)[0] if given else None for given in node.input[1:]]
    before, after = operators.margins(fields(node), chain.order.places.ndim, *wanted)
    chain.order = chain.order.pad(before, after)
    return ()


def ending(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """What tells probabilities or the best class."""
    shape = chain.shapes[tensor]
    axis = attribute(node, "axis", {"ArgMax": 0, "TopK": -1}.get(node.op_type, -1 if len(shape) == 2 else 1))
    if not -len(shape) <= axis < len(shape) or shape[axis] != np.prod(shape) or not attribute(node, "largest", 1):
        raise UnsupportedError(f"{name} must find the largest along the classes: it gets {list(shape)} and has axis {axis}")
    chain.ended = name
    return (Ending(name),)


def _one_data_input(chain: Chain, name: str, node: Any, tensor: str) -> None:
    if node.input[0] != tensor or tensor in node.input[1:]:
        raise UnsupportedError(f"{name} takes what it gets as weights: they must be constants")


def _bias(chain: Chain, name: str, node: Any, scale: float = 1.0) -> list[Step]:
    if len(node.input) < 3 or not node.input[2]:
        return []
    bias = chain.constants.value(name, node.input[2])[0]
    if bias.size > 1 and bias.shape[-1] != bias.size:
        raise UnsupportedError(f"{name} has a bias of {list(bias.shape)}: it must be one number for each output")
    return [Affine(f"{name}, bias", np.array(1.0), scale * bias.reshape(-1))]
