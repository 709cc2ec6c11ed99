"""How each operation of a network is cut into passes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

from bnnedge.compiler.buffers import Piece
from bnnedge.compiler.plan import Plan
from bnnedge.compiler.tiling import Cost, Sets, Tiling, best, code_rows, input_rows, parts, sizes
from bnnedge.formats import WEIGHT_WORD

EITHER = ("left", "right")
TURN_OVERHEAD = 6  # cycles for a pixel that is transposed, besides its words


class Cutter:
    """Finds the tilings of a plan's operations. ValueError names the layer that does not fit the buffers."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config, self.settings = plan, plan.config, plan.settings
        self.lanes, self.granules = self.config.lanes, self.config.granules
        self.tiles = self.settings.batch // self.lanes

    @functools.cache  # noqa: B019 - lives as long as the layout
    def forward(self, i: int) -> Tiling:
        """Forward pass of layer i."""
        plan, g, training, last = self.plan, self.plan.geometry[i], self.plan.training, i == self.plan.last
        block = plan.block[i] // self.lanes if training else self.tiles
        image_words = plan.block[i] // self.config.word
        source, weights = plan["input"] if i == 0 else plan[f"{i}.active"], plan[f"{i + 1}.weight"]
        groups, places = weights.groups, 1 if g.pool == "none" else 4
        codes = self.settings.gradient_planes
        rows_planes, columns_planes = {"none": 2, "signs": 2 + places, "sums": 4}[g.pool], 1
        if last:
            rows_planes, columns_planes = codes if i else 0, codes
        if not training:
            rows_planes, columns_planes = 0 if last else 1, 0

        def x_size(rows: int, tiles: int) -> int:
            if i == 0:
                return tiles * source.size // source.groups
            return tiles * _most(lambda y, n: input_rows(g, y, n), g.pooled_height, rows) * source.row

        def pieces(rows: int, size: int, tiles: int) -> list[Piece]:
            # All tiles of a block of samples stay for its bands, and one of the next block comes meanwhile.
            copies = block // tiles + 1 if i == 0 else 2
            pixels = rows * g.pooled_width
            return [
                Piece("x", x_size(rows, tiles), ("left",), copies),
                Piece("w", size * weights.size // groups, ("right",)),
                Piece("rows", tiles * pixels * self._words(size) * rows_planes, EITHER),
                Piece("columns", size * pixels * image_words * columns_planes, EITHER),
            ]

        def cost(rows: int, size: int, tiles: int, phases: int) -> Cost:
            units, chunks = self.tiles // block * -(-g.pooled_height // rows), -(-groups // size)
            contraction = max(self.lanes, weights.size // groups * source.planes)
            engine = phases * self.tiles * groups * g.pooled_height * g.pooled_width * places * contraction
            again = chunks if tiles < block else 1
            reads = {
                "x": phases * (units * again * block if i else self.tiles) // tiles * x_size(rows, tiles),
                "w": weights.size * (phases * units if chunks > 1 else 1),
            }
            return Cost(
                engine,
                phases * units * chunks * block // tiles,
                reads,
                _results(pieces(rows, size, tiles), units * chunks, block // tiles),
            )

        one = g.pooled_height * g.pooled_width * (places if g.pool == "signs" else 1)
        if block == self.tiles and (last or self.settings.batch * one <= self.config.tile_rows):
            whole = ((g.pooled_height, size, self.tiles) for size in sizes(groups, self.granules))
            found = best(self.config, whole, pieces, lambda r, s, t: cost(r, s, t, 1), from_top=i % 2 == 1, fused=True)
            if found or last:
                return self._checked(found, i, "forward pass", whole=last)
        phases = 2 if training else 1
        bands = self._bands(g.pooled_height, groups, block)
        return self._checked(
            best(self.config, bands, pieces, lambda r, s, t: cost(r, s, t, phases), from_top=i % 2 == 1), i, "forward pass"
        )

    @functools.cache  # noqa: B019
    def backward(self, i: int) -> Tiling:
        """Data gradient of layer i's output."""
        plan, g, above = self.plan, self.plan.geometry[i], self.plan.geometry[i + 1]
        block, image_words = plan.block[i] // self.lanes, plan.block[i] // self.config.word
        code, weights = plan[f"{i + 2}.code"], plan[f"{i + 2}.weight_backward"]
        groups, places = weights.groups, 1 if g.pool == "none" else 4
        codes = self.settings.gradient_planes
        side_planes = {"none": 2, "signs": 1 + places, "sums": 4}[g.pool]

        def x_size(rows: int, tiles: int) -> int:
            return tiles * _most(lambda y, n: code_rows(above, y, n), g.pooled_height, rows) * code.row

        def pieces(rows: int, size: int, tiles: int) -> list[Piece]:
            pixels = rows * g.pooled_width
            return [
                Piece("x", x_size(rows, tiles), ("left",)),
                Piece("sides", tiles * pixels * self._words(size) * side_planes, ("left",)),
                Piece("w", size * weights.size // groups, ("right",)),
                Piece("rows", tiles * pixels * places * self._words(size) * codes if i else 0, EITHER),
                Piece("columns", size * pixels * places * image_words * codes, EITHER),
            ]

        def cost(rows: int, size: int, tiles: int, phases: int) -> Cost:
            units, chunks = self.tiles // block * -(-g.pooled_height // rows), -(-groups // size)
            reached = min(above.kernel_y, above.out_height) * min(above.kernel_x, above.out_width) // above.stride**2
            contraction = max(self.lanes, max(1, reached) * weights.words * codes + side_planes)
            emitting = max(contraction, places * self.lanes)
            pixels = self.tiles * g.pooled_height * g.pooled_width
            again = chunks if tiles < block else 1
            reads = {
                "x": phases * units * again * block // tiles * x_size(rows, tiles),
                "sides": phases * pixels * self._words(size) * chunks * side_planes,
                "w": weights.size * (phases * units if chunks > 1 else 1),
            }
            engine = pixels * groups * (emitting + (phases - 1) * contraction)
            return Cost(
                engine,
                phases * units * chunks * block // tiles,
                reads,
                _results(pieces(rows, size, tiles), units * chunks, block // tiles),
            )

        if (
            block == self.tiles
            and above.stride == 1
            and self.settings.batch * g.pooled_height * g.pooled_width <= self.config.tile_rows
        ):
            whole = ((g.pooled_height, size, self.tiles) for size in sizes(groups, self.granules))
            found = best(self.config, whole, pieces, lambda r, s, t: cost(r, s, t, 1), from_top=i % 2 == 1, fused=True)
            if found:
                return found
        bands = self._bands(g.pooled_height, groups, block)
        return self._checked(
            best(self.config, bands, pieces, lambda r, s, t: cost(r, s, t, 2), from_top=i % 2 == 1), i, "data gradient"
        )

    @functools.cache  # noqa: B019
    def update(self, i: int) -> Sets:
        """Weight gradient of layer i."""
        plan, g, config = self.plan, self.plan.geometry[i], self.config
        images = min(plan.block[i], plan.block[i - 1] if i else plan.block[i])
        inputs, outputs = -(-g.tap_inputs // self.lanes), -(-g.filters // self.lanes)
        room = config.tile_rows // self.lanes
        taps_x = g.taps // g.kernel_y
        taps_y = g.kernel_y if g.taps <= room else 1
        slopes = 2**self.settings.slope_planes - 1 if i == 0 else 1
        largest = (2**self.settings.gradient_planes - 1) * slopes * images * g.out_width
        most_rows = config.largest_sum // largest
        if most_rows < 1:
            raise ValueError(
                f"{g.name}: its weight gradients reach {largest} over a row of pixels of {images} images, beyond the "
                f"accumulator's {config.largest_sum}; use fewer slope planes or gradient planes"
            )
        found: Sets | None = None
        # Over the edges of padded pixels fewer rows of sums count: these columns take passes of their own.
        edges = g.pixels and (g.pad_x > 0 or (g.out_width - 1) * g.stride + g.kernel_x > g.width)
        for rows in sizes(g.out_height):
            one = images == self.settings.batch and rows == g.out_height and not edges  # one pass makes a set
            for tiles in sizes(inputs) if i else (inputs,):
                for size in sizes(outputs):
                    if rows > most_rows or (not one and taps_y * taps_x * tiles * size > room):
                        continue
                    for whole in (False,) if i else (True, False):
                        sets = self._sets(i, (rows, size, tiles), taps_y, images, whole=whole)
                        if sets and (found is None or sets.tiling.cycles < found.tiling.cycles):
                            found = sets
        if found is None:
            raise ValueError(self._too_large(i, "weight gradient"))
        return found

    def _sets(self, i: int, candidate: tuple[int, int, int], taps_y: int, images: int, *, whole: bool) -> Sets | None:
        """A way to take the weight gradient, if it fits; `whole`: the input's columns are made of all rows at once."""
        plan, g = self.plan, self.plan.geometry[i]
        rows, size, tiles = candidate
        blocks, words = self.settings.batch // images, images // self.config.word
        inputs, outputs = -(-g.tap_inputs // self.lanes), -(-g.filters // self.lanes)
        planes, slopes = self.settings.gradient_planes, 1 if i else self.settings.slope_planes
        bands = -(-g.out_height // rows)
        x_rows = g.height if whole else min(g.height, (rows - 1) * g.stride + g.kernel_y)
        x_row = (g.width if i else g.out_width) * words * slopes
        # Stored together: whole words of channels, of as many groups as whole passes make.
        stored = [min(n, math.lcm(step, self.granules)) for n, step in ((inputs, tiles), (outputs, size))]
        pieces = [
            Piece("dy", size * rows * g.out_width * planes * words, ("right",)),
            Piece("x", tiles * x_rows * x_row, ("left",)),
            Piece("wf", stored[1] * g.taps * self._words(stored[0]), EITHER),
            Piece("wb", stored[0] * g.taps * self._words(stored[1]) if i else 0, EITHER),
            Piece("samples", 0 if i else plan["input_top"].size // blocks, ("left",)),
        ]
        input_sets, output_sets, tap_sets = -(-inputs // tiles), -(-outputs // size), g.kernel_y // taps_y
        contraction = max(self.lanes, rows * g.out_width * words * planes * slopes)
        engine: float = bands * blocks * inputs * outputs * g.taps * contraction
        # Operands stay for the next pass if they are all of it.
        stays = bands * blocks == 1 or (whole and blocks == 1)
        x_again = -(-outputs // stored[1]) if stays else output_sets * tap_sets
        made = x_again * blocks * (1 if whole else bands) * x_rows
        reads: dict[str, float] = {"dy": input_sets * tap_sets * blocks * outputs * g.outputs * planes * words}
        if i:
            reads["x"] = made * inputs * x_row
        else:  # the columns are made on the chip
            engine += made * g.out_width * words * self.granules * (slopes * self.granules + TURN_OVERHEAD)
        beats_of_latents = inputs * outputs * g.taps * self.lanes**2 * WEIGHT_WORD // 64
        writes = {"latents": beats_of_latents * 64 / (self.lanes * self.config.word)}
        passes = input_sets * output_sets * tap_sets * bands * blocks
        cost = Cost(engine, passes, reads, writes)
        tiling = best(self.config, [candidate], lambda *_: pieces, lambda *_: cost, from_top=i % 2 == 1)
        return Sets(tiling, taps_y, stored[0], stored[1], whole) if tiling else None

    def _words(self, groups: int) -> int:
        """Words that hold so many groups of channels."""
        return -(-groups // self.granules)

    def _bands(self, height: int, groups: int, block: int) -> Iterator[tuple[int, int, int]]:
        for rows in sizes(height):
            for size in sizes(groups, self.granules):
                for tiles in dict.fromkeys((block, 1)):
                    yield rows, size, tiles

    def _checked(self, found: Tiling | None, i: int, what: str, *, whole: bool = False) -> Tiling:
        if found is None:
            raise ValueError(self._too_large(i, what, whole=whole))
        return found

    def _too_large(self, i: int, what: str, *, whole: bool = False) -> str:
        g, config = self.plan.geometry[i], self.config
        part = "all" if whole else "one row"
        return (
            f"{g.name}: {part} of its {what} does not fit the buffers (left {config.left_depth}, right {config.right_depth} "
            f"words) of configuration {config.name!r} with batch {self.settings.batch} and {self.settings.gradient_planes} "
            "gradient planes; use a smaller batch, fewer planes, a narrower map or layer, or a larger configuration"
        )


def _most(needed: Callable[[int, int], tuple[int, int]], height: int, rows: int) -> int:
    """Most rows that any band needs."""
    return max(needed(y, n)[1] for y, n in parts(height, rows))


def _results(pieces: list[Piece], units: int, subsets: int) -> dict[str, float]:
    """Addresses of results, stored for each unit: rows for each of its subsets of tiles, columns once."""
    again = {"rows": units * subsets, "columns": units}
    return {piece.role: piece.size * again[piece.role] for piece in pieces if piece.role in again}
