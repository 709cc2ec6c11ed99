"""Formats of a network's gradient codes, layer by layer: what compiler, golden model and proofs of sums agree on."""

from __future__ import annotations

from bnnedge.formats import Code
from bnnedge.layers import Geometry
from bnnedge.network import Network
from bnnedge.settings import AUTO, Settings
from bnnedge.terminal import counted

# Planes that "auto" stands for. A weight of a convolution sums the gradients of many places, one of a dense layer those of the
# batch alone.
CONVOLUTION, DENSE = 6, 8


def codes(network: Network, settings: Settings) -> tuple[Code, ...]:
    """The code of each layer with weights.

    Where outputs are pooled, three of four places have no gradient: codes are twin there, of 2 planes at least. ValueError if
    `gradient_planes` is a list of another length.
    """
    geometry, asked = network.geometry, settings.gradient_planes
    if asked == AUTO:
        planes = [CONVOLUTION if layer.outputs > 1 else DENSE for layer in geometry]
    elif isinstance(asked, int):
        planes = [asked] * len(geometry)
    else:
        planes = [int(number) for number in asked]
    if len(planes) != len(geometry):
        raise ValueError(
            f"gradient_planes has {counted(len(planes), 'number')}, but network {network.name!r} has "
            f"{counted(len(geometry), 'layer')} with weights: give a number for each, one for all, or {AUTO!r}"
        )
    return tuple(_code(layer, number) for layer, number in zip(geometry, planes, strict=True))


def _code(layer: Geometry, planes: int) -> Code:
    """Of `planes` planes, or 2 where twin planes need as many."""
    twin = layer.pool != "none"
    return Code(max(planes, 1 + twin), twin)
