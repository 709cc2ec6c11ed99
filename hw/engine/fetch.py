"""Operand fetch: walks a pass tile by tile and plane by plane, and issues the buffer addresses."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.array import tag_layout
from bnnedge.hw.layouts import PASS, PIVOTS


class Walk(wiring.Component):
    """The order of pairs of planes within a tile: diagonals i + j from the most significant one down.

    With L planes on the left and R on the right, diagonal d holds the pairs (i, d - i); i falls within a diagonal.
    Addresses follow by adding strides, which point to the *less* significant plane.

    Members
    -------
    tile: in, one cycle: go to the top pair of a tile at `left_base`, `right_base`.
    step: in, one cycle: go to the next pair.
    left, right: out, addresses of word 0 of the present pair.
    first: out, it is a tile's first pair. double: out, it starts another diagonal. last: out, it is the last pair.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "tile": In(1),
                "step": In(1),
                "left_planes": In(4),
                "right_planes": In(4),
                "left_base": In(16),
                "right_base": In(16),
                "left_stride": In(16),
                "right_stride": In(16),
                "left": Out(16),
                "right": Out(16),
                "first": Out(1),
                "double": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, j = Signal(4), Signal(4)
        # Where the present diagonal starts: its largest i.
        start_i, start_j = Signal(4), Signal(4)
        start_left, start_right = Signal(16), Signal(16)
        top_j = Signal(4)
        m.d.comb += [top_j.eq(self.right_planes - 1), self.last.eq((i == 0) & (j == 0))]
        with m.If(self.tile):
            for a, b, planes in ((i, start_i, self.left_planes), (j, start_j, self.right_planes)):
                m.d.sync += [a.eq(planes - 1), b.eq(planes - 1)]
            for a, b, base in ((self.left, start_left, self.left_base), (self.right, start_right, self.right_base)):
                m.d.sync += [a.eq(base), b.eq(base)]
            m.d.sync += [self.first.eq(1), self.double.eq(0)]
        with m.Elif(self.step):
            m.d.sync += self.first.eq(0)
            with m.If((i != 0) & (j != top_j)):
                m.d.sync += [
                    i.eq(i - 1),
                    j.eq(j + 1),
                    self.left.eq(self.left + self.left_stride),
                    self.right.eq(self.right - self.right_stride),
                    self.double.eq(0),
                ]
            with m.Else():
                down_right = start_j != 0
                next_i, next_j = start_i - ~down_right, start_j - down_right
                next_left = start_left + Mux(down_right, 0, self.left_stride)
                next_right = start_right + Mux(down_right, self.right_stride, 0)
                for signals, value in (
                    ((i, start_i), next_i),
                    ((j, start_j), next_j),
                    ((self.left, start_left), next_left),
                    ((self.right, start_right), next_right),
                ):
                    m.d.sync += [s.eq(value) for s in signals]
                m.d.sync += self.double.eq(1)
        return m


class Fetch(wiring.Component):
    """Carries out the engine's part of PASS and TRANSPOSE instructions, one after another.

    Members
    -------
    instruction: in stream; ready when the instruction has been fetched to its end.
    head: out stream, the same PASS for the head that takes its sums.
    pivots: out stream, channel of each group's first column, for the statistics.
    left_address, right_address, reading: out, a read of both buffers. tag: out, same cycle, what the words are for.
    side_active, side_mask: out, instead: the left words are the tile's signs or masks, in them `side_granule` is the
    group's place.
    transpose: out, instead: the left words are to be transposed, see `Transpose`.
    drained: in, one cycle: the sums' register will be free when the next tile arrives.
    busy: out, the engine multiplies. waiting: out, it waits for room behind it.
    signal: out, semaphores to raise at the end of a TRANSPOSE.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "instruction": In(stream.Signature(PASS)),
                "head": Out(stream.Signature(PASS)),
                "pivots": Out(stream.Signature(PIVOTS)),
                "left_address": Out(16),
                "right_address": Out(16),
                "reading": Out(1),
                "tag": Out(tag_layout(config)),
                "side_active": Out(1),
                "side_mask": Out(1),
                "side_granule": Out(range(config.granules)),
                "transpose": Out(1),
                "transpose_word": Out(13),
                "transpose_plane": Out(4),
                "transpose_tile": Out(10),
                "drained": In(1),
                "busy": Out(1),
                "waiting": Out(1),
                "signal": Out(isa.SEMAPHORES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, granules = self.config.lanes, self.config.granules
        order = self.instruction.payload
        m.submodules.walk = walk = Walk()

        group, tile, word = Signal(10), Signal(10), Signal(13)
        left_tile, side_tile = Signal(16), Signal(16)
        right_group, side_word = Signal(16), Signal(16)
        side_granule = Signal(range(granules))
        channel = Signal(14)
        last_word, last_tile, last_group = Signal(), Signal(), Signal()
        is_backward = Signal()
        has_statistics = Signal()
        m.d.comb += [
            last_word.eq(word == order.words - 1),
            last_tile.eq(tile == order.tiles - 1),
            last_group.eq(group == order.groups - 1),
            is_backward.eq(order.head == isa.Head.BACKWARD),
            has_statistics.eq(order.head != isa.Head.UPDATE),
            walk.left_planes.eq(order.left_planes),
            walk.right_planes.eq(Mux(order.opcode == isa.Opcode.PASS, order.right_planes, 1)),
            walk.left_base.eq(left_tile),
            walk.right_base.eq(right_group),
            walk.left_stride.eq(order.left_plane_stride),
            walk.right_stride.eq(order.right_plane_stride),
            self.head.payload.eq(order),
            self.pivots.payload.channel.eq(channel),
            self.pivots.payload.forward.eq(~is_backward),
            self.side_granule.eq(side_granule),
            self.transpose_word.eq(word),
            self.transpose_tile.eq(tile),
            self.right_address.eq(walk.right + word),
            self.tag.first.eq(walk.first & (word == 0)),
            self.tag.double.eq(walk.double & (word == 0)),
            self.tag.last.eq(walk.last & last_word),
            self.tag.tail.eq(Mux(last_word, order.tail, 0)),
            self.tag.meta.head.eq(order.head),
            self.tag.meta.first.eq(tile == 0),
            self.tag.meta.last.eq(last_tile),
            self.tag.meta.columns.eq(Mux(last_group, order.columns, lanes)),
        ]

        # One tile may end before the tile ahead of it has drained, if `drained` says that it will have in time.
        credit = Signal(init=1)
        spend = Signal()
        with m.If(self.drained != spend):
            m.d.sync += credit.eq(self.drained)

        def next_tile() -> None:
            """Go to the tile behind this one; at the end of a group to the next group."""
            with m.If(last_tile):
                m.d.sync += [tile.eq(0), left_tile.eq(order.left_base), side_tile.eq(0), group.eq(group + 1)]
                m.d.sync += [right_group.eq(right_group + order.right_group_stride), channel.eq(channel + lanes)]
                m.d.sync += side_granule.eq(side_granule + 1)
                with m.If(side_granule == granules - 1):
                    m.d.sync += [side_granule.eq(0), side_word.eq(side_word + 1)]
            with m.Else():
                m.d.sync += [tile.eq(tile + 1), left_tile.eq(left_tile + order.left_tile_stride)]
                m.d.sync += side_tile.eq(side_tile + order.side_stride)

        def end_tile() -> None:
            """Go on with the next tile, the next group, or the next instruction."""
            next_tile()
            m.next = "TILE"
            with m.If(last_tile):
                m.next = "GROUP"
            with m.If(last_tile & last_group):
                m.d.comb += self.instruction.ready.eq(1)
                m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [group.eq(0), tile.eq(0), word.eq(0), side_tile.eq(0), side_word.eq(0), side_granule.eq(0)]
                m.d.sync += [left_tile.eq(order.left_base), right_group.eq(order.right_base), channel.eq(order.channel)]
                with m.If(self.instruction.valid & (order.opcode == isa.Opcode.TRANSPOSE)):
                    m.next = "TRANSPOSE PLANE"
                with m.Elif(self.instruction.valid):
                    m.d.comb += self.head.valid.eq(1)
                    with m.If(self.head.ready):
                        m.next = "GROUP"
            with m.State("GROUP"):
                # The statistics need this group's pivots; a free place for them also keeps groups in step.
                m.d.comb += self.pivots.valid.eq(has_statistics)
                with m.If(self.pivots.ready | ~has_statistics):
                    m.next = "TILE"
            with m.State("TILE"):
                m.d.comb += walk.tile.eq(1)
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                ends = self.tag.last
                m.d.comb += [
                    self.left_address.eq(walk.left + word),
                    self.waiting.eq(ends & ~credit),
                    self.busy.eq(~self.waiting),
                    self.reading.eq(self.busy),
                    self.tag.valid.eq(self.busy),
                ]
                with m.If(self.busy):
                    m.d.sync += word.eq(word + 1)
                    with m.If(last_word):
                        m.d.sync += word.eq(0)
                        m.d.comb += walk.step.eq(1)
                    with m.If(ends):
                        m.d.comb += spend.eq(1)
                        with m.If(is_backward):
                            m.next = "SIGNS"
                        with m.Else():
                            end_tile()
            # A backward tile is followed by the signs and masks of its activations; they arrive before its sums do.
            with m.State("SIGNS"):
                m.d.comb += [self.left_address.eq(order.side_active + side_tile + side_word), self.reading.eq(1)]
                m.d.comb += self.side_active.eq(1)
                m.next = "MASKS"
            with m.State("MASKS"):
                m.d.comb += [self.left_address.eq(order.side_mask + side_tile + side_word), self.reading.eq(1)]
                m.d.comb += self.side_mask.eq(1)
                end_tile()

            # Word by word, so slowly that the granules of a word are written before the next word comes.
            pause = Signal(range(max(2, granules)))
            plane = Signal(4)
            m.d.comb += self.transpose_plane.eq(plane)
            with m.State("TRANSPOSE PLANE"):
                m.d.comb += walk.tile.eq(1)
                m.d.sync += plane.eq(order.left_planes - 1)
                m.next = "TRANSPOSE"
            with m.State("TRANSPOSE"):
                m.d.comb += [self.left_address.eq(walk.left + word), self.reading.eq(pause == 0)]
                m.d.comb += self.transpose.eq(pause == 0)
                m.d.sync += pause.eq(pause + 1)
                with m.If(pause == granules - 1):
                    m.d.sync += [pause.eq(0), word.eq(word + 1)]
                    with m.If(last_word):
                        m.d.sync += [word.eq(0), plane.eq(plane - 1)]
                        m.d.comb += walk.step.eq(1)
                        with m.If(walk.last):
                            next_tile()
                            m.next = "TRANSPOSE PLANE"
                            with m.If(last_tile):
                                m.d.sync += plane.eq(0)
                                m.next = "TRANSPOSE END"
            with m.State("TRANSPOSE END"):
                # Until the last word has come out of the buffer and its granules have been written.
                m.d.sync += plane.eq(plane + 1)
                with m.If(plane == READ_LATENCY + 1):
                    m.d.comb += [self.signal.eq(order.signal), self.instruction.ready.eq(1)]
                    m.next = "IDLE"
        return m
