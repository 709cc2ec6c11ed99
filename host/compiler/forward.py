"""The forward pass of a layer; of the last one with loss and gradient."""

from __future__ import annotations

import dataclasses

from bnnedge.compiler.operations import Operations, Unit, units
from bnnedge.compiler.passes import Outputs, Part
from bnnedge.compiler.tensors import View
from bnnedge.compiler.tiling import input_rows


def forward(ops: Operations, i: int, *, inference: bool = False) -> None:
    """Append the forward pass of layer i."""
    plan, place = ops.plan, ops.plan.places[i]
    g, last = place.geometry, i == plan.last
    weights = plan[f"{i + 1}.weight"]
    block = plan.block[i] // ops.lanes if plan.training else ops.tiles
    for tiling, groups in ops.begin(i, ops.cutter.forward):
        for unit in units(tiling, ops.tiles // block, block, g.pooled_height, groups, inference=inference):
            (w,) = ops.buffers.take("w", View.of(weights, groups=(unit.group, unit.groups)))
            columns = ops.buffers.give("columns", _columns(ops, i, unit)) if unit.emits and not inference else []
            for t, tiles in unit.tiles:
                x = _input(ops, i, t, tiles, unit)
                out = _rows(ops, i, t, tiles, unit, inference=inference) if unit.emits else Outputs()
                written = dataclasses.replace(out, columns=columns[0]) if columns else out
                part = Part(unit.group, unit.groups, unit.y, unit.rows, t, tiles)
                flags = unit.flags(unit.group, first=(t, tiles) == unit.tiles[0])
                if last:  # the softmax begins when all sums have been added up, in inference too
                    flags |= {"statistics": True, "fresh": True}
                fields = ops.passes.forward(place, part, x, w, written, loss=last, inference=inference, **flags)
                name = "loss" if last else "forward" if unit.emits else "forward, statistics"
                ops.execute(i, name, part, fields, [x, w], written.views())
                ops.buffers.keep(out.views())
            ops.buffers.keep(columns)


def _input(ops: Operations, i: int, t: int, tiles: int, unit: Unit) -> View:
    """Rows of layer i's input that the unit's rows of the output need, of some tiles."""
    if i == 0:
        return ops.samples("x", ops.plan["input"], t, tiles)
    rows = input_rows(ops.plan.geometry[i], unit.y, unit.rows)
    return ops.buffers.take("x", View.of(ops.plan[f"{i}.active"], groups=(t, tiles), rows=rows))[0]


def _columns(ops: Operations, i: int, unit: Unit) -> View:
    """Columns that the unit makes: of the sign, in the last layer of the codes."""
    kind = "code_columns" if i == ops.plan.last else "active_columns"
    tensor = ops.plan[f"{i + 1}.{kind}.{unit.block}"]
    return View.of(tensor, groups=(unit.group, unit.groups), rows=(unit.y, unit.rows))


def _rows(ops: Operations, i: int, t: int, tiles: int, unit: Unit, *, inference: bool) -> Outputs:
    """Rows that a pass makes."""
    plan, pool = ops.plan, ops.plan.geometry[i].pool
    groups, words = (t, tiles), ops.words((unit.group, unit.groups))
    if i == plan.last:
        wanted = [View.of(plan[f"{i + 1}.code"], groups=groups, words=words)] if i and not inference else []
        return Outputs(tuple(ops.buffers.give("rows", *wanted)) if wanted else ())
    kinds = ["active"] if inference else ["active", "mask"]
    if pool == "sums" and not inference:
        kinds += ["route_low", "route_high"]
    band = (unit.y, unit.rows)
    views = [View.of(plan[f"{i + 1}.{kind}"], groups=groups, rows=band, words=words) for kind in kinds]
    if pool == "signs" and not inference:
        band = (2 * unit.y, 2 * unit.rows)
        views.append(View.of(plan[f"{i + 1}.wide"], groups=groups, rows=band, words=words))
    given = ops.buffers.give("rows", *views)
    return Outputs(tuple(given[: len(kinds)]), given[-1] if len(given) > len(kinds) else None)
