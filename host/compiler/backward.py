"""The data gradient of a layer's output, from the codes of the layer above."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bnnedge.compiler.operations import Operations, Unit, units
from bnnedge.compiler.passes import Outputs, Part
from bnnedge.compiler.tensors import View
from bnnedge.compiler.tiling import code_rows, parts
from bnnedge.network import Geometry


def backward(ops: Operations, i: int) -> None:
    """Append the data gradient of layer i's output."""
    plan, place, above = ops.plan, ops.plan.places[i], ops.plan.geometry[i + 1]
    g = place.geometry
    tiling = ops.begin(i, ops.cutter.backward(i))
    code, weights = plan[f"{i + 2}.code"], plan[f"{i + 2}.weight_backward"]
    block = plan.block[i] // ops.lanes
    places = 1 if g.pool == "none" else 2
    for unit in units(tiling, ops.tiles // block, g.pooled_height, weights.groups):
        groups, band = (unit.group, unit.groups), (places * unit.y, places * unit.rows)
        (w,) = ops.buffers.take("w", View.of(weights, groups=groups))
        columns: list[View] = []
        if unit.emits:
            tensor = plan[f"{i + 1}.code_columns.{unit.block}"]
            columns = ops.buffers.give("columns", View.of(tensor, groups=groups, rows=band))
        first = True
        for t, tiles in parts(block, tiling.tiles, unit.block * block):
            (dy,) = ops.buffers.take("x", View.of(code, groups=(t, tiles), rows=code_rows(above, unit.y, unit.rows)))
            sides = _sides(ops, i, t, tiles, unit)
            rows: list[View] = []
            if i and unit.emits:
                view = View.of(plan[f"{i + 1}.code"], groups=(t, tiles), rows=band, words=ops.words(groups))
                rows = ops.buffers.give("rows", view)
            out = Outputs(tuple(rows), None, columns[0] if columns else None)
            whole = Part(unit.group, unit.groups, unit.y, unit.rows, t, tiles)
            for part, x, width in classes(g, above.stride, whole):
                flags = unit.flags(first=first)
                first = False
                fields = ops.passes.backward(place, above, part, dy, w, sides, out, first_x=x, width=width, **flags)
                name = "data gradient" if unit.emits else "data gradient, statistics"
                ops.execute(i, name, part, fields, [dy, w, *sides], out.views())
            ops.buffers.keep(rows)
        ops.buffers.keep(columns)
    ops.emitter.amend(closes=1)


def classes(g: Geometry, step: int, part: Part) -> Iterator[tuple[Part, int, int]]:
    """A pass's pixels by parity, as the stride above asks for: (part, first column, how many columns `step` apart)."""
    for odd_y in range(step):
        y = part.y + (odd_y - part.y) % step
        rows = -(-(part.y + part.rows - y) // step)
        for odd_x in range(step):
            columns = -(-(g.pooled_width - odd_x) // step)
            if rows < 1 or columns < 1:
                continue
            if step == 1 or g.pool == "none":
                yield dataclasses.replace(part, y=y, rows=rows), odd_x, columns
                continue
            # The places of a pooled pixel lie half a stride of the loops apart: so here pixels come one by one.
            for n in range(rows):
                for x in range(odd_x, g.pooled_width, step):
                    yield dataclasses.replace(part, y=y + n * step, rows=1), x, 1


def _sides(ops: Operations, i: int, t: int, tiles: int, unit: Unit) -> list[View]:
    """What the forward pass kept of the unit's outputs: see `Passes.backward`."""
    plan, pool = ops.plan, ops.plan.geometry[i].pool
    kinds = {"none": ("active", "mask"), "signs": ("mask",), "sums": ("active", "mask", "route_low", "route_high")}[pool]
    groups, words = (t, tiles), ops.words((unit.group, unit.groups))
    band = (unit.y, unit.rows)
    views = [View.of(plan[f"{i + 1}.{kind}"], groups=groups, rows=band, words=words) for kind in kinds]
    if pool == "signs":
        band = (2 * unit.y, 2 * unit.rows)
        views.insert(0, View.of(plan[f"{i + 1}.wide"], groups=groups, rows=band, words=words))
    return ops.buffers.take("sides", *views)
