"""What nodes of an ONNX or QONNX graph make of numbers, each by itself: quantisers, comparisons, arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnnedge.importer.graph import attribute

_BITS = 32
_ROUNDING = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
_WHOLE = (2, 3, 4, 5, 6, 7, 12, 13)  # integers by TensorProto's numbers
_BOOLEAN = 9


def apply(node: Any, *values: np.ndarray | None) -> np.ndarray:
    """What a node makes of its inputs (None: left out), float32; ValueError for parameters that have no meaning."""
    with np.errstate(all="ignore"):
        return np.asarray({**FUNCTIONS, **CONSTANT}[node.op_type](node, *values), np.float32)


def _bipolar(node: Any, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    if not np.isfinite(scale).all():
        raise ValueError("its scale must be finite")
    return np.where(x >= 0, scale, -scale)


def _quant(node: Any, x: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: np.ndarray) -> np.ndarray:
    from qonnx.custom_op.general.quant import quant

    if not (np.isfinite(scale).all() and (scale > 0).all() and np.isfinite(zero).all()):
        raise ValueError("its scale and zero point must be finite, and the scale positive")
    if bits.size != 1 or not 1 <= bits.item() <= _BITS or bits.item() % 1:
        raise ValueError(f"its bit width must be one whole number in 1..{_BITS}")
    mode = attribute(node, "rounding_mode", b"ROUND").decode(errors="replace").upper()
    if mode not in _ROUNDING:
        raise ValueError(f"its rounding_mode must be one of {', '.join(_ROUNDING)}")
    signed, narrow = (bool(attribute(node, name, 0)) for name in ("signed", "narrow"))
    return np.asarray(quant(x, scale, zero, bits, signed, narrow, mode))


def _thresholds(node: Any, x: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Of thresholds that are the same for all channels."""
    above = (x[..., None] >= thresholds.reshape(-1)).sum(-1)
    return attribute(node, "out_scale", 1.0) * above + attribute(node, "out_bias", 0.0)


def _clip(node: Any, x: np.ndarray, low: Any = None, high: Any = None) -> np.ndarray:
    low = attribute(node, "min", -np.inf) if low is None else low
    return np.clip(x, low, attribute(node, "max", np.inf) if high is None else high)


def _cast(node: Any, x: np.ndarray) -> np.ndarray:
    to = attribute(node, "to", 1)
    return x != 0 if to == _BOOLEAN else np.trunc(x) if to in _WHOLE else x


def _mean(node: Any, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    along = np.ravel(attribute(node, "axes", []) if axes is None else axes).astype(int)
    return np.asarray(x.mean(tuple(along), keepdims=bool(attribute(node, "keepdims", 1))))


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "BipolarQuant": _bipolar,
    "Quant": _quant,
    "MultiThreshold": _thresholds,
    "Sign": lambda node, x: np.sign(x),
    "GreaterOrEqual": lambda node, left, right: left >= right,
    "Greater": lambda node, left, right: left > right,
    "LessOrEqual": lambda node, left, right: left <= right,
    "Less": lambda node, left, right: left < right,
    "Where": lambda node, x, true, false: np.where(x != 0, true, false),
    "Not": lambda node, x: x == 0,
    "Clip": _clip,
    "Relu": lambda node, x: np.maximum(x, 0),
    "Tanh": lambda node, x: np.tanh(x),
    "Floor": lambda node, x: np.floor(x),
    "Ceil": lambda node, x: np.ceil(x),
    "Round": lambda node, x: np.rint(x),
    "Sqrt": lambda node, x: np.sqrt(x),
    "Abs": lambda node, x: np.abs(x),
    "Neg": lambda node, x: -x,
    "Mul": lambda node, left, right: left * right,
    "Div": lambda node, left, right: left / right,
    "Add": lambda node, left, right: left + right,
    "Sub": lambda node, left, right: left - right,
    "Cast": _cast,
    "Identity": lambda node, x: x,
    "Dropout": lambda node, x, *more: x,
}
# Of constants alone: numbers together.
CONSTANT: dict[str, Callable[..., np.ndarray]] = {"ReduceMean": _mean}
