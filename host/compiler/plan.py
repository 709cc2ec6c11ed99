"""What there is to place: the tensors of a network in training, the parameter memory, and how long each thing lives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bnnedge.codes import codes
from bnnedge.compiler.passes import Place, strips
from bnnedge.compiler.tensors import Tensor
from bnnedge.configuration import Configuration
from bnnedge.network import Geometry, Network
from bnnedge.settings import Settings

ALWAYS = (-1, 1 << 30)
SAMPLE_HEADER = 8  # bytes of label before a sample's words


@dataclasses.dataclass(frozen=True)
class Life:
    """A tensor, and the first and the last operation that touch it."""

    tensor: Tensor
    life: tuple[int, int]


def times(layers: int, *, streamed: bool) -> tuple[list[int], list[int], list[int]]:
    """Order of a training step: number of each layer's forward pass, data gradient and weight gradient.

    The data gradient of layer i is the gradient of its output; the last layer's comes from its own LOSS pass. `streamed`:
    the weight gradient of the layer above comes before it, so that the columns of codes and activations, the largest of
    all tensors, need not outlive it; a copy of the old weights does.
    """
    forward = list(range(layers))
    data, weight = [0] * layers, [0] * layers
    data[-1] = layers - 1
    time = layers
    for i in range(layers - 1, 0, -1):
        data[i - 1], weight[i] = (time + 1, time) if streamed else (time, time + 1)
        time += 2
    weight[0] = time
    return forward, data, weight


class Plan:
    """The tensors of a network, its batch in blocks of `block[i]` images where layer i's output lies as columns.

    tensors: by name, "2.code" is that of layer 2 (from 1); columns in blocks have the block's number behind that. codes: of
    each layer's gradient.
    streamed: in the order of operations that suits tensors in DDR, see `times`. places: the layers. entries: of the
    parameter memory image in DDR: channels, then exponents.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        config: Configuration,
        *,
        training: bool = True,
        streamed: bool = False,
    ) -> None:
        self.network, self.settings, self.config = network, settings, config
        self.training, self.streamed = training, streamed
        self.geometry, self.codes = network.geometry, codes(network, settings)
        self.last = len(self.geometry) - 1
        self.tensors: dict[str, Life] = {}
        self.block = [self._block(i, g) for i, g in enumerate(self.geometry)]
        self._place_channels()
        forward, data, weight = times(len(self.geometry), streamed=streamed)
        for i, g in enumerate(self.geometry):
            self._weights(i, g, data, weight)
            if i < self.last:
                self._activations(i, g, forward, data, weight)
            if training:
                self._codes(i, g, data, weight)
        self._input(forward, weight)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name].tensor

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def blocks(self, i: int, kind: str) -> Iterator[Tensor]:
        """The blocks of a tensor of columns of layer i (from 0)."""
        count = 0
        while f"{i + 1}.{kind}.{count}" in self.tensors:
            yield self[f"{i + 1}.{kind}.{count}"]
            count += 1

    @property
    def sample_bytes(self) -> int:
        """Bytes from one sample of the data set in DDR to the next: its label, then its words."""
        source = self["input"]
        words = source.planes * source.height * source.width * source.words
        return SAMPLE_HEADER + -(-words * self.config.word // 64) * 8

    def _block(self, i: int, g: Geometry) -> int:
        """Images of a block: all of them if one pass can write them; else as many as a word holds bits."""
        config, batch = self.config, self.settings.batch
        least = max(config.word, config.lanes)
        groups = -(-g.filters // config.lanes)
        words = g.outputs * groups * self.codes[i].planes * (batch // config.word)
        return batch if g.outputs == 1 or words <= config.right_depth // 4 else min(batch, least)

    def _place_channels(self) -> None:
        lanes = self.config.lanes
        self.places: list[Place] = []
        channel = 0
        exponents = sum(-(-g.filters // lanes) * lanes for g in self.geometry)
        for i, g in enumerate(self.geometry):
            self.places.append(Place(i, g, channel, exponents + i))
            channel += -(-g.filters // lanes) * lanes
        self.entries = channel + len(self.geometry)

    def _add(
        self,
        name: str,
        vectors: int,
        size: tuple[int, int],
        planes: int,
        bits: int,
        life: tuple[int, int],
        *,
        planar: bool = False,
    ) -> None:
        self.tensors[name] = Life(Tensor.of(name, self.config, vectors, size, planes, bits, planar=planar), life)

    def _columns(self, i: int, kind: str, size: tuple[int, int], planes: int, life: tuple[int, int]) -> None:
        block = self.block[i]
        words = block // self.config.word
        for n in range(self.settings.batch // block):
            name = f"{i + 1}.{kind}.{n}"
            vectors = self.geometry[i].filters
            tensor = Tensor.of(name, self.config, vectors, size, planes, block, word=n * words)
            self.tensors[name] = Life(tensor, life)

    def _weights(self, i: int, g: Geometry, data: list[int], weight: list[int]) -> None:
        size, bits = ((g.kernel_y, 1), g.kernel_x * g.channels) if g.pixels else ((g.kernel_y, g.kernel_x), g.channels)
        self._add(f"{i + 1}.weight", g.filters, size, 1, bits, ALWAYS)
        if i and self.training:
            self._add(f"{i + 1}.weight_backward", g.channels, size, 1, g.filters, ALWAYS)
            if self.streamed:
                self._add(f"{i + 1}.kept_weight", g.channels, size, 1, g.filters, (weight[i], data[i - 1]))

    def _activations(self, i: int, g: Geometry, forward: list[int], data: list[int], weight: list[int]) -> None:
        pooled = g.pooled_height, g.pooled_width
        self._add(f"{i + 1}.active", self.settings.batch, pooled, 1, g.filters, (forward[i], forward[i + 1]))
        if not self.training:
            return
        for kind in ("mask",) if g.pool == "none" else ("mask", "route_low", "route_high"):
            self._add(f"{i + 1}.{kind}", self.settings.batch, pooled, 1, g.filters, (forward[i], data[i]))
        self._columns(i, "active_columns", pooled, 1, (forward[i], weight[i + 1]))

    def _codes(self, i: int, g: Geometry, data: list[int], weight: list[int]) -> None:
        planes, size = self.codes[i].planes, (g.out_height, g.out_width)
        if i:
            self._add(f"{i + 1}.code", self.settings.batch, size, planes, g.filters, (data[i], data[i - 1]))
        self._columns(i, "code_columns", size, planes, (data[i], weight[i]))

    def _input(self, forward: list[int], weight: list[int]) -> None:
        g, settings = self.geometry[0], self.settings
        if g.pixels:
            _, words = strips(g, self.config.word)
            size, bits = (g.height, words), self.config.word
        else:
            size, bits = (1, 1), g.channels
        self._add("input", settings.batch, size, settings.input_planes, bits, ALWAYS, planar=True)
        if self.training:
            # The uppermost planes come first: to gather fewer of them is to gather a shorter sample.
            planes = settings.slope_planes
            self._add("input_top", settings.batch, size, planes, bits, (weight[0], weight[0]), planar=True)
            size, vectors = ((g.height, g.out_width), g.tap_inputs) if g.pixels else ((1, 1), g.channels)
            self._add("input_columns", vectors, size, planes, settings.batch, ALWAYS)
