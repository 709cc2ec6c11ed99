"""What an ONNX or QONNX graph may have: gone through before qonnx or onnxruntime see it.

qonnx imports the Python module that a node's domain names, evaluates annotations, and makes room for each tensor of whatever
shape a file claims. So operators, domains and attributes are looked up here, claims are struck out, and shapes are worked out
anew from the input's and the constants'. What the output does not need is left out, whatever it is.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from bnnedge.bounded import shown
from bnnedge.importer.operators import COMPUTED, FLOAT, FLOATS, INT, INTS, OPERATORS, QUANTISERS, TENSOR, TEXT, Shape
from bnnedge.importer.steps import LARGEST_MAP, UnsupportedError

CUSTOM = "qonnx.custom_op.general"

_ONNX = ("", "ai.onnx")
_DOMAINS = (*_ONNX, CUSTOM, "onnx.brevitas", "finn.custom_op.general", "finn")
_NODES = 5_000
_IR_VERSION = 8  # constants need not be among the inputs
_OLDEST = 7  # since then operators broadcast as NumPy does
_DATATYPE = re.compile(r"BINARY|BIPOLAR|TERNARY|FLOAT16|FLOAT32|U?INT([1-9]|[12]\d|3[0-2])|(FIXED|SCALEDINT)<\d{1,2}(,\d{1,2})?>")
# Bytes by TensorProto's numbers: floats, integers, booleans.
_TYPES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_SMALL = 64  # of shapes that a graph computes


def check(model: Any) -> dict[str, Shape]:
    """Look a `ModelProto` through, tidy it up for batches of one, and strike out what it claims; the shape of each tensor.

    UnsupportedError names the node. Shapes that the graph computes become constants; each node gets a name.
    """
    graph = model.graph
    if len(graph.node) > _NODES:
        raise UnsupportedError(f"it has {len(graph.node):,} nodes: {_NODES:,} are the most")
    _state_operators(model)
    _check_annotations(graph)
    names: set[str] = set()
    for place, node in enumerate(graph.node):
        node.name = node.name if node.name and node.name not in names else f"{node.name or node.op_type}_{place}"
        names.add(node.name)
    _keep_needed(graph)
    graph.name = shown(graph.name, 200)
    del graph.value_info[:], graph.quantization_annotation[:], model.metadata_props[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    shapes = _Shapes(graph).shapes
    _keep_needed(graph)
    return shapes


def _state_operators(model: Any) -> None:
    """Leave of the stated operator sets ONNX's and QONNX's own, in that order."""
    from onnx import defs

    versions = [stated.version for stated in model.opset_import if stated.domain in _ONNX]
    newest = defs.onnx_opset_version()
    if not versions or not _OLDEST <= versions[0] <= newest:
        stated = f"operator set {versions[0]}" if versions else "no operator set"
        raise UnsupportedError(
            f"it states {stated}: the installed onnx reads {_OLDEST} to {newest}; export it again with one of these "
            "(opset_version=13), or convert it with onnx.version_converter"
        )
    model.ir_version = _IR_VERSION
    del model.opset_import[:]
    model.opset_import.add(domain="", version=versions[0])
    model.opset_import.add(domain=CUSTOM, version=1)


def _check_annotations(graph: Any) -> None:
    for annotation in graph.quantization_annotation:
        for entry in annotation.quant_parameter_tensor_names:
            if entry.key == "finn_datatype" and not _DATATYPE.fullmatch(entry.value):
                raise UnsupportedError(
                    f"tensor {shown(repr(annotation.tensor_name))} has the finn_datatype {shown(repr(entry.value))}, which is "
                    "not known here; there are BINARY, BIPOLAR, TERNARY, INT1 to INT32, UINT1 to UINT32, FIXED<n,m>, "
                    "SCALEDINT<n>, FLOAT16 and FLOAT32"
                )


def _keep_needed(graph: Any) -> None:
    """Leave out nodes, constants and inputs that no output needs, and constants' names among the inputs."""
    needed = {output.name for output in graph.output}
    for place in reversed(range(len(graph.node))):
        if needed.intersection(graph.node[place].output) - {""}:
            needed.update(graph.node[place].input)
        else:
            del graph.node[place]
    given = {tensor.name for tensor in graph.initializer}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in needed:
            del graph.initializer[place]
    for place in reversed(range(len(graph.input))):
        if graph.input[place].name in given or (graph.input[place].name not in needed and len(graph.input) > 1):
            del graph.input[place]


class _Shapes:
    """Goes along the nodes once: the shape of each tensor, and the values of small constants.

    batch: of images, that the file states; it becomes 1. images: tensors that have it.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.shapes: dict[str, Shape] = {}
        self.values: dict[str, np.ndarray] = {}
        self.images: set[str] = set()
        self.batch = 1
        for tensor in graph.initializer:
            self.constant(f"constant {shown(repr(tensor.name))}", tensor.name, tensor)
        room = 8 * LARGEST_MAP + 4 * sum(map(math.prod, self.shapes.values()))
        for given in graph.input:
            self.batch, self.shapes[given.name] = _input(given)
            self.images.add(given.name)
        for node in graph.node:
            name = named(node)
            shape = self.node(name, node)
            for output in filter(None, node.output):
                if output in self.shapes:
                    raise UnsupportedError(f"{name} makes {shown(repr(output))}, which is there already")
                self.shapes[output] = shape
            if self.images.intersection(node.input) and node.op_type != "Shape":
                self.images.update(node.output)
            room -= math.prod(shape) * len(node.output)
            if min(shape, default=1) < 1 or room < 0:
                raise UnsupportedError(f"{name} makes {math.prod(shape):,} numbers: all together they would take too much memory")
        missing = [output.name for output in graph.output if output.name not in self.shapes]
        if missing:
            raise UnsupportedError(f"no node makes the output {shown(repr(missing[0]))}")

    def constant(self, name: str, key: str, tensor: Any) -> Shape:
        """The shape of a constant whose numbers are all in the file."""
        if tensor.data_location or len(tensor.external_data):
            raise UnsupportedError(
                f"{name} is kept in another file, which is not read: export one file (external_data=False), or make one, "
                "onnx.save(onnx.load(FILE), FILE)"
            )
        shape, size = tuple(tensor.dims), _TYPES.get(tensor.data_type)
        if size is None or len(shape) > 8 or min(shape, default=1) < 0:
            raise UnsupportedError(f"{name} is no array of plain numbers")
        fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
        typed = sum(len(getattr(tensor, field)) for field in fields)
        if math.prod(shape) != (len(tensor.raw_data) // size if tensor.raw_data else typed):
            raise UnsupportedError(f"{name} shows {math.prod(shape):,} numbers, which are not all in the file, or more are")
        if key in self.shapes:
            raise UnsupportedError(f"{name} is there twice")
        self.shapes[key] = shape
        if math.prod(shape) <= _SMALL:
            from onnx import numpy_helper

            self.values[key] = numpy_helper.to_array(tensor)
        return shape

    def made(self, name: str, key: str, fields: dict[str, Any]) -> Shape:
        """The shape of what a Constant node makes: of an array, or of a few numbers."""
        if len(fields) != 1:
            raise UnsupportedError(f"{name} must have one value")
        (value,) = fields.values()
        if "value" not in fields:
            self.values[key] = np.asarray(value)
            return self.values[key].shape
        shape = self.constant(name, key, value)
        del self.shapes[key]
        return shape

    def node(self, name: str, node: Any) -> Shape:
        """Look a node up; the shape of what it makes."""
        kind = node.op_type
        if node.domain not in _DOMAINS:
            raise UnsupportedError(
                f"{name} is of domain {shown(repr(node.domain))}: only ONNX's and QONNX's are known here; give the model as it "
                "was before onnxruntime or another tool rewrote it"
            )
        if kind not in OPERATORS or (node.domain not in _ONNX and kind not in QUANTISERS):
            raise UnsupportedError(f"{name}: the device has nothing like it; there are {', '.join(sorted(OPERATORS))}")
        node.domain = CUSTOM if kind in QUANTISERS else ""
        least, most, attributes, shape = OPERATORS[kind]
        inputs = [given for given in node.input if given]
        if kind == "BatchNormalization" and (len(node.output) > 1 or attribute(node, "training_mode", 0)):
            raise UnsupportedError(f"{name} is in training: export the model after model.eval()")
        if kind == "Dropout" and len(inputs) > 2 and np.any(self.values.get(inputs[2], True)):
            raise UnsupportedError(f"{name} is in training: export the model after model.eval()")
        if not least <= len(inputs) <= most or not 1 <= len(node.output) <= (2 if kind in ("Dropout", "TopK") else 1):
            raise UnsupportedError(f"{name} has {len(inputs)} inputs and {len(node.output)} outputs, which it cannot")
        fields = {given.name: _value(name, given, attributes.get(given.name)) for given in node.attribute}
        unknown = [given for given in inputs if given not in self.shapes]
        if unknown:
            raise UnsupportedError(f"{name} takes {shown(repr(unknown[0]))}, which no node before it makes")
        if kind == "Constant":
            return self.made(name, node.output[0], fields)
        shapes = [self.shapes[given] for given in inputs]
        values = [self.values.get(given) for given in node.input]  # None for one left out, too
        try:
            if kind in COMPUTED:
                known = [value for value in ([np.array(shapes[0])] if kind == "Shape" else values) if value is not None]
                whole = len(known) == len(values) and all(value.dtype.kind in "iu" for value in known)
                value = np.asarray(COMPUTED[kind](fields, *known)) if whole else None
                if value is not None and value.size <= _SMALL:
                    self.values[node.output[0]] = value
            if kind == "Reshape":
                return self.reshape(name, node, fields, shapes, values)
            if kind in COMPUTED and node.output[0] in self.values:
                return self.values[node.output[0]].shape
            return tuple(int(side) for side in shape(fields, shapes, values))
        except UnsupportedError:
            raise
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, ArithmeticError) as error:
            taken = ", ".join(str(list(shape)) for shape in shapes)
            raise UnsupportedError(f"{name} cannot take {shown(taken)}: {shown(error, 200)}") from error

    def reshape(self, name: str, node: Any, fields: dict[str, Any], shapes: list[Shape], values: list[Any]) -> Shape:
        """The shape that a Reshape makes, which becomes its constant: of one image instead of the file's batch."""
        from onnx import numpy_helper

        wanted = values[1]
        if self.batch > 1 and node.input[0] in self.images and wanted is not None and np.ravel(wanted)[:1] == self.batch:
            values = [values[0], np.concatenate([[1], np.ravel(wanted)[1:]])]
        made = tuple(OPERATORS["Reshape"][3](fields, shapes, values))
        key = f"{node.output[0]}, shape"
        if key in self.shapes:
            raise UnsupportedError(f"{name}: a tensor is called {shown(repr(key))}")
        self.graph.initializer.append(numpy_helper.from_array(np.array(made, np.int64), key))
        self.shapes[key] = (len(made),)
        node.input[1] = key
        return made


def named(node: Any) -> str:
    """A node, for messages."""
    return f"node {shown(repr(node.name))} ({shown(node.op_type)})"


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    from onnx import helper

    found = [given for given in node.attribute if given.name == name]
    return helper.get_attribute_value(found[0]) if found else default


def fields(node: Any) -> dict[str, Any]:
    """The attributes of a node."""
    return {given.name: attribute(node, given.name, None) for given in node.attribute}


def _value(name: str, given: Any, wanted: int | None) -> Any:
    """The value of an attribute of the wanted kind."""
    if wanted is None or given.type != wanted or given.ref_attr_name:
        raise UnsupportedError(f"{name} has an attribute {shown(repr(given.name))} that is unknown here, or of another kind")
    lists = {INTS: list(given.ints), FLOATS: list(given.floats)}
    value = {INT: given.i, FLOAT: given.f, TEXT: given.s, TENSOR: given.t, **lists}[wanted]
    numbers = {INT: [value], FLOAT: [value], **lists}.get(wanted, [])
    if not all(abs(number) < 1 << 31 for number in numbers) or len(numbers) > 8:
        raise UnsupportedError(f"{name} has an attribute {shown(repr(given.name))} that is out of range")
    return value


def _input(given: Any) -> tuple[int, Shape]:
    """Batch and shape of a graph's input; the batch becomes one of 1, in the graph, too."""
    name = f"input {shown(repr(given.name))}"
    dims = given.type.tensor_type.shape.dim
    if not 2 <= len(dims) <= 4:
        raise UnsupportedError(f"{name} must have 2 to 4 axes, the batch first, not {len(dims)}: export with an example image")
    batch = dims[0].dim_value
    dims[0].Clear()
    dims[0].dim_value = 1
    shape = tuple(dim.dim_value for dim in dims)
    if min(shape) < 1 or math.prod(shape) > LARGEST_MAP:
        raise UnsupportedError(f"{name} is of shape {shape}: its sides must be stated, for {LARGEST_MAP:,} numbers at most")
    if given.type.tensor_type.elem_type not in _TYPES:
        raise UnsupportedError(f"{name} is of no type of numbers")
    return max(1, batch), shape
