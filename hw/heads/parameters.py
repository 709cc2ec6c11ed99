"""From batch sums to what a group's columns need: thresholds forward, batch means backward. One column a cycle."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.heads import weight
from bnnedge.hw.heads.random import lane_bits
from bnnedge.hw.heads.statistics import sums_layout
from bnnedge.hw.layouts import RECORD

SUMS_LATENCY = 3  # from `column_needed` to `sums`
STAGES = 9  # from column number to its result


def gradient_bits(config: Configuration) -> int:
    """Bits of dy and of the means subtracted: |dy| <= |4 d| + |c1| + |c2|, a mean at most twice the largest |4 d|."""
    return config.accumulator + formats.GRADIENT_MEAN + 3


def column_layout(config: Configuration) -> data.StructLayout:
    """Results for a column.

    Forward: y >= threshold is a +1, low <= y <= high passes the straight-through mask; mu, psi, beta as in the record.
    Backward: the mean to subtract where the activation is +1 (plus) and where it is -1 (minus).
    """
    integer, gradient = signed(config.accumulator), signed(gradient_bits(config))
    record = {"mu": signed(formats.MU_BITS), "psi": formats.MU_BITS, "beta": signed(config.latent)}
    return data.StructLayout(
        {"threshold": integer, "low": integer, "high": integer, "plus": gradient, "minus": gradient, **record}
    )


def saturate(value: Value, bits: int) -> Value:
    """`value` as a signed number of `bits` bits, the nearest there is."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return Mux(value < low, low, Mux(value > high, high, value))[:bits].as_signed()


class Parameters(wiring.Component):
    """Works through the Q columns of a group.

    Forward: mu = sum y / B, psi = sum |y - pivot| / B, moving averages, tau = mu - beta * psi.
    Backward: c1 = (s1 - sx * s2 / B) / B, c2 = s2 / B, and beta learns.

    Members
    -------
    begin: in, one cycle, with `backward`, `inference`, `channel` of column 0 and the settings stable until `done`.
    column_needed: out, the column whose batch sums are to be in `sums` SUMS_LATENCY cycles later.
    random: in, 64 bits for beta, stable.
    address, record: read port of the parameter memory, latency 1. write, write_address, write_record: its write port.
    valid, column, result: out, one column's result. done: out, one cycle, after the last of them.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "backward": In(1),
                "inference": In(1),
                "sign_sgd": In(1),
                "channel": In(14),
                "batch_log2": In(4),
                "decay": In(2),
                "rate": In(formats.RATE_BITS),
                "column_needed": Out(range(config.lanes)),
                "sums": In(sums_layout(config).elem_shape),
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

        # `columns[s]`, `valids[s]`: which column is in stage s, if any. Its sums and its record arrive in stage 3.
        columns: list[Value] = [column]
        valids: list[Value] = [running]
        for stage in range(1, STAGES + 1):
            columns.append(Signal(range(lanes), name=f"column_{stage}"))
            valids.append(Signal(name=f"valid_{stage}"))
            m.d.sync += [columns[stage].eq(columns[stage - 1]), valids[stage].eq(valids[stage - 1])]
        m.d.comb += self.address.eq(self.channel + columns[SUMS_LATENCY - 1])

        def delayed(value: Value, cycles: int, name: str) -> Value:
            for stage in range(cycles):
                later = Signal(value.shape(), name=f"{name}_{stage}")
                m.d.sync += later.eq(value)
                value = later
            return value

        record = Signal(RECORD)
        m.d.sync += record.eq(self.record)
        beta = record.beta[formats.MOMENT :].as_signed()

        # Forward. Stage 4: means with STATISTICS fraction bits (a batch is never smaller than 2**STATISTICS).
        # 5: moving averages; the pair that counts. 7: beta * psi. 8: tau. 9: whole thresholds.
        shift = Signal(4)
        m.d.comb += shift.eq(self.batch_log2 - formats.STATISTICS)
        mu_4, psi_4 = Signal(signed(formats.MU_BITS)), Signal(formats.MU_BITS)
        m.d.sync += [mu_4.eq(self.sums.first >> shift), psi_4.eq(self.sums.second >> shift)]
        half = Signal(3)
        m.d.comb += half.eq((1 << self.decay) >> 1)
        moving_mu, moving_psi = Signal(signed(formats.MU_BITS)), Signal(formats.MU_BITS)
        mu_5, psi_5, beta_5 = Signal(signed(formats.MU_BITS)), Signal(formats.MU_BITS), Signal(signed(config.latent))
        m.d.sync += [
            moving_mu.eq(record.mu + ((mu_4 - record.mu + half) >> self.decay)),
            moving_psi.eq(record.psi + ((psi_4 - record.psi + half) >> self.decay)),
            mu_5.eq(Mux(self.inference, record.mu, mu_4)),
            psi_5.eq(Mux(self.inference, record.psi, psi_4)),
            beta_5.eq(beta),
        ]
        product = delayed(beta_5 * psi_5, 2, "product")
        mu_7, psi_7 = delayed(mu_5, 2, "mu"), delayed(psi_5, 2, "psi")
        tau = Signal(signed(formats.MU_BITS + 2))
        m.d.sync += tau.eq(mu_7 - (product >> config.latent - 1))
        mu_8, psi_8 = delayed(mu_7, 1, "mu_7"), delayed(psi_7, 1, "psi_7")
        beta_8 = delayed(beta_5, 3, "beta")

        def whole(value: Value) -> Value:
            return saturate(value >> formats.STATISTICS, config.accumulator)

        up = (1 << formats.STATISTICS) - 1
        m.d.sync += [
            self.result.threshold.eq(whole(tau + up)),
            self.result.low.eq(whole(tau - psi_8 + up)),
            self.result.high.eq(whole(tau + psi_8)),
            self.result.mu.eq(mu_8),
            self.result.psi.eq(psi_8),
            self.result.beta.eq(beta_8),
        ]

        # Backward. Stage 4: sx = 2 * ones - B. 6: sx * s2. 7: s1 - sx * s2 / B. 8: means. 9: their sum and difference.
        batch = Signal(10)
        m.d.comb += batch.eq(1 << self.batch_log2)
        sx = Signal(signed(12))
        s1_4, s2_4 = Signal(signed(formats.SUM_BITS)), Signal(signed(formats.SUM_BITS))
        m.d.sync += [sx.eq((self.sums.ones << 1) - batch), s1_4.eq(self.sums.first), s2_4.eq(self.sums.second)]
        weighed = delayed(sx * s2_4, 2, "weighed")
        s1_6, s2_7 = delayed(s1_4, 2, "s1"), delayed(s2_4, 3, "s2")
        centred = Signal(signed(formats.SUM_BITS + 2))
        m.d.sync += centred.eq(s1_6 - (weighed >> self.batch_log2))
        c1, c2 = Signal(signed(gradient_bits(config))), Signal(signed(gradient_bits(config)))
        m.d.sync += [
            mean.eq(((total << formats.GRADIENT_MEAN) + (batch >> 1)) >> self.batch_log2)
            for mean, total in ((c1, centred), (c2, s2_7))
        ]
        m.d.sync += [self.result.plus.eq(c1 + c2), self.result.minus.eq(c1 - c2)]

        m.submodules.learn = learn = weight.WeightUpdate(config)
        m.d.comb += [
            learn.advance.eq(1),
            learn.word.eq(record.beta),
            learn.positive.eq(s1_4 >= 0),
            learn.rate.eq(self.rate >> formats.BETA_RATE_SHIFT),
            learn.sign_sgd.eq(self.sign_sgd),
            learn.random.eq(Array(lane_bits(self.random, i) for i in range(lanes))[columns[4]]),
        ]
        old_7 = delayed(record.as_value(), weight.LATENCY, "record")
        statistics_bits = 2 * formats.MU_BITS
        moved_7 = delayed(Cat(moving_mu, moving_psi), 2, "moved")
        m.d.comb += [
            self.write.eq(valids[7] & ~self.inference),
            self.write_address.eq(self.channel + columns[7]),
            self.write_record.eq(
                Mux(self.backward, Cat(old_7[:statistics_bits], learn.updated), Cat(moved_7, old_7[statistics_bits:]))
            ),
            self.valid.eq(valids[STAGES]),
            self.column.eq(columns[STAGES]),
        ]
        m.d.sync += self.done.eq(valids[STAGES] & (columns[STAGES] == lanes - 1))
        return m
