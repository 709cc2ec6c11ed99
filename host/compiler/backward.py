"""The data gradient of a layer's output, from the codes of the layer above."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bnnedge.compiler.operations import Operations, Unit
from bnnedge.compiler.passes import Outputs, Part
from bnnedge.compiler.tensors import View
from bnnedge.compiler.tiling import code_rows, parts
from bnnedge.network import Geometry


def backward(ops: Operations, i: int) -> None:
    """Append the data gradient of layer i's output."""
    plan, place, above = ops.plan, ops.plan.places[i], ops.plan.geometry[i + 1]
    g = place.geometry
    weights = plan[f"{i + 2}.kept_weight" if plan.streamed else f"{i + 2}.weight_backward"]
    places = 1 if g.pool == "none" else 2
    tiling, units = ops.begin(i, ops.cutter.backward)
    steps = [(unit, *tiles) for unit in units for tiles in unit.tiles]
    made: dict[int, list[View]] = {}
    opens = True
    for n, (unit, t, tiles) in enumerate(steps):
        groups, band = (unit.group, unit.groups), (places * unit.y, places * unit.rows)
        first, last = (t, tiles) == unit.tiles[0], (t, tiles) == unit.tiles[-1]
        (w,) = ops.buffers.take("w", View.of(weights, groups=groups))
        dy, *sides = _operands(ops, i, unit, t, tiles)
        rows: list[View] = []
        if i:
            view = View.of(plan[f"{i + 1}.code"], groups=(t, tiles), rows=band, words=ops.words(groups))
            rows = ops.buffers.give("rows", view)
        for m, count in parts(unit.groups, 1 if tiling.apart else unit.groups, unit.group):
            if first:
                tensor = plan[f"{i + 1}.code_columns.{unit.block}"]
                made[m] = ops.buffers.give("columns", View.of(tensor, groups=(m, count), rows=band))
            out = Outputs(tuple(rows), made[m][0])
            there = list(classes(g, above.stride, Part(m, count, unit.y, unit.rows, t, tiles)))
            for number, (pixels, x, width) in enumerate(there):
                flags = unit.flags(first=first and number == 0, last=last and number == len(there) - 1) | {"opens": opens}
                opens = False
                fields = ops.passes.backward(place, above, pixels, dy, w, sides, out, first_x=x, width=width, **flags)
                ops.execute(i, "data gradient", pixels, fields, [dy, w, *sides], out.views())
            if m + count == unit.group + unit.groups:
                ops.buffers.keep(rows)
            if last:
                ops.buffers.keep(made[m])
            if tiling.apart and n + 1 < len(steps):
                # It comes meanwhile: behind all these passes it would wait for a place in a queue.
                _operands(ops, i, *steps[n + 1])
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


def _operands(ops: Operations, i: int, unit: Unit, t: int, tiles: int) -> list[View]:
    """Codes of the layer above; then what the forward pass kept of the unit's outputs: see `Passes.backward`."""
    plan, pool = ops.plan, ops.plan.geometry[i].pool
    reached = code_rows(ops.plan.geometry[i + 1], unit.y, unit.rows)
    codes = ops.buffers.take("x", View.of(plan[f"{i + 2}.code"], groups=(t, tiles), rows=reached))
    kinds = ("mask",) if pool == "none" else ("mask", "route_low", "route_high")
    words, band = ops.words((unit.group, unit.groups)), (unit.y, unit.rows)
    views = [View.of(plan[f"{i + 1}.{kind}"], groups=(t, tiles), rows=band, words=words) for kind in kinds]
    return codes + ops.buffers.take("sides", *views)
