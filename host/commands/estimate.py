"""`bnnedge estimate`: cycles, memory and fit of a network on a configuration, without running anything."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from typing import Any

from bnnedge.commands import options
from bnnedge.configuration import configuration
from bnnedge.settings import Settings


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_network(parser, "mlp")
    options.add_configuration(parser, "pynq-z2")
    options.add_settings(parser, "128")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Estimate; return the exit status, 1 if the network does not fit."""
    from bnnedge.compiler import estimate

    chosen = configuration(arguments.config or "pynq-z2")
    network, settings = options.network(arguments.network or "mlp"), options.settings(arguments, Settings())
    result = estimate(network, settings, chosen)
    if arguments.json:
        memory = {"on_chip": dict(result.memory.on_chip), "ddr": dict(result.memory.ddr)}
        values = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        head = {"network": network.name, "config": chosen.name, "batch": settings.batch}
        busiest = result.bottleneck
        bottleneck = {"resource": busiest[0], "share": busiest[1]} if busiest else None
        content = {**head, **values, "memory": memory, "bottleneck": bottleneck}
        print(json.dumps(_finite(content), indent=2, allow_nan=False))
    else:
        print(_text(result))
    if not result.fits:
        print(
            f"bnnedge: error: network {network.name!r} does not fit configuration {chosen.name!r}: {'; '.join(result.reasons)}",
            file=sys.stderr,
        )
        return 1
    return 0


def _finite(value: Any) -> Any:
    """The value with None for NaN and infinity, which JSON lacks, at any depth."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(result: Any) -> str:
    lines = []
    if result.fits:
        lines += [
            f"cycles per image    {result.cycles_per_image:>14,.0f}",
            f"images per second   {result.images_per_second:>14,.0f}",
        ]
    for place, kinds in (("on chip", result.memory.on_chip), ("DDR", result.memory.ddr)):
        if kinds:
            lines.append(f"{place}, bytes")
            lines += [f"  {kind:<18}{count:>14,}" for kind, count in kinds.items()]
            lines.append(f"  {'total':<18}{sum(kinds.values()):>14,}")
    for rows in (result.layers, result.tensors):
        if rows:
            lines += ["", *_table(rows)]
    if result.bottleneck:
        name, share = result.bottleneck
        others = sorted(((busy, other) for other, busy in result.shares.items() if other != name), reverse=True)
        listed = ", ".join(f"{other} {100 * busy:.0f} %" for busy, other in others)
        lines += ["", f"bottleneck: {name}, busy for {100 * share:.0f} % of a step ({listed})"]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of equal keys as aligned columns below their names."""
    names = list(rows[0])
    cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) and abs(value) >= 10 else str(value)
