"""Parts of an operation that one pass covers, and the choice among them: what fits, and takes least time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bnnedge.compiler.buffers import Piece, Room, fit
from bnnedge.configuration import Configuration
from bnnedge.network import Geometry

MEMORY_BYTES = 14.0  # a cycle, all ports together: the pinned memory model
BEAT = 8  # bytes
EXPOSED = 0.5  # share of an operation's first operands and last results that nothing hides
STALLED = 0.75  # share of the time for what has no second copy, in which neither the engine nor the memory goes on
STORING = 0.75  # of the time of the engine, which is quick at a map's edges: beyond it results get a third copy
LOAD_OVERHEAD = 150  # cycles before the first beat, two LOADs for some operands
PASS_OVERHEAD = 100  # cycles between passes: taps of the first tile, pipelines, tokens


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Of a pass: rows of the output map, groups of channels, tiles; and the rooms of its operands and results.

    share: groups whose passes are all done before those of the next ones begin: the totals hold their sums meanwhile.
    apart: each group of channels has passes and columns of its own, so that columns of one group are stored while those of
    the next are made. cycles: estimated, of all these passes.
    """

    rows: int
    groups: int
    tiles: int
    rooms: dict[str, Room]
    cycles: float
    share: int = 0
    apart: bool = False


@dataclasses.dataclass(frozen=True)
class LatentSet:
    """Weight words that lie in DDR one behind the other: tiles of lanes x lanes, of groups of outputs, then taps, then
    groups of inputs. Each is (first, how many).
    """

    outputs: tuple[int, int]
    taps_y: tuple[int, int]
    inputs: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Sets:
    """Of weight gradients: `tiling.tiles` groups of inputs and `tiling.groups` of outputs at a time; together with
    `taps_y` rows of the window they are added up over all images, `words` words of them in a pass, and bands of
    `tiling.rows` rows. Results are stored by `inputs` groups of inputs and `outputs` groups of outputs. whole: the network's
    input is there with all rows.
    """

    tiling: Tiling
    taps_y: int
    words: int
    inputs: int
    outputs: int
    whole: bool

    def stores(self, g: Geometry, lanes: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """What is stored together, in order: groups of inputs and of outputs, each (first, how many)."""
        for inputs in parts(-(-g.tap_inputs // lanes), self.inputs):
            for outputs in parts(-(-g.filters // lanes), self.outputs):
                yield inputs, outputs

    def latents(self, g: Geometry, inputs: tuple[int, int], outputs: tuple[int, int]) -> Iterator[LatentSet]:
        """What is added up together, in order, of what is stored together."""
        for c in parts(inputs[1], self.tiling.tiles, inputs[0]):
            for tap in range(0, g.kernel_y, self.taps_y):
                for m in parts(outputs[1], self.tiling.groups, outputs[0]):
                    yield LatentSet(m, (tap, self.taps_y), c)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of an operation: cycles of the engine, passes, and addresses that are moved, by role: `reads` to the chip, `writes`
    from it.
    """

    engine: float
    passes: int
    reads: Mapping[str, float]
    writes: Mapping[str, float] = dataclasses.field(default_factory=dict)


def best(
    config: Configuration,
    candidates: Iterable[tuple[int, int, int]],
    pieces: Callable[[int, int, int], Sequence[Piece]],
    cost: Callable[[int, int, int], Cost],
    *,
    from_top: bool,
    apart: bool = False,
) -> Tiling | None:
    """The candidate (rows, groups, tiles) that fits and takes least time; None if none fits."""
    beats = config.lanes * config.word // (8 * BEAT)
    found: Tiling | None = None
    for candidate in candidates:
        there = [piece for piece in pieces(*candidate) if piece.size]
        rooms = fit(there, config, from_top=from_top)
        if rooms is None:
            continue
        c = cost(*candidate)
        if sum(c.writes.values()) * beats > STORING * c.engine:
            more = [dataclasses.replace(p, copies=p.copies + 1) if p.role in ("rows", "columns") else p for p in there]
            rooms = fit(more, config, from_top=from_top) or rooms
        reads, writes = sum(c.reads.values()), sum(c.writes.values())
        # What has no second copy is moved while the engine waits, and then the memory waits for the engine.
        single = [role for role, room in rooms.items() if len(room) == 1] if c.passes > 1 else []
        waits = sum(c.reads.get(role, 0) + c.writes.get(role, 0) for role in single)
        splits = 1
        if apart:
            splits, copies = candidate[1], rooms["columns"]
            waits += _late(splits, len(copies), copies[0][2], c.engine / beats / c.passes / splits) * c.writes["columns"]
        # There is little else to do while the first operands come and the last results go.
        waits += EXPOSED * sum(room[0][2] for room in rooms.values())
        memory = max(reads, writes, (reads + writes) * BEAT / MEMORY_BYTES)
        moving = memory * beats + c.passes * len(c.reads) * LOAD_OVERHEAD
        cycles = max(c.engine, moving) + STALLED * waits * beats + c.passes * splits * PASS_OVERHEAD
        if found is None or cycles < found.cycles:
            found = Tiling(*candidate, rooms, cycles, apart=apart)
    return found


def _late(splits: int, copies: int, size: int, time: float) -> float:
    """How long passes wait for columns' room, in parts of the time that storing takes.

    The columns of each of `splits` groups, `size` addresses, are stored one after another from the first group's pass over the
    last tiles on; the last group's pass over the next first tiles takes the place of the one `copies - splits` before.
    `time` of a pass, in addresses that are stored meanwhile.
    """
    return max(0.0, (2 * splits - copies) * size - (2 * splits - 2) * time) / (splits * size)


def parts(count: int, size: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """`count` things from `first` on in parts of `size`: (first, how many) of each."""
    for start in range(first, first + count, size):
        yield start, min(size, first + count - start)


def sizes(count: int, least: int = 1) -> Iterator[int]:
    """Sizes of parts of `count` things, the largest first, multiples of `least` (or all of them)."""
    seen = 0
    for pieces in range(1, count + 1):
        even = -(-count // pieces)
        size = min(count, -(-even // least) * least)
        if size != seen:
            yield size
        seen = size


def input_rows(g: Geometry, y: int, rows: int) -> tuple[int, int]:
    """Rows of the input map (first, how many) under rows y.. of the (pooled) output map."""
    places = 1 if g.pool == "none" else 2
    first = y * places * g.stride - g.pad_y
    last = ((y + rows) * places - 1) * g.stride - g.pad_y + g.kernel_y
    first, last = max(0, first), min(g.height, last)
    return first, last - first


def code_rows(above: Geometry, y: int, rows: int) -> tuple[int, int]:
    """Rows of the map of codes above (first, how many) that rows y.. of that layer's input reach; one at least."""
    first = max(0, -(-(y + above.pad_y - above.kernel_y + 1) // above.stride))
    last = min(above.out_height - 1, (y + rows - 1 + above.pad_y) // above.stride)
    first = min(first, above.out_height - 1)
    return first, max(1, last - first + 1)
