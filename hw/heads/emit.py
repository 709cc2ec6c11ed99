"""From a row of sums to bits: sign and mask forward, stochastically rounded gradient codes backward."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.tile_register import planes_layout
from bnnedge.hw.heads.parameters import column_layout, gradient_bits
from bnnedge.hw.heads.random import lane_bits
from bnnedge.hw.layouts import tile_row

LATENCY = 4  # from row to planes
MAGNITUDE_BITS = 48


class Emit(wiring.Component):
    """Q lanes, one row a cycle.

    Forward, planes: sign y >= threshold, mask low <= y <= high.
    Backward, planes: u = floor((dy - 2**e + r) / 2**(e + 1)) + 2**(g - 1), clipped to g bits, where
    dy = 4 d - (plus or minus) and r is uniform in 0 .. 2**(e+1) - 1; the code is 2 u - (2**g - 1).

    Members
    -------
    load, column, result: in, results of `Parameters`, kept for the columns of a group.
    backward, gradient_planes, exponent: in, stable from the cycle before the first row until the last one has left.
    valid, row, random: in. shift, planes: out, LATENCY cycles later; planes beyond those in use are 0.
    clear: in. magnitude: out, sum of |dy| of the rows since `clear`, up to date when their last `shift` comes.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(1),
                "column": In(range(config.lanes)),
                "result": In(column_layout(config)),
                "backward": In(1),
                "gradient_planes": In(4),
                "exponent": In(range(formats.MAX_EXPONENT + 1)),
                "valid": In(1),
                "row": In(tile_row(config)),
                "random": In(64),
                "shift": Out(1),
                "planes": Out(planes_layout(config)),
                "clear": In(1),
                "magnitude": Out(MAGNITUDE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        wide, planes = gradient_bits(config), formats.MAX_PLANES

        half_step, limit = Signal(formats.MAX_EXPONENT + 1), Signal(planes)
        m.d.sync += [half_step.eq(1 << self.exponent), limit.eq(1 << (self.gradient_planes - 1)[:3])]

        valids: list[Value] = [self.valid]
        for stage in range(1, LATENCY + 1):
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += valids[stage].eq(valids[stage - 1])
        m.d.comb += self.shift.eq(valids[LATENCY])

        sizes: list[Value] = []
        for j in range(lanes):
            needs = Signal(column_layout(config), name=f"column_{j}")
            with m.If(self.load & (self.column == j)):
                m.d.sync += needs.eq(self.result)
            value, active = self.row[j].value, self.row[j].active

            # Cycle 1: compare, or subtract the batch means.
            sign, mask = Signal(name=f"sign_{j}"), Signal(name=f"mask_{j}")
            dy = Signal(signed(wide), name=f"dy_{j}")
            random_1 = Signal(formats.RANDOM_BITS, name=f"random_1_{j}")
            m.d.sync += [
                sign.eq(value >= needs.threshold),
                mask.eq((value >= needs.low) & (value <= needs.high)),
                dy.eq((value << formats.GRADIENT_MEAN) - Mux(active, needs.plus, needs.minus)),
                random_1.eq(lane_bits(self.random, j)),
            ]
            # Cycle 2: centre the rounding; the size of dy.
            centred = Signal(signed(wide + 1), name=f"centred_{j}")
            size = Signal(wide, name=f"size_{j}")
            random_2, bits_2 = Signal(formats.RANDOM_BITS, name=f"random_2_{j}"), Signal(2, name=f"bits_2_{j}")
            m.d.sync += [
                centred.eq(dy - half_step),
                size.eq(Mux(dy < 0, -dy, dy)),
                random_2.eq(random_1),
                bits_2[0].eq(sign),
                bits_2[1].eq(mask),
            ]
            sizes.append(size)
            # Cycle 3: divide by 2**(e + 1), keeping RANDOM_BITS of fraction; one bit beyond a code's range is enough to
            # clip.
            divided = Signal(signed(wide + 1 + formats.RANDOM_BITS), name=f"divided_{j}")
            m.d.comb += divided.eq(((centred << formats.RANDOM_BITS) >> 1) >> self.exponent)
            whole = divided[formats.RANDOM_BITS :].as_signed()
            floor = Signal(signed(planes + 2), name=f"floor_{j}")
            fraction = Signal(formats.RANDOM_BITS, name=f"fraction_{j}")
            reach = 1 << planes
            random_3, bits_3 = Signal(formats.RANDOM_BITS, name=f"random_3_{j}"), Signal(2, name=f"bits_3_{j}")
            m.d.sync += [
                floor.eq(Mux(whole < -reach, -reach, Mux(whole > reach, reach, whole))),
                fraction.eq(divided[: formats.RANDOM_BITS]),
                random_3.eq(random_2),
                bits_3.eq(bits_2),
            ]
            # Cycle 4: round up where fraction and random bits carry; offset, clip.
            carry = (fraction + random_3)[formats.RANDOM_BITS]
            offset = Signal(signed(planes + 3), name=f"offset_{j}")
            m.d.comb += offset.eq(floor + carry + limit)
            code = Signal(planes, name=f"code_{j}")
            m.d.sync += code.eq(
                Mux(self.backward, Mux(offset < 0, 0, Mux(offset >= limit << 1, (limit << 1) - 1, offset)), bits_3)
            )
            m.d.comb += [self.planes[plane][j].eq(code[plane]) for plane in range(planes)]

        # |dy| of a row is added in two cycles behind cycle 2.
        quarters = []
        for first in range(0, lanes, 4):
            quarter = Signal(wide + 2, name=f"quarter_{first}")
            m.d.sync += quarter.eq(sum(sizes[first + 1 : first + 4], start=sizes[first]))
            quarters.append(quarter)
        with m.If(self.clear):
            m.d.sync += self.magnitude.eq(0)
        with m.Elif(valids[3]):
            m.d.sync += self.magnitude.eq(self.magnitude + sum(quarters[1:], start=quarters[0]))
        return m


