"""The loops of a PASS: group, y, x, tile, place, outermost first, and addresses that follow them."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge.hw.layouts import PASS

NAMES = ("group", "y", "x", "tile", "place")
COUNTS = {"group": "groups", "y": "height", "x": "width", "tile": "tiles"}


class Loops(wiring.Component):
    """Nested counters.

    Members
    -------
    order: in, the PASS; places: in, the innermost loop goes over 2 x 2 places; both stable from `begin` on. begin: in, one
    cycle: all to 0. step: in, one cycle: on to the next; behind the last one all are 0 again.
    group, y, x, tile, place: out, counters. advances: out, bit i: a step would advance loop i of NAMES and start those
    inside over; 0 on the last step. first, last: out, of a group. ends: out, last of all.
    """

    def __init__(self) -> None:
        self.widths = {name: PASS.members[COUNTS[name]].width if name in COUNTS else 2 for name in NAMES}
        super().__init__(
            {
                "order": In(PASS),
                "places": In(1),
                "begin": In(1),
                "step": In(1),
                **{name: Out(width) for name, width in self.widths.items()},
                "advances": Out(len(NAMES)),
                "first": Out(1),
                "last": Out(1),
                "ends": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        final = {name: Signal(width, name=f"final_{name}", reset_less=True) for name, width in self.widths.items()}
        for name, value in final.items():
            m.d.sync += value.eq(getattr(self.order, COUNTS[name]) - 1 if name in COUNTS else Mux(self.places, 3, 0))
        counters = {name: Signal(width, name=name, reset_less=True) for name, width in self.widths.items()}
        at_end = {name: counters[name] == value for name, value in final.items()}
        inner: Value = Value.cast(1)  # all loops inside this one are at their ends
        starts: Value = Value.cast(1)
        for name in reversed(NAMES):
            counter = counters[name]
            m.d.comb += getattr(self, name).eq(counter)
            m.d.comb += self.advances[NAMES.index(name)].eq(inner & ~at_end[name])
            with m.If(self.begin | (self.step & inner & at_end[name])):
                m.d.sync += counter.eq(0)
            with m.Elif(self.step & inner):
                m.d.sync += counter.eq(counter + 1)
            if name == "group":
                m.d.comb += [self.first.eq(starts), self.last.eq(inner), self.ends.eq(inner & at_end[name])]
            starts = starts & (counter == 0)
            inner = inner & at_end[name]
        return m


def follow(m: Module, loops: Loops, name: str, base: Value, strides: dict[str, Value], *, places: bool = False) -> Value:
    """An address, modulo 2**width of `base`, that begins at `base` and moves by a loop's stride when that loop advances.

    It takes `base` when the loops begin, and whenever they are through. With `places`, a place is half a stride of y or
    x away.
    """
    width = len(base)
    levels = [loop for loop in NAMES if loop in strides]
    at = {loop: Signal(width, name=f"{name}_{loop}", reset_less=True) for loop in levels}
    for place, loop in enumerate(levels):
        # The loop itself or one outside it advances: the latter gives all loops inside it its new address.
        with m.If(loops.begin | (loops.step & (loops.advances == 0))):
            m.d.sync += at[loop].eq(base)
        for outer in NAMES[: NAMES.index(loop) + 1]:
            with m.Elif(loops.step & loops.advances[NAMES.index(outer)]):
                sources = [known for known in levels[: place + 1] if NAMES.index(known) <= NAMES.index(outer)]
                start = at[sources[-1]] if sources else base
                m.d.sync += at[loop].eq(start + strides[outer] if outer in strides else start)
    address: Value = at[levels[-1]]
    if places:
        down, right = strides["y"].as_signed() >> 1, strides["x"].as_signed() >> 1
        address = address + Mux(loops.place[1], down, 0) + Mux(loops.place[0], right, 0)
    return address[:width]
