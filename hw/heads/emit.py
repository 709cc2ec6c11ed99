"""From a row of sums to bits: sign, mask and route forward, stochastically rounded gradient codes backward."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.hdl import ShapeLike, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.hw import popcount
from bnnedge.hw.buffers.tile_register import planes_layout
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads.random import lane_bits
from bnnedge.hw.heads.thresholds import column_layout, gradient_bits
from bnnedge.hw.layouts import SIDE_BITS, tile_row

LATENCY = 6  # from row to planes
SWAP = 3  # cycles from `swap` to the next `load`, at least
FACTOR_BITS = 25  # of a gradient to be shifted, at most: the multiplier of a DSP48E1 takes 25 by 18 bits
SHIFTED = formats.MAX_EXPONENT  # bits below a twin code in the shifted gradient, one less than below another code
COUNT_BITS = 32  # of codes in a tensor


def counted(lanes: int) -> int:
    """Cycles from a row's planes to the counts of codes that lie beyond their range."""
    return popcount.latency(lanes) + 2


def magnitude(value: Value) -> Value:
    """|value|, of a signed number, by one adder."""
    minus = value[-1]
    return (Cat(minus, value ^ minus.replicate(len(value))) + minus)[1 : len(value)]


class Emit(wiring.Component):
    """Q lanes, one row a cycle.

    Forward, planes: sign y >= threshold, mask -below < y - threshold < above, route (2 planes). Pool SUMS: the route is the
    place of the maximum, which stands beside the sum. Pool SIGNS: whether any of the four places' signs is +1, mask and
    place of the first that is, of place 0 if none is; these come with the rows of place 3, of the others none.
    Backward, planes: u of the code of dy = 4 d - mean, see docs/arithmetic.md. Where pool SIGNS does not route the gradient
    to, d is 0; where pool SUMS does not, dy is.
    Planes beyond those in use hold anything.

    Members
    -------
    load, result: in, what a column of the next group needs: of all Q columns, in order. swap: in, one cycle, behind the last
    of them: the rows that come behind that cycle are of that group. The next `load` comes SWAP cycles later, or later still.
    backward, pool, gradient_planes, twin, exponent: in, stable from the cycle before the first row until the last has left.
    valid, row, place, row_number, random: in; place: of the row's tile; row_number: in its tile. With pool SIGNS tiles of
    the four places come one after another. shift, planes: out, LATENCY cycles later.
    clear: in. clipped, large: out, how many codes of the rows since `clear` lie beyond their range, and beyond half of it,
    backward; up to date `counted(lanes)` cycles behind the last `shift`.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(1),
                "result": In(column_layout(config)),
                "swap": In(1),
                "backward": In(1),
                "pool": In(isa.Pool),
                "gradient_planes": In(4),
                "twin": In(1),
                "exponent": In(range(formats.MAX_EXPONENT + 1)),
                "valid": In(1),
                "row": In(tile_row(config)),
                "place": In(2),
                "row_number": In(range(config.lanes)),
                "random": In(64),
                "shift": Out(1),
                "planes": Out(planes_layout(config)),
                "clear": In(1),
                "clipped": Out(COUNT_BITS),
                "large": Out(COUNT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        wide, planes = gradient_bits(config), formats.MAX_PLANES
        assert wide <= FACTOR_BITS

        def register(name: str, shape: ShapeLike, value: Value) -> Signal:
            found = Signal(shape, name=name, reset_less=True)
            m.d.sync += found.eq(value)
            return found

        # 2**(MAX_EXPONENT - e) shifts a gradient by multiplication, so that its code begins at the same bit for every e. The
        # offset 2**(g - 1) of u inverts bit g - 1. `beyond`, from bit 1 above SHIFTED on: what repeats the sign of a code that
        # is not to be clipped; `half`, from bit 0 on: the bit below these.
        backward, twin = register("late_backward", 1, self.backward), register("late_twin", 1, self.twin)
        shift = register("shift_factor", formats.MAX_EXPONENT + 1, (1 << formats.MAX_EXPONENT) >> self.exponent)
        msb = register("msb", planes, 1 << (self.gradient_planes - 1)[:3])
        highest = (self.gradient_planes - 1 - self.twin)[:3]
        beyond, half = register("beyond", planes, -(1 << highest)), register("half", planes, 1 << highest)
        pool_signs = register("pool_signs", 1, ~self.backward & (self.pool == isa.Pool.SIGNS))
        routes = register("routes", 1, self.backward & (self.pool != isa.Pool.NONE))
        without_mean = register("without_mean", 1, self.backward & (self.pool == isa.Pool.SUMS))

        valid: list[Value] = [self.valid]
        for cycle in range(1, LATENCY + 1):
            valid.append(Signal(name=f"valid_{cycle}"))
            m.d.sync += valid[cycle].eq(valid[cycle - 1])
        leaves = delayed(m, ~pool_signs | (self.place == 3), LATENCY, "leaves")
        m.d.comb += self.shift.eq(valid[LATENCY] & leaves)
        random_4 = delayed(m, self.random, 4, "random")

        # Pool SIGNS forward: of each row, what its places so far come to. Here in cycle 5, written in cycle 6: before the
        # next place's tile comes to that row.
        pooled = data.ArrayLayout(data.StructLayout({"sign": 1, "mask": 1, "route": SIDE_BITS}), lanes)
        m.submodules.places = places = memory.Memory(shape=pooled.as_shape(), depth=lanes, init=[])
        places_read, places_write = places.read_port(), places.write_port()
        before, after = Signal(pooled), Signal(pooled, reset_less=True)  # in cycles 5 and 6
        row_4 = delayed(m, self.row_number, 4, "row")
        begins_5 = delayed(m, ~pool_signs | (self.place == 0), 5, "begins")
        m.d.comb += [
            places_read.addr.eq(row_4),
            before.eq(places_read.data),
            places_write.addr.eq(delayed(m, row_4, 2, "row_4")),
            places_write.data.eq(after),
            places_write.en.eq(valid[6]),
        ]

        # What the next group's columns need moves up column by column, and aside to where rows see it: the mean in cycle 1,
        # the bounds of the mask in cycle 3. Inverted on its way in, the mean needs no inverters where it is subtracted.
        coming = Signal(data.ArrayLayout(column_layout(config), lanes), reset_less=True)
        incoming = Signal(column_layout(config))
        m.d.comb += [incoming.eq(self.result), incoming.mean.eq(~self.result.mean)]
        with m.If(self.load):
            m.d.sync += coming.eq(Cat(coming.as_value()[len(incoming.as_value()) :], incoming))
        swaps_3 = Signal(SWAP)
        m.d.sync += swaps_3.eq(Cat(self.swap, swaps_3))

        clipped, large = list[Value](), list[Value]()
        for j in range(lanes):
            inverse = Signal(signed(wide), name=f"inverse_{j}", reset_less=True)  # ~mean
            above, below = (Signal(config.accumulator + 1, name=f"{name}_{j}", reset_less=True) for name in ("above", "below"))
            with m.If(swaps_3[0]):
                m.d.sync += inverse.eq(coming[j].mean)
            with m.If(swaps_3[-1]):
                m.d.sync += [above.eq(coming[j].above), below.eq(coming[j].below)]

            # Cycle 1: the gradient, and whether it goes to another place. Cycle 2: dy; forward, how far y is above its
            # threshold. The choice is made in the subtraction, where it takes no LUTs: 4 d - mean = ~mean - ~(4 d).
            value, side = self.row[j].sum.value, self.row[j].sum.side
            elsewhere = register(f"elsewhere_{j}", 1, routes & (self.place != side))
            gradient = register(f"gradient_{j}", value.shape(), value)
            nothing = Mux(without_mean, inverse, Const(-1, signed(wide)))
            taken = Mux(elsewhere, nothing, ~(gradient << formats.GRADIENT_MEAN))
            dy = register(f"dy_{j}", signed(wide), inverse - taken)
            # Cycle 3: its size.
            size, dy_3 = register(f"size_{j}", wide - 1, magnitude(dy)), delayed(m, dy, 1, f"dy_{j}")
            sign_3 = register(f"sign_{j}", 1, dy >= 0)
            sign_5 = delayed(m, sign_3, 2, f"sign_3_{j}")

            # Cycle 4: shift. Forward: the mask. Cycle 5: add r - 2**e, shifted likewise.
            distance = size[formats.GRADIENT_MEAN :][: len(above)]
            mask_5 = delayed(m, distance < Mux(sign_3, above, below), 2, f"mask_{j}")
            draw = lane_bits(random_4, j)
            noise = Cat(Const(0, SHIFTED + 1 - formats.RANDOM_BITS), draw[:-1], ~draw[-1]).as_signed()
            exact = register(f"exact_{j}", signed(wide + SHIFTED + 1), dy_3 * Cat(shift, Const(0, 1)).as_signed())
            shifted = register(f"shifted_{j}", exact.shape(), exact + noise)

            # Cycle 6: clip, and offset. Forward: what the places come to.
            q = shifted[SHIFTED:]
            bits = q[:-1] ^ q[-1].replicate(len(q) - 1)  # of its size, less one if it is negative
            clips = (bits[1:] & Cat(beyond, Const(-1, len(q) - 2 - planes))).any()
            clipped.append(register(f"clipped_{j}", 1, clips))
            large.append(register(f"large_{j}", 1, clips | (bits[:planes] & half).any()))
            code = Mux(clips, sign_5.replicate(planes), Mux(twin, q[:planes], q[1 : planes + 1]) ^ msb)
            takes = begins_5 | (sign_5 & ~before[j].sign)  # the first place that is +1, or of all
            route_5 = delayed(m, Mux(pool_signs, self.place, side), 5, f"route_{j}")
            m.d.sync += [
                after[j].sign.eq(sign_5 | (before[j].sign & ~begins_5)),
                after[j].mask.eq(Mux(takes, mask_5, before[j].mask)),
                after[j].route.eq(Mux(takes, route_5, before[j].route)),
            ]
            code_6 = register(f"code_{j}", planes, code)
            forward = after[j].as_value()
            out = Cat(Mux(backward, code_6[: len(forward)], forward), code_6[len(forward) :])
            m.d.comb += [self.planes[plane][j].eq(out[plane]) for plane in range(planes)]

        counts = Signal()  # a row's counts are there
        m.d.comb += counts.eq(delayed(m, valid[LATENCY] & backward, counted(lanes) - 1, "counts"))
        for name, flags, output in (("clipped", clipped, self.clipped), ("large", large, self.large)):
            m.submodules[name] = unit = popcount.Popcount(lanes)
            m.d.comb += [unit.left.eq(Cat(flags)), unit.right.eq(-1)]
            count = register(f"{name}_count", unit.count.shape(), unit.count)
            total = Signal(COUNT_BITS, name=f"{name}_total", reset_less=True)
            with m.If(self.clear):
                m.d.sync += total.eq(0)
            with m.Elif(counts):
                m.d.sync += total.eq(total + count)
            m.d.comb += output.eq(total)
        return m
