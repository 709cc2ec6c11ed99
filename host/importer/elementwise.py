"""Nodes of an ONNX or QONNX graph that treat each number by itself: scales and offsets, signs, quantisers, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnedge.bounded import shown
from bnnedge.importer.constants import applied
from bnnedge.importer.functions import apply
from bnnedge.importer.graph import attribute
from bnnedge.importer.steps import Affine, Function, Step, UnsupportedError

if TYPE_CHECKING:
    from bnnedge.importer.chain import Chain

AFFINE = ("Mul", "Div", "Add", "Sub", "Neg")

_COMPARISONS = ("GreaterOrEqual", "Greater", "LessOrEqual", "Less")
# Numbers that a function may change: signs, fractions, what limits cut.
_TRIED = np.array([-1e6, -3.5, -1, -0.3, -1e-4, 0, 1e-4, 0.3, 1, 3.5, 1e6], np.float32)
_ROUNDED = 1e-5  # of what several nodes make in float32


def affine(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """A scale or an offset, or behind a function a part of it."""
    place, others = _others(chain, name, node, tensor)
    value = np.array(1.0) if not others or others[0] is None else others[0]
    steps = [step for stage in chain.stages for step in stage.steps]
    if steps and isinstance(steps[-1], Function) and _same(value):
        return _joined(chain, name, _call(chain, name, node, place, others))
    one, nothing = np.array(1.0), np.array(0.0)
    value = _channels(chain, name, value, node)
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


def function(chain: Chain, name: str, node: Any, tensor: str) -> Sequence[Step]:
    """What makes of each number another, with its thresholds for each channel in front."""
    place, others = _others(chain, name, node, tensor)
    chain.order.check_no_padding(name)
    before: list[Step] = []
    if node.op_type == "MultiThreshold":
        before, others = _thresholds(chain, name, node, others[0])
    elif node.op_type in _COMPARISONS and others[0] is not None and others[0].any():
        before, others = _compared(chain, name, node, others[0]), [np.zeros(1)]
    call = _call(chain, name, node, place, others)
    if np.array_equal(call(_TRIED), _TRIED):
        return before
    return [*before, Function(name, call)]


def together(chain: Chain, name: str, nodes: Sequence[Any], tensor: str) -> Sequence[Step]:
    """A function that several nodes are, such as x + (sign(x) - x), with which PyTorch's users train through a sign."""
    chain.order.check_no_padding(name)
    constants = {given for node in nodes for given in node.input if given} - chain.images
    others = {given: chain.constants.value(name, given)[0] for given in constants}
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


def _others(chain: Chain, name: str, node: Any, tensor: str) -> tuple[int, list[np.ndarray | None]]:
    """Where among the inputs of a node the tensor stands, and the others, which are constants; None for one left out."""
    inputs = list(node.input)
    place = inputs.index(tensor)
    if inputs.count(tensor) != 1:
        raise UnsupportedError(f"{name} takes {shown(repr(tensor))} more than once: models must be chains of layers")
    if place and node.op_type not in (*AFFINE, *_COMPARISONS):
        raise UnsupportedError(f"{name} takes what it gets as its input {place + 1}: that must be a constant")
    return place, [chain.constants.value(name, given)[0] if given else None for given in inputs if given != tensor]


def _joined(chain: Chain, name: str, call: Callable[[np.ndarray], np.ndarray]) -> Sequence[Step]:
    """One step of the function before, which leaves the stages, and a function behind it, such as 2 x - 1."""
    steps: tuple[Step, ...] = ()
    while not steps:
        steps = chain.stages.pop().steps
        chain.tensors.pop()
        chain.orders.pop()
    *rest, before = steps
    assert isinstance(before, Function)
    first = before.apply
    return [*rest, Function(f"{before.name} and {name}", lambda x: call(first(x)))]


def _channels(chain: Chain, name: str, value: np.ndarray, node: Any) -> np.ndarray:
    """A constant of a node as numbers of channels."""
    made = chain.shapes[node.output[0]]
    if np.prod(made) != chain.order.places.size:
        raise UnsupportedError(f"{name} makes {list(made)} of {list(chain.order.places.shape)}, which has no form")
    return chain.order.reshape(made).channels(name, value)


def _call(
    chain: Chain, name: str, node: Any, place: int, others: Sequence[np.ndarray | None]
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


def _thresholds(chain: Chain, name: str, node: Any, thresholds: Any) -> tuple[list[Step], list[np.ndarray | None]]:
    """What stands before a MultiThreshold, and its thresholds that are the same for all channels."""
    if thresholds.shape[1] != 1 and not np.any(thresholds != thresholds[:1]):
        return [], [thresholds[:1]]
    if thresholds.shape[1] != 1:
        raise UnsupportedError(f"{name} has {thresholds.shape[1]} thresholds for each channel: the device's signs have one")
    layout = attribute(node, "data_layout", b"").decode(errors="replace")
    layout = layout or {2: "NC", 3: "NWC", 4: "NCHW"}.get(chain.order.places.ndim, "")
    axis = layout.find("C") if len(layout) == chain.order.places.ndim else -1
    if axis < 0 or len(thresholds) not in (1, chain.order.places.shape[axis]):
        raise UnsupportedError(f"{name} has {len(thresholds)} thresholds, but not as many channels")
    shape = [-1 if place == axis else 1 for place in range(chain.order.places.ndim)]
    return _compared(chain, name, node, thresholds.reshape(shape)), [np.zeros((1, 1))]


def _compared(chain: Chain, name: str, node: Any, thresholds: Any) -> list[Step]:
    """By how much numbers are above thresholds."""
    return [Affine(f"{name}, thresholds", np.array(1.0), -_channels(chain, name, thresholds, node))]


def _same(values: np.ndarray) -> bool:
    return values.size == 1 or not np.any(values != values.flat[0])
