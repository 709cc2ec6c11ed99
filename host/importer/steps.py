"""Models of other libraries as a chain of steps: what each library's reader makes, and `assemble` understands."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from bnnedge.bounded import shown

# Numbers of a map, of one image: a map of 255 x 255 pixels with 128 channels has as many.
LARGEST_MAP = 1 << 23

_COLOUR = re.compile(r"\x1b\[[\d;]*m")  # of terminals, with which Keras writes its errors
_CALLING = "Exception encountered when calling"  # how Keras begins them, before it says what happened


class UnsupportedError(ValueError):
    """A part of a model that the device has no form for; the text names it and says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """Something that a model does; `name` as the model's library has it, for messages."""

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Step):
    """Sums of products with weights.

    weight: (kernel_y, kernel_x, inputs, outputs) of a convolution, (inputs, outputs) of a dense layer: float64, as they
        multiply; of a binary layer each output has only +c and -c, with a c of its own.
    latent: the same shape, the real weights of which those are the signs.
    stride, pads: of a convolution; zeros around the map: top, left, bottom, right; None for as many as Keras's "same" takes.
    """

    weight: np.ndarray
    latent: np.ndarray
    stride: int = 1
    pads: tuple[int, int, int, int] | None = (0, 0, 0, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Affine(Step):
    """scale * v + offset, both numbers or (channels,) float64.

    mean, deviation: of v in training, (channels,), where it is a batch norm.
    """

    scale: np.ndarray
    offset: np.ndarray
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Function(Step):
    """A function of each number by itself: an activation or a quantiser. apply: float32 arrays of any shape to the same."""

    apply: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Pool(Step):
    """Maximum of 2 x 2 neighbours."""


@dataclasses.dataclass(frozen=True, eq=False)
class Flattening(Step):
    """A map becomes a vector, in the order (y, x, channel)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ending(Step):
    """What turns logits into probabilities or a class, such as a softmax: it changes no order."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """A layer or node, `name` as the model's library has it, and the steps that it takes: none if it changes nothing."""

    name: str
    steps: tuple[Step, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A model of another library.

    name, input_shape: for the network: (inputs,), or (height, width, channels) whatever the library's order.
    stages: from the input on.
    trace: runs the library itself: of (N, *input_shape) float32 what stands behind each stage, (N, ...), maps as (N, height,
        width, channels).
    """

    name: str
    input_shape: tuple[int, ...]
    stages: tuple[Stage, ...]
    trace: Callable[[np.ndarray], Sequence[np.ndarray]]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, from the input on."""
        return tuple(step for stage in self.stages for step in stage.steps)


def batch_norm(name: str, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float) -> Affine:
    """A batch norm of moving statistics, all (channels,)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # what is no number is refused later
        deviation = np.sqrt(np.asarray(variance, np.float64) + epsilon)
        scale = np.asarray(gamma, np.float64) / deviation
    mean = np.asarray(mean, np.float64)
    return Affine(name, scale, np.asarray(beta, np.float64) - scale * mean, mean, deviation)


def as_declared(images: np.ndarray, name: str, dtype: np.dtype) -> np.ndarray:
    """Images (N, ...) for an input of that name and type; UnsupportedError if it takes whole numbers, and they are others."""
    if dtype.kind not in "iub":
        return images
    values = np.rint(images)
    if np.abs(values - images).max() > 1e-3 or np.any(values.astype(dtype) != values):
        raise UnsupportedError(
            f"its input {name!r} takes {dtype}: `pixels` must be whole numbers, and 255 steps apart or a multiple of that, such "
            "as 0 and 255"
        )
    return values


def first_line(error: BaseException) -> str:
    """What an error of another library says, without the pages that may follow, and no line of a page's length."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    lines = [line for line in _COLOUR.sub("", said).splitlines() if line.strip() and not line.startswith(_CALLING)]
    return shown((lines or [type(error).__name__])[0].strip(), 500)
