"""Networks as the user describes them: an input shape and a stack of layers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bnnedge.settings import whole


@dataclasses.dataclass(frozen=True)
class Dense:
    """Fully connected layer of `units` outputs: binary weights, L1 batch norm, sign (softmax after the last layer)."""

    units: int

    def __post_init__(self) -> None:
        units = whole(self.units)
        if units is None or units < 1:
            raise ValueError(f"Dense needs a positive whole number of units, not {self.units!r}")
        object.__setattr__(self, "units", units)


@dataclasses.dataclass(frozen=True, init=False)
class Network:
    """A stack of layers over inputs of one shape.

    Parameters
    ----------
    input_shape: shape of one sample, e.g. ``(28, 28)``.
    layers: the layers in order; the last one has a unit for each class.
    name: for reports.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Dense, ...]
    name: str

    def __init__(self, input_shape: Sequence[int], layers: Sequence[Dense], name: str = "network") -> None:
        given = tuple(input_shape)
        shape = tuple(n for n in map(whole, given) if n is not None and n > 0)
        if not shape or len(shape) < len(given):
            raise ValueError(f"input_shape must be one or more positive whole numbers, not {input_shape!r}")
        if not layers:
            raise ValueError("a network needs at least one layer")
        for layer in layers:
            if not isinstance(layer, Dense):
                raise ValueError(f"layer {layer!r} is of no kind that can be trained here; there is: Dense")
        if layers[-1].units < 2:
            raise ValueError(f"the last layer needs a unit for each of at least 2 classes, not {layers[-1].units}")
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(self, "layers", tuple(layers))
        object.__setattr__(self, "name", name)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, then outputs of each layer: layer i has fan-in ``sizes[i]`` and fan-out ``sizes[i + 1]``."""
        return (math.prod(self.input_shape), *(layer.units for layer in self.layers))

    @property
    def classes(self) -> int:
        """Number of classes: units of the last layer."""
        return self.layers[-1].units

    @property
    def weights(self) -> int:
        """Number of weights in all layers."""
        return sum(k * m for k, m in itertools.pairwise(self.sizes))

    def to_dict(self) -> dict[str, Any]:
        """Return the description that `from_dict` and network files take."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [{"dense": layer.units} for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, data: Any, source: str = "network description") -> Network:
        """Make a network of ``{input_shape: [...], layers: [{dense: units}, ...]}``; ValueError names what is wrong."""
        needed = {"input_shape", "layers"}
        if not isinstance(data, dict) or not needed <= set(data) <= needed | {"name"}:
            raise ValueError(f"{source}: needs the keys input_shape and layers (and may have name)")
        if not isinstance(data["layers"], list) or not isinstance(data["input_shape"], list):
            raise ValueError(f"{source}: input_shape and layers must be lists")
        layers = []
        for place, item in enumerate(data["layers"]):
            if not isinstance(item, dict) or set(item) != {"dense"}:
                raise ValueError(f"{source}: layer {place + 1} is {item!r}; write it as {{dense: UNITS}}")
            try:
                layers.append(Dense(item["dense"]))
            except ValueError as error:
                raise ValueError(f"{source}: layer {place + 1}: {error}") from None
        try:
            return cls(data["input_shape"], layers, str(data.get("name", "network")))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: str | Path) -> Network:
        """Read a YAML description, safely (no Python objects); ValueError names the file and what is wrong."""
        try:
            import yaml  # only here: a board runs without it
        except ModuleNotFoundError:
            raise ValueError(f"network file {path}: reading YAML needs PyYAML: pip install 'bnnedge[host]'") from None
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"network file {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"network file {path} is not YAML: {' '.join(str(error).split())}") from None
        return cls.from_dict(data, f"network file {path}")


def mlp(input_shape: Sequence[int] = (28, 28), classes: int = 10, hidden: Sequence[int] = (256,) * 4) -> Network:
    """The paper's multi-layer perceptron: 784-256-256-256-256-10 unless told otherwise."""
    return Network(input_shape, [Dense(n) for n in (*hidden, classes)], "mlp")


def digits(input_shape: Sequence[int] = (8, 8), classes: int = 10) -> Network:
    """A network small enough to train in simulation: 64-128-128-10 unless told otherwise."""
    return Network(input_shape, [Dense(128), Dense(128), Dense(classes)], "digits")


# By name: how to make it for inputs of a shape and a number of classes, and the shape that it was made for.
BUILT_IN: dict[str, tuple[Callable[[Sequence[int], int], Network], tuple[int, ...]]] = {
    "mlp": (mlp, (28, 28)),
    "digits": (digits, (8, 8)),
}
