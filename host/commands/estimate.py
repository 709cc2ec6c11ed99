"""`bnnedge estimate`: cycles, memory and fit of a network on a configuration, without running anything."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

from bnnedge.commands import options
from bnnedge.configuration import Configuration, configuration
from bnnedge.network import Network
from bnnedge.overview import shape
from bnnedge.report.summary import finite
from bnnedge.settings import Settings, gradients
from bnnedge.terminal import printable
from bnnedge.underway import underway


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_network(parser, "mlp")
    options.add_configuration(parser, "pynq-z2")
    options.add_settings(parser, "128")
    parser.add_argument("--tensors", action="store_true", help="also list all tensors: their bytes, and where they live")
    parser.add_argument("--json", action="store_true", help="print JSON, with all of it")


def run(arguments: argparse.Namespace) -> int:
    """Estimate; return the exit status, 1 if the network does not fit."""
    from bnnedge.compiler import estimate

    chosen = configuration(arguments.config or "pynq-z2")
    network, settings = options.network(arguments.network or "mlp"), options.settings(arguments, Settings())
    with underway("following a step through the accelerator", "up to a minute", after=2):
        result = estimate(network, settings, chosen)
    if arguments.json:
        memory = {"on_chip": dict(result.memory.on_chip), "ddr": dict(result.memory.ddr)}
        values = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        head = {"network": network.name, "config": chosen.name, "batch": settings.batch}
        busiest = result.bottleneck
        bottleneck = {"resource": busiest[0], "share": busiest[1]} if busiest else None
        content = {**head, **values, "memory": memory, "bottleneck": bottleneck}
        print(json.dumps(finite(content), indent=2, allow_nan=False))
    else:
        print(_heading(network, settings, chosen, result))
        if result.fits:
            print(_text(result, arguments.tensors))
    if not result.fits:
        print(
            f"bnnedge: error: network {network.name!r} does not fit configuration {chosen.name!r}: {'; '.join(result.reasons)}",
            file=sys.stderr,
        )
        return 1
    return 0


def _heading(network: Network, settings: Settings, config: Configuration, result: Any) -> str:
    """What is estimated, whether it fits, and what it spends its time on."""
    lines = [
        f"network {printable(network.name)}: {shape(network)}, {network.weights:,} weights",
        f"configuration {config.name}: {config.lanes} x {config.lanes} lanes of {config.word} bits",
        f"clock {config.clock_hz / 1e6:g} MHz",
        f"batch {settings.batch}, {gradients(settings.gradient_planes)}, {settings.input_planes}-bit pixels "
        f"({settings.slope_planes} of the bits in the first layer's weight gradient), {settings.optimiser}",
    ]
    if not result.fits:
        return "\n".join([*lines, "does not fit"])
    if any("DDR" in row.get("lives", "") for row in result.tensors):
        lines.append("fits: tensors stream through the chip from DDR")
    else:
        lines.append("fits: all tensors stay on the chip")
    if result.bottleneck:
        name, share = result.bottleneck
        others = sorted(((busy, other) for other, busy in result.shares.items() if other != name), reverse=True)
        listed = ", ".join(f"{other} {100 * busy:.0f} %" for busy, other in others)
        lines.append(f"bottleneck: {name}, busy for {100 * share:.0f} % of a step ({listed})")
    return "\n".join(lines)


def _text(result: Any, tensors: bool) -> str:
    lines = [
        "",
        f"cycles per image    {result.cycles_per_image:>14,.0f}",
        f"images per second   {result.images_per_second:>14,.0f}",
    ]
    for place, kinds in (("on chip", result.memory.on_chip), ("DDR", result.memory.ddr)):
        if kinds:
            lines.append(f"{place}, bytes")
            lines += [f"  {kind:<18}{count:>14,}" for kind, count in _by_turns(kinds).items()]
            lines.append(f"  {'total':<18}{sum(kinds.values()):>14,}")
    for rows in (result.layers, result.tensors if tensors else []):
        if rows:
            lines += ["", *_table(rows)]
    return "\n".join(lines)


def _by_turns(kinds: Mapping[str, int]) -> dict[str, int]:
    """Bytes by kind; one number for all tensors where some take places by turns, which `memory_of` lists first, each in full."""
    if kinds.get("shared", 0) >= 0:
        return {kind: count for kind, count in kinds.items() if kind != "shared"}
    names = list(kinds)
    last = names.index("shared") + 1
    return {"tensors, by turns": sum(kinds[name] for name in names[:last]), **{name: kinds[name] for name in names[last:]}}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of equal keys as aligned columns below their names."""
    names = list(rows[0])
    cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) and abs(value) >= 10 else str(value)
