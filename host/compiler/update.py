"""The weight gradient of a layer, and its update."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bnnedge.compiler.buffers import Resident, Streamed
from bnnedge.compiler.operations import Operations
from bnnedge.compiler.passes import Outputs, Part
from bnnedge.compiler.tensors import Tensor, View
from bnnedge.compiler.tiling import LatentSet, Sets, parts
from bnnedge.formats import WINDOW_BITS
from bnnedge.network import Geometry


def update(ops: Operations, i: int) -> None:
    """Append the weight gradient of layer i, and its update."""
    plan, g = ops.plan, ops.plan.geometry[i]
    sets = ops.cutter.update(i)
    ops.buffers.begin(sets.tiling.rooms)
    forward, backward = plan[f"{i + 1}.weight"], plan[f"{i + 1}.weight_backward"] if i else None
    address, back = ops.emitter.addresses.latents[i], False
    for inputs, outputs in sets.stores(g, ops.lanes):
        kept = ops.buffers.give("wf", View.of(forward, groups=outputs, words=ops.words(inputs)))
        if backward is not None:
            kept += ops.buffers.give("wb", View.of(backward, groups=inputs, words=ops.words(outputs)))
        out = Outputs(tuple(kept[1:]), kept[0])
        for latents in sets.latents(g, inputs, outputs):
            address += _slopes(ops, i, sets, latents, out, address, back=back)
            back = not back
        ops.buffers.keep(kept)


def keep_weights(ops: Operations, i: int) -> None:
    """Append a copy of layer i's weights, through a corner of the chip, for the data gradient behind its update."""
    assert isinstance(ops.buffers, Streamed)
    source, target = ops.plan[f"{i + 1}.weight_backward"], ops.plan[f"{i + 1}.kept_weight"]
    groups, rooms = ops.cutter.copy(i)
    ops.buffers.begin(rooms)
    for part in parts(source.groups, groups):
        (copy,) = ops.buffers.take("copy", View.of(source, groups=part))
        ops.emitter.store(dataclasses.replace(copy, tensor=target))


def _slopes(ops: Operations, i: int, sets: Sets, latents: LatentSet, out: Outputs, address: int, *, back: bool) -> int:
    """Passes that together make the gradients of one set of weights; return the bytes of their weight words.

    back: the other way round, which finds operands of the set before still on the chip.
    """
    plan, place = ops.plan, ops.plan.places[i]
    g = place.geometry
    block = min(plan.block[i], plan.block[i - 1] if i else plan.block[i]) // ops.config.word
    (m, count), (c, tiles), (tap, taps) = latents.outputs, latents.inputs, latents.taps_y
    work = [
        (words, band, run)
        for first in range(0, ops.settings.batch // ops.config.word, block)
        for words in parts(block, sets.words, first)
        for band in parts(g.out_height, sets.tiling.rows)
        for run in runs(g)
    ]
    if back:
        work.reverse()
    fields: dict[str, int] = {}
    for n, (words, (y, rows), (first_x, width, low, high)) in enumerate(work):
        x = _columns(ops, i, (c, tiles), (y, rows), (tap, taps), words, whole=sets.whole)
        tensor = _block(ops, i, "code_columns", words[0])
        (dy,) = ops.buffers.take("dy", View.of(tensor, groups=(m, count), rows=(y, rows), words=words))
        part, last = Part(m, count, y, rows, c, tiles), n == len(work) - 1
        fields = ops.passes.update(
            place,
            part,
            x,
            dy,
            out,
            columns=(first_x, width),
            taps_y=(tap, taps),
            words=words,
            row_first=low,
            row_last=high,
            continues=n > 0,
            unfinished=not last,
            address=address,
        )
        ops.execute(i, "weight gradient", part, fields, [x, dy], out.views() if last else [])
    return fields["rows"] // ops.lanes * ops.config.tile_beats * 8


def runs(g: Geometry) -> Iterator[tuple[int, int, int, int]]:
    """Columns of the output over whose windows the same rows of sums count: (first, how many, first row, last row).

    Only in a convolution of pixels does a row of sums depend on the column of the window.
    """
    if not g.pixels:
        yield 0, g.out_width, 0, WINDOW_BITS - 1
        return
    start, before = 0, (-1, -1)
    for x in range(g.out_width + 1):
        left = x * g.stride - g.pad_x
        rows = max(0, -left) * g.channels, min(g.kernel_x, g.width - left) * g.channels - 1
        if x and (x == g.out_width or rows != before):
            yield start, x - start, *before
            start = x
        before = rows


def _columns(
    ops: Operations,
    i: int,
    groups: tuple[int, int],
    band: tuple[int, int],
    taps: tuple[int, int],
    words: tuple[int, int],
    *,
    whole: bool,
) -> View:
    """Columns of the input that the taps reach from a band of the output."""
    g = ops.plan.geometry[i]
    first = max(0, band[0] * g.stride + taps[0] - g.pad_y)
    last = min(g.height, (band[0] + band[1] - 1) * g.stride + sum(taps) - g.pad_y)
    rows = (0, g.height) if whole else (min(first, g.height - 1), max(1, last - first))
    if i:
        view = View.of(_block(ops, i - 1, "active_columns", words[0]), groups=groups, rows=rows, words=words)
        return ops.buffers.take("x", view)[0]
    view = View.of(ops.plan["input_columns"], rows=rows, words=words)
    if isinstance(ops.buffers, Resident):
        return ops.buffers.take("x", view)[0]
    # The network's input is gathered, and turned on the chip.
    found = ops.buffers.find("x", view)
    if not found:
        granules = ops.config.granules
        t, tiles = words[0] * granules, words[1] * granules
        source = ops.samples("samples", ops.plan["input_top"], t, tiles)
        found = ops.buffers.give("x", view)
        ops.transpose(source, found[0], t, tiles)
    return found[0]


def _block(ops: Operations, i: int, kind: str, word: int) -> Tensor:
    """The block of a tensor of columns that holds a word."""
    return next(tensor for tensor in ops.plan.blocks(i, kind) if tensor.word <= word < tensor.word + tensor.words)
