"""The operators that an ONNX or QONNX graph may have: their attributes, and the shapes that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FLOAT, INT, TEXT, TENSOR, FLOATS, INTS = 1, 2, 3, 4, 6, 7  # kinds of attributes, by AttributeProto's numbers
MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")  # numbers stay as they are
QUANTISERS = ("Quant", "BipolarQuant", "MultiThreshold")  # QONNX's own

Shape = tuple[int, ...]


def pads(fields: dict[str, Any], sides: Sequence[int], size: Sequence[int]) -> tuple[int, int, int, int]:
    """Zeros around a map, for a window of that size: top, left, bottom, right."""
    mode = fields.get("auto_pad", b"NOTSET")
    if mode in (b"NOTSET", b"VALID"):
        given = fields.get("pads", [0] * 4) if mode == b"NOTSET" else [0] * 4
        if len(given) != 4 or min(given) < 0:
            raise ValueError("its pads are out of range")
        return given[0], given[1], given[2], given[3]
    if mode not in (b"SAME_UPPER", b"SAME_LOWER"):
        raise ValueError("its auto_pad is not known here")
    strides, dilations = fields.get("strides", [1, 1]), fields.get("dilations", [1, 1])
    spans = [dilation * (side - 1) + 1 for dilation, side in zip(dilations, size, strict=True)]
    parts = zip(sides, strides, spans, strict=True)
    both = [max(0, (-(-side // stride) - 1) * stride + span - side) for side, stride, span in parts]
    less, more = [total // 2 for total in both], [total - total // 2 for total in both]
    (top, left), (bottom, right) = (less, more) if mode == b"SAME_UPPER" else (more, less)
    return top, left, bottom, right


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


def _thresholds(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    if len(shapes[1]) != 2:
        raise ValueError("it must have a row of thresholds for each channel, or one")
    return shapes[0]


def _matmul(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    left, right = shapes
    if not 2 <= len(left) <= 4 or len(right) != 2 or left[-1] != right[0]:
        raise ValueError("these matrices do not fit each other")
    return *left[:-1], right[1]


def _gemm(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    left, right = (shape[::-1] if fields.get(way) else shape for shape, way in zip(shapes, ("transA", "transB"), strict=False))
    if len(left) != 2:
        raise ValueError("what it gets must be a matrix")
    made = _matmul(fields, (left, right), values)
    return _same(fields, (made, *shapes[2:]), values)


def _window(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    """Of a convolution or a maximum."""
    batch, channels, *sides = shapes[0]
    size = list(shapes[1][2:]) if len(shapes) > 1 else fields["kernel_shape"]
    strides, dilations = fields.get("strides", [1, 1]), fields.get("dilations", [1, 1])
    if not len(sides) == len(size) == len(strides) == len(dilations) == 2:
        raise ValueError("it must have two sides")
    if fields.get("group", 1) != 1:
        raise ValueError("it has groups: on the device each output sees all channels")
    if len(shapes) > 1 and (shapes[1][1] != channels or fields.get("kernel_shape", size) != size):
        raise ValueError("its weights do not fit")
    if len(shapes) > 2 and shapes[2] != (shapes[1][0],):
        raise ValueError("its bias does not fit")
    if min(*strides, *dilations, *size) < 1:
        raise ValueError("its window, strides or dilations are out of range")
    around = pads(fields, sides, size)
    if any(pad >= dilation * side for pad, side, dilation in zip(around, size * 2, dilations * 2, strict=True)):
        raise ValueError("its pads are out of range")
    left = [sides[i] + around[i] + around[i + 2] - dilations[i] * (size[i] - 1) - 1 for i in (0, 1)]
    if fields.get("ceil_mode", 0) and any(rest % stride for rest, stride in zip(left, strides, strict=True)):
        raise ValueError("it rounds the sides of what it makes up, where the device leaves the last row out (ceil_mode=0)")
    return batch, shapes[1][0] if len(shapes) > 1 else channels, *(rest // s + 1 for rest, s in zip(left, strides, strict=True))


def _pad(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    before, after = margins(fields, len(shapes[0]), *values[1:])
    return tuple(side + low + high for side, low, high in zip(shapes[0], before, after, strict=True))


def margins(fields: dict[str, Any], axes: int, wanted: Any = None, value: Any = None, *more: Any) -> tuple[list[int], list[int]]:
    """Zeros that a Pad puts before and behind each axis."""
    wanted = fields.get("pads") if wanted is None else wanted
    if any(axes is not None for axes in more):
        raise ValueError("it must state a margin before and behind each axis, not for some of them")
    if fields.get("mode", b"constant") != b"constant" or np.any(fields.get("value", 0) if value is None else value):
        raise ValueError("the device pads with zeros")
    around = [] if wanted is None else [int(side) for side in np.ravel(wanted)]
    if len(around) != 2 * axes or min(around) < 0:
        raise ValueError("it must state a margin before and behind each axis")
    return around[:axes], around[axes:]


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


def _mean(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    axes = [axis % len(shapes[0]) for axis in _axes(fields, *values[1:])]
    kept = fields.get("keepdims", 1)
    sides = enumerate(shapes[0])
    return tuple(1 if i in axes else side for i, side in sides if kept or i not in axes)


def _first(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    return shapes[0]


def _as_computed(kind: str) -> Callable[..., Shape]:
    """The shape that an operator of `COMPUTED` makes of numbers which are not known."""

    def shape(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
        made: np.ndarray = COMPUTED[kind](fields, np.broadcast_to(np.int8(0), shapes[0]), *values[1:])
        return made.shape

    return shape


def _no_shape(fields: Any, shapes: Sequence[Shape], values: Any) -> Shape:
    raise ValueError("it is no part of a shape, and works on what layers make: models must be chains of layers")


def _axes(fields: Any, axes: np.ndarray | None = None) -> Shape:
    return tuple(int(axis) for axis in np.ravel(fields.get("axes", []) if axes is None else axes))


def _sliced(fields: Any, value: np.ndarray, start: np.ndarray, stop: np.ndarray, *more: np.ndarray) -> np.ndarray:
    if value.ndim != 1 or any(part.size != 1 for part in (start, stop, *more)) or (more and int(more[0].item()) != 0):
        raise ValueError("it must cut a list")
    return value[int(start.item()) : int(stop.item()) : int(more[1].item()) if len(more) > 1 else 1]


# What shapes are computed with in a graph, of whole numbers.
COMPUTED: dict[str, Callable[..., Any]] = {
    "Shape": lambda fields, shape: shape[fields.get("start", 0) : fields.get("end")],
    "Gather": lambda fields, value, places: np.take(value, places.astype(np.int64), axis=fields.get("axis", 0)),
    "Unsqueeze": lambda fields, value, *axes: np.expand_dims(value, _axes(fields, *axes)),
    "Squeeze": lambda fields, value, *axes: np.squeeze(value, _axes(fields, *axes) or None),
    "Concat": lambda fields, *values: np.concatenate(values, axis=fields["axis"]),
    "Slice": _sliced,
    "Cast": lambda fields, value: value,
    "Identity": lambda fields, value: value,
    "Mul": lambda fields, left, right: left * right,
    "Add": lambda fields, left, right: left + right,
    "Sub": lambda fields, left, right: left - right,
    "Div": lambda fields, left, right: left // right,
}
# Of each operator: how many inputs it may have, its attributes and their kinds, and the shape that it makes.
_AXIS = {"axis": INT}
_POOL = {"strides": INTS, "pads": INTS, "dilations": INTS, "kernel_shape": INTS, "auto_pad": TEXT}
_THRESHOLDS = {"out_dtype": TEXT, "out_scale": FLOAT, "out_bias": FLOAT, "data_layout": TEXT}
_VALUES = {"value": TENSOR, "value_int": INT, "value_ints": INTS, "value_float": FLOAT, "value_floats": FLOATS}
OPERATORS: dict[str, tuple[int, int, dict[str, int], Callable[..., Sequence[int]]]] = {
    **dict.fromkeys(("Mul", "Div", "Add", "Sub"), (2, 2, {}, _broadcast)),
    **dict.fromkeys(("GreaterOrEqual", "Greater", "LessOrEqual", "Less"), (2, 2, {}, _broadcast)),
    **dict.fromkeys(("Identity", "Sign", "Relu", "Tanh", "Neg", "Not"), (1, 1, {}, _first)),
    **dict.fromkeys(("Abs", "Floor", "Ceil", "Round", "Sqrt"), (1, 1, {}, _first)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), (1, 1, _AXIS, _first)),
    "ReduceMean": (1, 2, {"axes": INTS, "keepdims": INT, "noop_with_empty_axes": INT}, _mean),
    "Where": (3, 3, {}, _broadcast),
    "Dropout": (1, 3, {"seed": INT, "ratio": FLOAT}, _first),
    "Cast": (1, 1, {"to": INT, "saturate": INT}, _first),
    "Clip": (1, 3, {"min": FLOAT, "max": FLOAT}, _same),
    "ArgMax": (1, 1, {**_AXIS, "keepdims": INT, "select_last_index": INT}, _first),
    "TopK": (1, 2, {**_AXIS, "largest": INT, "sorted": INT, "k": INT}, _first),
    "MatMul": (2, 2, {}, _matmul),
    "Gemm": (2, 3, {"alpha": FLOAT, "beta": FLOAT, "transA": INT, "transB": INT}, _gemm),
    "Conv": (2, 3, {**_POOL, "group": INT}, _window),
    "MaxPool": (1, 1, {**_POOL, "ceil_mode": INT, "storage_order": INT}, _window),
    "Pad": (1, 4, {"mode": TEXT, "pads": INTS, "value": FLOAT}, _pad),
    "BatchNormalization": (5, 5, {"epsilon": FLOAT, "momentum": FLOAT, "training_mode": INT, "spatial": INT}, _norm),
    "Flatten": (1, 1, _AXIS, _flatten),
    "Reshape": (2, 2, {"allowzero": INT}, _reshape),
    "Transpose": (1, 1, {"perm": INTS}, _transpose),
    "BipolarQuant": (2, 2, {}, _same),
    "Quant": (4, 4, {"signed": INT, "narrow": INT, "rounding_mode": TEXT}, _same),
    "MultiThreshold": (2, 2, _THRESHOLDS, _thresholds),
    "Constant": (0, 0, _VALUES, _first),
    "Shape": (1, 1, {"start": INT, "end": INT}, _first),
    "Gather": (2, 2, _AXIS, _no_shape),
    "Unsqueeze": (1, 2, {"axes": INTS}, _as_computed("Unsqueeze")),
    "Squeeze": (1, 2, {"axes": INTS}, _as_computed("Squeeze")),
    "Concat": (1, 16, _AXIS, _no_shape),
    "Slice": (3, 5, {}, _no_shape),
}
