"""How large each sum of a program can become, and whose sums stand in the totals and in the tile buffer."""

from __future__ import annotations

import dataclasses

from bnnedge import bounds, formats
from bnnedge.compiler.layout import Layout
from bnnedge.compiler.proof.extents import Axis
from bnnedge.compiler.proof.regions import Fields, ProofError, require
from bnnedge.isa import Head, Pool


@dataclasses.dataclass(frozen=True)
class Total:
    """A channel group's place in the totals: whose it is, rows that were added, and the largest sum of them."""

    owner: tuple[int, int, int]  # head, layer, group
    rows: int
    largest: int


class Sums:
    """Follows the passes of a program in order."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.config, self.settings = layout, layout.config, layout.settings
        self.geometry = layout.network.geometry
        self.places = self.config.layer_channels // self.config.lanes
        self.totals: dict[int, Total] = {}
        self.unfinished: tuple[int, int] | None = None  # rows of weight gradients in the tile buffer, and the largest sum

    def check(self, f: Fields, axes: tuple[Axis, Axis] | None) -> None:
        """ProofError if a sum of the pass could leave its width, or is mixed up with another's."""
        config, g = self.config, self.geometry[f["layer"]]
        largest = self._products(f, *axes) if axes else 0
        require(largest <= config.largest_sum, f"sums reach {largest}, the accumulator holds {config.largest_sum}")
        if f["head"] == Head.UPDATE:
            self._update(f, largest)
            return
        entries = f["channel"] + f["groups"] * config.lanes
        require(entries <= config.channels, f"takes {entries} entries of {config.channels} parameters")
        require(f["exponent"] < config.channels, f"takes entry {f['exponent']} of {config.channels} parameters")
        # Signs are pooled after the sums, sums before: then four places make one row.
        rows = f["height"] * f["width"] * f["tiles"] * config.lanes
        rows *= 4 if f["head"] == Head.FORWARD and f["pool"] == Pool.SIGNS else 1
        if f["statistics"]:
            self._add(f, rows, largest)
            if f["emit"]:
                waiting = rows * (f["groups"] if f["head"] == Head.LOSS else 1)
                require(waiting <= config.tile_rows, f"{waiting} rows wait in the tile buffer of {config.tile_rows}")
        if f["emit"] and not f["inference"]:
            pixels = g.samples if f["head"] != Head.BACKWARD else g.pooled_height * g.pooled_width
            self._emit(f, rows, pixels * self.settings.batch)

    def _products(self, f: Fields, rows: Axis, columns: Axis) -> int:
        """Largest |sum| of a pass: valid bits of all taps, times the largest codes."""
        bits = f["window"] if f["window"] else (f["words"] - 1) * self.config.word + f["tail"]
        codes = (2 ** f["left_planes"] - 1) * (2 ** f["right_planes"] - 1)
        return rows.taps * columns.taps * bits * codes

    def _add(self, f: Fields, rows: int, largest: int) -> None:
        """The sums of a pass join the totals of its groups."""
        head, i = f["head"], f["layer"]
        # Beside the sum itself the statistics add |y - pivot| forward, and four signs of a row at most backward.
        second = largest if head == Head.BACKWARD else bounds.deviation(self.geometry[i], i, self.settings, self.config)
        term = max(largest, second)
        require(rows * term < 1 << formats.SUM_BITS - 1, f"sums of {rows} rows reach {rows * term} in a pass")
        signs = 4 if head == Head.BACKWARD and f["pool"] == Pool.SIGNS else 1  # of a row
        for n in range(f["groups"]):
            group = f["first_group"] + n
            owner, place = (head, i, group), group % self.places
            before = Total(owner, 0, 0) if f["fresh"] else self.totals.get(place)
            if before is None or before.owner != owner:
                raise ProofError(f"adds group {group} to totals that are not its own")
            total = Total(owner, before.rows + rows, before.largest + rows * term)
            require(total.largest < 1 << formats.TOTAL_BITS - 1, f"the totals of group {group} reach {total.largest}")
            reached = signs * total.rows
            require(reached < 1 << formats.SIGNS_BITS - 1, f"the signs of group {group} reach {reached}")
            self.totals[place] = total

    def _emit(self, f: Fields, rows: int, samples: int) -> None:
        """What is emitted rests on the totals of its own groups, complete."""
        if f["statistics"]:  # group by group: each is taken before the next is added
            require(f["fresh"] == 1 and rows == samples, f"emits the sums of {rows} rows of {samples}")
            return
        for n in range(f["groups"]):
            group = f["first_group"] + n
            total = self.totals.get(group % self.places)
            require(
                total is not None and total.owner == (f["head"], f["layer"], group) and total.rows == samples,
                f"emits group {group} of layer {f['layer'] + 1}, whose {samples} rows are not in the totals",
            )

    def _update(self, f: Fields, largest: int) -> None:
        """Weight gradients: of one pass, or added up in the tile buffer."""
        rows = f["groups"] * f["height"] * f["width"] * f["tiles"] * self.config.lanes
        if f["continues"]:
            require(self.unfinished is not None and self.unfinished[0] == rows, "goes on with sums that are not there")
            assert self.unfinished is not None
            largest += self.unfinished[1]
        else:
            require(self.unfinished is None, "leaves sums of weight gradients behind")
        most = (1 << self.config.accumulator + formats.SLOPE_GUARD - 1) - 1
        require(largest <= most, f"weight gradients reach {largest}, the tile buffer holds {most}")
        if f["continues"] or f["unfinished"]:
            require(rows <= self.config.tile_rows, f"{rows} rows wait in the tile buffer of {self.config.tile_rows}")
        self.unfinished = (rows, largest) if f["unfinished"] else None
        if f["emit"]:
            require(f["rows"] == rows, f"moves {f['rows']} rows of weights of {rows}")
