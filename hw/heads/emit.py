"""From a row of sums to bits: sign and mask forward, stochastically rounded gradient codes backward."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.tile_register import planes_layout
from bnnedge.hw.heads.parameters import column_layout, gradient_bits
from bnnedge.hw.heads.random import lane_bits
from bnnedge.hw.layouts import tile_row

LATENCY = 4  # from row to planes
MAGNITUDE_BITS = 56


def first_place(signs: Value) -> Value:
    """The first of four places whose sign is +1, place 0 if there is none."""
    return Mux(signs[0], 0, Mux(signs[1], 1, Mux(signs[2], 2, Mux(signs[3], 3, 0))))


class Emit(wiring.Component):
    """Q lanes, one row a cycle.

    Forward, planes: sign y >= threshold, mask low <= y <= high. Pool SUMS: place of the maximum in planes 2 and 3.
    Pool SIGNS: sign at the row's place; for the places up to it, whether any is +1, and the mask at the first that is
    (at place 0 if none is).
    Backward, planes: u = floor((dy - 2**e + r) / 2**(e + 1)) + 2**(g - 1), clipped to g bits, where
    dy = 4 d - (plus or minus) and r is uniform in 0 .. 2**(e+1) - 1; the code is 2 u - (2**g - 1). Where pool SIGNS
    does not route the gradient to, d is 0; where pool SUMS does not, the code is +1 or -1 at random.

    Members
    -------
    load, column, result: in, results of `Parameters`, kept for the columns of a group.
    backward, pool, gradient_planes, exponent: in, stable from the cycle before the first row until the last one has left.
    valid, row, place, row_number, random: in; place: of the row's tile; row_number: in its tile. With pool SIGNS tiles of
    the four places come one after another. shift, planes: out, LATENCY cycles later; planes beyond those in use are 0.
    clear: in. magnitude: out, sum of |dy| of the rows since `clear`, without random codes; up to date when the last
    `shift` comes.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(1),
                "column": In(range(config.lanes)),
                "result": In(column_layout(config)),
                "backward": In(1),
                "pool": In(isa.Pool),
                "gradient_planes": In(4),
                "exponent": In(range(formats.MAX_EXPONENT + 1)),
                "valid": In(1),
                "row": In(tile_row(config)),
                "place": In(2),
                "row_number": In(range(config.lanes)),
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
        pool_signs, pool_sums = Signal(), Signal()
        m.d.sync += [
            half_step.eq(1 << self.exponent),
            limit.eq(1 << (self.gradient_planes - 1)[:3]),
            pool_signs.eq(self.pool == isa.Pool.SIGNS),
            pool_sums.eq(self.pool == isa.Pool.SUMS),
        ]

        valids: list[Value] = [self.valid]
        for stage in range(1, LATENCY + 1):
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += valids[stage].eq(valids[stage - 1])
        m.d.comb += self.shift.eq(valids[LATENCY])

        # Pool SIGNS forward: of each row, what its places so far come to. Read in cycle 0, here in cycle 1, written in
        # cycle 2: before the next place's tile comes to that row.
        pooled = data.ArrayLayout(data.StructLayout({"sign": 1, "mask": 1}), lanes)
        m.submodules.places = places = memory.Memory(shape=pooled.as_shape(), depth=lanes, init=[])
        places_read, places_write = places.read_port(), places.write_port()
        before, after = Signal(pooled), Signal(pooled)  # in cycles 1 and 2
        row_1, row_2, begins_1 = Signal(range(lanes)), Signal(range(lanes)), Signal()
        m.d.sync += [row_1.eq(self.row_number), row_2.eq(row_1), begins_1.eq(self.place == 0)]
        m.d.comb += [
            places_read.addr.eq(self.row_number),
            before.eq(places_read.data),
            places_write.addr.eq(row_2),
            places_write.data.eq(after),
            places_write.en.eq(valids[2]),
        ]

        sizes: list[Value] = []
        for j in range(lanes):
            needs = Signal(column_layout(config), name=f"column_{j}")
            with m.If(self.load & (self.column == j)):
                m.d.sync += needs.eq(self.result)
            value, side = self.row[j].sum.value, self.row[j].sum.side

            # Where the gradient goes: with pool SIGNS the signs of all places stand at the side, with SUMS the place.
            active, routed = Signal(name=f"active_{j}"), Signal(name=f"routed_{j}")
            m.d.comb += [
                active.eq(Mux(pool_signs, Array(side)[self.place], side[0])),
                routed.eq(self.place == Mux(pool_signs, first_place(side), side[1:3])),
            ]
            # Cycle 1: compare, or subtract the batch means.
            sign, mask, maximum = Signal(name=f"sign_{j}"), Signal(name=f"mask_{j}"), Signal(2, name=f"maximum_{j}")
            dy = Signal(signed(wide), name=f"dy_{j}")
            gradient = Mux(pool_signs & ~routed, 0, value)
            random_1, unrouted = Signal(formats.RANDOM_BITS, name=f"random_1_{j}"), Signal(name=f"unrouted_{j}")
            m.d.sync += [
                sign.eq(value >= needs.threshold),
                mask.eq((value >= needs.low) & (value <= needs.high)),
                maximum.eq(Mux(pool_sums, side[1:3], 0)),
                dy.eq((gradient << formats.GRADIENT_MEAN) - Mux(active, needs.plus, needs.minus)),
                random_1.eq(lane_bits(self.random, j)),
                unrouted.eq(pool_sums & ~routed),
            ]
            # Cycle 2: centre the rounding; the size of dy. Without a gradient the code is one of the two about 0: from 0
            # or from just below it, rounded down.
            centred = Signal(signed(wide + 1), name=f"centred_{j}")
            size = Signal(wide, name=f"size_{j}")
            random_2, bits_2 = Signal(formats.RANDOM_BITS, name=f"random_2_{j}"), Signal(4, name=f"bits_2_{j}")
            m.d.sync += [
                centred.eq(Mux(unrouted, Mux(random_1[-1], 0, -1), dy - half_step)),
                size.eq(Mux(unrouted, 0, Mux(dy < 0, -dy, dy))),
                random_2.eq(Mux(unrouted, 0, random_1)),
                after[j].sign.eq(sign | (before[j].sign & ~begins_1)),
                after[j].mask.eq(Mux(begins_1 | (sign & ~before[j].sign), mask, before[j].mask)),
                bits_2.eq(Cat(sign, mask, maximum)),
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
            random_3, bits_3 = Signal(formats.RANDOM_BITS, name=f"random_3_{j}"), Signal(4, name=f"bits_3_{j}")
            m.d.sync += [
                floor.eq(Mux(whole < -reach, -reach, Mux(whole > reach, reach, whole))),
                fraction.eq(divided[: formats.RANDOM_BITS]),
                random_3.eq(random_2),
                bits_3.eq(Mux(pool_signs, Cat(bits_2[0], after[j].sign, after[j].mask), bits_2)),
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
