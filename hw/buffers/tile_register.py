"""Tile register: a tile of P x Q bits, g planes deep, enters row by row and leaves as row and as column granules."""

from __future__ import annotations

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


def planes_layout(config: Configuration) -> data.ArrayLayout:
    """Bits of one row: for each plane a bit of each of Q columns."""
    return data.ArrayLayout(config.lanes, formats.MAX_PLANES)


def writes_layout(config: Configuration) -> data.StructLayout:
    """Where a tile's planes go as rows or as columns: the next at `address`, granule one-hot."""
    return data.StructLayout({"address": 16, "granule": config.granules})


def _column(bits: data.View, number: int) -> Value:
    """Bit `number` of each row."""
    return Cat(row[number] for row in bits)


class TileRegister(wiring.Component):
    """Collects a tile while the one before it is written to the buffers.

    A plane leaves as rows (bank i gets the Q bits of row i) and as columns (bank j gets the P bits of column j): the same
    bits, wired the other way. If rows and columns go to different buffers, both leave in the same cycle, plane by plane;
    otherwise all planes of the rows go first.

    Tiles come in the order of the loops of a PASS, one for each of them; BACKWARD with a pool, one for each of the four places
    of an output. FORWARD with a pool the four places make one tile, of what they come to: pool SIGNS starts it with the rows
    of the last place.

    Members
    -------
    order: in, the PASS, stable from `begin` (one cycle) until `idle`.
    room: out, another tile may be started. start: in, it is: its `lanes` rows will come, at any time, behind those of the
    tiles started before.
    shift, planes: in, a row. idle: out, all that was started has been written.
    left, right: out, writes, in cycles in which left_active, right_active are 1. left_blocked: in, the left buffer is being
    written by someone else: what is to go there stays, and what would go to the right beside it.
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
        incoming, outgoing = Signal(tile_layout, reset_less=True), Signal(tile_layout, reset_less=True)
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

        # Planes leave one a cycle, from plane 0 on: columns beside rows, or behind them if one buffer takes both.
        plane, following = Signal(range(formats.MAX_PLANES), reset_less=True), Signal(range(formats.MAX_PLANES + 1))
        rows_left, columns_left = Signal(), Signal()  # some are to be written
        beside = order.rows_buffer != order.columns_buffer
        unwritten = {"rows": rows_left, "columns": columns_left}
        active = {"rows": rows_left, "columns": columns_left & (beside | ~rows_left)}
        now = {name: Signal(writes_layout(config), name=f"{name}_now", reset_less=True) for name in active}
        stay = Signal()
        m.d.comb += [following.eq(plane + 1), full.eq(rows_left | columns_left)]
        with m.If(move):
            m.d.sync += [outgoing.eq(incoming), plane.eq(0)]
            for name, some in unwritten.items():
                m.d.sync += [some.eq(order[f"{name}_planes"] != 0), now[name].eq(coming[name])]
        with m.Elif(~stay):
            m.d.sync += plane.eq(Mux(rows_left & ~beside & (following == order.rows_planes), 0, following))
            for name, some in unwritten.items():
                with m.If(active[name]):
                    m.d.sync += now[name].address.eq(now[name].address + order[f"{name}_plane"])
                    m.d.sync += some.eq(following != order[f"{name}_planes"])

        # The right buffer is offered what the left one is, with the wires crossed: columns beside rows need no second set of
        # multiplexers. A buffer whose turn it is not is offered what is not active.
        crosses = Signal()  # columns to the left, rows to the right
        m.d.comb += crosses.eq(Mux(rows_left, order.rows_buffer == isa.Buffer.RIGHT, order.columns_buffer == isa.Buffer.LEFT))
        bits, left_bits = Signal(data.ArrayLayout(lanes, lanes)), Signal(data.ArrayLayout(lanes, lanes))
        m.d.comb += [bits[i].eq(Array(outgoing[i])[plane]) for i in range(lanes)]
        m.d.comb += [left_bits[i].eq(Mux(crosses, _column(bits, i), bits[i])) for i in range(lanes)]
        m.d.comb += [
            self.left_active.eq(Mux(crosses, active["columns"], active["rows"])),
            self.right_active.eq(Mux(crosses, active["rows"], active["columns"]) & ~stay),
            stay.eq(self.left_active & self.left_blocked),
        ]
        for name, first, second in (("left", "columns", "rows"), ("right", "rows", "columns")):
            port, here = getattr(self, name), getattr(self, f"{name}_active")
            writes = Signal(writes_layout(config), name=f"{name}_writes")
            m.d.comb += [writes.eq(Mux(crosses, now[first], now[second])), port.address.eq(writes.address)]
            for bank in range(lanes):
                m.d.comb += port.data[bank].eq(replicate(left_bits[bank] if name == "left" else _column(left_bits, bank), config))
                with m.If(here):
                    m.d.comb += port.granules[bank].eq(writes.granule)
            message = f"{name} buffer: a tile is written to address {{}}, beyond its depth"
            check(m, platform, here, writes.address < getattr(config, f"{name}_depth"), message, writes.address)
        check(m, platform, self.start, self.room, "tile register: a tile is started where there is no room")
        return m

    def coming_writes(self, m: Module, move: Signal) -> dict[str, Signal]:
        """What the incoming tile is to write, from four cycles after `move` of the one before: it takes `lanes` to come."""
        order = self.order
        places = (order.head == isa.Head.BACKWARD) & (order.pool != isa.Pool.NONE)
        m.submodules.loops = loops = Loops()
        m.d.comb += [loops.order.eq(order), loops.places.eq(places), loops.begin.eq(self.begin)]
        m.d.sync += loops.step.eq(move)

        # Granules of a word lie side by side, counted from the word of the pass's first group or tile.
        sub_bits = self.config.granules.bit_length() - 1
        coming = {}
        for name, levels, within in (("rows", ("y", "x", "tile"), "group"), ("columns", ("group", "y", "x"), "tile")):
            strides = {level: order[f"{name}_{level}"] for level in levels}
            address = Signal(16, name=f"first_{name}", reset_less=True)
            number = Signal(11, name=f"number_{name}", reset_less=True)
            writes = Signal(writes_layout(self.config), name=f"coming_{name}", reset_less=True)
            m.d.sync += [
                address.eq(follow(m, loops, name, order[f"{name}_base"], strides, places=True)),
                number.eq(order[f"first_{within}"][:sub_bits] + getattr(loops, within)),
                writes.address.eq(address + number[sub_bits:]),
                writes.granule.eq(1 << number[:sub_bits]),
            ]
            coming[name] = writes
        return coming
