"""The exponent of a layer's gradient codes: each step's comes from the step before, layers are chained by their sum."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads.emit import COUNT_BITS
from bnnedge.hw.heads.thresholds import RECORD_LATENCY, SHIFT_BITS
from bnnedge.hw.layouts import PASS, RECORD


def clipped(value: Value, low: int, high: int) -> Value:
    """`value`, or the nearest number from `low` to `high`."""
    return Mux(value < low, low, Mux(value > high, high, value))


class Exponent(wiring.Component):
    """E, A and e of docs/arithmetic.md. `above`, the sum of the exponents so far, is kept here.

    Members
    -------
    open: in, one cycle: first pass of a layer; top: in, of the last layer, above which there is no exponent. opened: out, one
    cycle: `exponent` (e) and `shift` (A - above, see `aligned`) stand, until the next layer opens.
    close: in, one cycle: the codes are out. clipped, large: in, how many lie beyond their range, and beyond half of it. closed:
    out, one cycle: the record is written, `above` has grown.
    order: in, the PASS, stable. reading: out, the layer's exponent record is read; record: in, RECORD_LATENCY cycles later.
    write, write_record: out.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "order": In(PASS),
                "open": In(1),
                "top": In(1),
                "opened": Out(1),
                "close": In(1),
                "clipped": In(COUNT_BITS),
                "large": In(COUNT_BITS),
                "closed": Out(1),
                "exponent": Out(range(formats.MAX_EXPONENT + 1)),
                "shift": Out(signed(SHIFT_BITS)),
                "reading": Out(1),
                "record": In(RECORD),
                "write": Out(1),
                "write_record": Out(RECORD),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order = self.order
        above = Signal(signed(formats.EXPONENT_BITS))
        grows, shrinks = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [grows.eq(self.clipped > order.clips), shrinks.eq(self.large <= order.clips >> 1)]
        m.d.comb += [
            self.write_record.mu.eq(above + self.exponent + grows - shrinks),
            self.write_record.centre.eq(above),
        ]
        came = Signal(RECORD_LATENCY)
        m.d.sync += came.eq(came << 1 | self.reading)
        relative = delayed(m, self.record.mu - above, 1, "relative")
        unit = delayed(m, self.record.centre[: formats.EXPONENT_BITS].as_signed() - above, 1, "unit")

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.open):
                    with m.If(self.top):
                        m.d.sync += above.eq(0)
                    m.next = "READ"
                with m.If(self.close):
                    m.next = "WRITE"
            with m.State("READ"):
                m.d.comb += self.reading.eq(1)
                m.next = "AWAIT"
            with m.State("AWAIT"):
                with m.If(came[-1]):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.sync += [
                    self.exponent.eq(clipped(relative, 0, formats.MAX_EXPONENT)),
                    self.shift.eq(clipped(unit, -formats.UNIT_SHIFT, formats.UNIT_SHIFT - 1)),
                ]
                m.next = "OPENED"
            with m.State("OPENED"):
                m.d.comb += self.opened.eq(1)
                m.next = "IDLE"
            with m.State("WRITE"):
                m.d.comb += [self.write.eq(1), self.closed.eq(1)]
                m.d.sync += above.eq(above + self.exponent)
                m.next = "IDLE"
        return m
