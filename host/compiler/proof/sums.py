"""How large each sum of a program can become, and whose sums stand in the totals and in the tile buffer."""

from __future__ import annotations

import dataclasses
import math

from bnnedge import bounds, formats
from bnnedge.compiler.layout import Layout
from bnnedge.compiler.proof.extents import Axis
from bnnedge.compiler.proof.regions import Fields, require
from bnnedge.formats import Code
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
        self.totals: dict[int, Total] = {}  # those that are not complete
        self.open: int | None = None  # layer of the data gradient that goes on
        self.complete: set[int] = set()  # groups whose sums it has, all of them
        self.unfinished: tuple[int, int] | None = None  # rows of weight gradients in the tile buffer, and the largest sum

    def check(self, f: Fields, axes: tuple[Axis, Axis] | None) -> None:
        """ProofError if a sum of the pass could leave its width, or is mixed up with another's."""
        config = self.config
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
        if f["head"] == Head.LOSS:
            waiting = rows * f["groups"]
            require(waiting <= config.tile_rows, f"{waiting} rows wait in the tile buffer of {config.tile_rows}")
            require(rows == self.settings.batch, f"takes the loss of {rows} images of {self.settings.batch}")
        if f["inference"]:
            return
        if f["head"] == Head.BACKWARD:
            self._opens(f)
        if f["head"] != Head.FORWARD:
            self._own_centre(f, rows)
        self._add(f, rows * (4 if f["head"] == Head.FORWARD and f["pool"] == Pool.SIGNS else 1), largest)
        if f["closes"]:
            groups = -(-self.geometry[f["layer"]].filters // config.lanes)
            require(len(self.complete) == groups, f"closes a layer of {groups} groups behind {len(self.complete)}")
            self.open = None

    def _products(self, f: Fields, rows: Axis, columns: Axis) -> int:
        """Largest |sum| of a pass: valid bits of all taps, times the largest codes."""
        bits = f["window"] if f["window"] else (f["words"] - 1) * self.config.word + f["tail"]
        codes = (Code(f[f"{side}_planes"], bool(f[f"{side}_twin"])).largest for side in ("left", "right"))
        return rows.taps * columns.taps * bits * math.prod(codes)

    def _opens(self, f: Fields) -> None:
        """The passes of a data gradient come together, from the one that opens its layer to the one that closes it."""
        if f["opens"]:
            require(self.open is None, "opens a layer before another is closed")
            self.open, self.complete = f["layer"], set()
        require(self.open == f["layer"], "takes a data gradient of a layer that is not open")

    def _own_centre(self, f: Fields, rows: int) -> None:
        """Gradients that are centred by their batch's own mean wait in the tile buffer, all of a group's."""
        g = self.geometry[f["layer"]]
        does = "wait" if f["own_centre"] else "do not wait"
        require(f["own_centre"] == g.own_centre, f"gradients of {g.outputs} places {does} for their mean")
        if f["own_centre"]:
            batch, depth = self.settings.batch, self.config.tile_rows
            whole = rows == batch and f["fresh"] and f["commit"]
            require(bool(whole), f"centres {rows} gradients of {batch} by their mean, which other passes have a part in")
            require(rows <= depth, f"{rows} rows wait in the tile buffer of {depth}")

    def _add(self, f: Fields, rows: int, largest: int) -> None:
        """The sums of a pass join the totals of its groups, and leave them when they are complete."""
        head, i = f["head"], f["layer"]
        g = self.geometry[i]
        # Beside the sum itself the statistics add |y - pivot| forward.
        second = 0 if head == Head.BACKWARD else bounds.deviation(g, i, self.settings, self.config)
        term = max(largest, second)
        require(rows * term < 1 << formats.SUM_BITS - 1, f"sums of {rows} rows reach {rows * term} in a pass")
        pixels = g.pooled_outputs if head == Head.BACKWARD else g.samples
        for n in range(f["groups"]):
            group = f["first_group"] + n
            owner, place = (head, i, group), group % self.places
            before = Total(owner, 0, 0) if f["fresh"] else self.totals.get(place)
            require(before is not None and before.owner == owner, f"adds group {group} to totals that are not its own")
            assert before is not None
            begins = not f["fresh"] or place not in self.totals
            require(begins, f"begins group {group} where the sums of another are not complete")
            total = Total(owner, before.rows + rows, before.largest + rows * term)
            require(total.largest < 1 << formats.TOTAL_BITS - 1, f"the totals of group {group} reach {total.largest}")
            samples = self.settings.batch * pixels
            complete = total.rows == samples
            done = "moves" if f["commit"] else "does not move"
            require(complete == f["commit"], f"{done} the averages of group {group} behind {total.rows} rows of {samples}")
            self.totals[place] = total
            if complete:
                del self.totals[place]
                self.complete.add(group)

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
        if not f["unfinished"]:
            require(f["rows"] == rows, f"moves {f['rows']} rows of weights of {rows}")
