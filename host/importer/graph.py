"""What an ONNX or QONNX graph may have: gone through before qonnx or onnxruntime see it.

qonnx imports the Python module that a node's domain names, evaluates annotations, and makes room for each tensor of whatever
shape a file claims. So operators, domains and attributes are looked up here, claims are struck out, and shapes are worked out
anew from the input's and the constants'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge.bounded import shown
from bnnedge.importer.steps import LARGEST_MAP, UnsupportedError

CUSTOM = "qonnx.custom_op.general"

_DOMAINS = ("", "ai.onnx", CUSTOM, "onnx.brevitas", "finn.custom_op.general", "finn")
_NODES = 5_000
_DATATYPE = re.compile(r"BINARY|BIPOLAR|TERNARY|FLOAT16|FLOAT32|U?INT([1-9]|[12]\d|3[0-2])|(FIXED|SCALEDINT)<\d{1,2}(,\d{1,2})?>")
_TYPES = {1: 4, 2: 1, 3: 1, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}  # bytes by TensorProto's numbers: floats, integers, booleans
_FLOAT, _INT, _TEXT, _TENSOR, _INTS = 1, 2, 3, 4, 7  # by AttributeProto's
_SMALL = 64  # of shapes that a graph computes

Shape = tuple[int, ...]


def check(model: Any) -> None:
    """Look a `ModelProto` through, and strike out what it claims; UnsupportedError names the node."""
    graph = model.graph
    for imported in model.opset_import:
        if imported.domain not in _DOMAINS:
            raise UnsupportedError(f"it uses operators of {shown(repr(imported.domain))}: only ONNX's and QONNX's are known here")
    if len(graph.node) > _NODES:
        raise UnsupportedError(f"it has {len(graph.node):,} nodes: {_NODES:,} are the most")
    _check_annotations(graph)
    graph.name = graph.name[:200]
    del graph.value_info[:], graph.quantization_annotation[:], model.metadata_props[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    _Shapes(graph)


def _check_annotations(graph: Any) -> None:
    for annotation in graph.quantization_annotation:
        for entry in annotation.quant_parameter_tensor_names:
            if entry.key == "finn_datatype" and not _DATATYPE.fullmatch(entry.value):
                raise UnsupportedError(
                    f"tensor {shown(repr(annotation.tensor_name))} has the finn_datatype {shown(repr(entry.value))}, which is "
                    "not known here; there are BINARY, BIPOLAR, TERNARY, INT1 to INT32, UINT1 to UINT32, FIXED<n,m>, "
                    "SCALEDINT<n>, FLOAT16 and FLOAT32"
                )


class _Shapes:
    """Goes along the nodes once: the shape of each tensor, and the values of small constants."""

    def __init__(self, graph: Any) -> None:
        self.shapes: dict[str, Shape] = {}
        self.values: dict[str, np.ndarray] = {}
        for tensor in graph.initializer:
            self.constant(f"constant {shown(repr(tensor.name))}", tensor.name, tensor)
        room = 8 * LARGEST_MAP + 4 * sum(map(math.prod, self.shapes.values()))
        for given in graph.input:
            if given.name not in self.shapes:
                self.shapes[given.name] = _input(given)
        for place, node in enumerate(graph.node):
            name = f"node {shown(repr(node.name or f'{node.op_type}_{place}'))} ({shown(node.op_type)})"
            shape = self.node(name, node)
            for output in node.output:
                if output in self.shapes:
                    raise UnsupportedError(f"{name} makes {shown(repr(output))}, which is there already")
                self.shapes[output] = shape
            room -= math.prod(shape) * len(node.output)
            if min(shape, default=1) < 1 or room < 0:
                raise UnsupportedError(f"{name} makes {math.prod(shape):,} numbers: all together they would take too much memory")
        missing = [output.name for output in graph.output if output.name not in self.shapes]
        if missing:
            raise UnsupportedError(f"no node makes the output {shown(repr(missing[0]))}")

    def constant(self, name: str, key: str, tensor: Any) -> Shape:
        """The shape of a constant whose numbers are all in the file."""
        if tensor.data_location or len(tensor.external_data):
            raise UnsupportedError(f"{name} is kept in another file, which is not read: export one file (external_data=False)")
        shape, size = tuple(tensor.dims), _TYPES.get(tensor.data_type)
        if size is None or len(shape) > 8 or min(shape, default=1) < 0:
            raise UnsupportedError(f"{name} is no array of plain numbers")
        typed = sum(len(getattr(tensor, field)) for field in ("float_data", "int32_data", "int64_data", "double_data"))
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
            raise UnsupportedError(f"{name} is of domain {shown(repr(node.domain))}: only ONNX's and QONNX's are known here")
        if kind not in OPERATORS or (node.domain not in _DOMAINS[:2] and kind not in ("Quant", "BipolarQuant")):
            known = ", ".join(sorted(OPERATORS))
            raise UnsupportedError(f"{name}: the device has nothing like it; there are {known}")
        node.domain = CUSTOM if kind in ("Quant", "BipolarQuant") else ""
        least, most, attributes, shape = OPERATORS[kind]
        inputs = [given for given in node.input if given]
        if not least <= len(inputs) <= most or not 1 <= len(node.output) <= (2 if kind in ("Dropout", "TopK") else 1):
            raise UnsupportedError(f"{name} has {len(inputs)} inputs and {len(node.output)} outputs, which it cannot")
        fields = {attribute.name: _value(name, attribute, attributes.get(attribute.name)) for attribute in node.attribute}
        unknown = [given for given in inputs if given not in self.shapes]
        if unknown:
            raise UnsupportedError(f"{name} takes {shown(repr(unknown[0]))}, which no node before it makes")
        if kind == "Constant":
            return self.made(name, node.output[0], fields)
        shapes = [self.shapes[given] for given in inputs]
        values = [self.values.get(given) for given in inputs]
        try:
            if kind in _COMPUTED:
                known_values = [np.array(shapes[0])] if kind == "Shape" else values
                value = None if any(v is None for v in known_values) else np.asarray(_COMPUTED[kind](fields, *known_values))
                if value is None or value.size > _SMALL:
                    raise ValueError("it is no part of a shape")
                self.values[node.output[0]] = value
                return value.shape
            return tuple(int(side) for side in shape(fields, shapes, values))
        except UnsupportedError:
            raise
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, ArithmeticError) as error:
            taken = ", ".join(str(list(shape)) for shape in shapes)
            raise UnsupportedError(f"{name} cannot take {shown(taken)}: {shown(error, 200)}") from error


def _value(name: str, attribute: Any, wanted: int | None) -> Any:
    """The value of an attribute of the wanted kind."""
    if wanted is None or attribute.type != wanted or attribute.ref_attr_name:
        raise UnsupportedError(f"{name} has an attribute {shown(repr(attribute.name))} that is unknown here, or of another kind")
    values = {_INT: attribute.i, _FLOAT: attribute.f, _TEXT: attribute.s, _INTS: list(attribute.ints), _TENSOR: attribute.t}
    value = values[wanted]
    numbers = {_INT: [value], _FLOAT: [value], _INTS: value}.get(wanted, [])
    if not all(abs(number) < 1 << 31 for number in numbers) or len(numbers) > 8:
        raise UnsupportedError(f"{name} has an attribute {shown(repr(attribute.name))} that is out of range")
    return value


def _input(given: Any) -> Shape:
    """The shape of a graph's input; a batch of no stated size becomes one of 1, in the graph, too."""
    dims = given.type.tensor_type.shape.dim
    if not 2 <= len(dims) <= 4:
        raise UnsupportedError(f"input {shown(repr(given.name))} must have 2 to 4 axes, the batch first, not {len(dims)}")
    if dims[0].dim_value < 1:
        dims[0].Clear()
        dims[0].dim_value = 1
    shape = tuple(dim.dim_value for dim in dims)
    if min(shape) < 1 or math.prod(shape) > LARGEST_MAP:
        raise UnsupportedError(
            f"input {shown(repr(given.name))} is of shape {shape}: its sides must be stated, for {LARGEST_MAP:,} numbers at most"
        )
    return shape


def _same(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    if np.broadcast_shapes(*shapes) != shapes[0]:
        raise ValueError("what it works with is larger than what it gets")
    return shapes[0]


def _broadcast(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    return np.broadcast_shapes(*shapes)


def _norm(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    if any(shape != (shapes[0][1],) for shape in shapes[1:]):
        raise ValueError("it must have a number for each channel")
    return shapes[0]


def _matmul(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    left, right = shapes
    if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        raise ValueError("these matrices do not fit each other")
    return left[0], right[1]


def _gemm(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    left, right = (shape[::-1] if fields.get(way) else shape for shape, way in zip(shapes, ("transA", "transB"), strict=False))
    made = _matmul(fields, (left, right), values)
    return _same(fields, (made, *shapes[2:]), values)


def _window(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    """Of a convolution or a maximum."""
    batch, channels, *sides = shapes[0]
    size = list(shapes[1][2:]) if len(shapes) > 1 else fields["kernel_shape"]
    strides, pads, dilations = fields.get("strides", [1, 1]), fields.get("pads", [0] * 4), fields.get("dilations", [1, 1])
    if not len(sides) == len(size) == len(strides) == len(dilations) == len(pads) // 2 == 2 or len(pads) != 4:
        raise ValueError("it must have two sides")
    if fields.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or fields.get("ceil_mode", 0) or min(pads) < 0:
        raise ValueError("it must state its pads, and not round up")
    if len(shapes) > 1 and (shapes[1][1] != channels or fields.get("group", 1) != 1 or fields.get("kernel_shape", size) != size):
        raise ValueError("its weights do not fit, or it has groups")
    if len(shapes) > 2 and shapes[2] != (shapes[1][0],):
        raise ValueError("its bias does not fit")
    if min(*strides, *dilations, *size) < 1 or any(pad >= side for pad, side in zip(pads, size * 2, strict=True)):
        raise ValueError("its window, strides, dilations or pads are out of range")
    made = [(sides[i] + pads[i] + pads[i + 2] - dilations[i] * (size[i] - 1) - 1) // strides[i] + 1 for i in (0, 1)]
    return batch, shapes[1][0] if len(shapes) > 1 else channels, *made


def _flatten(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    axis = fields.get("axis", 1)
    if not -len(shapes[0]) <= axis <= len(shapes[0]):
        raise ValueError("its axis is out of range")
    return math.prod(shapes[0][:axis]), math.prod(shapes[0][axis:])


def _reshape(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    if values[1] is None or values[1].ndim != 1 or values[1].dtype.kind != "i":
        raise ValueError("the shape that it makes must be known beforehand")
    copied = not fields.get("allowzero")
    wanted = [shapes[0][i] if side == 0 and copied else int(side) for i, side in enumerate(values[1])]
    if wanted.count(-1) > 1 or any(side < 1 and side != -1 for side in wanted):
        raise ValueError("the shape that it makes is out of range")
    rest = math.prod(shapes[0]) // max(1, -math.prod(wanted))
    made = tuple(rest if side == -1 else side for side in wanted)
    if math.prod(made) != math.prod(shapes[0]):
        raise ValueError(f"it has not as many numbers as {list(made)}")
    return made


def _transpose(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    order = fields.get("perm", list(range(len(shapes[0])))[::-1])
    if sorted(order) != list(range(len(shapes[0]))):
        raise ValueError("its perm is no order of the axes")
    return tuple(shapes[0][axis] for axis in order)


def _first(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    return shapes[0]


def _axes(fields: Any, axes: np.ndarray | None = None) -> Shape:
    return tuple(int(axis) for axis in np.ravel(fields.get("axes", []) if axes is None else axes))


def _sliced(fields: Any, value: np.ndarray, start: np.ndarray, stop: np.ndarray, *more: np.ndarray) -> np.ndarray:
    if value.ndim != 1 or any(part.size != 1 for part in (start, stop, *more)) or (more and int(more[0].item()) != 0):
        raise ValueError("it must cut a list")
    return value[int(start.item()) : int(stop.item()) : int(more[1].item()) if len(more) > 1 else 1]


# What shapes are computed with in a graph.
_COMPUTED: dict[str, Callable[..., Any]] = {
    "Shape": lambda fields, shape: shape[fields.get("start", 0) : fields.get("end")],
    "Gather": lambda fields, value, places: np.take(value, places.astype(np.int64), axis=fields.get("axis", 0)),
    "Unsqueeze": lambda fields, value, *axes: np.expand_dims(value, _axes(fields, *axes)),
    "Squeeze": lambda fields, value, *axes: np.squeeze(value, _axes(fields, *axes) or None),
    "Concat": lambda fields, *values: np.concatenate(values, axis=fields["axis"]),
    "Slice": _sliced,
}
# Of each operator: how many inputs it may have, its attributes and their kinds, and the shape that it makes.
_AXIS = {"axis": _INT}
_POOL = {"strides": _INTS, "pads": _INTS, "dilations": _INTS, "kernel_shape": _INTS, "auto_pad": _TEXT}
OPERATORS: dict[str, tuple[int, int, dict[str, int], Callable[..., Sequence[int]]]] = {
    **dict.fromkeys(("Mul", "Div", "Add", "Sub"), (2, 2, {}, _broadcast)),
    **dict.fromkeys(("Identity", "Sign", "Relu", "Tanh"), (1, 1, {}, _first)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), (1, 1, _AXIS, _first)),
    "Dropout": (1, 3, {"seed": _INT, "ratio": _FLOAT}, _first),
    "Cast": (1, 1, {"to": _INT, "saturate": _INT}, _first),
    "Clip": (1, 3, {"min": _FLOAT, "max": _FLOAT}, _same),
    "ArgMax": (1, 1, {**_AXIS, "keepdims": _INT, "select_last_index": _INT}, _first),
    "TopK": (2, 2, {**_AXIS, "largest": _INT, "sorted": _INT}, _first),
    "MatMul": (2, 2, {}, _matmul),
    "Gemm": (2, 3, {"alpha": _FLOAT, "beta": _FLOAT, "transA": _INT, "transB": _INT}, _gemm),
    "Conv": (2, 3, {**_POOL, "group": _INT}, _window),
    "MaxPool": (1, 1, {**_POOL, "ceil_mode": _INT, "storage_order": _INT}, _window),
    "BatchNormalization": (5, 5, {"epsilon": _FLOAT, "momentum": _FLOAT, "training_mode": _INT, "spatial": _INT}, _norm),
    "Flatten": (1, 1, _AXIS, _flatten),
    "Reshape": (2, 2, {"allowzero": _INT}, _reshape),
    "Transpose": (1, 1, {"perm": _INTS}, _transpose),
    "BipolarQuant": (2, 2, {}, _same),
    "Quant": (4, 4, {"signed": _INT, "narrow": _INT, "rounding_mode": _TEXT}, _same),
    "Constant": (0, 0, {"value": _TENSOR, "value_int": _INT, "value_ints": _INTS, "value_float": _FLOAT}, _first),
    "Shape": (1, 1, {"start": _INT, "end": _INT}, _first),
    "Gather": (2, 2, _AXIS, _first),
    "Unsqueeze": (1, 2, {"axes": _INTS}, _first),
    "Squeeze": (1, 2, {"axes": _INTS}, _first),
    "Concat": (1, 16, _AXIS, _first),
    "Slice": (3, 5, {}, _first),
}
