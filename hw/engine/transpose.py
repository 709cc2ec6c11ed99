"""Turns row words (one image each, S channels) into column granules (one channel each, P images)."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY, WritePort, replicate
from bnnedge.hw.layouts import PASS


class Transpose(wiring.Component):
    """The writing half of a TRANSPOSE: a word of each of P banks comes, S/Q groups of column granules go.

    Members
    -------
    order: in, the instruction. read: in, `word`, `plane`, `tile` are being read from the left buffer; at most once in
    S/Q cycles. words: in, READ_LATENCY cycles later.
    active, write: out, a write to the left buffer in the S/Q cycles behind that; no one else writes in such a cycle.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "order": In(PASS),
                "read": In(1),
                "word": In(13),
                "plane": In(4),
                "tile": In(10),
                "words": In(data.ArrayLayout(config.word, config.lanes)),
                "active": Out(1),
                "write": Out(WritePort(config, config.left_depth)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order = self.config, self.order
        lanes, granules = config.lanes, config.granules

        # The place in the columns: group = word * granules + granule, tile // granules, granule tile % granules.
        place = data.StructLayout({"read": 1, "word": 13, "plane": 4, "tile": 10})
        stage = Signal(place)
        m.d.comb += [getattr(stage, name).eq(getattr(self, name)) for name in ("read", "word", "plane", "tile")]
        for i in range(READ_LATENCY):
            later = Signal(place, name=f"place_{i}")
            m.d.sync += later.eq(stage)
            stage = later

        held = Signal(data.ArrayLayout(config.word, lanes))
        left = Signal(range(granules + 1))
        group, address, tile = Signal(16), Signal(16), Signal(10)
        with m.If(stage.read):
            first = stage.word * granules
            m.d.sync += [held.eq(self.words), left.eq(granules), group.eq(first), tile.eq(stage.tile)]
            m.d.sync += address.eq(
                order.columns_base + first * order.columns_group_stride + stage.plane * order.columns_plane_stride
            )
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), group.eq(group + 1), address.eq(address + order.columns_group_stride)]
            m.d.sync += [held[i].eq(held[i] >> lanes) for i in range(lanes)]

        m.d.comb += [
            self.active.eq((left != 0) & (group < order.groups)),
            self.write.address.eq(address + (tile // granules)),
        ]
        for channel in range(lanes):
            column = Cat(held[image][channel] for image in range(lanes))
            m.d.comb += self.write.data[channel].eq(replicate(column, config))
            with m.If(self.active):
                m.d.comb += self.write.granules[channel].eq(1 << tile % granules)
        return m
