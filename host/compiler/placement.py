"""Where tensors live: shapes in words, addresses in the on-chip buffers by lifetime, places in the parameter memory."""

from __future__ import annotations

import dataclasses
import itertools

from bnnedge import isa
from bnnedge.configuration import CONFIGURATIONS, Configuration
from bnnedge.formats import MAX_CLASSES
from bnnedge.network import Network
from bnnedge.settings import Settings

_FIELDS = isa.layout(isa.Opcode.PASS)
MAX_GROUPS = (1 << _FIELDS["groups"].bits) - 1
MAX_WORDS = (1 << _FIELDS["words"].bits) - 1
MAX_LAYERS = 1 << _FIELDS["layer"].bits


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A bit tensor in a buffer: `vectors` vectors (images or channels) of `bits` bits and `planes` planes.

    Vector n lies in bank n % lanes at address base + (n // lanes) * slot_stride + plane * plane_stride + word.
    """

    name: str
    buffer: str  # "left" or "right"
    vectors: int
    planes: int
    bits: int
    slots: int
    plane_stride: int
    base: int = -1

    @property
    def slot_stride(self) -> int:
        """Words from one group of `lanes` vectors to the next."""
        return self.planes * self.plane_stride

    @property
    def words(self) -> int:
        """Words in each bank."""
        return self.slots * self.slot_stride

    @property
    def top(self) -> int:
        """Address of the most significant plane of slot 0."""
        return self.base + (self.planes - 1) * self.plane_stride


@dataclasses.dataclass(frozen=True)
class LayerLayout:
    """Everything that has an address, for one layer with fan-in K and fan-out M.

    channel: first entry in the parameter memory; exponent: entry of the exponent record.
    weight_forward: M vectors of K bits; weight_backward (not in the first layer): K vectors of M bits.
    active, mask, active_columns: of the layer's output (hidden layers). code, code_columns: of its gradient.
    """

    fan_in: int
    fan_out: int
    groups: int
    channel: int
    exponent: int
    weight_forward: Tensor
    weight_backward: Tensor | None
    active: Tensor | None
    mask: Tensor | None
    active_columns: Tensor | None
    code: Tensor | None
    code_columns: Tensor | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Addresses for a whole network; `left_words`, `right_words`, `entries` tell how much of each memory is used."""

    layers: tuple[LayerLayout, ...]
    input: Tensor
    input_columns: Tensor | None
    left_words: int
    right_words: int
    weight_words: int
    entries: int

    def tensors(self) -> list[Tensor]:
        """All tensors that have a place in a buffer."""
        fields = ("weight_forward", "weight_backward", "active", "mask", "active_columns", "code", "code_columns")
        found = [self.input, self.input_columns]
        found += [getattr(layer, field) for layer in self.layers for field in fields]
        return [tensor for tensor in found if tensor is not None]


class Allocator:
    """First-fit addresses for tensors that live from one pass to another (both included); ALWAYS lives throughout."""

    ALWAYS = (-1, 1 << 30)

    def __init__(self) -> None:
        self.placed: list[tuple[int, int, tuple[int, int]]] = []

    def place(self, words: int, life: tuple[int, int]) -> int:
        """Return the lowest address at which `words` words are free during `life`."""
        base = 0
        for low, high, (first, last) in sorted(self.placed):
            if first <= life[1] and life[0] <= last and low < base + words and base < high:
                base = high
        self.placed.append((base, base + words, life))
        return base

    @property
    def used(self) -> int:
        """Words up to the highest address in use."""
        return max((high for _, high, _ in self.placed), default=0)


def pass_times(layers: int) -> tuple[list[int], list[int], list[int]]:
    """Execution order of a training step: index of each layer's forward, data gradient and weight gradient pass.

    The data gradient of layer i is the gradient of its output; the last layer's comes from its own LOSS pass.
    """
    forward = list(range(layers))
    data, weight = [0] * layers, [0] * layers
    data[-1] = layers - 1
    time = layers
    for i in range(layers - 1, 0, -1):
        data[i - 1], weight[i] = time, time + 1
        time += 2
    weight[0] = time
    return forward, data, weight


def layout(network: Network, settings: Settings, config: Configuration, *, training: bool = True) -> Layout:
    """Give every tensor its place. Raises ValueError naming the layer and the limit if something does not fit."""
    lanes, batch, sizes = config.lanes, settings.batch, network.sizes
    depth = len(network.layers)
    planes = settings.gradient_planes
    if depth > MAX_LAYERS:
        raise ValueError(f"the network has {depth} layers, the program format holds {MAX_LAYERS}")
    forward, data, weight = pass_times(depth)
    buffers = {"left": Allocator(), "right": Allocator()}

    def tensor(name: str, buffer: str, vectors: int, planes: int, bits: int, life: tuple[int, int]) -> Tensor:
        shape = Tensor(name, buffer, vectors, planes, bits, -(-vectors // lanes), -(-bits // config.word))
        return dataclasses.replace(shape, base=buffers[buffer].place(shape.words, life))

    always = Allocator.ALWAYS
    kinds: dict[int, dict[str, Tensor]] = {i: {} for i in range(depth)}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        name = f"layer {i + 1} "
        kinds[i]["weight_forward"] = tensor(name + "weights", "right", fan_out, 1, fan_in, always)
        if i and training:
            kinds[i]["weight_backward"] = tensor(name + "weights, transposed", "right", fan_in, 1, fan_out, always)
    weight_words = buffers["right"].used
    entry = tensor("input", "left", batch, settings.input_planes, sizes[0], always)
    columns = None
    if training:
        life = (forward[0], weight[0])
        columns = tensor("input, transposed", "left", sizes[0], settings.slope_planes, batch, life)
    for i, fan_out in enumerate(sizes[1:]):
        name, here, hidden = f"layer {i + 1} ", kinds[i], i < depth - 1
        if hidden:
            last = data[i] if training else forward[i + 1]
            here["active"] = tensor(name + "activations", "left", batch, 1, fan_out, (forward[i], last))
        if hidden and training:
            here["mask"] = tensor(name + "masks", "left", batch, 1, fan_out, (forward[i], data[i]))
            life = (forward[i], weight[i + 1])
            here["active_columns"] = tensor(name + "activations, transposed", "left", fan_out, 1, batch, life)
    for i, fan_out in enumerate(sizes[1:]):
        name, here = f"layer {i + 1} ", kinds[i]
        if training:
            if i:
                here["code"] = tensor(name + "gradient codes", "left", batch, planes, fan_out, (data[i], data[i - 1]))
            life = (data[i], weight[i])
            here["code_columns"] = tensor(name + "gradient codes, transposed", "right", fan_out, planes, batch, life)

    channel, layers = 0, []
    exponent_base = sum(-(-n // lanes) * lanes for n in sizes[1:])
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        groups = -(-fan_out // lanes)
        fields = {f.name: kinds[i].get(f.name) for f in dataclasses.fields(LayerLayout) if f.name not in _OWN}
        layers.append(LayerLayout(fan_in, fan_out, groups, channel, exponent_base + i, **fields))  # type: ignore[arg-type]
        channel += groups * lanes
    result = Layout(
        tuple(layers),
        entry,
        columns,
        buffers["left"].used,
        buffers["right"].used,
        weight_words,
        channel + depth,
    )
    _check(network, settings, config, result)
    return result


def fitting(network: Network, settings: Settings) -> Configuration:
    """Return the first configuration there is that holds this network; ValueError says why each of them does not."""
    reasons = []
    for config in CONFIGURATIONS.values():
        try:
            layout(network, settings, config)
            return config
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(f"no configuration holds network {network.name!r}: " + "; ".join(dict.fromkeys(reasons)))


_OWN = ("fan_in", "fan_out", "groups", "channel", "exponent")


def _check(network: Network, settings: Settings, config: Configuration, result: Layout) -> None:
    """Raise ValueError for the first limit that the network exceeds."""
    where = f"with configuration {config.name!r}, batch {settings.batch}"
    for i, layer in enumerate(result.layers):
        code = 2**settings.gradient_planes - 1
        pixel, slope = (2**n - 1 if i == 0 else 1 for n in (settings.input_planes, settings.slope_planes))
        for what, value, remedy in (
            ("forward sums", layer.fan_in * pixel, "fewer input planes or inputs"),
            ("data gradients", layer.fan_out * code if i else 0, "fewer gradient planes or units"),
            ("weight gradients", settings.batch * code * slope, "fewer slope planes or gradient planes, or a smaller batch"),
        ):
            if value > config.largest_sum:
                raise ValueError(
                    f"layer {i + 1} ({layer.fan_in} -> {layer.fan_out}): its {what} reach {value}, beyond the "
                    f"accumulator's {config.largest_sum}; use {remedy} ({where})"
                )
        longest = -(-max(layer.fan_in, layer.fan_out, settings.batch) // config.word)
        if longest > MAX_WORDS:
            raise ValueError(
                f"layer {i + 1} ({layer.fan_in} -> {layer.fan_out}) needs contractions of {longest} words, a pass holds "
                f"{MAX_WORDS} ({where})"
            )
        for side, groups in (("inputs", -(-layer.fan_in // config.lanes)), ("outputs", layer.groups)):
            if groups > MAX_GROUPS:
                raise ValueError(
                    f"layer {i + 1} has more than the {MAX_GROUPS * config.lanes} {side} that a pass holds ({where})"
                )
    rows = result.layers[-1].groups * settings.batch
    if settings.batch > config.tile_rows:
        raise ValueError(f"a batch of {settings.batch} does not fit the tile buffer: {config.tile_rows} at most ({where})")
    if network.classes > MAX_CLASSES or rows > config.tile_rows:
        most = min(MAX_CLASSES, config.tile_rows // settings.batch * config.lanes)
        raise ValueError(f"{network.classes} classes: the last layer can have {most} at most {where}")
    needs = (
        ("left buffer (pixels, activations, masks, gradient codes)", result.left_words, config.left_depth),
        ("right buffer (weights, gradient codes)", result.right_words, config.right_depth),
        ("parameter memory (output channels)", result.entries, config.channels),
    )
    for memory, used, there in needs:
        if used > there:
            inside = [tensor for tensor in result.tensors() if memory.startswith(tensor.buffer)]
            part: Tensor | None = max(inside, key=lambda tensor: tensor.words, default=None)
            hint = f"; the largest part is {part.name} ({part.words})" if part else ""
            raise ValueError(
                f"network {network.name!r} needs {used} words of the {memory}, there are {there} {where}{hint}. "
                "Use a smaller batch, fewer planes, narrower layers or a larger configuration"
            )
