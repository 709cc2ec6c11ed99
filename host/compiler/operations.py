"""What the operations of training share: the order of their parts, the network's input, and how a pass is appended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from bnnedge.compiler.buffers import Resident, Streamed
from bnnedge.compiler.cutter import Cutter
from bnnedge.compiler.emitter import Emitter
from bnnedge.compiler.passes import Part, Passes
from bnnedge.compiler.plan import Plan
from bnnedge.compiler.tensors import Tensor, View
from bnnedge.compiler.tiling import Tiling, parts
from bnnedge.compiler.tokens import Access
from bnnedge.isa import Head, Opcode


@dataclasses.dataclass(frozen=True)
class Unit:
    """A part of an operation: a block of images, a band of rows of the map, groups of channels.

    tiles: of each pass, (first, how many). fresh, commits: the sums of these channels begin, are complete with it.
    """

    block: int
    y: int
    rows: int
    group: int
    groups: int
    tiles: tuple[tuple[int, int], ...]
    fresh: bool
    commits: bool

    def flags(self, *, first: bool, last: bool) -> dict[str, int]:
        """Fields of a pass; `first`, `last`: of the unit's passes over its channels."""
        return {"fresh": self.fresh and first, "commit": self.commits and last}


def units(tiling: Tiling, blocks: int, block: int, height: int, groups: int) -> Iterator[Unit]:
    """The parts of an operation over `blocks` blocks of `block` tiles, `height` rows and `groups` groups, in their order."""
    bands = [(b, *band) for b in range(blocks) for band in parts(height, tiling.rows)]
    for share in parts(groups, tiling.share):
        for n, (b, y, rows) in enumerate(bands):
            tiles = tuple(parts(block, tiling.tiles, b * block))
            for group, count in parts(share[1], tiling.groups, share[0]):
                yield Unit(b, y, rows, group, count, tiles, n == 0, n == len(bands) - 1)


class Operations:
    """Appends the passes of a plan's operations: see `forward`, `backward` and `update` in the modules of these names.

    With everything `Resident` an operation is one pass. `Streamed`, it goes through blocks of images, bands of rows, groups
    of channels and tiles.
    """

    def __init__(self, plan: Plan, cutter: Cutter, emitter: Emitter, buffers: Resident | Streamed, rate: int) -> None:
        self.plan, self.cutter, self.emitter, self.buffers = plan, cutter, emitter, buffers
        self.config, self.settings = plan.config, plan.settings
        self.passes = Passes(self.config, self.settings, plan.codes, rate)
        self.lanes = self.config.lanes
        self.tiles = self.settings.batch // self.lanes
        self.labelled = 0  # tiles of this batch whose labels are in the queue

    def begin(self, i: int, tilings: Callable[[int], Tiling]) -> tuple[Tiling, list[Unit]]:
        """Begin an operation of layer i; its tiling and parts. With everything resident it is one pass."""
        plan, g = self.plan, self.plan.geometry[i]
        groups = -(-g.filters // self.lanes)
        if isinstance(self.buffers, Resident):
            tiling = Tiling(1, groups, self.tiles, {}, 0.0, groups)
        else:
            tiling = tilings(i)
        block = plan.block[i] // self.lanes if plan.training else self.tiles
        there = list(units(tiling, self.tiles // block, block, g.pooled_height, groups))
        columns = sum(unit.groups if tiling.apart else 1 for unit in there)
        self.buffers.begin(tiling.rooms, {"rows": sum(len(unit.tiles) for unit in there), "columns": columns})
        return tiling, there

    def words(self, groups: tuple[int, int]) -> tuple[int, int]:
        """Words that hold these groups of channels: the first, and how many."""
        return groups[0] // self.config.granules, -(-groups[1] // self.config.granules)

    def samples(self, role: str, tensor: Tensor, t: int, tiles: int) -> View:
        """Samples of some tiles, gathered unless they are on the chip."""
        view = View.of(tensor, groups=(t, tiles))
        if isinstance(self.buffers, Resident):
            return self.buffers.take(role, view)[0]
        found = self.buffers.find(role, view)
        if not found:
            found = self.buffers.give(role, view)
            self.gather(found[0], t, tiles, labels=t + tiles > self.labelled)
            self.labelled = max(self.labelled, t + tiles)
        return found[0]

    def gather(self, view: View, t: int, tiles: int, *, labels: bool, ahead: int = 0) -> None:
        """Append the GATHER of a view of some tiles' samples."""
        samples = (t * self.lanes, tiles * self.lanes)
        batch = self.settings.batch
        self.emitter.gather(view, *samples, self.plan.sample_bytes, batch=batch, labels=labels, ahead=ahead)

    def transpose(self, source: View, target: View, t: int, tiles: int) -> None:
        """Append the TRANSPOSE of some tiles of samples."""
        part = Part(0, target.groups, target.y, target.rows, t, tiles)
        fields = self.passes.transpose(part, source, target, self.plan.geometry[0])
        self.emitter.execute("input, as columns", fields, [source], [target], opcode=Opcode.TRANSPOSE)

    def execute(self, i: int, comment: str, part: Part, fields: dict[str, int], reads: list[View], writes: list[View]) -> None:
        """Append a pass of layer i; then what the passes before it have completed is stored."""
        others = []
        if fields["head"] != Head.UPDATE:
            place, most = self.plan.places[i], self.config.layer_channels // self.lanes
            first = part.group % most
            groups = (first, first + part.groups) if first + part.groups <= most else (0, most)
            channel = place.channel + part.group * self.lanes
            channels = (channel, channel + part.groups * self.lanes)
            others.append(Access("parameters", (channels,), False))
            if not fields.get("inference"):
                others.append(Access("totals", (groups,), True))
            if fields.get("commit"):
                others += [Access("totals", (groups,), False, late=True), Access("parameters", (channels,), True, late=True)]
            if fields["head"] != Head.FORWARD:
                others.append(Access("parameters", ((place.exponent, place.exponent + 1),), True, late=True))
        if fields["head"] == Head.LOSS:
            others.append(Access("report", ((0, 1),), True, late=True))
        self.emitter.execute(f"{comment}, layer {i + 1}", fields, reads, writes, others)
        self.buffers.finish()
