"""Constants of an ONNX or QONNX graph, and what its nodes make of them: quantised, scaled, transposed weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnedge.bounded import shown
from bnnedge.importer.functions import CONSTANT, FUNCTIONS, apply
from bnnedge.importer.graph import attribute, named
from bnnedge.importer.operators import MOVES, Shape
from bnnedge.importer.steps import UnsupportedError


class Constants:
    """Of a GraphProto, with the shapes of its tensors."""

    def __init__(self, whole: Any, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes
        self.given = {tensor.name: tensor for tensor in whole.initializer}
        self.producers = {output: node for node in whole.node for output in node.output}

    def value(self, name: str, tensor: str) -> tuple[np.ndarray, np.ndarray]:
        """A constant as it is used, and before it was quantised; float64. UnsupportedError, about `name`, if it is none."""
        from onnx import numpy_helper

        node = self.producers.get(tensor)
        if tensor in self.given or (node is not None and node.op_type == "Constant"):
            value: Any = self.given[tensor] if node is None else attribute(node, node.attribute[0].name, None)
            array = np.asarray(numpy_helper.to_array(value) if hasattr(value, "dims") else value).astype(np.float64)
            return array, array
        if node is None or node.op_type not in (*FUNCTIONS, *CONSTANT, *MOVES):
            raise UnsupportedError(f"{name}: {shown(repr(tensor))} must be a constant, perhaps quantised")
        if node.op_type in MOVES:
            used, before = self.value(name, node.input[0])
            if node.op_type == "Transpose":
                order = attribute(node, "perm", None)
                return used.transpose(order), before.transpose(order)
            return used.reshape(self.shapes[tensor]), before.reshape(self.shapes[tensor])
        pairs = [self.value(name, given) if given else None for given in node.input]
        made = applied(named(node), node, [pair and pair[0].astype(np.float32) for pair in pairs]).astype(np.float64)
        latent = [pair[1] for pair in pairs if pair and pair[1].shape == made.shape]
        return made, latent[0] if latent else made


def applied(name: str, node: Any, values: Sequence[np.ndarray | None]) -> np.ndarray:
    """What a node makes of its inputs; UnsupportedError for parameters that have no meaning."""
    try:
        return apply(node, *values)
    except ValueError as error:
        raise UnsupportedError(f"{name}: {error}") from error
