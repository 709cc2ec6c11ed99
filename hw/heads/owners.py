"""Whose sums the totals hold: an assertion of the simulation, see `bnnedge.hw.checks`."""

from __future__ import annotations

from amaranth import Array, Module, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In

from bnnedge.configuration import Configuration
from bnnedge.hw.checks import check
from bnnedge.hw.layouts import PASS, PIVOTS

UNDER_WAY = 8  # groups between their pivots and the totals, at most

# A group of channels: its layer, the direction of its sums, and the parameter memory's address of its first channel.
OWNER = data.StructLayout({"layer": PASS.members["layer"].width, "forward": 1, "channel": PIVOTS.members["channel"]})


class Owners(wiring.Component):
    """Asserts that nobody adds to, or reads, totals that another group of channels has begun since.

    The totals' index is a group's number in its layer, modulo those that the memory holds: two groups of a layer, or of two
    layers, may have it one after the other, but not while the first one's sums are still wanted.

    Members
    -------
    begins, owner: in, a group that sums begins. ends, fresh, place: in, the totals take the oldest of these, at this index
    of groups. reads, reader, read_place: in, the head reads totals on behalf of a group.
    """

    def __init__(self, config: Configuration) -> None:
        self.places = config.layer_channels // config.lanes
        super().__init__(
            {
                "begins": In(1),
                "owner": In(OWNER),
                "ends": In(1),
                "fresh": In(1),
                "place": In(range(self.places)),
                "reads": In(1),
                "reader": In(OWNER),
                "read_place": In(range(self.places)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(width=OWNER.size, depth=UNDER_WAY)
        m.d.comb += [queue.w_en.eq(self.begins), queue.w_data.eq(self.owner), queue.r_en.eq(self.ends)]
        owners = Array(Signal(OWNER, name=f"owner_{i}") for i in range(self.places))
        known = Signal(self.places)
        taken = data.View(OWNER, queue.r_data)
        for when, place, wants in (
            (self.ends & ~self.fresh, self.place, taken),
            (self.reads, self.read_place, self.reader),
        ):
            has = data.View(OWNER, owners[place])
            check(
                m, platform, when, known.bit_select(place, 1) & (has.as_value() == wants.as_value()),
                "totals: channel {} of layer {} needs what is channel {}'s of layer {}",
                wants.channel, wants.layer, has.channel, has.layer,
            )  # fmt: skip
        with m.If(self.ends & self.fresh):
            m.d.sync += [owners[self.place].eq(queue.r_data), known.bit_select(self.place, 1).eq(1)]
        return m
