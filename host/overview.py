"""A network at a glance: a table of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnnedge.terminal import printable

if TYPE_CHECKING:
    from bnnedge.network import Network


def shape(network: Network) -> str:
    """Inputs and output channels of all layers, such as 32x32x3-64-64p-10: p for a pool."""
    first = network.geometry[0]
    inputs = "x".join(map(str, network.input_shape)) if first.pixels else str(first.fan_in)
    return "-".join([inputs, *(f"{layer.filters}{'' if layer.pool == 'none' else 'p'}" for layer in network.geometry)])


def table(network: Network, state_bytes: Sequence[int] = ()) -> str:
    """Lines with each layer's output, weights, and bytes of training state, if they are given; and their sums."""
    rows = [["layer", "output", "weights"], ["input", _size(network.input_shape), ""]]
    for layer in network.geometry:
        sides = (layer.pooled_height, layer.pooled_width)
        output = (layer.filters,) if layer.outputs == 1 and not layer.pixels else (*sides, layer.filters)
        pooled = "" if layer.pool == "none" else f", pooled: {layer.pool}"
        rows.append([layer.name + pooled, _size(output), f"{layer.fan_in * layer.fan_out:,}"])
    rows.append(["all", "", f"{network.weights:,}"])
    if state_bytes:
        sizes = ["state bytes", "", *(f"{size:,}" for size in state_bytes), f"{sum(state_bytes):,}"]
        rows = [[*row, size] for row, size in zip(rows, sizes, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([f"network {printable(network.name)}", rule, lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
