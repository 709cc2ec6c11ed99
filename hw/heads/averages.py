"""Behind a group's sums: from totals and old record to the new record. One column a cycle."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads.thresholds import RECORD_LATENCY, SHIFT_BITS, aligned, saturate
from bnnedge.hw.heads.totals import READ_LATENCY as SUMS_LATENCY
from bnnedge.hw.layouts import PASS, RECORD, TOTALS
from bnnedge.hw.product import LATENCY as PRODUCT_LATENCY
from bnnedge.hw.product import product

MEANS = SUMS_LATENCY + PRODUCT_LATENCY + 2  # stage of the means, from the column's number on
AVERAGES = MEANS + 4  # of the averages
STAGES = AVERAGES + 6  # of the new record

# What the softmax takes of a class: mean and deviation of the batch's logits, the bits of beta that count, and what is taken out
# of the gradient with the sign of the logit, c2.
CLASS = data.StructLayout(
    {
        "mu": signed(formats.MU_BITS),
        "psi": formats.MU_BITS,
        "beta": signed(formats.BETA_USED),
        "slope": signed(formats.PROBABILITY + 1),
    }
)


class Averages(wiring.Component):
    """Works through the groups of a pass, each when its sums are complete, and through their Q columns, one a cycle.

    Forward: mu and psi move towards the means of y and |y - pivot|. Backward: m and v, in the unit of this step, move
    towards the mean of d and its size, and beta moves by m over the power of 2 above v. Backward in the last layer, q in v's
    place moves towards the mean of the second sum, and that power is constant.
    Division by n is multiplication by its reciprocal.

    Members
    -------
    begin: in, one cycle, with `channel` of the first column, `last_group`, the number of groups less one, and all settings:
    stable until `done`: out, nothing is under way.
    waits: in, `added`, of `Totals`, tells when a group's sums are complete; if not, they are. walks: in, its columns are gone
    through; if not, the group is passed over.
    backward, last; inference: the averages take the means' place; commit: the records are written. reciprocal, mean_log2, step,
    rate, decay: the fields of PASS. shift: of the layer's unit, see `aligned`.
    reading, group, column: out, the column whose totals are to be in `sums` SUMS_LATENCY cycles later.
    wants: out, the parameter memory; granted: in; claims: out, it is read in this cycle or will be: reading_record, address:
    out, record: in, RECORD_LATENCY cycles later. write, write_address, write_record: out, its write port.
    valid, class_column, of_class: out, forward, what the softmax takes of a column. centred, own_centre: out, backward, that the
    same column's mean of d is there.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        channels, groups = range(config.channels), PASS.members["groups"].width
        super().__init__(
            {
                "begin": In(1),
                "channel": In(channels),
                "last_group": In(groups),
                "done": Out(1),
                "waits": In(1),
                "walks": In(1),
                "added": In(stream.Signature(0)),
                "backward": In(1),
                "last": In(1),
                "inference": In(1),
                "commit": In(1),
                "reciprocal": In(formats.MEAN + 1),
                "mean_log2": In(5),
                "step": In(formats.STEP_BITS),
                "rate": In(formats.RATE_BITS),
                "decay": In(PASS.members["decay"].width),
                "shift": In(signed(SHIFT_BITS)),
                "reading": Out(1),
                "group": Out(groups),
                "column": Out(range(config.lanes)),
                "sums": In(TOTALS),
                "wants": Out(1),
                "granted": In(1),
                "claims": Out(1),
                "reading_record": Out(1),
                "address": Out(channels),
                "record": In(RECORD),
                "write": Out(1),
                "write_address": Out(channels),
                "write_record": Out(RECORD),
                "valid": Out(1),
                "class_column": Out(range(config.lanes)),
                "of_class": Out(CLASS),
                "centred": Out(1),
                "own_centre": Out(signed(formats.CENTRE_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.lanes
        channel, complete, busy = Signal.like(self.channel), Signal(), Signal()
        m.d.comb += complete.eq(self.added.valid | ~self.waits)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.done.eq(1)
                m.d.sync += [self.group.eq(0), channel.eq(self.channel)]
                with m.If(self.begin):
                    m.next = "AWAIT"
            with m.State("AWAIT"):
                with m.If(complete & self.walks):
                    m.next = "WAIT"
                with m.Elif(complete):
                    m.next = "TAKE"
            with m.State("WAIT"):
                m.d.comb += self.wants.eq(1)
                with m.If(self.granted):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.reading.eq(1)
                m.d.sync += self.column.eq(self.column + 1)
                with m.If(self.column == lanes - 1):
                    m.next = "TAKE"
            with m.State("TAKE"):  # the totals go on to the next group
                m.d.comb += self.added.ready.eq(self.waits)
                m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(~busy):
                    m.d.sync += [self.group.eq(self.group + 1), channel.eq(channel + lanes)]
                    m.next = "AWAIT"
                    with m.If(self.group == self.last_group):
                        m.next = "IDLE"

        # `columns[s]`, `valids[s]`: which column is in stage s, if any. What is called name_s is a register that holds
        # that column's value then.
        columns: list[Value] = [self.column]
        valids: list[Value] = [self.reading]
        for stage in range(1, STAGES + 1):
            columns.append(Signal(range(lanes), name=f"column_{stage}", reset_less=True))
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += [columns[stage].eq(columns[stage - 1]), valids[stage].eq(valids[stage - 1])]
        m.d.comb += busy.eq(Cat(valids).any())

        def register(name: str, value: Value, shape: object = None) -> Signal:
            found = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)  # type: ignore[arg-type]
            m.d.sync += found.eq(value)
            return found

        # Means, MEAN fraction bits, then those that they are kept with. Backward the second is the first one's size, but in the
        # last layer.
        to_statistic, to_centre = formats.MEAN - formats.STATISTICS, formats.MEAN - formats.CENTRE
        bits = to_statistic + formats.MU_BITS + 1

        def mean(total: Value, name: str) -> Value:
            return register(f"mean_{name}", product(m, total, self.reciprocal, name) >> self.mean_log2, signed(bits))

        first, second = mean(self.sums.first, "first"), mean(self.sums.second, "second")
        s, mu = first >> to_centre, first >> to_statistic
        size = Mux(self.last, second >> to_centre, Mux(first < 0, -s, s)) << formats.SIZE - formats.CENTRE
        new_a = register("new_a", Mux(self.backward, s, mu), s.shape())
        new_b = register("new_b", Mux(self.backward, size, second >> to_statistic), signed(formats.SIZE_BITS + 1))

        # The record is here two stages before its old averages are wanted: in the unit of this step, backward.
        asked = MEANS - 2 - RECORD_LATENCY
        m.d.comb += [
            self.reading_record.eq(valids[asked]),
            self.address.eq(channel + columns[asked]),
            self.claims.eq(Cat(valids[: asked + 1]).any()),
        ]
        record = self.record
        centre, v = aligned(m, record.centre, self.shift, "centre"), aligned(m, record.size, self.shift, "size")
        v = Cat(v, v[-1] & self.last).as_signed()  # q has a sign; in the last layer nothing is shifted
        old = data.View(RECORD, delayed(m, record.as_value(), 2, "record"))
        warm = self.step >> formats.WARM_UP
        slowest_a = Mux(self.backward, formats.DECAY, self.decay)
        slowest_b = Mux(self.backward, Mux(self.last, formats.SLOPE_DECAY, formats.SIZE_DECAY), self.decay)
        decay_a, decay_b = (Signal(range(formats.SIZE_DECAY + 1), name=f"decay_{name}") for name in "ab")
        m.d.sync += [
            decay_a.eq(Mux(warm > slowest_a, slowest_a, warm)),
            decay_b.eq(Mux(warm > slowest_b, slowest_b, warm)),
        ]

        def average(old: Value, new: Value, decay: Value, name: str) -> Value:
            step = register(f"{name}_step", new - old)
            half = register(f"{name}_half", ((1 << decay) >> 1)[: formats.SIZE_DECAY])
            rounded = register(f"{name}_rounded", step + half)
            return register(name, delayed(m, old, 2, f"{name}_old") + (rounded >> decay), new.shape())

        a = average(Mux(self.backward, centre, old.mu), new_a, decay_a, "average_a")
        b = delayed(m, average(Mux(self.backward, v, old.psi), new_b, decay_b, "average_b"), 1, "b")
        a = register("a", saturate(a, signed(formats.CENTRE_BITS)))

        # The batch's own mean and deviation, or in inference the averages, for the softmax.
        most = (1 << formats.PROBABILITY) - 1
        slope = register("slope_rounded", (record.size.as_signed() + (1 << formats.SIZE - 1)) >> formats.SIZE)
        slope = register("slope", Mux(slope < -most, -most, Mux(slope > most, most, slope)), CLASS.members["slope"])
        of_class = Signal(CLASS, reset_less=True)
        m.d.sync += [
            of_class.mu.eq(Mux(self.inference, old.mu, new_a)),
            of_class.psi.eq(Mux(self.inference, old.psi, new_b)),
            of_class.beta.eq(old.beta[formats.BETA_BITS - formats.BETA_USED :].as_signed()),
            of_class.slope.eq(slope),
        ]
        m.d.comb += [
            self.valid.eq(valids[MEANS + 1] & ~self.backward),
            self.class_column.eq(columns[MEANS + 1]),
            self.of_class.eq(of_class),
            self.centred.eq(valids[MEANS + 1] & self.backward),
            self.own_centre.eq(register("own_centre", saturate(new_a, signed(formats.CENTRE_BITS)))),
        ]

        # Behind the averages, 1: bits of v. 2: m over the power of 2 above it. 3: clipped. 4: times the rate. 5: beta.
        # 6: clipped.
        whole_b = b[formats.SIZE - formats.CENTRE : formats.SIZE_BITS]
        bits_of_v = Signal(range(len(whole_b) + 1))
        for place, bit in enumerate(whole_b):
            with m.If(bit):
                m.d.comb += bits_of_v.eq(place + 1)
        with m.If(self.last):
            m.d.comb += bits_of_v.eq(formats.LAST_BITS)
        late_a = delayed(m, a, 1, "a_late")
        quotient = register("quotient", (late_a << formats.STEP_FRACTION) >> register("bits_of_v_late", bits_of_v))
        step = register("step_clipped", saturate(quotient, signed(formats.STEP_FRACTION + formats.STEP_LIMIT + 1)))
        moves = register("moves", self.rate * step)
        beta = delayed(m, old.beta, AVERAGES + 4 - MEANS, "beta")
        half_rate = 1 << formats.BETA_RATE - 1
        moved = register("moved", beta - ((moves + half_rate) >> formats.BETA_RATE))
        new_beta = register("new_beta", saturate(moved, signed(formats.BETA_BITS)))
        a_last, b_last = (delayed(m, value, STAGES - AVERAGES, f"{name}_last") for name, value in (("a", a), ("b", b)))
        last = data.View(RECORD, delayed(m, old.as_value(), STAGES - MEANS, "old"))
        m.d.comb += [
            self.write.eq(valids[STAGES] & self.commit & ~self.inference),
            self.write_address.eq(channel + columns[STAGES]),
            self.write_record.eq(last),
        ]
        with m.If(self.backward):
            m.d.comb += [self.write_record.centre.eq(a_last), self.write_record.size.eq(b_last)]
            m.d.comb += self.write_record.beta.eq(new_beta)
        with m.Else():
            m.d.comb += [self.write_record.mu.eq(a_last), self.write_record.psi.eq(b_last)]
        return m
