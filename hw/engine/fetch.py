"""Operand fetch: goes through a pass tile by tile and issues the buffer addresses."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.array import tag_layout
from bnnedge.hw.engine.prepare import Prepare, tile_layout
from bnnedge.hw.engine.walk import Walk
from bnnedge.hw.layouts import PASS, PIVOTS, SIDE_BITS


class Fetch(wiring.Component):
    """Carries out the engine's part of PASS and TRANSPOSE instructions, one after another.

    Members
    -------
    instruction: in stream; ready when the instruction has been fetched to its end.
    head: out stream, the same PASS for the head that takes its sums.
    pivots: out stream, for the statistics: each group's first column.
    hold: in, the buffers' reading ports are lent to someone else in this cycle.
    left_address, right_address, reading: out, a read of both buffers. shift: out, same cycle: of the left words only the
    `WINDOW_BITS` from `shift` on are wanted; 0 without a window. tag: out, same cycle, what the words are for.
    side: out, instead: the left words hold one of the tile's sides: bit SIDE_BITS its masks, others that bit of its routes; in
    them `side_granule` is the group's place. side_end: they are the tile's last.
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
                "hold": In(1),
                "left_address": Out(16),
                "right_address": Out(16),
                "reading": Out(1),
                "shift": Out(PASS.members["strip_shift"].width),
                "tag": Out(tag_layout(config)),
                "side": Out(SIDE_BITS + 1),
                "side_granule": Out(range(config.granules)),
                "side_end": Out(1),
                "transpose": Out(1),
                "transpose_word": Out(PASS.members["words"].width),
                "transpose_plane": Out(4),
                "transpose_tile": Out(PASS.members["tiles"].width),
                "transpose_base": Out(16),
                "drained": In(1),
                "busy": Out(1),
                "waiting": Out(1),
                "signal": Out(isa.SEMAPHORES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order, granules = self.instruction.payload, self.config.granules
        m.submodules.prepare = prepare = Prepare(self.config)
        m.submodules.walk = walk = Walk()
        coming, this = prepare.tile, Signal(tile_layout(self.config), reset_less=True)
        is_pass = order.opcode == isa.Opcode.PASS
        is_backward = order.head == isa.Head.BACKWARD
        strips = order.window != 0
        begins_group = coming.payload.meta.first & (order.head != isa.Head.UPDATE) & ~order.inference
        m.d.comb += [
            prepare.order.eq(order),
            walk.order.eq(order),
            walk.right_planes.eq(Mux(is_pass, order.right_planes, 1)),
            walk.left_start.eq(coming.payload.left),
            walk.right_start.eq(coming.payload.right),
            walk.last_y.eq(coming.payload.last_y),
            walk.last_x.eq(coming.payload.last_x),
            self.head.payload.eq(order),
            self.pivots.payload.channel.eq(coming.payload.channel),
            self.pivots.payload.forward.eq(~is_backward),
            self.pivots.payload.group.eq(coming.payload.group),
            self.pivots.payload.fresh.eq(order.fresh),
            self.side_granule.eq(this.granule),
            self.transpose_word.eq(walk.word),
            self.transpose_plane.eq(walk.plane),
            self.transpose_tile.eq(this.column_word),
            self.transpose_base.eq(this.columns),
            self.right_address.eq(walk.right),
            self.shift.eq(Mux(strips, this.shift, 0)),
            self.tag.first.eq(walk.first),
            self.tag.double.eq(walk.double),
            self.tag.last.eq(walk.last),
            self.tag.low.eq(Mux(strips, this.low, 0)),
            self.tag.high.eq(Mux(strips, this.high, Mux(walk.last_word, order.tail, self.config.word))),
            self.tag.meta.eq(this.meta),
        ]
        with m.If(this.empty):
            m.d.comb += [self.tag.low.eq(0), self.tag.high.eq(0)]

        def take_tile() -> None:
            """Go on with the next tile, when it and, if it begins a group, the statistics are ready for it."""
            # What comes is looked at again until it is taken: whether it is, is known late.
            m.d.comb += [self.pivots.valid.eq(coming.valid & begins_group), walk.tile.eq(1)]
            m.d.sync += this.eq(coming.payload)
            m.next = "TILE"
            with m.If(coming.valid & (self.pivots.ready | ~begins_group)):
                m.d.comb += coming.ready.eq(1)
                m.next = "MULTIPLY"

        def end_tile() -> None:
            with m.If(this.ends):
                m.d.comb += self.instruction.ready.eq(1)
                m.next = "IDLE"
            with m.Else():
                take_tile()

        # One tile may end before the tile ahead of it has drained, if `drained` says that it will have in time.
        credit = Signal(init=1)
        spend = Signal()
        with m.If(self.drained != spend):
            m.d.sync += credit.eq(self.drained)

        side, side_address = Signal(SIDE_BITS + 1, reset_less=True), Signal(16, reset_less=True)
        pause, plane = Signal(range(max(2, granules))), Signal(4)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.instruction.valid & ~is_pass):
                    m.d.comb += prepare.begin.eq(1)
                    m.next = "TRANSPOSE TILE"
                with m.Elif(self.instruction.valid):
                    m.d.comb += self.head.valid.eq(1)
                    with m.If(self.head.ready):
                        m.d.comb += prepare.begin.eq(1)
                        m.next = "TILE"
            with m.State("TILE"):
                take_tile()
            with m.State("MULTIPLY"):
                m.d.comb += [
                    self.left_address.eq(walk.left),
                    self.waiting.eq(walk.last & ~credit),
                    self.busy.eq(~self.waiting & ~self.hold),
                    self.reading.eq(self.busy),
                    self.tag.valid.eq(self.busy),
                ]
                m.d.sync += side.eq(1 << SIDE_BITS)
                with m.If(self.busy):
                    m.d.comb += walk.step.eq(1)
                    with m.If(walk.last):
                        m.d.comb += spend.eq(1)
                        with m.If(is_backward):
                            m.next = "SIDES"
                        with m.Else():
                            end_tile()
            # A backward tile is followed by its sides: the masks, with a pool the lower bits of the routes, then the upper ones.
            with m.State("SIDES"):
                last_side = Mux(order.pool == isa.Pool.NONE, side[SIDE_BITS], side[SIDE_BITS - 1])
                m.d.comb += [
                    self.reading.eq(~self.hold),
                    self.left_address.eq(Mux(side[SIDE_BITS], this.side, side_address)),
                ]
                with m.If(~self.hold):
                    m.d.comb += self.side.eq(side)
                    m.d.sync += [side.eq(side.rotate_left(1)), side_address.eq(self.left_address + order.side_plane)]
                    with m.If(last_side):
                        m.d.comb += self.side_end.eq(1)
                        end_tile()

            # Word by word, so slowly that the granules of a word are written before the next word comes.
            with m.State("TRANSPOSE TILE"):
                with m.If(coming.valid):
                    m.d.comb += [coming.ready.eq(1), walk.tile.eq(1)]
                    m.d.sync += this.eq(coming.payload)
                    m.next = "TRANSPOSE"
            with m.State("TRANSPOSE"):
                begin_word = (pause == 0) & ~self.hold
                m.d.comb += [self.left_address.eq(walk.left), self.reading.eq(begin_word), self.transpose.eq(begin_word)]
                with m.If(begin_word | (pause != 0)):
                    m.d.sync += pause.eq(pause + 1)
                    with m.If(pause == granules - 1):
                        m.d.sync += [pause.eq(0), plane.eq(0)]
                        m.d.comb += walk.step.eq(1)
                        with m.If(walk.last):
                            m.next = "TRANSPOSE TILE"
                            with m.If(this.ends):
                                m.next = "TRANSPOSE END"
            with m.State("TRANSPOSE END"):
                # Until the last word has come out of the buffer and its granules have been written.
                m.d.sync += plane.eq(plane + 1)
                with m.If(plane == READ_LATENCY + 1):
                    m.d.comb += [self.signal.eq(order.signal), self.instruction.ready.eq(1)]
                    m.next = "IDLE"
        return m
