"""What a Keras or Larq model file may say of its layers: gone through before a library builds anything of it.

A configuration can name any class of any module, and with a Lambda it holds code. So each class, function and field is looked up
here; what is on no list is refused by name. The shapes that follow from it are worked out, too, lest a few words in a file ask
for terabytes of weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from bnnedge.bounded import shown
from bnnedge.importer.steps import LARGEST_MAP, UnsupportedError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IDENTITIES = ("InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization")
MOVES = ("Reshape", "Permute")
FUNCTIONS = ("ReLU", "LeakyReLU", "PReLU", "ELU")

_MODELS = _words("Sequential Functional Model")
_QUANTISERS = _words(
    "SteSign ApproxSign SteTern SwishSign MagnitudeAwareSign SteHeaviside DoReFa DoReFaQuantizer NoOp NoOpQuantizer"
)
_LAYERS = _QUANTISERS.union(
    IDENTITIES,
    FUNCTIONS,
    MOVES,
    _words("Dense QuantDense Conv2D QuantConv2D BatchNormalization MaxPooling2D Flatten Rescaling Activation Softmax"),
)
_LARQS = _QUANTISERS | _words(
    "ste_sign approx_sign ste_tern swish_sign magnitude_aware_sign ste_heaviside dorefa_quantizer WeightClip weight_clip"
)
_ACTIVATIONS = _LARQS | _words(
    """linear softmax log_softmax relu relu6 leaky_relu elu selu gelu celu tanh sigmoid hard_sigmoid hard_tanh softplus softsign
    swish silu exponential mish"""
)
# What a field may hold beside null, by the end of its name: classes and functions, as text or as an object.
_OBJECTS = {
    "activation": _ACTIVATIONS.union(FUNCTIONS, ["Softmax"]),
    "_quantizer": _ACTIVATIONS,
    "_initializer": _words(
        """Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling GlorotUniform GlorotNormal HeUniform
        HeNormal LecunUniform LecunNormal Orthogonal zeros ones constant random_normal random_uniform truncated_normal
        variance_scaling glorot_uniform glorot_normal he_uniform he_normal lecun_uniform lecun_normal orthogonal"""
    ),
    "_regularizer": _words("L1 L2 L1L2 l1 l2 l1_l2"),
    "_constraint": _words("MaxNorm NonNeg UnitNorm MinMaxNorm WeightClip weight_clip max_norm non_neg unit_norm min_max_norm"),
    "dtype": _words("DTypePolicy Policy float16 bfloat16 float32 float64 mixed_float16 mixed_bfloat16"),
}
_FIELDS = _words(
    """name trainable autocast batch_input_shape batch_shape sparse ragged optional units use_bias filters kernel_size strides
    padding data_format dilation_rate groups pad_values axis momentum epsilon center scale offset synchronized fused
    renorm_momentum pool_size rate noise_shape seed stddev l1 l2 max_value negative_slope threshold alpha shared_axes clip_value
    k_bit mode target_shape dims threshold_value ternary_weight_networks beta"""
)
_KEYS = _words("class_name config module registered_name build_config shared_object_id name inbound_nodes")
_MODULES = re.compile(
    r"(keras|tf_keras|larq)(\.(layers|models|initializers|regularizers|constraints|activations|quantizers|mixed_precision))?"
    r"|(tf_)?keras(\.src)?\.(models|engine)\.(functional|sequential)|builtins"
)
_LARGEST = 1 << 20  # of any one size
_PLAIN = (bool, int, float, str)


class Structure:
    """A configuration that is in order.

    weights: how many numbers the layers' weights and statistics are. larq: whether the layers are Larq's.

    Raises UnsupportedError, naming the layer, for what is on no list. own: says of a function's registered name whether the user
    has registered it.
    """

    def __init__(self, config: Any, own: Callable[[str], bool] = lambda name: False) -> None:
        self.weights, self.larq, self._own = 0, False, own
        kind, inner = self._object("the model", config, _MODELS, _KEYS | {"compile_config"})
        layers = inner.get("layers")
        known = {"name", "trainable", "dtype", "autocast", "layers", "input_layers", "output_layers", "build_input_shape"}
        if not isinstance(layers, list) or not layers or not known >= {key for key, value in inner.items() if value is not None}:
            raise UnsupportedError(f"the model has no list of layers, or more than that: {_listed(set(inner) - known)}")
        for field in ("name", "trainable", "autocast", "dtype"):
            self._field("the model", field, inner.get(field))
        self._shape: tuple[int, ...] | None = None
        self._input: tuple[int, ...] | None = None
        names: list[str] = []
        for place, layer in enumerate(layers):
            names.append(self._layer(f"layer {place + 1}", layer, place == 0, names[-1:] if kind != "Sequential" else None))
        if len(set(names)) < len(names):
            raise UnsupportedError("two layers of the model have one name")
        if kind != "Sequential":
            ends = inner.get("input_layers"), inner.get("output_layers")
            for said, name in zip(ends, (names[0], names[-1]), strict=True):
                if said not in ([name, 0, 0], [[name, 0, 0]]):
                    raise UnsupportedError("the model must be one chain, from its first layer to its last")
        for said in (inner.get("build_input_shape"), (config.get("build_config") or {}).get("input_shape")):
            if said is not None and _dimensions("the model", said) != self._input:
                raise UnsupportedError("the model contradicts itself: it is built for another input than its first layer's")

    def _layer(self, where: str, layer: Any, first: bool, before: list[str] | None) -> str:
        named = layer.get("config") if isinstance(layer, dict) else None
        name = named.get("name") if isinstance(named, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            raise UnsupportedError(f"{where} of the model has no name")
        where = f"layer {shown(repr(name))}"
        kind, config = self._object(where, layer, _LAYERS, _KEYS)
        where = f"{where} ({kind})"
        if layer.get("name", name) != name:
            raise UnsupportedError(f"{where} has two names")
        for field, value in config.items():
            self._field(where, field, value)
        given = config.get("batch_input_shape", config.get("batch_shape"))
        if first:
            if given is None:
                raise UnsupportedError(f"{where} states no shape of the input: begin the model with an Input")
            self._shape = self._input = _dimensions(where, given)
        elif kind == "InputLayer" or (given is not None and _dimensions(where, given) != self._shape):
            raise UnsupportedError(f"{where} is a second input: the device has chains of layers")
        built = (layer.get("build_config") or {}).get("input_shape")
        if built is not None and _dimensions(where, built) != self._shape:
            raise UnsupportedError(f"{where} is built for another input than what stands before it makes")
        if before is not None:
            _check_chain(where, layer.get("inbound_nodes"), before)
        self._measure(where, kind, config)
        return name

    def _object(self, where: str, value: Any, known: frozenset[str], keys: frozenset[str]) -> tuple[str, dict[str, Any]]:
        """The class and the fields of an object that is one of `known`."""
        kind = value.get("class_name") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(kind, str) or not isinstance(value.get("config"), dict):
            raise UnsupportedError(f"{where} is not described as Keras does: it must have a class_name and a config")
        if kind == "Lambda":
            raise UnsupportedError(f"{where} is a Lambda: that is code in the file, and it is not run; save the model without it")
        if kind not in known:
            raise UnsupportedError(
                f"{where} is of class {shown(repr(kind))}: the device has nothing like it; there are {_listed(known)}"
            )
        module, registered = value.get("module"), value.get("registered_name")
        _check_module(where, module)
        if registered not in (None, kind):
            raise UnsupportedError(f"{where} is registered as {shown(repr(registered))}: only Keras's and Larq's own are loaded")
        if not set(value) <= keys or not isinstance(value.get("build_config", {}), (dict, type(None))):
            strange = _listed(set(value) - keys) or "a strange build_config"
            raise UnsupportedError(f"{where} has {strange}, which is not known here")
        built = value.get("build_config") or {}
        if not set(built) <= {"input_shape"} or not _plain(built.get("input_shape"), 1):
            raise UnsupportedError(f"{where} is built from more than an input's shape")
        self.larq |= kind.startswith("Quant") or kind in _LARQS
        return kind, value["config"]

    def _field(self, where: str, field: str, value: Any) -> None:
        """Look a field up, and whatever it names."""
        if value is None or value == []:
            return
        for end, known in _OBJECTS.items():
            if field.endswith(end):
                self._named(f"{field} of {where}", value, known)
                return
        if field not in _FIELDS and value is not False:
            raise UnsupportedError(f"{where} has {shown(repr(field))}, which is not known here")
        if not _plain(value, 2):
            raise UnsupportedError(f"{shown(field)} of {where} must be a number, a word or a list of them")

    def _named(self, where: str, value: Any, known: frozenset[str]) -> None:
        """A class or function, as text or as an object."""
        if isinstance(value, dict) and value.get("class_name") == "function":
            module, value = value.get("module"), value.get("config")
            _check_module(where, module)
        if isinstance(value, str):
            if value not in known and not (">" in value and self._own(value)):
                raise UnsupportedError(f"{where} is {shown(repr(value))}, which is not known here; there are {_listed(known)}")
            self.larq |= value in _LARQS
            return
        _, config = self._object(where, value, known, _KEYS - {"inbound_nodes"})
        for name, given in config.items():
            if name == "dtype":
                self._field(where, name, given)
            elif not _plain(given, 1):
                raise UnsupportedError(f"{shown(name)} of {where} must be a number, a word or a list of them")

    def _measure(self, where: str, kind: str, config: dict[str, Any]) -> None:
        """What a layer makes of the shape, and what weights it has."""
        shape = self._shape or ()
        held, biased = 0, config.get("use_bias", True) is not False
        if kind in ("Dense", "QuantDense"):
            units = _size(where, "units", config.get("units"))
            held, shape = (shape[-1] + biased) * units, (*shape[:-1], units)
        elif kind in ("Conv2D", "QuantConv2D", "MaxPooling2D"):
            if len(shape) != 3:
                raise UnsupportedError(f"{where} gets {shape}, which is no map of pixels")
            window = _pair(where, "kernel_size" if kind != "MaxPooling2D" else "pool_size", config)
            strides = window if config.get("strides") is None else _pair(where, "strides", config)
            sides = zip(shape, window, strides, strict=False)
            padded = config.get("padding") == "same"
            height, width = (-(-side // step) if padded else (side - size) // step + 1 for side, size, step in sides)
            if height < 1 or width < 1:
                raise UnsupportedError(f"{where} has a window that does not fit into {shape}")
            filters = shape[2]
            if kind != "MaxPooling2D":
                filters = _size(where, "filters", config.get("filters"))
                held = (math.prod(window) * shape[2] + biased) * filters
            shape = height, width, filters
        elif kind == "Reshape":
            shape = _reshaped(where, shape, config.get("target_shape"))
        elif kind == "Permute":
            dims = config.get("dims")
            if not isinstance(dims, list) or not all(type(d) is int for d in dims) or sorted(dims) != [*range(1, len(shape) + 1)]:
                raise UnsupportedError(f"dims of {where} is {shown(repr(dims))}, no order of {len(shape)} sides")
            shape = tuple(shape[axis - 1] for axis in dims)
        elif kind == "Flatten":
            shape = (math.prod(shape),)
        elif kind == "BatchNormalization":
            held = (2 + sum(config.get(own, True) is not False for own in ("center", "scale"))) * shape[-1]
            if config.get("axis", -1) not in (-1, len(shape), [-1], [len(shape)]):
                raise UnsupportedError(f"{where} has an axis other than the last")
        elif kind == "PReLU":
            held = math.prod(shape)
        if math.prod(shape) > LARGEST_MAP:
            raise UnsupportedError(f"{where} makes {math.prod(shape):,} numbers of an image: {LARGEST_MAP:,} are the most")
        self.weights += held
        self._shape = shape


def _check_module(where: str, module: Any) -> None:
    if module is not None and not (isinstance(module, str) and _MODULES.fullmatch(module)):
        raise UnsupportedError(f"{where} is of module {shown(repr(module))}: only Keras's and Larq's own are loaded")


def _check_chain(where: str, nodes: Any, before: list[str]) -> None:
    """Whether a layer takes what the one before it makes, and nothing else."""
    history, more = _taken(nodes) if before else ([], {})
    flags = isinstance(more, dict) and all(value is None or value is False for value in more.values())
    if not flags or (history != [before[0], 0, 0] if before else nodes != []):
        raise UnsupportedError(f"{where} must take what the layer before it makes, and nothing else: models must be chains")


def _taken(nodes: Any) -> tuple[Any, Any]:
    """[layer, node, tensor] that a layer takes, and with what other arguments, in the words of Keras 2 or Keras 3."""
    if not isinstance(nodes, list) or len(nodes) != 1:
        return None, None
    node = nodes[0]
    if isinstance(node, list) and len(node) == 1 and isinstance(node[0], list) and len(node[0]) == 4:
        return node[0][:3], node[0][3]
    arguments = node.get("args") if isinstance(node, dict) and set(node) == {"args", "kwargs"} else None
    tensor = arguments[0] if isinstance(arguments, list) and len(arguments) == 1 else None
    inner = tensor.get("config") if isinstance(tensor, dict) and tensor.get("class_name") == "__keras_tensor__" else None
    if not isinstance(inner, dict) or not _plain(inner.get("shape"), 1) or not isinstance(inner.get("dtype"), str):
        return None, None
    return inner.get("keras_history"), node["kwargs"]


def _dimensions(where: str, given: Any) -> tuple[int, ...]:
    """The shape of one image in the shape of a batch."""
    if not isinstance(given, list) or not 2 <= len(given) <= 4 or not _plain(given, 1):
        raise UnsupportedError(f"{where} has an input of shape {shown(given)}: it must be of one to three sides")
    shape = tuple(_size(where, "a side of the input", side) for side in given[1:])
    if math.prod(shape) > LARGEST_MAP:
        raise UnsupportedError(f"{where} has {math.prod(shape):,} inputs: {LARGEST_MAP:,} are the most")
    return shape


def _reshaped(where: str, shape: tuple[int, ...], wanted: Any) -> tuple[int, ...]:
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= 3 or wanted.count(-1) > 1:
        raise UnsupportedError(f"target_shape of {where} is {shown(repr(wanted))}: it must be of one to three sides")
    known = math.prod(_size(where, "a side", side) for side in wanted if side != -1)
    made = tuple(math.prod(shape) // known if side == -1 else side for side in wanted)
    if math.prod(made) != math.prod(shape):
        raise UnsupportedError(f"{where} makes {made} of {shape}, which has not as many numbers")
    return made


def _pair(where: str, field: str, config: dict[str, Any]) -> tuple[int, int]:
    value = config.get(field)
    both = value if isinstance(value, list) else [value, value]
    if len(both) != 2:
        raise UnsupportedError(f"{field} of {where} is {shown(repr(value))}, not two whole numbers")
    return _size(where, field, both[0]), _size(where, field, both[1])


def _size(where: str, field: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise UnsupportedError(f"{field} of {where} is {shown(repr(value))}, not a whole number in 1..{_LARGEST:,}")
    return value


def _plain(value: Any, depth: int) -> bool:
    """Whether a value is null, a number or a short text, or a list of them that is no deeper."""
    if isinstance(value, list):
        return depth > 0 and len(value) <= 4096 and all(_plain(item, depth - 1) for item in value)
    return value is None or (isinstance(value, _PLAIN) and (not isinstance(value, str) or len(value) <= 200))


def _listed(names: Any) -> str:
    return ", ".join(shown(name) for name in sorted(names)[:40])
