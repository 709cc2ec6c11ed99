"""What would fit, where a network does not: found by trying, for the messages that refuse it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from bnnedge import formats
from bnnedge.codes import codes
from bnnedge.configuration import CONFIGURATIONS, Configuration
from bnnedge.layers import Conv2D, Dense, Layer
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.terminal import counted

_WIDTHS = {2: "half", 4: "a quarter", 8: "an eighth"}
_Change = tuple[str, Network, Settings, Configuration]  # in words, and with what
_Fits = Callable[[Network, Settings, Configuration], bool]


def advice(network: Network, settings: Settings, config: Configuration, fits: _Fits) -> str:
    """The nearest change of each kind with which all else can stay as it is; `fits` tells whether something does."""
    found = list(filter(None, (_first(change, fits) for change in _changes(network, settings, config))))
    if found:
        return f"this fits: {', or '.join(found)}"
    return "neither a smaller batch, nor fewer planes, nor layers an eighth as wide, nor another configuration fits by itself"


def _first(changes: Iterator[_Change], fits: _Fits) -> str | None:
    return next((what for what, network, settings, config in changes if fits(network, settings, config)), None)


def _changes(network: Network, settings: Settings, config: Configuration) -> Iterator[Iterator[_Change]]:
    """Kinds of change; of each the smallest first."""

    def changed(field: str, values: Iterator[int], words: Callable[[int], str]) -> Iterator[_Change]:
        for value in values:
            fields: dict[str, Any] = {field: value}
            yield words(value), network, dataclasses.replace(settings, **fields), config

    def planes_of(kind: str) -> Callable[[int], str]:
        return lambda number: counted(number, f"{kind} plane")

    step = math.lcm(config.word, formats.BATCH_STEP)
    batches = dict.fromkeys(settings.batch * eighths // 8 // step * step for eighths in range(7, 0, -1))
    yield changed("batch", (batch for batch in batches if batch), "a batch of {}".format)
    most = max(code.planes for code in codes(network, settings))
    yield changed("gradient_planes", iter(range(most - 1, 0, -1)), planes_of("gradient"))
    yield changed("slope_planes", iter(range(settings.slope_planes - 1, 0, -1)), planes_of("slope"))
    planes = range(settings.input_planes - 1, settings.slope_planes - 1, -1)
    yield changed("input_planes", iter(planes), planes_of("input"))
    yield ((f"layers {words} as wide", _narrower(network, by), settings, config) for by, words in _WIDTHS.items())
    others = (other for other in CONFIGURATIONS.values() if other != config)
    yield ((f"configuration {other.name!r}", network, settings, other) for other in others)


def _narrower(network: Network, by: int) -> Network:
    """The network with all layers but the last a part as wide."""

    def narrow(layer: Layer) -> Layer:
        if isinstance(layer, Conv2D):
            return dataclasses.replace(layer, filters=-(-layer.filters // by))
        return Dense(-(-layer.units // by)) if isinstance(layer, Dense) else layer

    return Network(network.input_shape, [*map(narrow, network.layers[:-1]), network.layers[-1]], network.name)
