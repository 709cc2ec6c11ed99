"""ONNX and QONNX graphs as their libraries compute them: by onnxruntime, or node by node by qonnx where there are its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge.importer.chain import Chain
from bnnedge.importer.operators import QUANTISERS, Shape
from bnnedge.importer.steps import UnsupportedError, as_declared, first_line


class Forward:
    """Computes images of the device's order, one after another.

    model, shapes: a ModelProto that `graph.check` has looked through, and the shapes of its tensors; chain: its stages.
    """

    def __init__(self, model: Any, shapes: dict[str, Shape], chain: Chain) -> None:
        from onnx import helper

        (given,) = model.graph.input
        self.name, self.shape, self.image = given.name, shapes[given.name], chain.image
        self.dtype = np.dtype(helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type))
        self.tensors = tuple(zip(chain.tensors, chain.orders, strict=True))
        custom = any(node.op_type in QUANTISERS for node in model.graph.node)
        try:
            self.run = (_by_qonnx if custom else _by_onnxruntime)(model, chain.tensors)
        except ModuleNotFoundError as error:
            raise UnsupportedError(f"it needs the Python module {error.name}: pip install 'bnnedge[exchange]'") from error
        except Exception as error:  # of qonnx, onnx or onnxruntime, whatever they raise
            raise UnsupportedError(f"{'qonnx' if custom else 'onnxruntime'} cannot take it: {first_line(error)}") from error

    def __call__(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """Of (N, *input_shape) what stands behind each stage, (N, ...), in the device's order."""
        values = as_declared(images, self.name, self.dtype)
        found: list[list[np.ndarray]] = [[] for _ in self.tensors]
        for image in values.reshape(len(values), -1):
            given = np.empty(image.size, self.dtype)
            given[self.image] = image
            try:
                made = self.run({self.name: given.reshape(self.shape)})
            except Exception as error:  # of qonnx or onnxruntime, whatever they raise
                raise UnsupportedError(f"its library cannot compute it: {first_line(error)}") from error
            for of_all, value, (_, order) in zip(found, made, self.tensors, strict=True):
                of_all.append(np.asarray(value).reshape(-1) if order is None else order.take(np.asarray(value)))
        return [np.stack(of_all) for of_all in found]


_AXES_AS_INPUTS, _TRAINING_MODE = 13, 14  # operator sets that brought these
_Run = Callable[[dict[str, np.ndarray]], Sequence[Any]]


def _by_onnxruntime(model: Any, tensors: Sequence[str]) -> _Run:
    import onnx
    import onnxruntime

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.intra_op_num_threads = 1  # images are small
    try:
        session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:  # such as convolutions of doubles
        from onnx.reference import ReferenceEvaluator

        if whole.opset_import[0].version < _AXES_AS_INPUTS:
            raise
        # Its batch norm of older sets is one in training; what else is read here has not changed since then.
        whole.opset_import[0].version = max(whole.opset_import[0].version, _TRAINING_MODE)
        session = ReferenceEvaluator(whole)
    return lambda given: session.run(list(tensors), given)


def _by_qonnx(model: Any, tensors: Sequence[str]) -> _Run:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    wrapper = ModelWrapper(model).transform(InferShapes())

    def run(given: dict[str, np.ndarray]) -> Sequence[Any]:
        known = execute_onnx(wrapper, given, return_full_exec_context=True)
        return [known[name] for name in tensors]

    return run
