"""P x Q lanes: each multiplies a row word by a column word and accumulates, bit-plane by bit-plane."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw import popcount
from bnnedge.hw.checks import CHECKED, check
from bnnedge.hw.engine.accumulator import PairAccumulator
from bnnedge.hw.layouts import tile_meta
from bnnedge.hw.series7 import SERIES7


def tag_layout(config: Configuration) -> data.StructLayout:
    """What accompanies the operands of a cycle.

    valid: the operands count. first: they start a tile. double: they start a less significant diagonal, see `Walk`.
    low, high: their bits low <= bit < high are valid. last: they end a tile, `meta` tells which.
    """
    bits = {"low": range(config.word), "high": range(config.word + 1)}
    return data.StructLayout({"valid": 1, "first": 1, "double": 1, "last": 1, **bits, "meta": tile_meta()})


def finish_latency(config: Configuration) -> int:
    """Cycles from the last operands of a tile at the array's inputs to `done`."""
    return 4 + popcount.latency(config.word)


class LaneArray(wiring.Component):
    """The lanes, their accumulators, and a second register of sums from which a finished tile drains.

    An accumulator adds the count of agreeing bits, doubled whenever the planes get less significant, so that at the end
    ``sum = 2 * accumulator - bias`` where `bias`, one for all lanes, did the same with the number of valid bits.

    Members
    -------
    left, right: in, P and Q words; tag: in, same cycle.
    done: out, one cycle: `sums`, `bias` and `meta` hold a new tile (and do so until the next `done`).
    row: in, which row of `sums` to show. sums: out, one cycle later, Q accumulators of that row, unsigned.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.width = config.accumulator - 1
        super().__init__(
            {
                "left": In(data.ArrayLayout(config.word, config.lanes)),
                "right": In(data.ArrayLayout(config.word, config.lanes)),
                "tag": In(tag_layout(config)),
                "done": Out(1),
                "meta": Out(tile_meta()),
                "bias": Out(self.width),
                "row": In(range(config.lanes)),
                "sums": Out(data.ArrayLayout(self.width, config.lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, word = self.config.lanes, self.config.word

        # Cycle 1: operand registers. Invalid bits disagree: 0 on the left, 1 on the right.
        left, right = (Signal(data.ArrayLayout(word, lanes), name=name, reset_less=True) for name in ("left", "right"))
        tag = self.tag
        valid = Signal(word)
        valid_bits = Signal(range(word + 1))
        m.d.comb += [
            valid.eq(Cat((tag.low <= i) & (tag.high > i) for i in range(word))),
            valid_bits.eq(tag.high - tag.low),
        ]
        for i in range(lanes):
            if platform == SERIES7:  # a constant chosen in front of a register becomes its reset or set, and takes no LUT
                m.d.sync += left[i].eq(Cat(Mux(valid[bit], self.left[i][bit], 0) for bit in range(word)))
                m.d.sync += right[i].eq(Cat(Mux(valid[bit], self.right[i][bit], 1) for bit in range(word)))
            else:
                m.d.sync += [left[i].eq(self.left[i] & valid), right[i].eq(self.right[i] | ~valid)]

        # Tag and number of valid bits keep pace with the counts. Whether they count is all that a reset has to clear.
        bits, counts_now = valid_bits, tag.valid
        for stage in range(1 + popcount.latency(word)):
            tag_next = Signal(tag_layout(self.config), name=f"tag_{stage}", reset_less=True)
            bits_next = Signal(range(word + 1), name=f"bits_{stage}", reset_less=True)
            counts_next = Signal(name=f"counts_{stage}")
            m.d.sync += [tag_next.eq(tag), bits_next.eq(bits), counts_next.eq(counts_now)]
            tag, bits, counts_now = tag_next, bits_next, counts_next
        counted = tag  # that of the counts
        tag, step = Signal(tag_layout(self.config), reset_less=True), Signal()  # that of the accumulators
        m.d.sync += [tag.eq(counted), step.eq(counts_now)]

        def accumulators(name: str, *counts: Signal) -> list[Signal]:
            m.submodules[name] = pair = PairAccumulator(self.width, len(counts[0]))
            m.d.comb += [pair.first.eq(counted.first), pair.double.eq(counted.double), pair.step.eq(step)]
            m.d.comb += [port.eq(count) for port, count in zip(pair.counts, counts, strict=False)]
            return list(pair.sums)

        rows = []
        for i in range(lanes):
            counts = []
            for j in range(lanes):
                m.submodules[f"lane_{i}_{j}"] = lane = popcount.Popcount(word)
                m.d.comb += [lane.left.eq(left[i]), lane.right.eq(right[j])]
                counts.append(lane.count)
            pairs = (accumulators(f"accumulators_{i}_{j}", *counts[j : j + 2]) for j in range(0, lanes, 2))
            rows.append(Cat(pairs))
        bias = accumulators("bias", bits)[0]
        if platform == CHECKED:  # no lane counts more than the valid bits
            late_bits = Signal.like(bits, reset_less=True)
            m.d.sync += late_bits.eq(bits)
            exact = Mux(tag.double, bias << 1, bias) + late_bits
            adds = step & ~tag.first
            check(m, platform, adds, exact < 1 << self.width, f"lanes: {{}} valid bits leave {self.width} bits", exact)

        # The finished tile moves aside, and drains while the lanes work on the next one.
        finished = Signal()
        meta = Signal(tile_meta(), reset_less=True)
        m.d.sync += [finished.eq(step & tag.last), meta.eq(tag.meta), self.done.eq(finished)]
        store = Array(Signal(self.width * lanes, name=f"sums_{i}", reset_less=True) for i in range(lanes))
        kept_bias, kept_meta = Signal.like(self.bias, reset_less=True), Signal(tile_meta(), reset_less=True)
        with m.If(finished):
            m.d.sync += [store[i].eq(rows[i]) for i in range(lanes)]
            m.d.sync += [kept_bias.eq(bias), kept_meta.eq(meta)]
        shown = Signal(self.width * lanes, reset_less=True)
        m.d.sync += shown.eq(store[self.row])
        m.d.comb += [self.sums.eq(shown), self.bias.eq(kept_bias), self.meta.eq(kept_meta)]
        return m
