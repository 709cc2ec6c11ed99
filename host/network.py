"""Networks as the user describes them: an input shape and a stack of layers."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bnnedge.keywords import LAYERS, explained, unknown
from bnnedge.layers import KINDS, Conv2D, Dense, Flatten, Geometry, Layer, MaxPool2D, resolve
from bnnedge.overview import table
from bnnedge.parsing import read_description
from bnnedge.settings import whole
from bnnedge.shapes import channels_first

# Of a description: far beyond what an accelerator takes, so that what a stranger's file asks for stays small.
MAX_AXES, MAX_INPUTS, MAX_LAYERS, MAX_NAME = 8, 1 << 32, 1000, 255

__all__ = [
    "BUILT_IN",
    "Conv2D",
    "Dense",
    "Flatten",
    "Geometry",
    "Layer",
    "MaxPool2D",
    "Network",
    "binarynet",
    "cnv",
    "digits",
    "mlp",
]


@dataclasses.dataclass(frozen=True, init=False)
class Network:
    """A stack of layers over inputs of one shape.

    Parameters
    ----------
    input_shape: shape of one sample, e.g. ``(28, 28)``; (height, width, channels) for a network that begins with a
        `Conv2D`, without channels if there is one.
    layers: `Conv2D` layers, each perhaps with a `MaxPool2D` behind it, then `Dense` ones; the last one has a unit for
        each class.
    name: for reports.

    Members
    -------
    geometry: one entry for each layer with weights.

    Raises
    ------
    ValueError: layers that do not fit each other or the arithmetic; names the layer, the limit and what would fit
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    name: str
    geometry: tuple[Geometry, ...] = dataclasses.field(compare=False, repr=False)

    @explained
    def __init__(self, input_shape: Sequence[int], layers: Sequence[Layer], name: str = "network") -> None:
        if whole(input_shape) is not None:
            raise ValueError(f"input_shape must be a tuple, such as ({input_shape!r:.80},)")
        if not isinstance(input_shape, Iterable):
            raise ValueError(f"input_shape must be one or more positive whole numbers, not {input_shape!r:.80}")
        given = tuple(input_shape)
        shape = tuple(n for n in map(whole, given) if n is not None and n > 0)
        if not shape or len(shape) < len(given):
            raise ValueError(f"input_shape must be one or more positive whole numbers, not {input_shape!r:.80}")
        if len(shape) > MAX_AXES or math.prod(shape) > MAX_INPUTS:
            raise ValueError(f"input_shape has {MAX_AXES} numbers, of a product of {MAX_INPUTS:,}, at most, not {shape!r:.80}")
        if channels_first(shape):
            moved, turned = (*shape[1:], shape[0]), (shape[1], shape[0], shape[2])
            hint = f"channels first? move them last: {moved}; if {shape[0]} is the height, exchange it with the width: {turned}"
            raise ValueError(f"input_shape is {shape}: {hint}")
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise ValueError(f"layers must be a list of layers, not {layers!r:.80}")
        if not layers:
            raise ValueError("a network needs at least one layer")
        if len(layers) > MAX_LAYERS:
            raise ValueError(f"a network has {MAX_LAYERS:,} layers at most, not {len(layers):,}")
        if not isinstance(name, str) or len(name) > MAX_NAME or name.encode("utf-8", "replace").decode() != name:
            raise ValueError(f"name must be text of up to {MAX_NAME} characters, not {name!r:.80}; in a file, put it in quotes")
        for layer in layers:
            _check_layer(layer)
        last = layers[-1]
        if not isinstance(last, Dense):
            raise ValueError(f"the last layer must be Dense, with a unit for each class, not {last}")
        if last.units < 2:
            raise ValueError(f"the last layer needs a unit for each of at least 2 classes, not {last.units}")
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(self, "layers", tuple(layers))
        object.__setattr__(self, "name", name)
        try:
            geometry = resolve(shape, self.layers)
        except ValueError as error:
            if len(shape) == 3 and isinstance(layers[0], Conv2D) and shape[0] < min(shape[1:]):
                hint = "height, width and channels in this order: are the channels first?"
                raise ValueError(f"{error}; input_shape {shape} is {hint}") from None
            raise
        object.__setattr__(self, "geometry", geometry)

    def __getattr__(self, name: str) -> Any:
        """An answer for methods that other libraries have."""
        raise unknown(self, name)

    def summary(self) -> None:
        """Print a table of the layers: output and weights."""
        print(table(self))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of a dense network: inputs, then outputs of each layer; ValueError for one with convolutions."""
        if isinstance(self.layers[0], Conv2D):
            raise ValueError(f"network {self.name!r} has convolutions")
        return (self.geometry[0].fan_in, *(layer.fan_out for layer in self.geometry))

    @property
    def classes(self) -> int:
        """Number of classes: units of the last layer."""
        return self.geometry[-1].filters

    @property
    def weights(self) -> int:
        """Number of weights in all layers."""
        return sum(layer.fan_in * layer.fan_out for layer in self.geometry)

    def to_dict(self) -> dict[str, Any]:
        """Return the description that `from_dict` and network files take."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "layers": [_described(layer) for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, data: Any, source: str = "network description") -> Network:
        """Make a network of ``{input_shape: [...], layers: [{conv2d: filters}, maxpool2d, {dense: units}, ...]}``.

        A layer with more than one parameter to state is written ``{conv2d: {filters: 64, padding: same}}``. ValueError
        names what is wrong.
        """
        needed = {"input_shape", "layers"}
        if not isinstance(data, dict) or not needed <= set(data) <= needed | {"name"}:
            raise ValueError(f"{source}: needs the keys input_shape and layers (and may have name)")
        if not isinstance(data["layers"], list) or not isinstance(data["input_shape"], list):
            raise ValueError(f"{source}: input_shape and layers must be lists")
        layers = []
        for place, item in enumerate(data["layers"]):
            try:
                layers.append(_layer(item))
            except ValueError as error:
                raise ValueError(f"{source}: entry {place + 1} of layers: {error}") from None
        try:
            return cls(data["input_shape"], layers, data.get("name", "network"))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: str | Path) -> Network:
        """Read a description, JSON if its name says so (.json), else YAML; ValueError names the file and what is wrong."""
        source = f"network file {path}"
        return cls.from_dict(read_description(path, source, f"{source} is not YAML or JSON of a network"), source)


def check_network(network: Any) -> Network:
    """Return a network; ValueError if it is something else."""
    if isinstance(network, Network):
        return network
    if callable(network) and getattr(network, "__module__", None) == __name__:
        if network is Network:
            raise ValueError("network is the class Network: make an object of it, Network(input_shape, layers)")
        raise ValueError(f"network is the function {network.__name__}: call it, {network.__name__}()")
    if isinstance(network, str) and network in BUILT_IN:
        raise ValueError(f"network must be a Network, not a name: {network!r} is made by a function, such as bnnedge.digits()")
    keras = type(network).__module__.split(".")[0] in ("keras", "tf_keras")
    like = ": bnnedge.importer.load takes over a saved model of Keras" if keras else ""
    raise ValueError(f"network must be a Network(input_shape, layers), not {network!r:.80}{like}")


def _check_layer(layer: Any) -> None:
    kinds = tuple(KINDS.values())
    if isinstance(layer, kinds):
        return
    if layer in kinds:
        raise ValueError(f"layer {layer.__name__} is a class: make an object of it, {layer.__name__}(...)")
    name = type(layer).__name__
    reason = f"; {LAYERS[name]}" if name in LAYERS else ""
    names = ", ".join(kind.__name__ for kind in kinds)
    raise ValueError(f"layer {layer!r:.80} is of no kind that can be trained here; there are: {names}{reason}")


def _described(layer: Layer) -> Any:
    """A layer as network files have it: its kind, and those parameters that are not the usual ones."""
    (kind,) = (name for name, kind in KINDS.items() if isinstance(layer, kind))
    fields = dataclasses.fields(layer)
    given = {field.name: getattr(layer, field.name) for field in fields if getattr(layer, field.name) != field.default}
    if not given:
        return kind
    first = fields[0].name
    return {kind: given[first] if set(given) == {first} else given}


def _layer(item: Any) -> Layer:
    """The layer of such a description."""
    (name, value), *more = item.items() if isinstance(item, dict) and item else [(item, {})]
    if more or not isinstance(name, str) or name not in KINDS:
        raise ValueError(
            f"{item!r:.80} is no layer; write {{conv2d: FILTERS}}, {{conv2d: {{filters: FILTERS, kernel: 3, stride: 1, "
            "padding: same}}, maxpool2d, {maxpool2d: sums}, flatten or {dense: UNITS}"
        )
    fields = dataclasses.fields(KINDS[name])
    if not isinstance(value, dict):
        if not fields and value is not None:
            raise ValueError(f"{name} takes no {value!r:.80}")
        value = {field.name: value for field in fields[:1]}
    known = [field.name for field in fields]
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    if not required <= set(value) <= set(known):
        wrong = [f"needs {', '.join(sorted(required - set(value)))}"] if required - set(value) else []
        wrong += [f"has no {key!r:.40}; there are {', '.join(known) or 'none'}" for key in value if key not in known][:1]
        raise ValueError(f"{name} {' and '.join(wrong)}")
    return KINDS[name](**value)


def mlp(input_shape: Sequence[int] = (28, 28), classes: int = 10, hidden: Sequence[int] = (256,) * 4) -> Network:
    """The paper's multi-layer perceptron: 784-256-256-256-256-10 unless told otherwise."""
    return Network(input_shape, [Dense(n) for n in (*hidden, classes)], "mlp")


def digits(input_shape: Sequence[int] = (8, 8), classes: int = 10) -> Network:
    """A network small enough to train in simulation: 64-128-128-10 unless told otherwise."""
    return Network(input_shape, [Dense(128), Dense(128), Dense(classes)], "digits")


def cnv(input_shape: Sequence[int] = (32, 32, 3), classes: int = 10, width: float = 1.0) -> Network:
    """The paper's CNV: six valid convolutions, signs pooled twice, three dense layers; `width` scales all of them."""
    layers: list[Layer] = []
    for filters in _scaled(width, 64, 128, 256):
        layers += [Conv2D(filters), Conv2D(filters), MaxPool2D()]
    layers[-1] = Flatten()
    layers += [*map(Dense, _scaled(width, 512, 512)), Dense(classes)]
    return Network(input_shape, layers, "cnv" if width == 1 else f"cnv-{width:g}")


def binarynet(input_shape: Sequence[int] = (32, 32, 3), classes: int = 10, width: float = 1.0) -> Network:
    """The paper's BinaryNet: six padded convolutions, sums pooled behind each second, three dense layers; `width` as above."""
    layers: list[Layer] = []
    for filters in _scaled(width, 128, 256, 512):
        layers += [Conv2D(filters, padding="same"), Conv2D(filters, padding="same"), MaxPool2D("sums")]
    layers += [Flatten(), *map(Dense, _scaled(width, 1024, 1024)), Dense(classes)]
    return Network(input_shape, layers, "binarynet" if width == 1 else f"binarynet-{width:g}")


def _scaled(width: float, *sizes: int) -> list[int]:
    return [max(1, round(size * width)) for size in sizes]


# By name: how to make it for inputs of a shape and a number of classes, and the shape that it was made for.
BUILT_IN: dict[str, tuple[Callable[[Sequence[int], int], Network], tuple[int, ...]]] = {
    "mlp": (mlp, (28, 28)),
    "digits": (digits, (8, 8)),
    "cnv": (cnv, (32, 32, 3)),
    "cnv-0.5": (functools.partial(cnv, width=0.5), (32, 32, 3)),
    "binarynet": (binarynet, (32, 32, 3)),
    "binarynet-0.25": (functools.partial(binarynet, width=0.25), (32, 32, 3)),
}
