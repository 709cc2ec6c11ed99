"""QONNX and ONNX models, as Brevitas exports them: a chain of nodes, whose quantisers have one bit or are of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.importer import graph, wire
from bnnedge.importer.steps import (
    Affine,
    Ending,
    Flattening,
    Function,
    Linear,
    Model,
    Pool,
    Step,
    UnsupportedError,
    batch_norm,
    first_line,
)

SUFFIXES = (".onnx",)

_IDENTITIES = ("Identity", "Dropout", "Cast")


_LARGEST_FILE = 1 << 30
_BITS = 32
_ROUNDING = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


def read(path: Path) -> Any:
    """The model in a file, tidied up by qonnx; ValueError if that library is missing or the file no model.

    What is in the file is looked through first: no library gets to see an operator, a domain, an attribute or a size that is not
    on our lists (`graph.check`).
    """
    try:
        import onnx
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.util.cleanup import cleanup_model
    except ModuleNotFoundError as error:
        raise UnsupportedError(f"it needs the Python module {error.name}: pip install 'bnnedge[exchange]'") from error
    with bounded.opened(path, _LARGEST_FILE) as file:
        octets = file.read()
    wire.check(octets)
    try:
        model = onnx.ModelProto.FromString(octets)
    except Exception as error:  # protobuf's own, which is no ValueError
        raise ValueError(f"it is no ONNX model, or damaged: {first_line(error)}") from error
    graph.check(model)
    try:
        return cleanup_model(ModelWrapper(model))
    except Exception as error:  # of protobuf, onnx or onnxruntime, for whatever is wrong with the file
        raise ValueError(f"qonnx cannot read it: {first_line(error)}") from error


def understand(model: Any) -> Model:
    """The steps of a tidy model (a `ModelWrapper`); UnsupportedError names the node that the device has no form for."""
    whole = model.graph
    if len(whole.input) != 1 or len(whole.output) != 1:
        raise UnsupportedError(f"model {whole.name!r} must have one input and one output")
    shape = model.get_tensor_shape(whole.input[0].name)
    return Model(whole.name or "network", _channels_last(shape[1:]), tuple(_Chain(model).steps()), _Forward(model))


def _channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else tuple(shape)


class _Forward:
    """Runs the model by qonnx, sample by sample: exported models often have batches of one."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, images: np.ndarray) -> np.ndarray:
        from qonnx.core.onnx_exec import execute_onnx

        first, last = self.model.graph.input[0].name, self.model.graph.output[0].name
        made = []
        for image in images.transpose(0, 3, 1, 2) if images.ndim == 4 else images:
            made.append(execute_onnx(self.model, {first: image[None].astype(np.float32)})[last].reshape(-1))
        return np.stack(made)


class _Chain:
    """Goes along the nodes from the input to the output."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        tensor = self.model.graph.input[0].name
        while tensor != self.model.graph.output[0].name:
            nodes = self.model.find_consumers(tensor)
            if len(nodes) != 1:
                raise UnsupportedError(f"{len(nodes)} nodes take {tensor!r}: the device has chains of layers, no branches")
            steps += self._read(nodes[0], tensor)
            tensor = nodes[0].output[0]
        return steps

    def _read(self, node: Any, tensor: str) -> Sequence[Step]:
        kind, name = node.op_type, f"node {node.name!r} ({node.op_type})"
        if kind in _IDENTITIES:
            return ()
        if kind in ("Softmax", "LogSoftmax", "ArgMax", "TopK"):
            return (Ending(name),)
        if kind in _READERS:
            return _READERS[kind](self, name, node, tensor)
        if kind in _FUNCTIONS:
            return (Function(name, self._function(kind, name, node)),)
        known = ", ".join([*_READERS, *_FUNCTIONS, *_IDENTITIES])
        raise UnsupportedError(f"{name}: the device has nothing like it; there are {known}")

    def constant(self, name: str, tensor: str) -> tuple[np.ndarray, np.ndarray]:
        """A constant as it is used, and before it was quantised; float64."""
        value = self.model.get_initializer(tensor)
        if value is not None:
            return value.astype(np.float64), value.astype(np.float64)
        node = self.model.find_producer(tensor)
        if node is None or node.op_type not in ("Transpose", *_FUNCTIONS):
            raise UnsupportedError(f"{name}: {tensor!r} must be a constant, perhaps quantised")
        used, before = self.constant(name, node.input[0])
        if node.op_type == "Transpose":
            order = _attribute(node, "perm", None)
            return used.transpose(order), before.transpose(order)
        function = self._function(node.op_type, f"node {node.name!r}", node)
        return function(used.astype(np.float32)).astype(np.float64), before

    def _function(self, kind: str, name: str, node: Any) -> Callable[[np.ndarray], np.ndarray]:
        constants = [self.constant(name, given)[0] for given in node.input[1:] if given]
        try:
            return _FUNCTIONS[kind](node, *constants)
        except ValueError as error:
            raise UnsupportedError(f"{name}: {error}") from error

    def affine(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        (other,) = (given for given in node.input if given != tensor)
        value, first = self.constant(name, other)[0].reshape(-1), node.input[0] == tensor
        one, nothing = np.array(1.0), np.array(0.0)
        if node.op_type == "Add":
            return (Affine(name, one, value),)
        if node.op_type == "Sub":
            return (Affine(name, one, -value) if first else Affine(name, -one, value),)
        if node.op_type == "Div" and not first:
            raise UnsupportedError(f"{name} divides by what it gets")
        return (Affine(name, value if node.op_type == "Mul" else 1 / value, nothing),)

    def dense(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        if node.input[0] != tensor or _attribute(node, "transA", 0):
            raise UnsupportedError(f"{name}: what a layer gets must stand on the left")
        if _attribute(node, "alpha", 1.0) != 1 or _attribute(node, "beta", 1.0) != 1:
            raise UnsupportedError(f"{name} has an alpha or beta other than 1")
        weight, latent = self.constant(name, node.input[1])
        if _attribute(node, "transB", 0):
            weight, latent = weight.T, latent.T
        return [Linear(name, weight, latent), *self._bias(name, node)]

    def conv(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        stride = _attribute(node, "strides", [1, 1])
        if stride[0] != stride[1] or _attribute(node, "group", 1) != 1 or set(_attribute(node, "dilations", [1])) != {1}:
            raise UnsupportedError(f"{name} has groups, dilations or unequal strides, which the device has not")
        pads = tuple(_attribute(node, "pads", [0, 0, 0, 0]))
        weight, latent = (value.transpose(2, 3, 1, 0) for value in self.constant(name, node.input[1]))
        return [Linear(name, weight, latent, stride=stride[0], pads=pads), *self._bias(name, node)]

    def _bias(self, name: str, node: Any) -> list[Step]:
        if len(node.input) < 3:
            return []
        return [Affine(f"{name}, bias", np.array(1.0), self.constant(name, node.input[2])[0].reshape(-1))]

    def norm(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        gamma, beta, mean, variance = (self.constant(name, given)[0] for given in node.input[1:5])
        return (batch_norm(name, gamma, beta, mean, variance, _attribute(node, "epsilon", 1e-5)),)

    def pool(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        size, strides = _attribute(node, "kernel_shape", []), _attribute(node, "strides", [1, 1])
        if [*size, *strides] != [2, 2, 2, 2] or any(_attribute(node, "pads", [0])):
            raise UnsupportedError(f"{name} must pool 2 x 2 neighbours, without padding")
        return (Pool(name),)

    def flatten(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        before, after = (self.model.get_tensor_shape(t) for t in (tensor, node.output[0]))
        if len(after) != 2 or after[0] != before[0]:
            raise UnsupportedError(f"{name} makes {after} of {before}: only a map can become a vector")
        return (Flattening(name, channels_first=True),)


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    found = [attribute for attribute in node.attribute if attribute.name == name]
    return helper.get_attribute_value(found[0]) if found else default


def _bipolar(node: Any, scale: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    if not np.isfinite(scale).all():
        raise ValueError("its scale must be finite")
    return lambda x: np.where(x >= 0, scale, -scale).astype(np.float32)


def _quant(node: Any, scale: np.ndarray, zero: np.ndarray, bits: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    from qonnx.custom_op.general.quant import quant

    if not (np.isfinite(scale).all() and (scale > 0).all() and np.isfinite(zero).all()):
        raise ValueError("its scale and zero point must be finite, and the scale positive")
    if bits.size != 1 or not 1 <= bits.item() <= _BITS or bits.item() % 1:
        raise ValueError(f"its bit width must be one whole number in 1..{_BITS}")
    mode = _attribute(node, "rounding_mode", b"ROUND").decode(errors="replace").upper()
    if mode not in _ROUNDING:
        raise ValueError(f"its rounding_mode must be one of {', '.join(_ROUNDING)}")
    signed, narrow = (bool(_attribute(node, name, 0)) for name in ("signed", "narrow"))
    return lambda x: np.asarray(quant(x, scale, zero, bits, signed, narrow, mode), np.float32)


def _clip(node: Any, low: np.ndarray | float = -np.inf, high: np.ndarray | float = np.inf) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.clip(x, low, high).astype(np.float32)


_FUNCTIONS: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "BipolarQuant": _bipolar,
    "Quant": _quant,
    "Sign": lambda node: np.sign,
    "Clip": _clip,
    "Relu": lambda node: lambda x: np.maximum(x, 0),
    "Tanh": lambda node: np.tanh,
}
_READERS: dict[str, Callable[..., Sequence[Step]]] = {
    **dict.fromkeys(("Mul", "Div", "Add", "Sub"), _Chain.affine),
    **dict.fromkeys(("MatMul", "Gemm"), _Chain.dense),
    "Conv": _Chain.conv,
    "BatchNormalization": _Chain.norm,
    "MaxPool": _Chain.pool,
    **dict.fromkeys(("Flatten", "Reshape"), _Chain.flatten),
}
