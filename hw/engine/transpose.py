"""Turns row words (one image each, S channels) into column granules (one channel each, P images)."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY, WritePort, replicate
from bnnedge.hw.checks import check
from bnnedge.hw.layouts import PASS


class Transpose(wiring.Component):
    """The writing half of a TRANSPOSE: a word of each of P banks comes, S/Q groups of column granules go.

    Granule k of word w, in `tile` of a pixel, becomes granule tile % (S/Q) of the words at
    base + group * columns_group + plane * columns_plane + tile // (S/Q), group = w * S/Q + k.

    Members
    -------
    order: in, the instruction. read: in, `word`, `plane`, `tile` are being read from the left buffer; at most once in
    S/Q cycles. base: in, with it, where the columns of its pixel begin. words: in, READ_LATENCY cycles later.
    active, write: out, a write to the left buffer in the S/Q cycles behind that; no one else writes in such a cycle.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "order": In(PASS),
                "read": In(1),
                "word": In(PASS.members["words"].width),
                "plane": In(4),
                "tile": In(PASS.members["tiles"].width),
                "base": In(16),
                "words": In(data.ArrayLayout(config.word, config.lanes)),
                "active": Out(1),
                "write": Out(WritePort(config, config.left_depth)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, order = self.config, self.order
        lanes, granules = config.lanes, config.granules

        # The place travels beside the words; the products are taken one cycle before they meet, the sum when they do.
        layout = data.StructLayout({name: self.signature.members[name].shape for name in ("word", "plane", "tile", "base")})
        reads = Signal(READ_LATENCY)
        stages = [Signal(layout, name=f"place_{i}", reset_less=True) for i in range(READ_LATENCY)]
        m.d.sync += reads.eq(Cat(self.read, reads))
        m.d.sync += [stages[0][name].eq(getattr(self, name)) for name in layout.members]
        m.d.sync += [later.eq(stage) for stage, later in zip(stages, stages[1:], strict=False)]
        before, now = stages[-2:]
        from_group, from_plane = (Signal(16, name=name, reset_less=True) for name in ("from_group", "from_plane"))
        wanted = Signal(signed(17), reset_less=True)  # groups from the word's first one on
        m.d.sync += [
            wanted.eq(order.groups - before.word * granules),
            from_group.eq(before.word * order.columns_group * granules),
            from_plane.eq(before.plane * order.columns_plane + before.base),
        ]

        held = Signal(data.ArrayLayout(config.word, lanes), reset_less=True)
        left = Signal(range(granules + 1))
        address = Signal(16, reset_less=True)
        granule = Signal(range(granules), reset_less=True)
        with m.If(reads[-1]):
            m.d.sync += [held.eq(self.words), granule.eq(now.tile % granules)]
            m.d.sync += left.eq(Mux(wanted < 0, 0, Mux(wanted > granules, granules, wanted)))
            m.d.sync += address.eq(from_group + from_plane + now.tile // granules)
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), address.eq(address + order.columns_group)]
            m.d.sync += [held[i].eq(held[i] >> lanes) for i in range(lanes)]

        m.d.comb += [self.active.eq(left != 0), self.write.address.eq(address)]
        for channel in range(lanes):
            column = Cat(held[image][channel] for image in range(lanes))
            m.d.comb += self.write.data[channel].eq(replicate(column, config))
            with m.If(self.active):
                m.d.comb += self.write.granules[channel].eq(1 << granule)
        message = "left buffer: columns are written to address {}, beyond its depth"
        check(m, platform, self.active, address < config.left_depth, message, address)
        return m
