"""What a group's columns need before their first row, from their records alone: thresholds forward, the centre backward."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Shape, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.delay import delayed
from bnnedge.hw.layouts import PASS, RECORD
from bnnedge.hw.product import product

RECORD_LATENCY = 2  # of the parameter memory
STAGES = RECORD_LATENCY + 7  # from column number to its result
SHIFT_BITS = formats.UNIT_SHIFT.bit_length()
CENTRE_DROP = formats.CENTRE - formats.GRADIENT_MEAN  # fraction bits of a centre beyond those of a gradient


def gradient_bits(config: Configuration) -> int:
    """Bits of dy = 4 d - c1 and of c1, both signed: |d| <= 2**(accumulator - 1), |c1| <= 2**(CENTRE_BITS - 1 - CENTRE_DROP)."""
    largest = (1 << config.accumulator - 1 + formats.GRADIENT_MEAN) + (1 << formats.CENTRE_BITS - 1 - CENTRE_DROP)
    return largest.bit_length() + 1


def column_layout(config: Configuration) -> data.StructLayout:
    """What the rows need of a column.

    Backward: mean, to be subtracted from 4 d. Forward: mean is the threshold, with as many fraction bits: y >= threshold is
    a +1, and -below < y - threshold < above passes the straight-through mask (below is 1 at least).
    """
    distance = config.accumulator + 1
    return data.StructLayout({"mean": signed(gradient_bits(config)), "above": distance, "below": distance})


def saturate(value: Value, shape: Shape) -> Value:
    """The number of this shape that is nearest to `value`.

    No choice of a constant: in front of a register synthesis would make a reset of it.
    """
    if not value.shape().signed:
        value = Cat(value, Const(0, 1)).as_signed()
    sign, width = value[-1], shape.width - shape.signed
    higher = value[width:]
    beyond = (higher ^ sign.replicate(len(higher))).any() if shape.signed else Cat(higher, sign).any()
    within = Mux(beyond, (~sign).replicate(width), value[:width])
    return Cat(within, sign).as_signed() if shape.signed else within


def aligned(m: Module, value: Value, shift: Value, name: str) -> Value:
    """A centre or size in the unit of this step, two cycles later: value * 2**shift, rounded down, in the range of `value`.

    shift: signed, from -UNIT_SHIFT to UNIT_SHIFT - 1, constant.
    """
    left = (shift + formats.UNIT_SHIFT)[:SHIFT_BITS]
    shifted = delayed(m, (value << left) >> formats.UNIT_SHIFT, 1, f"{name}_shifted")
    return delayed(m, saturate(shifted, value.shape()), 1, f"{name}_aligned")


class Thresholds(wiring.Component):
    """Works through the groups of a pass, each when the one before has been taken, and through their Q columns, one a cycle.

    Forward: tau = mu - beta * psi, and the whole numbers that y is compared with.
    Backward: c1, of the centre m in the unit of this step; with `own`, of the means of d that the averages have found, which a
    memory holds for one group.

    Members
    -------
    begin: in, one cycle, with `channel` of the first column and `last_group`, the number of groups less one; these, `backward`,
    `own` and `shift`, see `aligned`, are stable until the last group has been taken.
    centred, own_column, own_centre: in, a column's own mean, ahead of `granted`.
    wants: out, the parameter memory; granted: in, from the next cycle on, for Q cycles: reading, address: out; record: in,
    RECORD_LATENCY cycles later.
    groups_read: out, how many groups' records have been read. valid, result: out, one column's result after another.
    prepared: out, those of a group are through; take: in, it is taken.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        groups = PASS.members["groups"].width
        super().__init__(
            {
                "begin": In(1),
                "backward": In(1),
                "channel": In(range(config.channels)),
                "last_group": In(groups),
                "own": In(1),
                "shift": In(signed(SHIFT_BITS)),
                "centred": In(1),
                "own_column": In(range(config.lanes)),
                "own_centre": In(signed(formats.CENTRE_BITS)),
                "wants": Out(1),
                "granted": In(1),
                "reading": Out(1),
                "address": Out(range(config.channels)),
                "record": In(RECORD),
                "groups_read": Out(groups + 1),
                "valid": Out(1),
                "result": Out(column_layout(config)),
                "prepared": Out(1),
                "take": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        column = Signal(range(lanes))
        valids: list[Value] = [self.reading]
        for stage in range(1, STAGES + 2):
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += valids[stage].eq(valids[stage - 1])
        m.d.comb += self.valid.eq(valids[STAGES])
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += self.address.eq(self.channel)
                with m.If(self.begin):
                    m.d.sync += self.groups_read.eq(0)
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.wants.eq(1)
                with m.If(self.granted):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.reading.eq(1)
                m.d.sync += [self.address.eq(self.address + 1), column.eq(column + 1)]
                with m.If(column == lanes - 1):
                    m.d.sync += self.groups_read.eq(self.groups_read + 1)
                    m.next = "RESULTS"
            with m.State("RESULTS"):
                with m.If(valids[STAGES + 1] & ~valids[STAGES]):
                    m.next = "PREPARED"
            with m.State("PREPARED"):
                m.d.comb += self.prepared.eq(1)
                with m.If(self.take):
                    m.next = "WAIT"
                    with m.If(self.groups_read > self.last_group):
                        m.next = "IDLE"

        # What is called name_s is a register that holds a column's value s cycles behind its record.
        def register(name: str, value: Value, bits: int) -> Signal:
            found = Signal(signed(bits), name=name, reset_less=True)
            m.d.sync += found.eq(value)
            return found

        # Forward. 3: beta * psi. 4: tau. 6: whole thresholds. 7: their distances.
        record, one = self.record, 1 << formats.STATISTICS
        beta = record.beta[formats.BETA_BITS - formats.BETA_USED :].as_signed()
        product_3 = product(m, record.psi, beta, "product")
        mu_3, psi_3 = delayed(m, record.mu, 3, "mu"), delayed(m, record.psi, 3, "psi")
        psi_4 = delayed(m, psi_3, 1, "psi_3")
        bits = formats.MU_BITS + 4  # |beta| is 4 at most
        tau_4 = register("tau_4", mu_3 - (product_3 >> formats.BETA_FRACTION), bits)
        less_4 = register("less_4", Const(one - 1) - psi_3, bits)

        def whole(name: str, value: Value) -> Signal:
            exact = register(f"{name}_5", value, bits)
            return register(f"{name}_6", saturate(exact >> formats.STATISTICS, signed(config.accumulator)), config.accumulator)

        threshold_6 = whole("threshold", tau_4 + (one - 1))
        high_6, low_6 = whole("high", tau_4 + psi_4), whole("low", tau_4 + less_4)

        # Backward. 2: the centre in the unit of this step, which is that of an own one. 3: c1.
        m.submodules.own = own = memory.Memory(shape=signed(formats.CENTRE_BITS), depth=lanes, init=[])
        own_read, own_write = own.read_port(), own.write_port()
        m.d.comb += [
            own_read.addr.eq(column),
            own_write.addr.eq(self.own_column),
            own_write.data.eq(self.own_centre),
            own_write.en.eq(self.centred),
        ]
        assert RECORD_LATENCY == 2
        found = Mux(self.own, delayed(m, own_read.data, 1, "own"), record.centre)
        centre_2 = aligned(m, found, Mux(self.own, 0, self.shift), "centre")
        c1_3 = delayed(m, (centre_2 + (1 << CENTRE_DROP - 1)) >> CENTRE_DROP, 1, "c1")
        result = Signal(column_layout(config), reset_less=True)
        m.d.sync += [
            result.mean.eq(Mux(self.backward, delayed(m, c1_3, 3, "c1_3"), threshold_6 << formats.GRADIENT_MEAN)),
            result.above.eq(high_6 - threshold_6 + 1),
            result.below.eq(threshold_6 - low_6 + 1),
        ]
        m.d.comb += self.result.eq(result)
        return m
