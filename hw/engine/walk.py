"""The way through a tile: pairs of planes, then taps, then words."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.hw.engine.prepare import MAP_BITS
from bnnedge.hw.layouts import PASS


class Walk(wiring.Component):
    """Addresses of a tile's operands, one pair of words a cycle.

    A plane's level is the logarithm of its weight: its number, of twin planes that less one and 0 at least. Pairs of levels
    go diagonal by diagonal, i + j from the most significant one down. With L levels on the left and R on the right,
    diagonal d holds the pairs (i, d - i); i falls within a diagonal. Where a level has two planes, the more significant one
    by its number comes first, and the left one changes first. Addresses follow by adding strides, which point to the *less*
    significant plane.

    Members
    -------
    order: in, the instruction, stable from the cycle before the first `tile`; right_planes: in, instead of its own. An
    operand of twin planes has 2 planes at least. tile: in, one cycle: go to the first words of a tile that begins at
    `left_start`, `right_start`, with taps 0..`last_y` by 0..`last_x`. step: in, one cycle: go on to the next words.
    left, right: out, present addresses. first: out, they are a tile's first. double: out, they start another diagonal.
    last_word: out, the last word of a tap. last: out, of the tile. plane: out, of the left operand, unless its planes are
    twins. word: out.
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

        def register(name: str, bits: int = 1) -> Signal:
            return Signal(bits, name=name, reset_less=True)

        i, j = register("i", 4), register("j", 4)
        # Where the present diagonal starts: its largest i.
        start_i, start_j = register("start_i", 4), register("start_j", 4)
        first_pair, new_diagonal, first_here = (register(name) for name in ("first_pair", "new_diagonal", "first_here"))
        # Of a level with two planes, the less significant one by its number.
        left_lower, right_lower = register("left_lower"), register("right_lower")
        word, last = register("word", len(self.word)), register("last")
        m.d.comb += [self.plane.eq(i), self.word.eq(word), self.last.eq(last)]
        final_word = register("final_word", len(word))
        final_pair = register("final_pair", (formats.MAX_PLANES**2 - 1).bit_length())
        final_i, final_j = register("final_i", 4), register("final_j", 4)
        m.d.sync += [
            final_word.eq(order.words - 1),
            final_pair.eq(order.left_planes * self.right_planes - 1),
            final_i.eq(order.left_planes - 1 - order.left_twin),
            final_j.eq(self.right_planes - 1 - order.right_twin),
        ]

        lasts: list[Value] = []  # of all countdowns, in the next cycle

        def countdown(name: str, final: Value, first: Value, step: Value) -> Signal:
            """A register that tells whether the present one of 0..`final` is the last, where `step` goes on, or to the first."""
            left, last = register(f"{name}_left", len(final)), register(f"{name}_last")
            coming = Signal(name=f"{name}_coming")
            m.d.comb += coming.eq(last)
            with m.If(first | (step & last)):
                m.d.sync += left.eq(final)
                m.d.comb += coming.eq(final == 0)
            with m.Elif(step):
                m.d.sync += left.eq(left - 1)
                m.d.comb += coming.eq(left == 1)
            m.d.sync += last.eq(coming)
            lasts.append(coming)
            return last

        def of_tile(name: str) -> Value:
            """A value that comes with the tile, then and later."""
            given, kept = getattr(self, name), register(f"kept_{name}", MAP_BITS)
            with m.If(self.tile):
                m.d.sync += kept.eq(given)
            return Mux(self.tile, given, kept)

        last_word = countdown("word", final_word, self.tile, self.step)
        last_x = countdown("tap_x", of_tile("last_x"), self.tile, self.step & last_word)
        last_y = countdown("tap_y", of_tile("last_y"), self.tile, self.step & last_word & last_x)
        countdown("pair", final_pair, self.tile, self.step & last_word & last_x & last_y)
        m.d.comb += [
            self.last_word.eq(last_word),
            self.first.eq(first_pair & first_here),
            self.double.eq(new_diagonal & first_here),
        ]
        m.d.sync += last.eq(Cat(lasts).all())

        # Of each operand: its first tap on this diagonal's first pair, this pair's first tap, this row's first tap, this tap.
        sides = []
        for side in ("left", "right"):
            tap = register(f"{side}_tap", 16)
            sides.append(
                {
                    "diagonal": register(f"{side}_diagonal", 16),
                    "pair": register(f"{side}_pair", 16),
                    "row": register(f"{side}_row", 16),
                    "tap": tap,
                    "start": getattr(self, f"{side}_start"),
                    "tap_x": getattr(order, f"{side}_tap_x"),
                    "tap_y": getattr(order, f"{side}_tap_y"),
                    "plane": getattr(order, f"{side}_plane"),
                }
            )
            m.d.comb += getattr(self, side).eq(tap + word)

        def go(level: str, values: list[object]) -> None:
            """Set a level's address and those inside it."""
            levels = ("diagonal", "pair", "row", "tap")
            for side, value in zip(sides, values, strict=True):
                m.d.sync += [side[inner].eq(value) for inner in levels[levels.index(level) :]]

        with m.If(self.tile):
            go("diagonal", [side["start"] for side in sides])
            for level, start, final in ((i, start_i, final_i), (j, start_j, final_j)):
                m.d.sync += [level.eq(final), start.eq(final)]
            m.d.sync += [word.eq(0), left_lower.eq(0), right_lower.eq(0)]
            m.d.sync += [first_pair.eq(1), new_diagonal.eq(0), first_here.eq(1)]
        with m.Elif(self.step):
            m.d.sync += [first_here.eq(0), word.eq(word + 1)]
            with m.If(last_word):
                m.d.sync += word.eq(0)
                with m.If(~last_x):
                    go("tap", [side["tap"] + side["tap_x"] for side in sides])
                with m.Elif(~last_y):
                    go("row", [side["row"] + side["tap_y"] for side in sides])
                with m.Else():
                    m.d.sync += [first_pair.eq(0), first_here.eq(1), new_diagonal.eq(0), left_lower.eq(0), right_lower.eq(0)]
                    left, right = sides
                    more_left = order.left_twin & (i == 0) & ~left_lower
                    more_right = order.right_twin & (j == 0) & ~right_lower
                    lower_right = ~more_left | right_lower
                    with m.If(more_left | more_right):
                        m.d.sync += [left_lower.eq(more_left), right_lower.eq(lower_right)]
                        moves = zip(sides, (more_left, lower_right), strict=True)
                        go("row", [Mux(lower, side["pair"] + side["plane"], side["pair"]) for side, lower in moves])
                    with m.Elif((i != 0) & (j != final_j)):
                        m.d.sync += [i.eq(i - 1), j.eq(j + 1)]
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
