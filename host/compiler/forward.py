"""The forward pass of a layer; of the last one with loss and gradient."""

from __future__ import annotations

from bnnedge.compiler.buffers import Streamed
from bnnedge.compiler.operations import Operations, Unit
from bnnedge.compiler.passes import Outputs, Part
from bnnedge.compiler.tensors import View
from bnnedge.compiler.tiling import input_rows


def forward(ops: Operations, i: int, *, inference: bool = False) -> None:
    """Append the forward pass of layer i."""
    plan, place, last = ops.plan, ops.plan.places[i], i == ops.plan.last
    _, units = ops.begin(i, ops.cutter.forward)
    for unit in units:
        (w,) = ops.buffers.take("w", View.of(plan[f"{i + 1}.weight"], groups=(unit.group, unit.groups)))
        columns = [] if inference else ops.buffers.give("columns", _columns(ops, i, unit))
        for t, tiles in unit.tiles:
            x = _input(ops, i, t, tiles, unit)
            rows = _rows(ops, i, t, tiles, unit, inference=inference)
            out = Outputs(tuple(rows), columns[0] if columns else None)
            part = Part(unit.group, unit.groups, unit.y, unit.rows, t, tiles)
            flags = {} if inference else unit.flags(first=(t, tiles) == unit.tiles[0], last=(t, tiles) == unit.tiles[-1])
            fields = ops.passes.forward(place, part, x, w, out, loss=last, inference=inference, **flags)
            ops.execute(i, "loss" if last else "forward", part, fields, [x, w], out.views())
            ops.buffers.keep(rows)
        ops.buffers.keep(columns)
        if i == 0 and (unit.y or unit.group):  # weights of a block's first two units come before
            _gather_ahead(ops, unit)


def _input(ops: Operations, i: int, t: int, tiles: int, unit: Unit) -> View:
    """Rows of layer i's input that the unit's rows of the output need, of some tiles."""
    if i == 0:
        return ops.samples("x", ops.plan["input"], t, tiles)
    rows = input_rows(ops.plan.geometry[i], unit.y, unit.rows)
    return ops.buffers.take("x", View.of(ops.plan[f"{i}.active"], groups=(t, tiles), rows=rows))[0]


def _gather_ahead(ops: Operations, unit: Unit) -> None:
    """Samples of the next block's first tiles, if there is room for them beside those of this block."""
    after, tiles = sum(unit.tiles[-1]), unit.tiles[0][1]
    if isinstance(ops.buffers, Streamed) and after < ops.tiles and len(ops.buffers.rooms["x"]) > len(unit.tiles):
        ops.samples("x", ops.plan["input"], after, tiles)


def _columns(ops: Operations, i: int, unit: Unit) -> View:
    """Columns that the unit makes: of the sign, in the last layer of the codes."""
    kind = "code_columns" if i == ops.plan.last else "active_columns"
    tensor = ops.plan[f"{i + 1}.{kind}.{unit.block}"]
    return View.of(tensor, groups=(unit.group, unit.groups), rows=(unit.y, unit.rows))


def _rows(ops: Operations, i: int, t: int, tiles: int, unit: Unit, *, inference: bool) -> list[View]:
    """Rows that a pass makes: of the last layer the codes, which only a layer below needs."""
    plan, pool = ops.plan, ops.plan.geometry[i].pool
    if i == plan.last:
        kinds = ["code"] if i and not inference else []
    else:
        kinds = ["active", "mask", "route_low", "route_high"][: 1 if inference else 2 if pool == "none" else 4]
    if not kinds:
        return []
    groups, rows, words = (t, tiles), (unit.y, unit.rows), ops.words((unit.group, unit.groups))
    views = [View.of(plan[f"{i + 1}.{kind}"], groups=groups, rows=rows, words=words) for kind in kinds]
    return ops.buffers.give("rows", *views)
