"""The nodes of an ONNX or QONNX graph as stages of steps.

Nodes that only move numbers (Transpose, Reshape, Pad and the like) become no steps: an `Order` goes along, and weights are put
into the order that the device has.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.importer import operators
from bnnedge.importer.constants import Constants, applied
from bnnedge.importer.functions import FUNCTIONS, apply
from bnnedge.importer.graph import attribute, fields, named
from bnnedge.importer.operators import MOVES, Shape
from bnnedge.importer.order import Order
from bnnedge.importer.steps import Affine, Ending, Flattening, Function, Linear, Pool, Stage, Step, UnsupportedError, batch_norm

_AFFINE = ("Mul", "Div", "Add", "Sub", "Neg")
_COMPARISONS = ("GreaterOrEqual", "Greater", "LessOrEqual", "Less")
_ENDINGS = ("Softmax", "LogSoftmax", "ArgMax", "TopK")
# A few numbers that a function may change: signs, fractions, what limits cut.
_ROUNDED = 1e-5  # of what several nodes make in float32
_TRIED = np.array([-1e6, -3.5, -1, -0.3, -1e-4, 0, 1e-4, 0.3, 1, 3.5, 1e6], np.float32)


class Chain:
    """Goes along the nodes of a graph, from the input to the output; UnsupportedError names one that has no form.

    whole, shapes: a GraphProto that `graph.check` has looked through, and the shapes of its tensors.
    stages: what each node does. tensors, orders: what it came by, behind each; no order behind an ending.
    image, input_shape: where each number of the device's image stands in the model's input, and the image's shape.
    """

    def __init__(self, whole: Any, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes
        self.nodes = list(whole.node)
        self.constants = Constants(whole, shapes)
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        for node in whole.node:
            for given in sorted({*node.input}):
                self.consumers[given].append(node)
        self.first, self.last = whole.input[0].name, whole.output[0].name
        self.images = {self.first}  # tensors that depend on the image
        for node in whole.node:
            if self.images.intersection(node.input):
                self.images.update(node.output)
        shape = shapes[self.first]
        self.order = Order(np.arange(np.prod(shape)).reshape(shape))
        self.image, self.input_shape = self.order.image()
        self.stages: list[Stage] = []
        self.tensors: list[str] = []
        self.orders: list[Order | None] = []
        self.ended = ""
        self._go()

    def _go(self) -> None:
        tensor = self.first
        while tensor != self.last:
            nodes = self.consumers[tensor] if len(self.consumers[tensor]) == 1 else self._branches(tensor)
            node = nodes[-1]
            name = " and ".join(map(named, nodes))
            if self.ended:
                steps = tuple(self._ended(name, node))
            else:
                steps = tuple(self._together(name, nodes, tensor) if len(nodes) > 1 else self._read(name, node, tensor))
            made = [output for output in node.output if self.consumers[output] or output == self.last]
            if len(made) != 1:
                raise UnsupportedError(f"{name} makes {len(made)} tensors that are used: models must be chains of layers")
            (tensor,) = made
            if not self.ended and self.order.places.size == np.prod(self.shapes[tensor]):
                self.order = self.order.reshape(self.shapes[tensor])
            # A step that took over what stood before it has a name of its own.
            self.stages.append(Stage(steps[-1].name if steps and isinstance(steps[-1], Function) else name, steps))
            self.tensors.append(tensor)
            self.orders.append(None if self.ended else self.order)
        if self.order.sides is None:
            self._settle(self.image, self.input_shape)

    def _branches(self, tensor: str) -> list[Any]:
        """Nodes that take a tensor, and treat each of its numbers by itself, until they have come together again."""
        inside, nodes = {tensor}, list[Any]()
        for node in self.nodes:
            given = self.images.intersection(node.input)
            if node.op_type not in FUNCTIONS or not given or not given <= inside or not inside.intersection(given):
                continue
            nodes.append(node)
            inside.add(node.output[0])
            taken = [consumer.output[0] for name in inside - {node.output[0]} for consumer in self.consumers[name]]
            if self.last not in inside - {node.output[0]} and inside.issuperset(taken):
                return nodes
        names = ", ".join(map(named, self.consumers[tensor][:4])) or "no node"
        raise UnsupportedError(f"{bounded.shown(repr(tensor))} is taken by {names}: models must be chains of layers")

    def _settle(self, image: np.ndarray, sides: tuple[int, ...]) -> None:
        """Let the order of pixels be known."""
        self.image, self.input_shape = image, sides
        self.orders = [order and order.settled(image, sides) for order in self.orders]
        self.order = self.order.settled(image, sides)

    def _ended(self, name: str, node: Any) -> Sequence[Step]:
        if node.op_type not in ("Cast", "Identity", *MOVES, *_ENDINGS):
            raise UnsupportedError(f"{name} stands behind {self.ended}: behind the last layer there can be that alone")
        return (Ending(name),) if node.op_type in _ENDINGS else ()

    def _read(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        kind = node.op_type
        if kind == "Transpose":
            self.order = self.order.transpose(attribute(node, "perm", None))
            return ()
        if kind in MOVES:
            self.order = self.order.reshape(self.shapes[node.output[0]])
            return ()
        if kind in ("Identity", "Dropout") and node.input[0] == tensor:
            return ()
        if kind in READERS:
            return READERS[kind](self, name, node, tensor)
        if kind in FUNCTIONS:
            return self.function(name, node, tensor)
        raise UnsupportedError(f"{name}: the device has nothing like it; there are {', '.join([*READERS, *FUNCTIONS, *MOVES])}")

    def _others(self, name: str, node: Any, tensor: str) -> tuple[int, list[np.ndarray | None]]:
        """Where among the inputs of a node the tensor stands, and the others, which are constants; None for one left out."""
        inputs = list(node.input)
        place = inputs.index(tensor)
        if inputs.count(tensor) != 1:
            raise UnsupportedError(f"{name} takes {bounded.shown(repr(tensor))} more than once: models must be chains of layers")
        if place and node.op_type not in (*_AFFINE, *_COMPARISONS):
            raise UnsupportedError(f"{name} takes what it gets as its input {place + 1}: that must be a constant")
        return place, [self.constants.value(name, given)[0] if given else None for given in inputs if given != tensor]

    def affine(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        place, others = self._others(name, node, tensor)
        value = np.array(1.0) if not others or others[0] is None else others[0]
        steps = [step for stage in self.stages for step in stage.steps]
        if steps and isinstance(steps[-1], Function) and _same(value):
            return self._joined(name, self._call(name, node, place, others))
        one, nothing = np.array(1.0), np.array(0.0)
        value = self._channels(name, value, node)
        if node.op_type == "Neg":
            return (Affine(name, -value, nothing),)
        if node.op_type == "Add":
            return (Affine(name, one, value),)
        if node.op_type == "Sub":
            return (Affine(name, -one, value) if place else Affine(name, one, -value),)
        if node.op_type == "Div" and place:
            raise UnsupportedError(f"{name} divides by what it gets")
        with np.errstate(divide="ignore"):
            return (Affine(name, value if node.op_type == "Mul" else 1 / value, nothing),)

    def _joined(self, name: str, call: Callable[[np.ndarray], np.ndarray]) -> Sequence[Step]:
        """One step of the function before, which leaves the stages, and a function behind it, such as 2 x - 1."""
        steps: tuple[Step, ...] = ()
        while not steps:
            steps = self.stages.pop().steps
            self.tensors.pop()
            self.orders.pop()
        *rest, before = steps
        assert isinstance(before, Function)
        first = before.apply
        return [*rest, Function(f"{before.name} and {name}", lambda x: call(first(x)))]

    def _channels(self, name: str, value: np.ndarray, node: Any) -> np.ndarray:
        """A constant of a node as numbers of channels."""
        made = self.shapes[node.output[0]]
        if np.prod(made) != self.order.places.size:
            raise UnsupportedError(f"{name} makes {list(made)} of {list(self.order.places.shape)}, which has no form")
        return self.order.reshape(made).channels(name, value)

    def function(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        place, others = self._others(name, node, tensor)
        self.order.check_no_padding(name)
        before: list[Step] = []
        if node.op_type == "MultiThreshold":
            before, others = self._thresholds(name, node, others[0])
        elif node.op_type in _COMPARISONS and others[0] is not None and others[0].any():
            before, others = self._compared(name, node, others[0]), [np.zeros(1)]
        call = self._call(name, node, place, others)
        if np.array_equal(call(_TRIED), _TRIED):
            return before
        return [*before, Function(name, call)]

    def _call(
        self, name: str, node: Any, place: int, others: Sequence[np.ndarray | None]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What a node makes of numbers, with its other inputs the same for all of them."""
        given: list[np.ndarray | None] = []
        for value in others:
            if value is not None and not _same(value) and node.op_type != "MultiThreshold":
                raise UnsupportedError(
                    f"{name} has {value.size} numbers, one for each channel or place: the device's functions are the same for "
                    "all; scales of weights, or a batch norm before it, can have one for each channel"
                )
            if value is not None:
                value = (value if node.op_type == "MultiThreshold" else value.reshape(-1)[:1]).astype(np.float32)
            given.append(value)
        return lambda x: applied(name, node, [*given[:place], x, *given[place:]])

    def _together(self, name: str, nodes: Sequence[Any], tensor: str) -> Sequence[Step]:
        """A function that several nodes are, such as x + (sign(x) - x), with which PyTorch's users train through a sign."""
        self.order.check_no_padding(name)
        constants = {given for node in nodes for given in node.input if given} - self.images
        others = {given: self.constants.value(name, given)[0] for given in constants}
        for value in others.values():
            if not _same(value):
                raise UnsupportedError(f"{name} has {value.size} numbers: the device's functions are the same for all channels")
        few = {given: value.reshape(-1)[:1].astype(np.float32) for given, value in others.items()}

        def call(x: np.ndarray) -> np.ndarray:
            known: dict[str, np.ndarray] = {**few, tensor: x}
            for node in nodes:
                known[node.output[0]] = apply(node, *(known.get(given) for given in node.input))
            made, size = known[nodes[-1].output[0]], np.abs(known[nodes[-1].output[0]][-1:])
            return np.where(np.abs(np.abs(made) - size) <= _ROUNDED * size, np.sign(made) * size, made)

        return [Function(name, call)]

    def _thresholds(self, name: str, node: Any, thresholds: Any) -> tuple[list[Step], list[np.ndarray | None]]:
        """What stands before a MultiThreshold, and its thresholds that are the same for all channels."""
        if thresholds.shape[1] != 1 and not np.any(thresholds != thresholds[:1]):
            return [], [thresholds[:1]]
        if thresholds.shape[1] != 1:
            raise UnsupportedError(f"{name} has {thresholds.shape[1]} thresholds for each channel: the device's signs have one")
        layout = attribute(node, "data_layout", b"").decode(errors="replace")
        layout = layout or {2: "NC", 3: "NWC", 4: "NCHW"}.get(self.order.places.ndim, "")
        axis = layout.find("C") if len(layout) == self.order.places.ndim else -1
        if axis < 0 or len(thresholds) not in (1, self.order.places.shape[axis]):
            raise UnsupportedError(f"{name} has {len(thresholds)} thresholds, but not as many channels")
        shape = [-1 if place == axis else 1 for place in range(self.order.places.ndim)]
        return self._compared(name, node, thresholds.reshape(shape)), [np.zeros((1, 1))]

    def _compared(self, name: str, node: Any, thresholds: Any) -> list[Step]:
        """By how much numbers are above thresholds."""
        return [Affine(f"{name}, thresholds", np.array(1.0), -self._channels(name, thresholds, node))]

    def dense(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        if node.input[0] != tensor or attribute(node, "transA", 0):
            raise UnsupportedError(f"{name}: what a layer gets must stand on the left, not transposed")
        weight, latent = self.constants.value(name, node.input[1])
        if attribute(node, "transB", 0):
            weight, latent = weight.T, latent.T
        places = self.order.vector(name)
        if self.order.sides is None:
            self._settle(self.image, self.input_shape)
            places = self.order.vector(name)
        flat = [Flattening(name)] if len(self.order.sides or ()) > 1 else []
        rows = np.argsort(places)
        scale = attribute(node, "alpha", 1.0)
        self.order = Order.of(weight.shape[1])
        made = Linear(name, weight[rows] * scale, latent[rows])
        return [*flat, made, *self._bias(name, node, attribute(node, "beta", 1.0))]

    def conv(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        stride = attribute(node, "strides", [1, 1])
        if stride[0] != stride[1] or attribute(node, "group", 1) != 1 or set(attribute(node, "dilations", [1])) != {1}:
            raise UnsupportedError(f"{name} has groups, dilations or unequal strides, which the device has not")
        self._one_data_input(name, node, tensor)
        places, around = self.order.map(name)
        if self.order.sides is None:
            self._settle(places.reshape(-1), places.shape)
        weight, latent = (value.transpose(2, 3, 1, 0) for value in self.constants.value(name, node.input[1]))
        more = operators.pads(fields(node), self.shapes[tensor][2:], weight.shape[:2])
        pads = tuple(before + given for before, given in zip(around, more, strict=True))
        _, _, height, width = self.shapes[node.output[0]]
        self.order = Order.of(height, width, weight.shape[3])
        linear = Linear(name, weight, latent, stride=stride[0], pads=(pads[0], pads[1], pads[2], pads[3]))
        return [linear, *self._bias(name, node)]

    def _one_data_input(self, name: str, node: Any, tensor: str) -> None:
        if node.input[0] != tensor or tensor in node.input[1:]:
            raise UnsupportedError(f"{name} takes what it gets as weights: they must be constants")

    def _bias(self, name: str, node: Any, scale: float = 1.0) -> list[Step]:
        if len(node.input) < 3 or not node.input[2]:
            return []
        bias = self.constants.value(name, node.input[2])[0]
        if bias.size > 1 and bias.shape[-1] != bias.size:
            raise UnsupportedError(f"{name} has a bias of {list(bias.shape)}: it must be one number for each output")
        return [Affine(f"{name}, bias", np.array(1.0), scale * bias.reshape(-1))]

    def norm(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        self._one_data_input(name, node, tensor)
        shape = (-1, *[1] * (self.order.places.ndim - 2))
        gamma, beta, mean, variance = (self.constants.value(name, given)[0] for given in node.input[1:5])
        made = batch_norm(name, gamma, beta, mean, variance, attribute(node, "epsilon", 1e-5))
        if self.order.sides is None:
            return (dataclasses.replace(made, mean=None, deviation=None),)
        # Statistics of the same numbers stay one for each channel.
        fields = {key: getattr(made, key) for key in ("scale", "offset", "mean", "deviation")}
        channels = {key: self.order.channels(name, value.reshape(shape)) for key, value in fields.items()}
        return (Affine(name, **{key: np.broadcast_to(value, self.order.sides[-1:]) for key, value in channels.items()}),)

    def pool(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        size, strides = attribute(node, "kernel_shape", []), attribute(node, "strides", [1, 1])
        pads = operators.pads(fields(node), self.shapes[tensor][2:], size)
        if [*size, *strides, *attribute(node, "dilations", [1, 1])] != [2, 2, 2, 2, 1, 1] or any(pads):
            raise UnsupportedError(f"{name} must pool 2 x 2 neighbours, without padding")
        places, around = self.order.map(name)
        if any(around):
            raise UnsupportedError(f"{name} gets zeros of padding: on the device a convolution alone can pad")
        if self.order.sides is None:
            self._settle(places.reshape(-1), places.shape)
        _, channels, height, width = self.shapes[node.output[0]]
        self.order = Order.of(height, width, channels)
        return (Pool(name),)

    def pad(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        wanted = [self.constants.value(name, given)[0] if given else None for given in node.input[1:]]
        before, after = operators.margins(fields(node), self.order.places.ndim, *wanted)
        self.order = self.order.pad(before, after)
        return ()

    def ending(self, name: str, node: Any, tensor: str) -> Sequence[Step]:
        shape = self.shapes[tensor]
        axis = attribute(node, "axis", {"ArgMax": 0, "TopK": -1}.get(node.op_type, -1 if len(shape) == 2 else 1))
        if not -len(shape) <= axis < len(shape) or shape[axis] != np.prod(shape) or not attribute(node, "largest", 1):
            raise UnsupportedError(f"{name} must find the largest along the classes: it gets {list(shape)} and has axis {axis}")
        self.ended = name
        return (Ending(name),)


def _same(values: np.ndarray) -> bool:
    return values.size == 1 or not np.any(values != values.flat[0])


READERS: dict[str, Callable[..., Sequence[Step]]] = {
    **dict.fromkeys(_AFFINE, Chain.affine),
    **dict.fromkeys(("MatMul", "Gemm"), Chain.dense),
    "Conv": Chain.conv,
    "BatchNormalization": Chain.norm,
    "MaxPool": Chain.pool,
    "Pad": Chain.pad,
    **dict.fromkeys(_ENDINGS, Chain.ending),
}
