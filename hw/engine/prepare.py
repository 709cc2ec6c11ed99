"""What the engine needs to know about a tile: where its operands begin, and which taps of its window fall on the map."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.hw.layouts import PASS, tile_meta
from bnnedge.hw.loops import Loops, follow

MAP_BITS = PASS.members["y_limit"].width  # of a row or column of a map


def tile_layout(config: Configuration) -> data.StructLayout:
    """A tile, as `Prepare` hands it on.

    left, right: addresses of the first tap on the map, most significant planes. last_y, last_x: rows and columns of taps,
    minus 1. low, high: with strips, the bits of a word that count, low <= bit < high; shift: after that word was shifted
    down so far. empty: no tap falls on the map. side: address of the masks, in that word `granule` is the group's place.
    channel: of the group's first column. ends: the tile is the last of the pass.
    """
    return data.StructLayout(
        {
            "left": 16,
            "right": 16,
            "last_y": MAP_BITS,
            "last_x": MAP_BITS,
            "shift": PASS.members["strip_shift"].width,
            "low": 5,
            "high": 5,
            "empty": 1,
            "side": 16,
            "granule": range(config.granules),
            "column_word": PASS.members["first_tile"].width,  # TRANSPOSE: number of the tile, from its word's first granule
            "columns": 16,  # TRANSPOSE: address of the columns of this pixel
            "channel": PASS.members["channel"].width,
            "group": PASS.members["first_group"].width,
            "meta": tile_meta(),
            "ends": 1,
        }
    )


class Prepare(wiring.Component):
    """Goes through the loops of a PASS (of a TRANSPOSE: y, x and tile) and works out each tile ahead of the engine.

    A tap (i, j) of an output (y, x) falls on input row origin + y * step + i * pitch, and counts if that row is on the
    map; likewise the column. So the taps that count are a rectangle, whose corner is worked out here.

    Members
    -------
    order: in, the instruction, stable from `begin` (one cycle) to the last tile. tile: out stream.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__({"order": In(PASS), "begin": In(1), "tile": Out(stream.Signature(tile_layout(config)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order = self.config, self.order
        tile = Signal(tile_layout(config), reset_less=True)
        m.d.comb += self.tile.payload.eq(tile)
        m.submodules.loops = loops = Loops()
        is_transpose = order.opcode == isa.Opcode.TRANSPOSE
        m.d.comb += [
            loops.order.eq(order),
            loops.places.eq(~is_transpose & (order.head == isa.Head.FORWARD) & (order.pool != isa.Pool.NONE)),
            loops.begin.eq(self.begin),
        ]
        with m.If(is_transpose):  # there `groups` counts what is written
            m.d.comb += loops.order.groups.eq(1)

        # Strips: several steps of x share a word; left_x is added behind the last of them.
        step, shift = Signal.like(order.strip, reset_less=True), Signal.like(order.strip_shift, reset_less=True)
        last_of_strip = step == order.strip - 1
        _, _, advance_x, advance_tile, advance_place = loops.advances
        with m.If(self.begin | (loops.step & ~(advance_tile | advance_place))):
            restart = self.begin | ~advance_x | last_of_strip
            m.d.sync += [step.eq(Mux(restart, 0, step + 1)), shift.eq(Mux(restart, 0, shift + order.strip_shift))]

        def by_pixel(name: str, x_stride: Value | None = None) -> Value:
            strides = {loop: getattr(order, f"{name}_{loop}") for loop in ("y", "x", "tile")}
            if x_stride is not None:
                strides["x"] = x_stride
            return follow(m, loops, name, getattr(order, f"{name}_base"), strides)

        left, side = by_pixel("left", Mux(last_of_strip, order.left_x, 0)), by_pixel("side")
        right = follow(m, loops, "right", order.right_base, {"group": order.right_group})
        columns = follow(m, loops, "columns", order.columns_base, {"y": order.columns_y, "x": order.columns_x})
        strips = order.window != 0
        down = Mux(loops.place[1], order.left_y.as_signed() >> 1, 0)
        across = Mux(loops.place[0] & ~strips, order.left_x.as_signed() >> 1, 0)
        granules = config.granules
        group = order.first_group % granules + loops.group
        lane_bits = config.lanes.bit_length() - 1
        left_1, right_1 = Signal(16, reset_less=True), Signal(16, reset_less=True)
        axes = {
            axis: _Axis(m, order, axis, follow(m, loops, axis, getattr(order, f"{axis}_origin"), {axis: by}), by, place)
            for axis, place in (("y", loops.place[1]), ("x", loops.place[0]))
            for by in (getattr(order, f"{axis}_step"),)
        }

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.begin):
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.sync += [
                    left_1.eq(left + down + across),
                    right_1.eq(right),
                    tile.side.eq(side + group // granules),
                    tile.granule.eq(group % granules),
                    tile.column_word.eq(order.first_tile % granules + loops.tile),
                    tile.columns.eq(columns),
                    tile.channel.eq(order.channel + Cat(Const(0, lane_bits), loops.group)),
                    tile.group.eq(order.first_group + loops.group),
                    tile.shift.eq(shift + Mux(loops.place[0], order.strip_shift >> 1, 0)),
                    tile.ends.eq(loops.ends),
                    tile.meta.place.eq(loops.place),
                    tile.meta.part.eq(loops.tile),
                    tile.meta.first.eq(loops.first),
                    tile.meta.last.eq(loops.last),
                    tile.meta.begins.eq(loops.first & (loops.group == 0)),
                    tile.meta.columns.eq(Mux(loops.group == order.groups - 1, order.columns, config.lanes)),
                ]
                for name in ("head", "pool", "inference", "continues", "unfinished", "row_first", "row_last"):
                    m.d.sync += getattr(tile.meta, name).eq(getattr(order, name))
                for axis in axes.values():
                    axis.place()
                m.next = "TAPS"
            with m.State("TAPS"):
                m.d.comb += loops.step.eq(1)  # on to the next tile: what this one takes from the loops has been taken
                for axis in axes.values():
                    axis.taps()
                m.next = "COUNT"
            with m.State("COUNT"):
                for axis in axes.values():
                    axis.moves()
                y, x = axes["y"], axes["x"]
                empty = (y.last < y.first) | (x.last < x.first)
                m.d.sync += [
                    tile.empty.eq(empty),
                    tile.last_y.eq(Mux(empty, 0, y.last - y.first)),
                    tile.last_x.eq(Mux(empty | strips, 0, x.last - x.first)),
                    tile.low.eq(x.first[:5] * order.window),
                    tile.high.eq((x.last[:5] + 1) * order.window),
                ]
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.sync += [
                    tile.left.eq(left_1 + y.left + Mux(strips, 0, x.left)),
                    tile.right.eq(right_1 + y.right + Mux(strips, 0, x.right)),
                ]
                m.next = "TILE"
            with m.State("TILE"):
                m.d.comb += self.tile.valid.eq(1)
                with m.If(self.tile.ready):
                    m.next = "PLACE"
                    with m.If(tile.ends):
                        m.next = "IDLE"
        return m


class _Axis:
    """First and last tap on the map in one direction, and the way from the window's first tap to that one."""

    def __init__(self, m: Module, order: data.View, axis: str, at: Value, step: Value, second: Value) -> None:
        self.m, self.at, self.step, self.second = m, at, step, second
        self.count, self.limit, self.pitch = (getattr(order, f) for f in (f"taps_{axis}", f"{axis}_limit", f"{axis}_pitch"))
        self.strides = {side: getattr(order, f"{side}_tap_{axis}") for side in ("left", "right")}

        def register(name: str, shape: Shape) -> Signal:
            return Signal(shape, name=f"{axis}_{name}", reset_less=True)

        self.origin = register("origin", signed(MAP_BITS + 1))
        self.first, self.last = (register(name, signed(MAP_BITS + 2)) for name in ("first", "last"))
        self.left, self.right = (register(name, unsigned(16)) for name in ("left", "right"))

    def place(self) -> None:
        """Cycle 1: the input row under the first tap, at the second place half a step further."""
        self.m.d.sync += self.origin.eq(self.at + Mux(self.second, self.step >> 1, 0))

    def taps(self) -> None:
        """Cycle 2: origin + tap * 2**pitch is on the map from `first` to `last`."""
        room = self.limit - 1 - self.origin
        reach = Mux(self.pitch, room >> 1, room)
        self.m.d.sync += [
            self.first.eq(Mux(self.origin < 0, Mux(self.pitch, (1 - self.origin) >> 1, -self.origin), 0)),
            self.last.eq(Mux(reach < self.count - 1, reach, self.count - 1)),
        ]

    def moves(self) -> None:
        """Cycle 3: how far that is in both buffers."""
        taps = self.first[:MAP_BITS]
        self.m.d.sync += [self.left.eq(taps * self.strides["left"]), self.right.eq(taps * self.strides["right"])]
