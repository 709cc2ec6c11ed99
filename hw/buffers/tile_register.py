"""The way back: a tile of P x Q bits, g planes deep, enters row by row and leaves as row and as column granules."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import WritePort, replicate
from bnnedge.hw.layouts import PASS


def planes_layout(config: Configuration) -> data.ArrayLayout:
    """Bits of one row: for each plane a bit of each of Q columns."""
    return data.ArrayLayout(config.lanes, formats.MAX_PLANES)


class TileRegister(wiring.Component):
    """Collects a tile while the one before it is written to the buffers.

    A plane leaves in one cycle as rows (bank i gets the Q bits of row i) and in another as columns (bank j gets the
    P bits of column j): the same bits, wired the other way.

    Members
    -------
    order: in, the PASS, stable from `begin` (one cycle) until `idle`.
    room: out, another tile may be started. start: in, it is: its `lanes` rows will come, at any time, behind those of
    the tiles started before.
    shift, planes: in, a row. idle: out, all that was started has been written.
    left, right: out, writes. left_blocked: in, the left buffer is being written by someone else.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "order": In(PASS),
                "begin": In(1),
                "room": Out(1),
                "start": In(1),
                "shift": In(1),
                "planes": In(planes_layout(config)),
                "idle": Out(1),
                "left": Out(WritePort(config, config.left_depth)),
                "right": Out(WritePort(config, config.right_depth)),
                "left_blocked": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order = self.config, self.order
        lanes, granules = config.lanes, config.granules

        # The incoming tile: rows enter at the bottom.
        tile_layout = data.ArrayLayout(planes_layout(config), lanes)
        incoming, outgoing = Signal(tile_layout), Signal(tile_layout)
        rows = Signal(range(lanes))
        complete = Signal()  # the incoming tile has all its rows
        move = Signal()
        with m.If(self.shift):
            m.d.sync += [incoming[i].eq(incoming[i + 1]) for i in range(lanes - 1)]
            m.d.sync += [incoming[lanes - 1].eq(self.planes), rows.eq(rows + 1)]
        # A tile may be started when the one before it is sure to move on before the first row comes: it is through, or
        # it finds `outgoing` empty as soon as it is complete.
        started = Signal(2)
        full = Signal()
        done = Signal()
        m.d.sync += [
            complete.eq((complete & ~move) | (self.shift & (rows == lanes - 1))),
            started.eq(started + self.start - move),
        ]
        m.d.comb += [
            move.eq(complete & ~full),
            self.room.eq((started == 0) | ((started == 1) & ~full)),
            self.idle.eq((started == 0) & ~full),
        ]

        # Addresses of the outgoing tile.
        tile, sub_tile, tile_word = Signal(10), Signal(range(granules)), Signal(10)
        sub_group, group_word = Signal(range(granules)), Signal(10)
        rows_tile, columns_group = Signal(16), Signal(16)
        with m.If(self.begin):
            m.d.sync += [tile.eq(0), sub_tile.eq(0), tile_word.eq(0), sub_group.eq(0), group_word.eq(0)]
            m.d.sync += [rows_tile.eq(order.rows_base), columns_group.eq(order.columns_base)]
        with m.Elif(done):
            with m.If(tile == order.tiles - 1):
                m.d.sync += [tile.eq(0), sub_tile.eq(0), tile_word.eq(0), rows_tile.eq(order.rows_base)]
                m.d.sync += [columns_group.eq(columns_group + order.columns_group_stride), sub_group.eq(sub_group + 1)]
                with m.If(sub_group == granules - 1):
                    m.d.sync += [sub_group.eq(0), group_word.eq(group_word + 1)]
            with m.Else():
                m.d.sync += [tile.eq(tile + 1), sub_tile.eq(sub_tile + 1)]
                m.d.sync += rows_tile.eq(rows_tile + order.rows_tile_stride)
                with m.If(sub_tile == granules - 1):
                    m.d.sync += [sub_tile.eq(0), tile_word.eq(tile_word + 1)]

        # Planes leave one a cycle, rows first.
        plane = Signal(4)
        as_columns = Signal()
        offset = Signal(16)
        address = Signal(16)
        buffer = Signal()
        stay = Signal()
        count = Mux(as_columns, order.columns_planes, order.rows_planes)
        some = Signal()
        m.d.comb += [
            some.eq(full & (plane != count)),
            buffer.eq(Mux(as_columns, order.columns_buffer, order.rows_buffer)),
            address.eq(offset + Mux(as_columns, columns_group + tile_word, rows_tile + group_word)),
            stay.eq(some & (buffer == isa.Buffer.LEFT) & self.left_blocked),
            done.eq(as_columns & full & ~stay & ((plane + 1 == count) | (plane == count))),
        ]
        with m.If(move):
            m.d.sync += [outgoing.eq(incoming), full.eq(1)]
            m.d.sync += [plane.eq(0), offset.eq(0), as_columns.eq(order.rows_planes == 0)]
        with m.Elif(full & ~stay):
            m.d.sync += [
                plane.eq(plane + 1),
                offset.eq(offset + Mux(as_columns, order.columns_plane_stride, order.rows_plane_stride)),
            ]
            with m.If(~as_columns & (plane + 1 == count)):
                m.d.sync += [as_columns.eq(1), plane.eq(0), offset.eq(0)]
            with m.If(done):
                m.d.sync += full.eq(0)

        bits = Signal(data.ArrayLayout(lanes, lanes))
        m.d.comb += [bits[i].eq(Array(outgoing[i])[plane]) for i in range(lanes)]
        granule = Signal(granules)
        m.d.comb += granule.eq(1 << Mux(as_columns, sub_tile, sub_group))
        for port, this in ((self.left, isa.Buffer.LEFT), (self.right, isa.Buffer.RIGHT)):
            m.d.comb += port.address.eq(address)
            for bank in range(lanes):
                column = Cat(bits[i][bank] for i in range(lanes))
                m.d.comb += port.data[bank].eq(replicate(Mux(as_columns, column, bits[bank]), config))
                with m.If(some & (buffer == this)):
                    m.d.comb += port.granules[bank].eq(granule)
        return m
