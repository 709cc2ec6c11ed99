"""From batch sums to what a group's columns need: thresholds forward, batch means backward. One column a cycle."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads import weight
from bnnedge.hw.heads.random import lane_bits
from bnnedge.hw.layouts import RECORD, TOTALS
from bnnedge.hw.product import product

SUMS_LATENCY = 5  # from `column_needed` to `sums`
STAGES = 19  # from column number to its result


def gradient_bits(config: Configuration) -> int:
    """Bits of dy and of the means subtracted: |dy| <= |4 d| + |c1| + |c2| <= (1 + 2 + 1) 4 D with D = `largest_sum`.

    The 16 * 32 that this leaves of a power of two are more than roundings and reciprocals (by 2**-17 too large) add.
    """
    return config.accumulator + formats.GRADIENT_MEAN + 2


def column_layout(config: Configuration) -> data.StructLayout:
    """Results for a column.

    Backward: the mean to subtract where the activation is +1 (plus) and where it is -1 (minus).
    Forward: both are the threshold, with as many fraction bits: y >= threshold is a +1, and -below < y - threshold < above
    passes the straight-through mask (below is 1 at least); mu, psi, beta as in the record.
    """
    gradient, distance = signed(gradient_bits(config)), config.accumulator + 1
    record = {"mu": signed(formats.MU_BITS), "psi": formats.MU_BITS, "beta": signed(config.latent)}
    return data.StructLayout({"plus": gradient, "minus": gradient, "above": distance, "below": distance, **record})


def saturate(value: Value, bits: int) -> Value:
    """`value` as a signed number of `bits` bits, the nearest there is."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return Mux(value < low, low, Mux(value > high, high, value))[:bits].as_signed()


class Parameters(wiring.Component):
    """Works through the Q columns of a group.

    Forward: mu = sum y / n, psi = sum |y - pivot| / n, moving averages, tau = mu - beta * psi.
    Backward: c1 = (s1 - sx / n * s2) / n, c2 = s2 / n, and beta learns.
    Division by n is multiplication by its reciprocal.

    Members
    -------
    begin: in, one cycle, with `backward`, `inference`, `channel` of column 0 and the settings stable until `done`.
    commit: in, the moving averages or beta are written. reciprocal, mean_log2: in, see the fields of PASS.
    column_needed: out, the column whose totals are to be in `sums` SUMS_LATENCY cycles later.
    random: in, 64 bits for beta, stable.
    address, record: read port of the parameter memory, latency 2. write, write_address, write_record: its write port.
    valid, column, result: out, one column's result. done: out, one cycle, after the last of them.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "backward": In(1),
                "inference": In(1),
                "commit": In(1),
                "sign_sgd": In(1),
                "channel": In(14),
                "reciprocal": In(formats.MEAN + 1),
                "mean_log2": In(5),
                "decay": In(2),
                "rate": In(formats.RATE_BITS),
                "column_needed": Out(range(config.lanes)),
                "sums": In(TOTALS),
                "random": In(64),
                "address": Out(range(config.channels)),
                "record": In(RECORD),
                "write": Out(1),
                "write_address": Out(range(config.channels)),
                "write_record": Out(RECORD),
                "valid": Out(1),
                "column": Out(range(config.lanes)),
                "result": Out(column_layout(config)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        running = Signal()
        column = Signal(range(lanes))
        with m.If(self.begin):
            m.d.sync += [running.eq(1), column.eq(0)]
        with m.Elif(running):
            m.d.sync += column.eq(column + 1)
            with m.If(column == lanes - 1):
                m.d.sync += running.eq(0)
        m.d.comb += self.column_needed.eq(column)

        # `columns[s]`, `valids[s]`: which column is in stage s, if any. What is called name_s is a register that holds
        # that column's value then. A product has two registers or three, the last of them in front of what comes next.
        columns: list[Value] = [column]
        valids: list[Value] = [running]
        for stage in range(1, STAGES + 1):
            columns.append(Signal(range(lanes), name=f"column_{stage}"))
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += [columns[stage].eq(columns[stage - 1]), valids[stage].eq(valids[stage - 1])]

        # Totals are here in stage 5, the record in stage 11.
        sums_5, record_11 = self.sums, self.record
        m.d.comb += self.address.eq(self.channel + columns[9])
        first_11 = delayed(m, sums_5.first, 6, "first")
        second_6 = delayed(m, sums_5.second, 1, "second")
        second_8 = delayed(m, second_6, 2, "second_6")

        # Backward. 7: sx R. 8: sx / n, MEAN fraction bits. 11: s2 sx / n. 12: centred = s1 - s2 sx / n.
        signs_7 = delayed(m, sums_5.signs * self.reciprocal, 2, "signs")
        share_8 = Signal(signed(formats.MEAN + 2))
        m.d.sync += share_8.eq(signs_7 >> self.mean_log2)
        weighed_11 = product(m, second_8, share_8, "weighed")
        centred = first_11 - (weighed_11 >> formats.MEAN)

        # Means, MEAN fraction bits. Forward: of the first sum, stages 6..11. Backward: of `centred`, stages 12..17.
        # Of the second sum: stages 6..11.
        half = Signal(64)
        m.d.sync += half.eq(Mux(self.backward, (1 << formats.MEAN - 1 - formats.GRADIENT_MEAN) << self.mean_log2, 0))
        statistic, gradient = formats.MEAN - formats.STATISTICS, formats.MEAN - formats.GRADIENT_MEAN  # bits beyond theirs
        bits = max(statistic + formats.MU_BITS + 1, gradient + gradient_bits(config))

        def mean(total: Value, name: str) -> Value:
            unscaled = product(m, total, self.reciprocal, name)
            rounded, scaled = Signal(signed(len(unscaled) + 1), name=f"{name}_rounded"), Signal(signed(bits), name=name)
            m.d.sync += [rounded.eq(unscaled + half), scaled.eq(rounded >> self.mean_log2)]
            return scaled

        of_first = Signal(signed(formats.TOTAL_BITS + 1))
        m.d.sync += of_first.eq(Mux(self.backward, centred, sums_5.first))
        mean_first, mean_second_11 = mean(of_first, "mean_first"), mean(second_6, "mean_second")

        # Forward. 14: moving averages. 12: the pair that counts. 15: beta * psi. 16: tau. 18: whole thresholds. 19: their
        # distances.
        mu_11, psi_11 = (Signal(signed(formats.MU_BITS), name="mu_11"), Signal(formats.MU_BITS, name="psi_11"))
        m.d.comb += [mu_11.eq(mean_first >> statistic), psi_11.eq(mean_second_11 >> statistic)]
        half_decay = Signal(3)
        m.d.comb += half_decay.eq((1 << self.decay) >> 1)
        old_14 = delayed(m, record_11.as_value(), weight.LATENCY, "old")

        def moving(old: Value, new: Value, name: str) -> Value:
            step, rounded = (Signal(signed(formats.MU_BITS + 2), name=f"{name}_{part}") for part in ("step", "rounded"))
            moved = Signal(old.shape(), name=f"moving_{name}")
            m.d.sync += [
                step.eq(new - old),
                rounded.eq(step + half_decay),
                moved.eq(delayed(m, old, 2, f"old_{name}") + (rounded >> self.decay)),
            ]
            return moved

        moved_14 = Cat(moving(record_11.mu, mu_11, "mu"), moving(record_11.psi, psi_11, "psi"))

        mu_12, psi_12 = Signal(signed(formats.MU_BITS)), Signal(formats.MU_BITS)
        beta_12 = Signal(signed(config.latent))
        m.d.sync += [
            mu_12.eq(Mux(self.inference, record_11.mu, mu_11)),
            psi_12.eq(Mux(self.inference, record_11.psi, psi_11)),
            beta_12.eq(record_11.beta[formats.MOMENT :].as_signed()),
        ]
        product_15 = product(m, psi_12, beta_12, "product")
        mu_15 = delayed(m, mu_12, 3, "mu_12")
        psi_15 = delayed(m, psi_12, 3, "psi_12")
        psi_16 = delayed(m, psi_15, 1, "psi_15")
        less_16 = Signal(signed(formats.MU_BITS + 2))
        tau_16, up_17, high_17, low_17 = (
            Signal(signed(formats.MU_BITS + 3), name=name) for name in ("tau_16", "up_17", "high_17", "low_17")
        )
        round_up = (1 << formats.STATISTICS) - 1
        m.d.sync += [
            tau_16.eq(mu_15 - (product_15 >> config.latent - 1)),
            less_16.eq(round_up - psi_15),
            up_17.eq(tau_16 + round_up),
            high_17.eq(tau_16 + psi_16),
            low_17.eq(tau_16 + less_16),
        ]

        def whole(value: Value, name: str) -> Signal:
            found = Signal(signed(config.accumulator), name=name)
            m.d.sync += found.eq(saturate(value >> formats.STATISTICS, config.accumulator))
            return found

        threshold_18, high_18, low_18 = whole(up_17, "threshold_18"), whole(high_17, "high_18"), whole(low_17, "low_18")
        m.d.sync += [
            self.result.above.eq(high_18 - threshold_18 + 1),
            self.result.below.eq(threshold_18 - low_18 + 1),
            self.result.mu.eq(delayed(m, mu_15, 3, "mu_15")),
            self.result.psi.eq(delayed(m, psi_16, 2, "psi_16")),
            self.result.beta.eq(delayed(m, beta_12, 6, "beta_12")),
        ]

        # Backward. 19: sum and difference of the means. 14: beta has learned.
        c1_18, c2_18 = delayed(m, mean_first >> gradient, 1, "c1"), delayed(m, mean_second_11 >> gradient, 7, "c2")
        m.d.sync += [self.result.plus.eq(c1_18 + c2_18), self.result.minus.eq(c1_18 - c2_18)]
        with m.If(~self.backward):
            m.d.sync += [mean.eq(threshold_18 << formats.GRADIENT_MEAN) for mean in (self.result.plus, self.result.minus)]
        m.submodules.learn = learn = weight.WeightUpdate(config)
        m.d.comb += [
            learn.advance.eq(1),
            learn.word.eq(record_11.beta),
            learn.positive.eq(delayed(m, sums_5.first >= 0, 6, "positive")),
            learn.rate.eq(self.rate >> formats.BETA_RATE_SHIFT),
            learn.sign_sgd.eq(self.sign_sgd),
            learn.random.eq(Array(lane_bits(self.random, i) for i in range(lanes))[columns[11]]),
        ]
        statistics_bits = 2 * formats.MU_BITS
        m.d.comb += [
            self.write.eq(valids[14] & self.commit & ~self.inference),
            self.write_address.eq(self.channel + columns[14]),
            self.write_record.eq(
                Mux(self.backward, Cat(old_14[:statistics_bits], learn.updated), Cat(moved_14, old_14[statistics_bits:]))
            ),
            self.valid.eq(valids[STAGES]),
            self.column.eq(columns[STAGES]),
        ]
        m.d.sync += self.done.eq(valids[STAGES] & (columns[STAGES] == lanes - 1))
        return m
