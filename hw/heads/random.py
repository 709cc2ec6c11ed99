"""Random numbers: a hash of coordinates seeds each tile, one xorshift step serves each row (docs/arithmetic.md)."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.layouts import PASS
from bnnedge.hw.loops import Loops, follow

COORDINATE_BITS = 12  # of a group's or a tile's number in the hash


def xorshift(state: Value) -> Value:
    """One step of xorshift64."""
    left, right, last = formats.XORSHIFT
    state = state ^ (state << left)[:64]
    state = state ^ (state >> right)
    return state ^ (state << last)[:64]


def lane_bits(state: Value, lane: int) -> Value:
    """The RANDOM_BITS of a lane in a row's 64 bits."""
    low = formats.RANDOM_LANE_STEP * lane
    return Cat(state, state)[low : low + formats.RANDOM_BITS]


class RandomRows(wiring.Component):
    """A stream of 64 random bits for each row of a tensor, tile by tile in the order of a pass.

    While one tile's rows are taken the next tile's seed is hashed, one round a cycle. Behind the last tile comes the
    first one again.

    Members
    -------
    begin: in, one cycle: restart at the first tile of `order`.
    order: in, the PASS; places: in, its tiles come for 2 x 2 places. seed, kind: in; height: in, rows of a tile minus 1.
    All stable from `begin` on.
    row: out stream; `begin` takes back a row that has not been accepted.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "seed": In(64),
                "begin": In(1),
                "order": In(PASS),
                "places": In(1),
                "kind": In(2),
                "height": In(range(config.lanes)),
                "row": Out(stream.Signature(64)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order = self.order
        m.submodules.loops = loops = Loops()
        m.d.comb += [loops.begin.eq(self.begin), loops.order.eq(order), loops.places.eq(self.places)]
        place = follow(m, loops, "place", order.random_base, {"y": order.random_y, "x": order.random_x}, places=True)

        # The loops stand at the tile to be hashed next; they step a cycle behind its hash's beginning.
        x, y = Signal(32, reset_less=True), Signal(32, reset_less=True)
        round_ = Signal(range(formats.HASH_ROUNDS + 1))
        first = Signal()
        hashed, last, take_seed, begins = Signal(), Signal(), Signal(), Signal()
        rows = Signal(range(self.config.lanes))
        made = stream.Signature(64).create(path=("made",))
        state, shown = Signal(64, reset_less=True), Signal(64, reset_less=True)
        m.d.comb += [made.payload.eq(state), self.row.payload.eq(shown)]
        m.d.comb += [
            hashed.eq(round_ == formats.HASH_ROUNDS),
            last.eq(rows == self.height),
            take_seed.eq(hashed & (~made.valid | (made.ready & last))),
            begins.eq(first | take_seed),
        ]
        m.d.sync += [first.eq(self.begin), loops.step.eq(begins & ~self.begin)]

        right, left = formats.HASH_ROTATIONS
        key = Mux(round_[0], self.seed[32:], self.seed[:32])
        mixed = Signal(32)
        m.d.comb += mixed.eq((x.rotate_right(right) + y) ^ key ^ round_)
        group, tile = Signal(COORDINATE_BITS), Signal(COORDINATE_BITS)
        m.d.comb += [group.eq(order.first_group + loops.group), tile.eq(order.first_tile + loops.tile)]
        with m.If(self.begin):
            m.d.sync += round_.eq(0)
        with m.Elif(begins):
            m.d.sync += [x.eq(Cat(tile, group, self.kind, order.layer)), round_.eq(0)]
            m.d.sync += y.eq(order.step ^ (place << formats.PLACE_SHIFT))
        with m.Elif(~hashed):
            m.d.sync += [x.eq(mixed), y.eq(y.rotate_left(left) ^ mixed), round_.eq(round_ + 1)]

        with m.If(self.begin):
            m.d.sync += made.valid.eq(0)
        with m.Elif(take_seed):
            m.d.sync += [state.eq(Cat(x, y)), made.valid.eq(1), rows.eq(0)]
        with m.Elif(made.ready & made.valid):
            m.d.sync += [state.eq(xorshift(state)), rows.eq(rows + 1)]
            with m.If(last):
                m.d.sync += made.valid.eq(0)

        # A row waits behind the one at the output, so that these two alone have to know at once that one is taken.
        waiting, held = Signal(), Signal(64, reset_less=True)
        m.d.comb += made.ready.eq(~waiting)
        with m.If(self.begin):
            m.d.sync += [self.row.valid.eq(0), waiting.eq(0)]
        with m.Elif(self.row.ready | ~self.row.valid):
            m.d.sync += [
                self.row.valid.eq(waiting | made.valid),
                shown.eq(Mux(waiting, held, made.payload)),
                waiting.eq(0),
            ]
        with m.Elif(made.valid & ~waiting):
            m.d.sync += waiting.eq(1)
        with m.If(~waiting):
            m.d.sync += held.eq(made.payload)
        return m
