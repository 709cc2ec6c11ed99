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

# Of a pass: words of images, rows of the output, and a run of its columns, see `runs`.
_Work = tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]


def update(ops: Operations, i: int) -> None:
    """Append the weight gradient of layer i, and its update."""
    plan, g = ops.plan, ops.plan.geometry[i]
    sets = ops.cutter.update(i)
    if i and isinstance(ops.buffers, Streamed):
        _keep_weights(ops, i, sets)
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


def _keep_weights(ops: Operations, i: int, sets: Sets) -> None:
    """Append a copy of layer i's weights, as the data gradient behind their update takes them.

    Where there is room, it goes on beside the first pass. The first operands come before it, as far as they find room.
    """
    source, target = ops.plan[f"{i + 1}.weight_backward"], ops.plan[f"{i + 1}.kept_weight"]
    copy = ops.cutter.copy(i)
    ops.buffers.begin({**sets.tiling.rooms, "copy": copy.room} if copy.beside else {"copy": copy.room})
    if copy.beside:
        inputs, outputs = next(sets.stores(ops.plan.geometry[i], ops.lanes))
        latents = next(sets.latents(ops.plan.geometry[i], inputs, outputs))
        copies = min(len(sets.tiling.rooms[role]) for role in ("x", "dy"))
        for work in _work(ops, i, sets)[:copies]:
            _operands(ops, i, sets, latents, work)
    for part in parts(source.groups, copy.groups):
        (view,) = ops.buffers.take("copy", View.of(source, groups=part))
        ops.emitter.store(dataclasses.replace(view, tensor=target))


def _slopes(ops: Operations, i: int, sets: Sets, latents: LatentSet, out: Outputs, address: int, *, back: bool) -> int:
    """Passes that together make the gradients of one set of weights; return the bytes of their weight words.

    back: the other way round, which finds operands of the set before still on the chip.
    """
    place = ops.plan.places[i]
    (m, count), (c, tiles), (tap, taps) = latents.outputs, latents.inputs, latents.taps_y
    work = _work(ops, i, sets)
    if back:
        work.reverse()
    fields: dict[str, int] = {}
    for n, this in enumerate(work):
        words, (y, rows), (first_x, width, low, high) = this
        x, dy = _operands(ops, i, sets, latents, this)
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


def _work(ops: Operations, i: int, sets: Sets) -> list[_Work]:
    """What the passes of a set cover, in their order."""
    plan, g, word = ops.plan, ops.plan.geometry[i], ops.config.word
    block = min(plan.block[i], plan.block[i - 1] if i else plan.block[i]) // word
    return [
        (words, band, run)
        for first in range(0, ops.settings.batch // word, block)
        for words in parts(block, sets.words, first)
        for band in parts(g.out_height, sets.tiling.rows)
        for run in runs(g)
    ]


def _operands(ops: Operations, i: int, sets: Sets, latents: LatentSet, work: _Work) -> tuple[View, View]:
    """Columns of the input and of the codes for a pass."""
    words, band, _ = work
    codes = View.of(_block(ops, i, "code_columns", words[0]), groups=latents.outputs, rows=band, words=words)
    if i == 0 and len(list(runs(ops.plan.geometry[i]))) > 1:
        # Behind the TRANSPOSE of the input they would wait until the passes over the edges before it leave the queue.
        ops.buffers.take("dy", codes)
    x = _columns(ops, i, latents.inputs, band, latents.taps_y, words, whole=sets.whole)
    return x, ops.buffers.take("dy", codes)[0]


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
