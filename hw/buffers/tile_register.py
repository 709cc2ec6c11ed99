"""Tile register: a tile of P x Q bits, g planes deep, enters row by row and leaves as row and as column granules."""

from __future__ import annotations

import enum

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import WritePort, replicate
from bnnedge.hw.checks import check
from bnnedge.hw.layouts import PASS
from bnnedge.hw.loops import Loops, follow


class Way(enum.IntEnum):
    """The ways in which a tile is written, in this order."""

    ROWS = 0
    POOLED = 1
    COLUMNS = 2


def planes_layout(config: Configuration) -> data.ArrayLayout:
    """Bits of one row: for each plane a bit of each of Q columns."""
    return data.ArrayLayout(config.lanes, formats.MAX_PLANES)


def writes_layout(config: Configuration) -> data.StructLayout:
    """What a tile writes in one way: `count` planes from `plane` on, the next at `address`, granule one-hot."""
    return data.StructLayout({"address": 16, "granule": config.granules, "plane": range(formats.MAX_PLANES), "count": 4})


class TileRegister(wiring.Component):
    """Collects a tile while the one before it is written to the buffers.

    A plane leaves in one cycle as rows (bank i gets the Q bits of row i) and in another as columns (bank j gets the
    P bits of column j): the same bits, wired the other way. In a FORWARD pass with pool SIGNS plane 0 is the sign of
    the tile's place; at the last place planes 1 and 2 stand for all four: they leave as pooled rows, plane 1 as columns.

    Members
    -------
    order: in, the PASS; places: in, its tiles come for 2 x 2 places. Stable from `begin` (one cycle) until `idle`.
    room: out, another tile may be started. start: in, it is: its `lanes` rows will come, at any time, behind those of
    the tiles started before.
    shift, planes: in, a row. idle: out, all that was started has been written.
    left, right: out, writes, in cycles in which left_active, right_active are 1. left_blocked: in, the left buffer is being
    written by someone else.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "order": In(PASS),
                "places": In(1),
                "begin": In(1),
                "room": Out(1),
                "start": In(1),
                "shift": In(1),
                "planes": In(planes_layout(config)),
                "idle": Out(1),
                "left": Out(WritePort(config, config.left_depth)),
                "right": Out(WritePort(config, config.right_depth)),
                "left_active": Out(1),
                "right_active": Out(1),
                "left_blocked": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order, lanes = self.config, self.order, self.config.lanes

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
        full = Signal()  # `outgoing` has something left to write
        m.d.sync += [
            complete.eq((complete & ~move) | (self.shift & (rows == lanes - 1))),
            started.eq(started + self.start - move),
        ]
        m.d.comb += [
            move.eq(complete & ~full),
            self.room.eq((started == 0) | ((started == 1) & ~full)),
            self.idle.eq((started == 0) & ~full),
        ]
        coming = self.coming_writes(m, move)

        # Planes leave one a cycle, rows first.
        way = Signal(Way)
        now = Signal(writes_layout(config))
        later = {way: Signal(writes_layout(config), name=f"later_{way.name.lower()}") for way in (Way.POOLED, Way.COLUMNS)}
        buffer, stay = Signal(), Signal()
        m.d.comb += [
            self.left_active.eq(full & (buffer == isa.Buffer.LEFT)),
            self.right_active.eq(full & (buffer == isa.Buffer.RIGHT)),
            stay.eq((buffer == isa.Buffer.LEFT) & self.left_blocked),
        ]

        def take_first(writes: dict[Way, Signal]) -> None:
            """Go on with the first of these ways that has planes to write; without any the tile is through."""
            m.d.sync += full.eq(0)
            for candidate in sorted(writes, reverse=True):
                with m.If(writes[candidate].count != 0):
                    m.d.sync += [full.eq(1), way.eq(candidate), now.eq(writes[candidate])]
                    m.d.sync += buffer.eq(order.columns_buffer if candidate == Way.COLUMNS else order.rows_buffer)

        with m.If(move):
            m.d.sync += outgoing.eq(incoming)
            m.d.sync += [writes.eq(coming[way]) for way, writes in later.items()]
            take_first(coming)
        with m.Elif(full & ~stay):
            stride = Array([order.rows_plane, order.pooled_plane, order.columns_plane])[way]
            m.d.sync += [now.address.eq(now.address + stride), now.plane.eq(now.plane + 1), now.count.eq(now.count - 1)]
            with m.If(now.count == 1):
                for ending in Way:
                    with m.If(way == ending):
                        take_first({way: writes for way, writes in later.items() if way > ending})

        bits = Signal(data.ArrayLayout(lanes, lanes))
        m.d.comb += [bits[i].eq(Array(outgoing[i])[now.plane]) for i in range(lanes)]
        for port, active in ((self.left, self.left_active), (self.right, self.right_active)):
            m.d.comb += port.address.eq(now.address)
            for bank in range(lanes):
                column = Cat(bits[i][bank] for i in range(lanes))
                m.d.comb += port.data[bank].eq(replicate(Mux(way == Way.COLUMNS, column, bits[bank]), config))
                with m.If(active):
                    m.d.comb += port.granules[bank].eq(now.granule)
        for name, active in (("left", self.left_active), ("right", self.right_active)):
            message = f"{name} buffer: a tile is written to address {{}}, beyond its depth"
            check(m, platform, active, now.address < getattr(config, f"{name}_depth"), message, now.address)
        check(m, platform, self.start, self.room, "tile register: a tile is started where there is no room")
        return m

    def coming_writes(self, m: Module, move: Signal) -> dict[Way, Signal]:
        """What the incoming tile is to write, from four cycles after `move` of the one before: it takes `lanes` to come."""
        order = self.order
        m.submodules.loops = loops = Loops()
        m.d.comb += [loops.order.eq(order), loops.places.eq(self.places), loops.begin.eq(self.begin)]
        m.d.sync += loops.step.eq(move)
        pooled_signs, last_place = Signal(), Signal()
        m.d.comb += [
            pooled_signs.eq((order.head == isa.Head.FORWARD) & (order.pool == isa.Pool.SIGNS)),
            last_place.eq(loops.place == Mux(self.places, 3, 0)),
        ]

        def first(way: Way, *levels: str, places: bool) -> Value:
            """Address of the way's first plane, in the word of the pass's first group or tile."""
            name = way.name.lower()
            strides = {level: order[f"{name}_{level}"] for level in levels}
            return follow(m, loops, name, order[f"{name}_base"], strides, places=places)

        addresses = {way: Signal(16, name=f"first_{way.name.lower()}") for way in Way}
        m.d.sync += addresses[Way.ROWS].eq(first(Way.ROWS, "y", "x", "tile", places=True))
        m.d.sync += addresses[Way.POOLED].eq(first(Way.POOLED, "y", "x", "tile", places=False))
        at_place = first(Way.COLUMNS, "group", "y", "x", places=True)
        with m.If(~pooled_signs | (loops.place == 0)):  # in the pooled map all places are one, and place 0 has no offset
            m.d.sync += addresses[Way.COLUMNS].eq(at_place)

        # Granules of a word lie side by side, counted from the word of the pass's first group or tile.
        sub_bits = self.config.granules.bit_length() - 1
        group, tile = Signal(11), Signal(11)
        m.d.sync += [
            group.eq(order.first_group[:sub_bits] + loops.group),
            tile.eq(order.first_tile[:sub_bits] + loops.tile),
        ]
        planes = {
            Way.ROWS: (0, order.rows_planes),
            Way.POOLED: (1, Mux(last_place, order.pooled_planes, 0)),
            Way.COLUMNS: (pooled_signs, Mux(pooled_signs & ~last_place, 0, order.columns_planes)),
        }
        coming = {way: Signal(writes_layout(self.config), name=f"coming_{way.name.lower()}") for way in Way}
        for way, writes in coming.items():
            number = tile if way == Way.COLUMNS else group
            plane, count = planes[way]
            m.d.sync += [
                writes.address.eq(addresses[way] + number[sub_bits:]),
                writes.granule.eq(1 << number[:sub_bits]),
                writes.plane.eq(plane),
                writes.count.eq(count),
            ]
        return coming
