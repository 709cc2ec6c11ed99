"""A chain of steps in numbers, layer by layer, held against what the model's own library makes of the same input."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bnnedge.importer.steps import Affine, Ending, Flattening, Function, Linear, Model, Pool, Stage, Step, UnsupportedError

# Of a channel's largest number: libraries round sums of float32, on some accelerators products to 10 bits.
_CLOSE = 1e-3
_UNLIKELY = -15.0  # logarithms of probabilities below are noise


@dataclasses.dataclass(frozen=True, eq=False)
class Passed:
    """What has been seen of N images: inputs of each layer of weights, (N, K) or (N, height, width, channels), and logits,
    (N, classes); float64.
    """

    inputs: list[np.ndarray]
    logits: np.ndarray


def follow(model: Model, images: np.ndarray) -> Passed:
    """Let the library compute, and each stage's steps, of what the library has in front of it; images: as `Model.trace` takes.

    UnsupportedError names the first stage that computes otherwise than its steps, and tells why, where that can be told.
    """
    inputs: list[np.ndarray] = []
    value, logits = images.astype(np.float64), None
    traced = model.trace(images)
    for stage, theirs in zip(model.stages, traced, strict=True):
        made = [value]
        exact = True  # what stands in front of the library's function is known to the bit
        theirs = np.asarray(theirs)
        for step in stage.steps:
            if isinstance(step, Linear):
                inputs.append(made[0])
            elif isinstance(step, Function) and not exact:
                made = [v + nudge for v in made for nudge in (0, -_room(v), _room(v))]
            elif isinstance(step, Ending):
                logits = made[0] if logits is None else logits
            if not isinstance(step, Ending):
                made = [_apply(step, v) for v in made]
                exact = exact and not isinstance(step, (Linear, Affine))
        if any(isinstance(step, Ending) for step in stage.steps):
            agreed = _ended(made[0], theirs)
        else:
            agreed = theirs.shape == made[0].shape and bool(_near(made, theirs).all())
        if not agreed:
            raise UnsupportedError(_difference(stage, value, made, theirs))
        value = theirs.astype(np.float64)
    return Passed(inputs, value if logits is None else logits)


def _apply(step: Step, value: np.ndarray) -> np.ndarray:
    if isinstance(step, Linear):
        return _convolved(step, value) if step.weight.ndim == 4 else value @ step.weight
    if isinstance(step, Affine):
        return np.reshape(step.scale, -1) * value + np.reshape(step.offset, -1)
    if isinstance(step, Function):
        return np.asarray(step.apply(value.astype(np.float32)), np.float64)
    if isinstance(step, Pool):
        height, width = (side // 2 for side in value.shape[1:3])
        even = value[:, : 2 * height, : 2 * width]
        return even.reshape(len(value), height, 2, width, 2, -1).max((2, 4))
    assert isinstance(step, Flattening)
    return value.reshape(len(value), -1)


def _convolved(step: Linear, value: np.ndarray) -> np.ndarray:
    sides, size = value.shape[1:3], step.weight.shape[:2]
    if step.pads is None:
        over = [max(0, (-(-side // step.stride) - 1) * step.stride + k - side) for side, k in zip(sides, size, strict=True)]
        pads = over[0] // 2, over[1] // 2, over[0] - over[0] // 2, over[1] - over[1] // 2
    else:
        pads = step.pads
    # Float32: as exact as the library, and twice as fast.
    around = np.pad(value.astype(np.float32), ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)))
    weight = step.weight.astype(np.float32)
    rows, columns = ((side - k) // step.stride + 1 for side, k in zip(around.shape[1:3], size, strict=True))
    made = np.zeros((len(value), rows, columns, weight.shape[-1]), np.float32)
    for y in range(size[0]):
        for x in range(size[1]):
            seen = around[:, y : y + rows * step.stride : step.stride, x : x + columns * step.stride : step.stride]
            made += np.ascontiguousarray(seen[:, :rows, :columns]) @ weight[y, x]
    return made.astype(np.float64)


def _room(value: np.ndarray) -> np.ndarray:
    """By how much the numbers of each channel may be off."""
    size = np.abs(value).max(tuple(range(value.ndim - 1)), initial=0)
    return np.asarray(_CLOSE * size + 1e-6 * size.max(initial=0))


def _near(made: Sequence[np.ndarray], theirs: np.ndarray) -> np.ndarray:
    """Where a number lies among those made, or near them; where both are the same infinity, too."""
    with np.errstate(invalid="ignore"):
        lowest, highest, room = np.min(made, axis=0), np.max(made, axis=0), _room(made[0])
        return (lowest - room <= theirs) & (theirs <= highest + room)


def _ended(logits: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether probabilities, their logarithms or a class are those of these logits, each (N, classes)."""
    room = _CLOSE * np.abs(logits).max(initial=0)
    if theirs.shape == logits.shape:
        expected = logits - logits.max(1, keepdims=True)
        expected -= np.log(np.exp(expected).sum(1, keepdims=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log(theirs.astype(np.float64)) if (theirs >= 0).all() else theirs
        likely = expected > _UNLIKELY
        return bool((np.abs(found - expected)[likely] <= 1e-2 + 2 * room).all())
    if len(theirs) != len(logits) or theirs.ndim < 1:
        return False
    best, first = logits.max(1), theirs.reshape(len(theirs), -1)[:, 0]
    if np.abs(first - best).max() <= room:
        return True  # the largest logit itself
    classes = np.clip(first, 0, logits.shape[1] - 1).astype(np.int64)
    return bool(((logits[np.arange(len(logits)), classes] >= best - 2 * room) & (classes == first)).all())


def _difference(stage: Stage, value: np.ndarray, made: list[np.ndarray], theirs: np.ndarray) -> str:
    """One line that says where and how a stage differs from its steps, and why if that can be told."""
    if not np.isfinite(theirs).all():
        return f"{stage.name} makes numbers that are infinite or none (NaN) of an image: the model cannot be taken over"
    ending = any(isinstance(step, Ending) for step in stage.steps)
    if theirs.shape != made[0].shape or ending:
        if ending:
            return f"{stage.name} is not over the classes, or changes their order: nothing else can stand at the end"
        return f"{stage.name} makes {theirs.shape[1:]} numbers of an image, and not {made[0].shape[1:]}, which its kind would"
    wrong = ~_near(made, theirs)
    place = tuple(np.argwhere(wrong)[0])
    said = (
        f"{stage.name} computes otherwise than its kind does on the device: {float(theirs[place]):g} where {made[0][place]:g} "
        f"would be right, in {np.count_nonzero(wrong):,} of {wrong.size:,} numbers"
    )
    reason = _reason(stage, value, theirs)
    return f"{said}: {reason}" if reason else said


def _reason(stage: Stage, value: np.ndarray, theirs: np.ndarray) -> str:
    if theirs.dtype.itemsize < 4 and theirs.dtype.kind not in "iub":
        return f"it computes in {theirs.dtype.name}, and rounds what the device does not; let it compute in float32"
    if not stage.steps:
        whole = np.array_equal(theirs, np.trunc(value))
        return "it cuts numbers down to whole ones" if whole else "it should let numbers pass as they are"
    (step, *more) = stage.steps
    if isinstance(step, Affine) and not more and np.size(step.scale) * np.size(step.offset) > 1:
        scale, offset = (np.reshape(v, -1) for v in (step.scale, step.offset))
        for axis in range(value.ndim - 1):
            shape = [1] * value.ndim
            shape[axis] = -1
            if all(v.size in (1, value.shape[axis]) for v in (scale, offset)):
                other = scale.reshape(shape) * value + offset.reshape(shape)
                if other.shape == theirs.shape and _near([other], theirs).all():
                    names = ("images", "rows", "columns") if value.ndim == 4 else ("images",)
                    return f"its numbers belong to the {names[axis]}, not to the channels"
    return "it puts the numbers of a map in another order" if isinstance(step, Flattening) else ""
