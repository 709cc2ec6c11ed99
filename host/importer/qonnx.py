"""QONNX and ONNX models, as Brevitas, PyTorch and others export them: a chain of nodes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bnnedge import bounded
from bnnedge.export.graph import PRODUCER
from bnnedge.importer import graph, wire
from bnnedge.importer.chain import Chain
from bnnedge.importer.operators import Shape
from bnnedge.importer.runtime import Forward
from bnnedge.importer.steps import Model, UnsupportedError, first_line

SUFFIXES = (".onnx",)

_LARGEST_FILE = 1 << 30


@dataclasses.dataclass(frozen=True, eq=False)
class Tidy:
    """A ModelProto that has been looked through, and the shapes of its tensors, of one image."""

    model: Any
    shapes: dict[str, Shape]


def read(path: Path) -> Tidy:
    """The model in a file; ValueError if a library is missing that it needs, or the file is no model.

    What is in the file is looked through first: no library gets to see an operator, a domain, an attribute or a size that is not
    on our lists (`graph.check`).
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise UnsupportedError(f"it needs the Python module {error.name}: pip install 'bnnedge[exchange]'") from error
    with bounded.opened(path, _LARGEST_FILE) as file:
        octets = file.read()
    wire.check(octets)
    try:
        model = onnx.ModelProto.FromString(octets)
    except Exception as error:  # protobuf's own, which is no ValueError
        raise ValueError(f"it is no ONNX model, or damaged: {first_line(error)}") from error
    if model.producer_name == PRODUCER:
        raise UnsupportedError("bnnedge exported it: go on from its checkpoint, `bnnedge train --start CHECKPOINT`")
    shapes = graph.check(model)
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        ends = ", ".join(bounded.shown(repr(end.name)) for end in (*model.graph.input, *model.graph.output))
        raise UnsupportedError(f"it must have one input and one output: it has {ends}")
    return Tidy(model, shapes)


def understand(tidy: Tidy) -> Model:
    """The steps of a model; UnsupportedError names the node that the device has no form for."""
    chain = Chain(tidy.model.graph, tidy.shapes)
    forward = Forward(tidy.model, tidy.shapes, chain)
    return Model(tidy.model.graph.name or "network", chain.input_shape, tuple(chain.stages), forward)
