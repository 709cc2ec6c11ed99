"""QONNX and ONNX models, as Brevitas, PyTorch and others export them: a chain of nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import bounded
from bnnedge.importer import graph, wire
from bnnedge.importer.chain import Chain
from bnnedge.importer.operators import Shape
from bnnedge.importer.steps import Model, UnsupportedError, first_line

SUFFIXES = (".onnx",)

_LARGEST_FILE = 1 << 30


@dataclasses.dataclass(frozen=True, eq=False)
class Tidy:
    """A model that has been looked through. wrapper: qonnx's `ModelWrapper`; shapes: of its tensors, of one image."""

    wrapper: Any
    shapes: dict[str, Shape]


def read(path: Path) -> Tidy:
    """The model in a file; ValueError if a library is missing that it needs, or the file is no model.

    What is in the file is looked through first: no library gets to see an operator, a domain, an attribute or a size that is not
    on our lists (`graph.check`).
    """
    try:
        import onnx
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes
    except ModuleNotFoundError as error:
        raise UnsupportedError(f"it needs the Python module {error.name}: pip install 'bnnedge[exchange]'") from error
    with bounded.opened(path, _LARGEST_FILE) as file:
        octets = file.read()
    wire.check(octets)
    try:
        model = onnx.ModelProto.FromString(octets)
    except Exception as error:  # protobuf's own, which is no ValueError
        raise ValueError(f"it is no ONNX model, or damaged: {first_line(error)}") from error
    shapes = graph.check(model)
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        ends = ", ".join(bounded.shown(repr(end.name)) for end in (*model.graph.input, *model.graph.output))
        raise UnsupportedError(f"it must have one input and one output: it has {ends}")
    try:
        return Tidy(ModelWrapper(model).transform(InferShapes()), shapes)
    except Exception as error:  # of protobuf or onnx, for whatever is wrong with the file
        raise ValueError(f"qonnx cannot read it: {first_line(error)}") from error


def understand(model: Tidy) -> Model:
    """The steps of a model; UnsupportedError names the node that the device has no form for."""
    chain = Chain(model.wrapper.graph, model.shapes)
    return Model(model.wrapper.graph.name or "network", chain.input_shape, tuple(chain.stages), _Forward(model, chain))


class _Forward:
    """Runs the model by qonnx, image by image."""

    def __init__(self, model: Tidy, chain: Chain) -> None:
        from onnx import helper

        (given,) = model.wrapper.graph.input
        self.model, self.name, self.shape = model.wrapper, given.name, model.shapes[given.name]
        self.dtype = np.dtype(helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type))
        self.image, self.tensors = chain.image, tuple(zip(chain.tensors, chain.orders, strict=True))

    def __call__(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """Of (N, *input_shape) what stands behind each stage, (N, ...), in the device's order."""
        from qonnx.core.onnx_exec import execute_onnx

        values = images
        if self.dtype.kind in "iub":
            values = np.rint(images)
            if np.abs(values - images).max() > 1e-3 or np.any(values.astype(self.dtype) != values):
                raise UnsupportedError(
                    f"its input {self.name!r} takes {self.dtype}: `pixels` must be whole numbers, and 255 steps apart or a "
                    "multiple of that, such as 0 and 255"
                )
        found: list[list[np.ndarray]] = [[] for _ in self.tensors]
        for image in values.reshape(len(values), -1):
            given = np.empty(image.size, self.dtype)
            given[self.image] = image
            try:
                known = execute_onnx(self.model, {self.name: given.reshape(self.shape)}, return_full_exec_context=True)
            except Exception as error:  # of qonnx or onnxruntime, whatever they raise
                raise UnsupportedError(f"qonnx and onnxruntime cannot run it: {first_line(error)}") from error
            for of_all, (name, order) in zip(found, self.tensors, strict=True):
                made = np.asarray(known[name])
                of_all.append(made.reshape(-1) if order is None else order.take(made))
        return [np.stack(of_all) for of_all in found]
