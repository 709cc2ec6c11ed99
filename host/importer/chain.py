"""The nodes of an ONNX or QONNX graph as stages of steps.

Nodes that only move numbers (Transpose, Reshape, Pad and the like) become no steps: an `Order` goes along, and weights are put
into the order that the device has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.importer import elementwise, weighted
from bnnedge.importer.constants import Constants
from bnnedge.importer.functions import FUNCTIONS
from bnnedge.importer.graph import attribute, named
from bnnedge.importer.operators import MOVES, Shape
from bnnedge.importer.order import Order
from bnnedge.importer.steps import Ending, Function, Stage, Step, UnsupportedError

_ENDINGS = ("Softmax", "LogSoftmax", "ArgMax", "TopK")


class Chain:
    """Goes along the nodes of a graph, from the input to the output; UnsupportedError names one that has no form.

    whole, shapes: a GraphProto that `graph.check` has looked through, and the shapes of its tensors.
    stages: what each node does. tensors, orders: what it came by, behind each; no order behind an ending.
    image, input_shape: where each number of the device's image stands in the model's input, and the image's shape.
    order: of what was made last. images: the tensors that depend on the image. ended: the node that makes classes, if it came by.
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
        self.images = {self.first}
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
                several = len(nodes) > 1
                steps = tuple(elementwise.together(self, name, nodes, tensor) if several else self._read(name, node, tensor))
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
            self.settle(self.image, self.input_shape)

    def _branches(self, tensor: str) -> list[Any]:
        """Nodes that take a tensor, and treat each of its numbers by itself, until they have come together again."""
        inside, nodes = {tensor}, list[Any]()
        for node in self.nodes:
            given = self.images.intersection(node.input)
            if node.op_type not in FUNCTIONS or not given or not given <= inside:
                continue
            nodes.append(node)
            inside.add(node.output[0])
            taken = [consumer.output[0] for name in inside - {node.output[0]} for consumer in self.consumers[name]]
            if self.last not in inside - {node.output[0]} and inside.issuperset(taken):
                return nodes
        names = ", ".join(map(named, self.consumers[tensor][:4])) or "no node"
        raise UnsupportedError(f"{bounded.shown(repr(tensor))} is taken by {names}: models must be chains of layers")

    def settle(self, image: np.ndarray, sides: tuple[int, ...]) -> None:
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
            return elementwise.function(self, name, node, tensor)
        raise UnsupportedError(f"{name}: the device has nothing like it; there are {', '.join([*READERS, *FUNCTIONS, *MOVES])}")


READERS: dict[str, Callable[..., Sequence[Step]]] = {
    **dict.fromkeys(elementwise.AFFINE, elementwise.affine),
    **dict.fromkeys(("MatMul", "Gemm"), weighted.dense),
    "Conv": weighted.conv,
    "BatchNormalization": weighted.norm,
    "MaxPool": weighted.pool,
    "Pad": weighted.pad,
    **dict.fromkeys(_ENDINGS, weighted.ending),
}
