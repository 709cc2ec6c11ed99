"""Random numbers: a hash of coordinates seeds each tile, one xorshift step serves each row (docs/arithmetic.md)."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration


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

    While one tile's rows are taken the next tile's seed is hashed, one round a cycle.

    Members
    -------
    begin: in, one cycle: restart at group 0, tile 0 of (`step`, `layer`, `kind`).
    seed, step, layer, kind: in; tiles: in, of a group; height: in, rows of a tile minus 1. All stable from `begin` on.
    row: out stream; `begin` takes back a row that has not been accepted.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "seed": In(64),
                "begin": In(1),
                "step": In(32),
                "layer": In(6),
                "kind": In(2),
                "tiles": In(10),
                "height": In(range(config.lanes)),
                "row": Out(stream.Signature(64)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        group, tile = Signal(10), Signal(10)
        x, y = Signal(32), Signal(32)
        round_ = Signal(range(formats.HASH_ROUNDS + 1))
        hashed = Signal()
        m.d.comb += hashed.eq(round_ == formats.HASH_ROUNDS)
        last = Signal()
        rows = Signal(range(self.config.lanes))
        take_seed = Signal()
        m.d.comb += [
            last.eq(rows == self.height),
            take_seed.eq(hashed & (~self.row.valid | (self.row.ready & last))),
        ]

        right, left = formats.HASH_ROTATIONS
        key = Mux(round_[0], self.seed[32:], self.seed[:32])
        mixed = Signal(32)
        m.d.comb += mixed.eq((x.rotate_right(right) + y) ^ key ^ round_)
        with m.If(self.begin | take_seed):
            # on to the next tile, or to the first
            next_tile, next_group = Signal(10), Signal(10)
            with m.If(self.begin):
                m.d.comb += [next_tile.eq(0), next_group.eq(0)]
            with m.Elif(tile == self.tiles - 1):
                m.d.comb += [next_tile.eq(0), next_group.eq(group + 1)]
            with m.Else():
                m.d.comb += [next_tile.eq(tile + 1), next_group.eq(group)]
            m.d.sync += [tile.eq(next_tile), group.eq(next_group), y.eq(self.step), round_.eq(0)]
            m.d.sync += x.eq(Cat(next_tile, Const(0, 2), next_group, Const(0, 2), self.kind, self.layer))
        with m.Elif(~hashed):
            m.d.sync += [x.eq(mixed), y.eq(y.rotate_left(left) ^ mixed), round_.eq(round_ + 1)]

        with m.If(self.begin):
            m.d.sync += self.row.valid.eq(0)
        with m.Elif(take_seed):
            m.d.sync += [self.row.payload.eq(Cat(x, y)), self.row.valid.eq(1), rows.eq(0)]
        with m.Elif(self.row.ready & self.row.valid):
            m.d.sync += [self.row.payload.eq(xorshift(self.row.payload)), rows.eq(rows + 1)]
            with m.If(last):
                m.d.sync += self.row.valid.eq(0)
        return m
