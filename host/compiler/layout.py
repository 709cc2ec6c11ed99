"""Whether and how a network fits a configuration: what is resident, how operations are cut, where things lie in DDR."""

from __future__ import annotations

import dataclasses
import functools
import math

from bnnedge import bounds, formats, isa
from bnnedge.codes import codes
from bnnedge.compiler.advice import advice
from bnnedge.compiler.buffers import Allocator, Resident
from bnnedge.compiler.cutter import Cutter
from bnnedge.compiler.passes import strips
from bnnedge.compiler.plan import ALWAYS, Plan
from bnnedge.compiler.tensors import Tensor
from bnnedge.compiler.tiling import LatentSet
from bnnedge.configuration import CONFIGURATIONS, Configuration
from bnnedge.network import Network
from bnnedge.settings import Settings

_FIELDS = isa.layout(isa.Opcode.PASS)
MAX_LAYERS = 1 << _FIELDS["layer"].bits
MAX_WORDS = (1 << _FIELDS["words"].bits) - 1
MAX_GROUPS = (1 << _FIELDS["groups"].bits) - 1
MOST_APART = (1 << _FIELDS["strip_shift"].bits) - 1
MAX_PLACES = 1 << formats.PLACE_BITS
MAX_SAMPLES = 1 << formats.SAMPLE_BITS


class Layout:
    """A network on a configuration.

    resident: homes of all tensors, if the buffers hold them; else None, and `cutter` has the tilings. places: the layers
    with their entries in the parameter memory. parameters_stay: that memory holds all layers at once.
    """

    def __init__(self, network: Network, settings: Settings, config: Configuration, *, training: bool = True) -> None:
        self.network, self.settings, self.config, self.training = network, settings, config, training
        _check(network, settings, config)
        self.plan = Plan(network, settings, config, training=training)
        self.resident = self._resident()
        if self.resident is None:
            self.plan = Plan(network, settings, config, training=training, streamed=True)
        self.cutter = Cutter(self.plan)
        self._place_parameters()
        if self.resident is None:
            self._cut()
        elif training:
            for i in range(len(self.plan.geometry)):
                self.cutter.update(i)

    def _resident(self) -> Resident | None:
        plan, config = self.plan, self.config
        if any(g.kernel_y * g.kernel_x * g.outputs > 1 for g in plan.geometry):
            return None
        homes = Resident(plan)
        fits = homes.used["left"] <= config.left_depth and homes.used["right"] <= config.right_depth
        return homes if fits and plan.entries <= config.channels else None

    def _place_parameters(self) -> None:
        """All layers, or by turns: even layers from the bottom, odd ones from the top, exponents above all."""
        plan, config = self.plan, self.config
        self.parameters_stay = plan.entries <= config.channels
        if self.parameters_stay:
            return
        room = config.channels - len(plan.geometry)
        for i, place in enumerate(plan.places):
            size = self.channels(i)
            if size > room:
                raise ValueError(
                    f"{place.geometry.name}: the parameter memory of configuration {config.name!r} holds {room} channels of a "
                    "layer"
                )
            plan.places[i] = dataclasses.replace(place, channel=(room - size) * (i % 2), exponent=room + i)

    def entry(self, i: int) -> int:
        """Place in DDR of layer i's first channel among all entries."""
        return sum(self.channels(n) for n in range(i))

    def channels(self, i: int) -> int:
        """Entries of layer i's channels, up to whole groups."""
        return -(-self.plan.geometry[i].filters // self.config.lanes) * self.config.lanes

    def _cut(self) -> None:
        for i in range(len(self.plan.geometry)):
            self.cutter.forward(i)
            if self.training:
                self.cutter.update(i)
                if i < self.plan.last:
                    self.cutter.backward(i)

    @functools.cache  # noqa: B019 - lives as long as the layout
    def latent_sets(self, i: int) -> tuple[LatentSet, ...]:
        """Order of layer i's weight words in DDR."""
        g, lanes = self.plan.geometry[i], self.config.lanes
        sets = self.cutter.update(i)
        return tuple(latents for store in sets.stores(g, lanes) for latents in sets.latents(g, *store))

    def latent_bytes(self, i: int) -> int:
        """Bytes of layer i's weight words in DDR: whole tiles."""
        g, lanes = self.plan.geometry[i], self.config.lanes
        return g.taps * -(-g.tap_inputs // lanes) * -(-g.filters // lanes) * self.config.tile_beats * 8

    def arena(self, *, shared: bool = True) -> tuple[dict[str, int], int]:
        """Byte offset in DDR of each tensor that streams, and bytes in all; `shared`: by turns, if their lives allow."""
        if self.resident is not None and shared:
            return {}, 0
        bank = self.config.lanes * self.config.word // 8
        allocator = Allocator()
        offsets = {}
        # The largest first: small ones find room between them.
        for name, item in sorted(self.plan.tensors.items(), key=lambda entry: -entry[1].tensor.size):
            if self.moves(name):
                life = item.life if shared else ALWAYS
                offsets[name] = allocator.place(item.tensor.size, life) * bank
        return offsets, allocator.used * bank

    @staticmethod
    def moves(name: str) -> bool:
        """Whether a tensor is of one step: an activation or a gradient, neither weights that stay nor input."""
        return "." in name and not name.split(".")[1].startswith("weight")

    def weights(self) -> list[Tensor]:
        """Tensors of binary weights."""
        return [item.tensor for name, item in self.plan.tensors.items() if "." in name and not self.moves(name)]


@functools.lru_cache(maxsize=16)
def layout(network: Network, settings: Settings, config: Configuration, *, training: bool = True) -> Layout:
    """The layout of a network. Raises ValueError naming the layer, the limit and what would fit if something does not."""
    try:
        return Layout(network, settings, config, training=training)
    except ValueError as error:
        raise ValueError(f"{error}; {advice(network, settings, config, fits)}") from None


def fits(network: Network, settings: Settings, config: Configuration) -> bool:
    """Whether a configuration holds a network in training and in inference."""
    try:
        for training in (True, False):
            Layout(network, settings, config, training=training)
    except ValueError:
        return False
    return True


def fitting(network: Network, settings: Settings) -> Configuration:
    """Return the first configuration there is that holds this network; ValueError says why each of them does not."""
    reasons = []
    for config in CONFIGURATIONS.values():
        try:
            Layout(network, settings, config)
            return config
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(
        f"no configuration holds network {network.name!r}: {'; '.join(dict.fromkeys(reasons))}; "
        f"with configuration {config.name!r} {advice(network, settings, config, fits)}"
    )


def _check(network: Network, settings: Settings, config: Configuration) -> None:
    """Raise ValueError for the first limit of the formats that the network exceeds."""
    where = f"with configuration {config.name!r}, batch {settings.batch}"
    geometry = network.geometry
    _check_batch(settings, config)
    if len(geometry) > MAX_LAYERS:
        raise ValueError(f"the network has {len(geometry)} layers, the program format holds {MAX_LAYERS}")
    for i, (g, code) in enumerate(zip(geometry, codes(network, settings), strict=True)):
        samples = settings.batch * g.samples
        if samples > MAX_SAMPLES:
            raise ValueError(
                f"{g.name}: a batch has {samples} samples of a channel, {MAX_SAMPLES} fit; use a smaller batch or map ({where})"
            )
        gradient = bounds.data_gradient(g, code) if i else 0
        sums = [
            ("forward sums", bounds.forward_sum(g, i, settings.input_planes), config.largest_sum, "fewer input planes or inputs"),
            ("data gradients", gradient, config.largest_sum, "fewer gradient planes or units"),
            (
                "deviations over a batch",
                samples * bounds.deviation(g, i, settings, config),
                (1 << formats.TOTAL_BITS - 1) - 1,
                "a smaller batch or map",
            ),
            (
                "weight gradients",
                bounds.weight_gradient(g, i, code, settings),
                config.largest_sum << formats.SLOPE_GUARD,
                "fewer slope planes or gradient planes, or a smaller batch",
            ),
        ]
        for what, value, limit, remedy in sums:
            if value > limit:
                raise ValueError(f"{g.name}: its {what} reach {value}, beyond the accumulator's {limit}; use {remedy} ({where})")
        words = -(-max(g.channels, g.filters, settings.batch) // config.word)
        if words > MAX_WORDS:
            most = MAX_WORDS * config.word
            raise ValueError(f"{g.name}: a pass holds contractions over {most} inputs or units of a pixel at most ({where})")
        if max(-(-g.channels // config.lanes), -(-g.filters // config.lanes)) > MAX_GROUPS:
            raise ValueError(f"{g.name}: a pass holds {MAX_GROUPS * config.lanes} inputs or outputs at most ({where})")
        if g.outputs > MAX_PLACES or g.taps > MAX_PLACES:
            raise ValueError(f"{g.name}: a map can have {MAX_PLACES} pixels at most, not {max(g.outputs, g.taps)}")
    first = geometry[0]
    if first.pixels and strips(first, config.word)[0] < 1:
        places = 1 if first.pool == "none" else 2
        bits = (first.kernel_x + (places - 1) * first.stride) * first.channels
        raise ValueError(
            f"{first.name}: {places} windows side by side take {bits} bits, a word of configuration {config.name!r} holds "
            f"{config.word}; use a smaller kernel, fewer channels or no pooling"
        )
    apart = first.stride * first.channels * (1 if first.pool == "none" else 2)
    if first.pixels and apart > MOST_APART:
        raise ValueError(
            f"{first.name}: its outputs lie {apart} bits of a word apart, {MOST_APART} fit; use a smaller stride, fewer channels "
            "or no pooling"
        )
    _check_last(network, settings, config, where)


def _check_batch(settings: Settings, config: Configuration) -> None:
    step = math.lcm(config.word, formats.BATCH_STEP)
    if settings.batch % step:
        below = settings.batch // step * step
        fitting = [batch for batch in (below, below + step) if 0 < batch <= formats.MOST_BATCH]
        raise ValueError(
            f"a batch of {settings.batch} does not fill words of {config.word} images, which configuration {config.name!r} has; "
            f"use {' or '.join(map(str, fitting))}"
        )


def _check_last(network: Network, settings: Settings, config: Configuration, where: str) -> None:
    rows = -(-network.classes // config.lanes) * settings.batch
    if settings.batch > config.tile_rows:
        raise ValueError(f"a batch of {settings.batch} does not fit the tile buffer: {config.tile_rows} at most ({where})")
    if network.classes > formats.MAX_CLASSES or rows > config.tile_rows:
        most = min(formats.MAX_CLASSES, config.tile_rows // settings.batch * config.lanes)
        raise ValueError(f"{network.classes} classes: the last layer can have {most} at most {where}")
