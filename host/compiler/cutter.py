"""How each operation of a network is cut into passes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable

from bnnedge import bounds, formats
from bnnedge.compiler.buffers import Piece, Room, fit
from bnnedge.compiler.plan import Plan
from bnnedge.compiler.tiling import Cost, Sets, Tiling, best, code_rows, input_rows, parts, sizes
from bnnedge.formats import Code

EITHER = ("left", "right")
TURN_OVERHEAD = 6  # cycles for a pixel that is transposed, besides its words
NEAR = 0.01  # of ways whose cycles differ by less, others tell which one is taken
CORNER = 8  # the part of the right buffer that copies pass through, twice


@dataclasses.dataclass(frozen=True)
class _Operation:
    """A forward pass or a data gradient of layer i, over blocks of so many tiles.

    pieces, cost: of a candidate (rows, groups, tiles). term: the most that a row of a (pooled) pixel adds to a channel's
    sums. classes: passes for a unit's pixels, by parity, in each direction. apart: see `Tiling`. whole: one pass takes all images
    of a channel, of the last layer all of them.
    """

    i: int
    what: str
    groups: int
    block: int
    pieces: Callable[[int, int, int], list[Piece]]
    cost: Callable[[int, int, int], Cost]
    term: int
    classes: int = 1
    from_top: bool = False
    apart: bool = False
    whole: bool = False


@dataclasses.dataclass(frozen=True)
class Copy:
    """Of binary weights from DDR to DDR: so many groups at a time, and the room that they pass through. beside: none of it
    is the update's.
    """

    groups: int
    room: Room
    beside: bool


class Cutter:
    """Finds the tilings of a plan's operations. ValueError names the layer that does not fit the buffers.

    Operations take the ends of the buffers by turns, so that the operands of one come while the one before still works: the
    last forward pass and all data gradients the bottom, updates the top.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config, self.settings = plan, plan.config, plan.settings
        self.lanes, self.granules = self.config.lanes, self.config.granules
        self.tiles = self.settings.batch // self.lanes

    @functools.cache  # noqa: B019 - lives as long as the layout
    def forward(self, i: int) -> Tiling:
        """Forward pass of layer i."""
        plan, g, training, last = self.plan, self.plan.geometry[i], self.plan.training, i == self.plan.last
        block = plan.block[i] // self.lanes if training else self.tiles
        source, weights = plan["input"] if i == 0 else plan[f"{i}.active"], plan[f"{i + 1}.weight"]
        groups, places = weights.groups, 1 if g.pool == "none" else 4
        rows_planes, columns_planes = 2 if g.pool == "none" else 4, 1
        if last:
            rows_planes, columns_planes = plan.codes[i].planes if i else 0, plan.codes[i].planes
        if not training:
            rows_planes, columns_planes = 0 if last else 1, 0

        def x_size(rows: int, tiles: int) -> int:
            if i == 0:
                return tiles * source.size // source.groups
            return tiles * _most(lambda y, n: input_rows(g, y, n), g.pooled_height, rows) * source.row

        def pieces(rows: int, size: int, tiles: int) -> list[Piece]:
            # All tiles of a block of samples stay for its bands, and one of the next block comes meanwhile.
            copies = block // tiles + 1 if i == 0 else 2
            return [
                Piece("x", x_size(rows, tiles), ("left",), copies),
                Piece("w", size * weights.size // groups, ("right",)),
                *self._results(i, rows, size, tiles, block, rows_planes, columns_planes),
            ]

        def cost(rows: int, size: int, tiles: int) -> Cost:
            units, chunks = self.tiles // block * -(-g.pooled_height // rows), -(-groups // size)
            contraction = max(self.lanes, weights.size // groups * source.planes)
            again = chunks if tiles < block else 1
            reads = {
                "x": units * again * block // tiles * x_size(rows, tiles),
                "w": weights.size * (units if chunks > 1 else 1),
            }
            engine = self.tiles * groups * g.pooled_outputs * places * contraction
            return Cost(engine, units * chunks * block // tiles, reads)

        term = bounds.deviation(g, i, self.settings, self.config) * (places if g.pool == "signs" else 1)
        from_top = (plan.last - i) % 2 == 1
        operation = _Operation(i, "forward pass", groups, block, pieces, cost, term, from_top=from_top, whole=last)
        if last:  # the softmax takes all classes of all images
            return self._checked(self._best(operation, [(1, groups, self.tiles)], groups), operation)
        return self._tiling(operation)

    @functools.cache  # noqa: B019
    def backward(self, i: int) -> Tiling:
        """Data gradient of layer i's output."""
        plan, g, above = self.plan, self.plan.geometry[i], self.plan.geometry[i + 1]
        block = plan.block[i] // self.lanes
        code, weights = plan[f"{i + 2}.code"], plan[f"{i + 2}.weight_backward"]
        groups, places = weights.groups, 1 if g.pool == "none" else 4
        planes, side_planes = plan.codes[i].planes, 1 if g.pool == "none" else 3

        def x_size(rows: int, tiles: int) -> int:
            return tiles * _most(lambda y, n: code_rows(above, y, n), g.pooled_height, rows) * code.row

        def pieces(rows: int, size: int, tiles: int) -> list[Piece]:
            return [
                Piece("x", x_size(rows, tiles), ("left",)),
                Piece("sides", tiles * rows * g.pooled_width * self._words(size) * side_planes, ("left",)),
                Piece("w", size * weights.size // groups, ("right",)),
                *self._results(i, rows, size, tiles, block, places * planes if i else 0, places * planes),
            ]

        def cost(rows: int, size: int, tiles: int) -> Cost:
            units, chunks = self.tiles // block * -(-g.pooled_height // rows), -(-groups // size)
            reached = above.outputs * above.taps / g.pooled_outputs  # taps, on average: few at the edges
            contraction = max(self.lanes, reached * weights.words * code.planes + side_planes)
            pixels = self.tiles * g.pooled_outputs
            again = chunks if tiles < block else 1
            reads = {
                "x": units * again * block // tiles * x_size(rows, tiles),
                "sides": pixels * self._words(size) * chunks * side_planes,
                "w": weights.size * (units if chunks > 1 else 1),
            }
            return Cost(pixels * groups * max(contraction, places * self.lanes), units * chunks * block // tiles, reads)

        term = bounds.data_gradient(above, plan.codes[i + 1])
        whole = g.own_centre
        classes = 1 if whole else above.stride  # there is one place, and so one class of pixels
        return self._tiling(
            _Operation(i, "data gradient", groups, block, pieces, cost, term, classes, apart=not whole, whole=whole)
        )

    @functools.cache  # noqa: B019
    def update(self, i: int) -> Sets:
        """Weight gradient of layer i: over as many images in a pass as it can sum, or as leave room for the operands."""
        summable = self._summable(i)
        if not self.plan.streamed:
            return self._resident_sets(i, summable[0][0])
        found = next(filter(None, (self._streamed_sets(i, *most) for most in summable)), None)
        if found is None:
            raise ValueError(self._too_large(i, "weight gradient"))
        return found

    def _streamed_sets(self, i: int, words: int, most_rows: int) -> Sets | None:
        """The best way to sum over so many words of images, and at most so many rows, in a pass."""
        g, config = self.plan.geometry[i], self.config
        inputs, outputs = -(-g.tap_inputs // self.lanes), -(-g.filters // self.lanes)
        room = config.tile_rows // self.lanes
        taps_x = g.taps // g.kernel_y
        # In a convolution of pixels a pass covers whole windows' columns: which of their rows count is told of these.
        taps_y = g.kernel_y if g.taps * (inputs if g.pixels else 1) <= room else 1
        ways: list[Sets] = []

        # Over the edges of padded pixels fewer rows of sums count: these columns take passes of their own.
        edges = g.pixels and (g.pad_x > 0 or (g.out_width - 1) * g.stride + g.kernel_x > g.width)
        for rows in sizes(g.out_height):
            one = words * config.word == self.settings.batch and rows == g.out_height and not edges  # one pass makes a set
            if rows > most_rows:
                continue
            # All of the network's input is turned into columns at once: it is taken in parts only where it must.
            for tiles in sizes(inputs) if i or not (g.pixels or one or taps_y * taps_x * inputs <= room) else (inputs,):
                for size in sizes(outputs):
                    if not one and taps_y * taps_x * tiles * size > room:
                        continue
                    for whole in (False,) if i else (True, False):
                        sets = self._sets(i, (rows, size, tiles), taps_y, words, whole=whole)
                        ways += [sets] if sets else []
        least = min((sets.tiling.cycles for sets in ways), default=0.0)

        def preferred(sets: Sets) -> tuple[int, int, int]:
            """Short parts leave the engine waiting for operands. The fewer outputs a pass takes, the less often the gradient,
            of many planes, is read; but the more, the less often the columns of the network's input are made. The first
            operands are the sooner there the smaller they are.
            """
            t = sets.tiling
            uneven = sum(n % part > 0 for n, part in ((g.out_height, t.rows), (outputs, t.groups), (inputs, t.tiles)))
            return uneven, t.groups if i else -t.groups, sum(t.rooms[role][0][2] for role in ("dy", "x"))

        near = (sets for sets in ways if sets.tiling.cycles <= least * (1 + (NEAR if i else 0)))
        return min(near, key=preferred, default=None)

    @functools.cache  # noqa: B019
    def copy(self, i: int) -> Copy:
        """Copy of layer i's weights for the data gradient behind their update."""
        weights, config = self.plan[f"{i + 1}.weight_backward"], self.config
        one = weights.size // weights.groups
        most = max(1, config.right_depth // CORNER // one)
        free = {"left": config.left_depth, "right": config.right_depth}  # below the update's rooms
        for room in self.update(i).tiling.rooms.values():
            for side, base, _ in room:
                free[side] = min(free[side], base)
        side = max(free, key=lambda side: free[side])
        groups = min(most, free[side] // one)
        if groups:
            copies = min(2, free[side] // (groups * one))
            return Copy(groups, tuple((side, free[side] - (n + 1) * groups * one, groups * one) for n in range(copies)), True)
        rooms = fit([Piece("copy", most * one, ("right",))], config, from_top=True)
        assert rooms is not None, "the data gradient has more of these weights in that buffer"
        return Copy(most, rooms["copy"], False)

    def _summable(self, i: int) -> list[tuple[int, int]]:
        """Words of images, the most first, and with each the rows over which a pass can sum weight gradients of layer i."""
        plan, g, settings = self.plan, self.plan.geometry[i], self.settings

        def rows(words: int, code: Code, slope_planes: int) -> int:
            product = bounds.weight_product(i, code, slope_planes)
            return self.config.largest_sum // (product * words * self.config.word * g.out_width)

        code, slopes = plan.codes[i], settings.slope_planes
        block = min(plan.block[i], plan.block[i - 1] if i else plan.block[i]) // self.config.word
        found = [(words, rows(words, code, slopes)) for words in sizes(block) if rows(words, code, slopes)]
        if not found:
            fewer = (code._replace(planes=n) for n in range(code.planes - 1, code.twin, -1))
            fits = [f"{other.planes} gradient planes" for other in fewer if rows(1, other, slopes)][:1]
            if i == 0:
                fits += [f"{n} slope planes" for n in range(slopes - 1, 0, -1) if rows(1, code, n)][:1]
            raise ValueError(
                f"{g.name}: its weight gradients over a row of pixels of {self.config.word} images, the least that a pass sums, "
                f"exceed the accumulator's {self.config.largest_sum}; use {' or '.join(fits) or 'a narrower map'}"
            )
        return found

    def _resident_sets(self, i: int, words: int) -> Sets:
        """With everything on the chip: one pass, or, where its sums could leave the accumulator, several for each set."""
        g = self.plan.geometry[i]
        inputs, outputs = -(-g.tap_inputs // self.lanes), -(-g.filters // self.lanes)
        tiles, groups = inputs, outputs
        if words * self.config.word < self.settings.batch:  # a set's sums wait in the tile buffer
            room = self.config.tile_rows // self.lanes
            tiles = next(n for n in sizes(inputs) if n <= room)
            groups = next(n for n in sizes(outputs) if n * tiles <= room)
        return Sets(Tiling(1, groups, tiles, {}, 0.0), 1, words, inputs, outputs, True)

    def _sets(self, i: int, candidate: tuple[int, int, int], taps_y: int, words: int, *, whole: bool) -> Sets | None:
        """A way to take the weight gradient, if it fits; `whole`: the input's columns are made of all rows at once."""
        plan, g = self.plan, self.plan.geometry[i]
        rows, size, tiles = candidate
        blocks = -(-self.settings.batch // (words * self.config.word))
        inputs, outputs = -(-g.tap_inputs // self.lanes), -(-g.filters // self.lanes)
        planes, slopes = plan.codes[i].planes, 1 if i else self.settings.slope_planes
        bands = -(-g.out_height // rows)
        x_rows = g.height if whole else min(g.height, (rows - 1) * g.stride + g.kernel_y)
        x_row = (g.width if i else g.out_width) * words * slopes
        # Stored together: whole words of channels, of as many groups as whole passes make.
        stored = [min(n, math.lcm(step, self.granules)) for n, step in ((inputs, tiles), (outputs, size))]
        samples = 0 if i else words * self.granules * plan["input_top"].size // plan["input_top"].groups
        pieces = [
            Piece("dy", size * rows * g.out_width * planes * words, ("right",)),
            Piece("x", (tiles if i else inputs) * x_rows * x_row, ("left",)),
            Piece("wf", stored[1] * g.taps * self._words(stored[0]), EITHER),
            Piece("wb", stored[0] * g.taps * self._words(stored[1]) if i else 0, EITHER),
            Piece("samples", samples, ("left",), early=True),
        ]
        input_sets, output_sets, tap_sets = -(-inputs // tiles), -(-outputs // size), g.kernel_y // taps_y
        contraction = max(self.lanes, rows * g.out_width * words * planes * slopes)
        engine: float = bands * blocks * inputs * outputs * g.taps * contraction
        # Operands stay for the next pass if they are all of it.
        stays = bands * blocks == 1 or (whole and blocks == 1)
        x_again = -(-outputs // stored[1]) if stays else output_sets * tap_sets * (1 if i else input_sets)
        made = x_again * blocks * (1 if whole else bands) * x_rows
        reads: dict[str, float] = {"dy": input_sets * tap_sets * blocks * outputs * g.outputs * planes * words}
        if i:
            reads["x"] = made * inputs * x_row
        else:  # the columns are made on the chip
            engine += made * g.out_width * words * self.granules * (slopes * self.granules + TURN_OVERHEAD)
        beats_of_latents = inputs * outputs * g.taps * self.config.tile_beats
        writes = {"latents": beats_of_latents * 64 / (self.lanes * self.config.word)}
        passes = input_sets * output_sets * tap_sets * bands * blocks
        cost = Cost(engine, passes, reads, writes)
        tiling = best(self.config, [candidate], lambda *_: pieces, lambda *_: cost, from_top=True)
        return Sets(tiling, taps_y, words, stored[0], stored[1], whole) if tiling else None

    def _words(self, groups: int) -> int:
        """Words that hold so many groups of channels."""
        return -(-groups // self.granules)

    def _results(self, i: int, rows: int, size: int, tiles: int, block: int, planes: int, column_planes: int) -> list[Piece]:
        """Results of a unit of an operation of layer i: of some tiles as rows, of a block of images as columns."""
        pixels = rows * self.plan.geometry[i].pooled_width
        columns = size * pixels * (block * self.lanes // self.config.word) * column_planes
        return [Piece("rows", tiles * pixels * self._words(size) * planes, EITHER), Piece("columns", columns, EITHER)]

    def _tiling(self, operation: _Operation) -> Tiling:
        """The best tiling: of all images and rows in a pass, or of parts, whose sums the totals hold together."""
        o, config = operation, self.config
        height, width = self.plan.geometry[o.i].pooled_height, self.plan.geometry[o.i].pooled_width * self.lanes
        whole, found = (height, o.block) if o.block == self.tiles and o.classes == 1 else None, []
        share = o.groups
        if self.plan.training and o.groups * self.lanes > config.layer_channels:
            share = config.layer_channels // config.word * self.granules
        summable = [
            (rows, size, tiles)
            for rows in sizes(height)
            for size in sizes(o.groups, self.granules)
            for tiles in dict.fromkeys((o.block, 1))
            if rows * width * tiles * o.term < 1 << formats.SUM_BITS - 1
        ]
        found.append(self._best(o, [c for c in summable if (c[0], c[2]) == whole], o.groups))
        if o.whole:
            return self._checked(found[0], o)
        parts_of_it = [c for c in summable if (c[0], c[2]) != whole and c[1] <= share]
        found.append(self._best(o, parts_of_it, share))
        if o.apart:
            found.append(self._best(o, parts_of_it, share, apart=True))
        if not any(found) and share == 0:
            raise ValueError(
                f"{self.plan.geometry[o.i].name}: its {o.what} takes several passes, over which configuration {config.name!r} "
                f"adds up the sums of {config.layer_channels} channels at most; use no more, a smaller batch or map, or a larger "
                "configuration"
            )
        return self._checked(min(filter(None, found), key=lambda tiling: tiling.cycles, default=None), o)

    def _best(
        self, o: _Operation, candidates: Iterable[tuple[int, int, int]], share: int, *, apart: bool = False
    ) -> Tiling | None:
        """The best of some candidates; `share` groups at a time."""

        def cost(rows: int, size: int, tiles: int) -> Cost:
            """Operands of all tiles come once for each share; rows are stored for each pass, columns for each unit."""
            once = o.cost(rows, size, tiles)
            again = -(-o.groups // share) if tiles == o.block else 1
            reads = {role: n * (1 if role == "w" else again) for role, n in once.reads.items()}
            stored = {"rows": once.passes, "columns": once.passes * tiles // o.block}
            writes = {p.role: p.size * stored[p.role] for p in o.pieces(rows, size, tiles) if p.role in stored}
            return dataclasses.replace(once, reads=reads, writes=writes)

        def split(rows: int, size: int, tiles: int) -> list[Piece]:
            """Columns group by group; the operands of the next tiles come while all groups of these are worked on."""
            pieces = {piece.role: piece for piece in o.pieces(rows, size, tiles)}
            columns = pieces.pop("columns")
            return [
                *(dataclasses.replace(p, least=2) if p.role in ("x", "sides") else p for p in pieces.values()),
                dataclasses.replace(columns, size=columns.size // size, copies=2 * size, least=size),
            ]

        found = best(self.config, candidates, split if apart else o.pieces, cost, from_top=o.from_top, apart=apart)
        return dataclasses.replace(found, share=share) if found else None

    def _checked(self, found: Tiling | None, o: _Operation) -> Tiling:
        if found is None:
            raise ValueError(self._too_large(o.i, o.what, whole=o.whole))
        return found

    def _too_large(self, i: int, what: str, *, whole: bool = False) -> str:
        g, config = self.plan.geometry[i], self.config
        part = "all" if whole else "one row"
        return (
            f"{g.name}: {part} of its {what} does not fit the buffers (left {config.left_depth}, right {config.right_depth} "
            f"words) of configuration {config.name!r} with batch {self.settings.batch} and {self.plan.codes[i].planes} "
            "gradient planes; use a smaller batch, fewer planes, a narrower map or layer, or a larger configuration"
        )


def _most(needed: Callable[[int, int], tuple[int, int]], height: int, rows: int) -> int:
    """Most rows that any band needs."""
    return max(needed(y, n)[1] for y, n in parts(height, rows))
