"""From a row of sums to bits: sign and mask forward, stochastically rounded gradient codes backward."""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.tile_register import planes_layout
from bnnedge.hw.heads.parameters import column_layout, gradient_bits
from bnnedge.hw.heads.random import lane_bits
from bnnedge.hw.layouts import tile_row

LATENCY = 6  # from row to planes
FACTOR_BITS = 25  # of a gradient to be shifted: the multiplier of a DSP48E1 takes 25 by 18 bits
SHIFTED = formats.MAX_EXPONENT + 1  # bits below a code in the shifted gradient
MAGNITUDE_BITS = 56


def first_place(signs: Value) -> Value:
    """The first of four places whose sign is +1, place 0 if there is none."""
    return Mux(signs[0], 0, Mux(signs[1], 1, Mux(signs[2], 2, Mux(signs[3], 3, 0))))


def magnitude(value: Value) -> Value:
    """|value|, of a signed number, by one adder."""
    minus = value[-1]
    return (Cat(minus, value ^ minus.replicate(len(value))) + minus)[1 : len(value)]


class Emit(wiring.Component):
    """Q lanes, one row a cycle.

    Forward, planes: sign y >= threshold, mask -below < y - threshold < above. Pool SUMS: place of the maximum in planes 2
    and 3. Pool SIGNS: sign at the row's place; for the places up to it, whether any is +1, and the mask at the first that
    is (at place 0 if none is).
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

        # 2**(MAX_EXPONENT - e) shifts a gradient by multiplication, so that its code begins SHIFTED bits up for every e.
        shift, msb, within = Signal(formats.MAX_EXPONENT + 1), Signal(planes), Signal(planes)
        pool_signs, pool_sums, routes_signs, routes_sums = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            shift.eq((1 << formats.MAX_EXPONENT) >> self.exponent),
            msb.eq(1 << (self.gradient_planes - 1)[:3]),
            within.eq(Mux(self.backward, (1 << self.gradient_planes) - 1, 0)),
            pool_signs.eq(self.pool == isa.Pool.SIGNS),
            pool_sums.eq(self.pool == isa.Pool.SUMS),
            routes_signs.eq(pool_signs & self.backward),
            routes_sums.eq(pool_sums & self.backward),
        ]

        def delayed(value: Value, cycles: range, name: str) -> dict[int, Value]:
            """`value` in the cycle before these, and in each of them."""
            stages: dict[int, Value] = {cycles[0] - 1: value}
            for cycle in cycles:
                stages[cycle] = Signal(len(value), name=f"{name}_{cycle}")
                m.d.sync += stages[cycle].eq(stages[cycle - 1])
            return stages

        random = delayed(self.random, range(1, 5), "random")
        valid = delayed(self.valid, range(1, LATENCY + 1), "valid")
        m.d.comb += self.shift.eq(valid[LATENCY])

        # Pool SIGNS forward: of each row, what its places so far come to. Here in cycle 5, written in cycle 6: before the
        # next place's tile comes to that row.
        pooled = data.ArrayLayout(data.StructLayout({"sign": 1, "mask": 1}), lanes)
        m.submodules.places = places = memory.Memory(shape=pooled.as_shape(), depth=lanes, init=[])
        places_read, places_write = places.read_port(), places.write_port()
        before, after = Signal(pooled), Signal(pooled)  # in cycles 5 and 6
        row = delayed(self.row_number, range(1, 7), "row")
        begins = delayed(self.place == 0, range(1, 6), "begins")
        m.d.comb += [
            places_read.addr.eq(row[4]),
            before.eq(places_read.data),
            places_write.addr.eq(row[6]),
            places_write.data.eq(after),
            places_write.en.eq(valid[6]),
        ]

        sizes: list[Value] = []
        for j in range(lanes):
            needs = Signal(column_layout(config), name=f"column_{j}")
            with m.If(self.load & (self.column == j)):
                m.d.sync += needs.eq(self.result)
            value, side = self.row[j].sum.value, self.row[j].sum.side
            largest = delayed(side[1:3] & pool_sums.replicate(2), range(1, 6), f"largest_{j}")

            # Where the gradient goes: with pool SIGNS the signs of all places stand at the side, with SUMS the place.
            active, routed = Signal(name=f"active_{j}"), Signal(name=f"routed_{j}")
            m.d.comb += [
                active.eq(Mux(pool_signs, Array(side)[self.place], side[0])),
                routed.eq(self.place == Mux(pool_signs, first_place(side), side[1:3])),
            ]
            # Cycle 1: the gradient and what is to be subtracted. Cycle 2: dy; forward, how far y is above its threshold.
            # A gradient that is not routed here has dy = 0 with pool SUMS: a code of either sign with equal chances.
            gradient = Signal(value.shape(), name=f"gradient_{j}")
            mean, dy = Signal(signed(wide), name=f"mean_{j}"), Signal(signed(wide), name=f"dy_{j}")
            m.d.sync += [
                gradient.eq(Mux((routes_signs | routes_sums) & ~routed, 0, value)),
                mean.eq(Mux(routes_sums & ~routed, 0, Mux(active, needs.plus, needs.minus))),
                dy.eq((gradient << formats.GRADIENT_MEAN) - mean),
            ]
            # Cycle 3: its size, and what the multiplier takes of it. With the largest exponent that is a code's range twice:
            # what goes beyond is clipped.
            size, near = Signal(wide - 1, name=f"size_{j}"), Signal(signed(min(wide, FACTOR_BITS)), name=f"near_{j}")
            m.d.sync += [size.eq(magnitude(dy)), near.eq(dy)]
            sizes.append(size)
            sign = delayed(dy >= 0, range(3, 6), f"sign_{j}")
            over = delayed(dy[len(near) - 1 :].xor() if wide > len(near) else Const(0), range(3, 6), f"over_{j}")

            # Cycle 4: shift. Forward: the mask. Cycle 5: add r - 1/2.
            draw = lane_bits(random[4], j)
            noise = Cat(Const(0, SHIFTED - formats.RANDOM_BITS), draw[:-1], ~draw[-1]).as_signed()
            exact = Signal(signed(len(near) + SHIFTED), name=f"exact_{j}")
            shifted = Signal(signed(len(near) + SHIFTED), name=f"shifted_{j}")
            masks = delayed((size >> formats.GRADIENT_MEAN) < Mux(sign[3], needs.above, needs.below), range(4, 6), f"mask_{j}")
            m.d.sync += [exact.eq(near * Cat(shift, Const(0, 1)).as_signed()), shifted.eq(exact + noise)]
            mask = masks[5]
            # Cycle 6: clip, and offset by 2**(g - 1), which inverts bit g - 1. Forward: what the places come to.
            q, code = shifted[SHIFTED:], Signal(planes, name=f"code_{j}")
            beyond = Cat(~within[1:], Const(-1, len(q) - planes + 1))  # bits that equal the sign if q is in the code's range
            clips = over[5] | ((q ^ q[-1].replicate(len(q))) & beyond).any()
            pooled_sign = sign[5] | (before[j].sign & ~begins[5])
            pooled_mask = Mux(begins[5] | (sign[5] & ~before[j].sign), mask, before[j].mask)
            bits = Cat(sign[5], Mux(pool_signs, Cat(pooled_sign, pooled_mask), Cat(mask, largest[5])))
            m.d.sync += [
                after[j].sign.eq(pooled_sign),
                after[j].mask.eq(pooled_mask),
                code.eq((Mux(clips, sign[5].replicate(planes), q[:planes] ^ msb) & within) | Mux(self.backward, 0, bits)),
            ]
            m.d.comb += [self.planes[plane][j].eq(code[plane]) for plane in range(planes)]

        # |dy| of a row is added in three cycles behind cycle 3.
        quarters = []
        for first in range(0, lanes, 4):
            quarter = Signal(wide + 1, name=f"quarter_{first}")
            m.d.sync += quarter.eq(sum(sizes[first + 1 : first + 4], start=sizes[first]))
            quarters.append(quarter)
        whole = Signal(wide + 3)
        m.d.sync += whole.eq(sum(quarters[1:], start=quarters[0]))
        with m.If(self.clear):
            m.d.sync += self.magnitude.eq(0)
        with m.Elif(valid[5]):
            m.d.sync += self.magnitude.eq(self.magnitude + whole)
        return m
