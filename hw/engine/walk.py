"""The way through a tile: pairs of planes, then taps, then words."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.engine.prepare import MAP_BITS
from bnnedge.hw.layouts import PASS


class Walk(wiring.Component):
    """Addresses of a tile's operands, one pair of words a cycle.

    Pairs of planes go diagonal by diagonal, i + j from the most significant one down. With L planes on the left and R on
    the right, diagonal d holds the pairs (i, d - i); i falls within a diagonal. Addresses follow by adding strides, which
    point to the *less* significant plane.

    Members
    -------
    order: in, the instruction. tile: in, one cycle: go to the first words of a tile that begins at `left_start`,
    `right_start`, with taps 0..`last_y` by 0..`last_x`. step: in, one cycle: go on to the next words.
    left, right: out, present addresses. first: out, they are a tile's first. double: out, they start another diagonal.
    last_word: out, the last word of a tap. last: out, of the tile. plane: out, of the left operand. word: out.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "order": In(PASS),
                "right_planes": In(4),
                "tile": In(1),
                "step": In(1),
                "left_start": In(16),
                "right_start": In(16),
                "last_y": In(MAP_BITS),
                "last_x": In(MAP_BITS),
                "left": Out(16),
                "right": Out(16),
                "first": Out(1),
                "double": Out(1),
                "last_word": Out(1),
                "last": Out(1),
                "plane": Out(4),
                "word": Out(PASS.members["words"].width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order = self.order
        j = Signal(4)
        i = self.plane
        # Where the present diagonal starts: its largest i.
        start_i, start_j = Signal(4), Signal(4)
        tap_y, tap_x = Signal(MAP_BITS), Signal(MAP_BITS)
        first_pair, new_diagonal, first_here = Signal(), Signal(), Signal()
        last_x, last_y, last_pair = Signal(), Signal(), Signal()
        m.d.comb += [
            self.last_word.eq(self.word == order.words - 1),
            last_x.eq(tap_x == self.last_x),
            last_y.eq(tap_y == self.last_y),
            last_pair.eq((i == 0) & (j == 0)),
            self.first.eq(first_pair & first_here),
            self.double.eq(new_diagonal & first_here),
            self.last.eq(last_pair & last_y & last_x & self.last_word),
        ]

        # Of each operand: its first tap on this diagonal's first pair, this pair's first tap, this row's first tap, this tap.
        sides = []
        for side in ("left", "right"):
            tap = Signal(16, name=f"{side}_tap")
            sides.append(
                {
                    "diagonal": Signal(16, name=f"{side}_diagonal"),
                    "pair": Signal(16, name=f"{side}_pair"),
                    "row": Signal(16, name=f"{side}_row"),
                    "tap": tap,
                    "start": getattr(self, f"{side}_start"),
                    "tap_x": getattr(order, f"{side}_tap_x"),
                    "tap_y": getattr(order, f"{side}_tap_y"),
                    "plane": getattr(order, f"{side}_plane"),
                }
            )
            m.d.comb += getattr(self, side).eq(tap + self.word)

        def go(level: str, values: list[object]) -> None:
            """Set a level's address and those inside it."""
            levels = ("diagonal", "pair", "row", "tap")
            for side, value in zip(sides, values, strict=True):
                m.d.sync += [side[inner].eq(value) for inner in levels[levels.index(level) :]]

        with m.If(self.tile):
            go("diagonal", [side["start"] for side in sides])
            for a, b, planes in ((i, start_i, order.left_planes), (j, start_j, self.right_planes)):
                m.d.sync += [a.eq(planes - 1), b.eq(planes - 1)]
            m.d.sync += [self.word.eq(0), tap_y.eq(0), tap_x.eq(0)]
            m.d.sync += [first_pair.eq(1), new_diagonal.eq(0), first_here.eq(1)]
        with m.Elif(self.step):
            m.d.sync += [first_here.eq(0), self.word.eq(self.word + 1)]
            with m.If(self.last_word):
                m.d.sync += [self.word.eq(0), tap_x.eq(tap_x + 1)]
                with m.If(~last_x):
                    go("tap", [side["tap"] + side["tap_x"] for side in sides])
                with m.Elif(~last_y):
                    m.d.sync += [tap_x.eq(0), tap_y.eq(tap_y + 1)]
                    go("row", [side["row"] + side["tap_y"] for side in sides])
                with m.Else():
                    m.d.sync += [tap_x.eq(0), tap_y.eq(0), first_pair.eq(0), first_here.eq(1)]
                    left, right = sides
                    with m.If((i != 0) & (j != self.right_planes - 1)):
                        m.d.sync += [i.eq(i - 1), j.eq(j + 1), new_diagonal.eq(0)]
                        go("pair", [left["pair"] + left["plane"], right["pair"] - right["plane"]])
                    with m.Else():
                        down_right = start_j != 0
                        next_i, next_j = start_i - ~down_right, start_j - down_right
                        for signals, value in (((i, start_i), next_i), ((j, start_j), next_j)):
                            m.d.sync += [s.eq(value) for s in signals]
                        m.d.sync += new_diagonal.eq(1)
                        go(
                            "diagonal",
                            [
                                left["diagonal"] + Mux(down_right, 0, left["plane"]),
                                right["diagonal"] + Mux(down_right, right["plane"], 0),
                            ],
                        )
        return m
