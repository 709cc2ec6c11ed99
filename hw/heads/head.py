"""The heads' conductor: takes the sums of a pass to their end, group by group and tile by tile."""

from __future__ import annotations

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.hw.buffers import tile_buffer
from bnnedge.hw.buffers.tile_register import TileRegister
from bnnedge.hw.heads import emit, parameters, softmax
from bnnedge.hw.heads.random import RandomRows
from bnnedge.hw.heads.statistics import sums_layout
from bnnedge.hw.heads.update import BEAT, Update
from bnnedge.hw.layouts import PASS, RECORD, tile_row

ROW_QUEUE = 8  # rows of gradient signs read ahead of the update
SETTLE = 8  # cycles after which the last row of a pass has left every pipeline


class Head(wiring.Component):
    """Carries out the second half of PASS instructions, one after another.

    FORWARD: for each group: parameters, then its rows -> signs and masks.
    BACKWARD: exponent; for each group: parameters, then its rows -> gradient codes; exponent.
    LOSS: for each group: parameters; softmax over the whole batch; then as BACKWARD.
    UPDATE: each row of sums gives the signs of a row of gradients.

    Members
    -------
    order: in stream, from `Fetch`. group: in stream, from `Statistics`. seed: in.
    available, offset, row, pop, rewrite...: the tile buffer's.
    record_address, record, record_write...: parameter memory, read latency 1.
    latents: out stream, address and beats for the reader and the writer; old, new: the beats; written: in, writer idle.
    label, score, score_last, loss, hits: see `Softmax`.
    left, right, left_blocked: see `TileRegister`.
    signal: out, semaphores to raise at the end of a pass. stalled: out, the update waits for memory.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.tile_register = TileRegister(config)
        self.softmax = softmax.Softmax(config)
        rows = range(config.tile_rows)
        super().__init__(
            {
                "order": In(stream.Signature(PASS)),
                "group": In(stream.Signature(sums_layout(config))),
                "seed": In(64),
                "available": In(range(config.tile_rows + 1)),
                "offset": Out(rows),
                "row": In(tile_row(config)),
                "pop": Out(1),
                "record_address": Out(range(config.channels)),
                "record": In(RECORD),
                "record_write": Out(1),
                "record_write_address": Out(range(config.channels)),
                "record_write_data": Out(RECORD),
                "latents": Out(stream.Signature(data.StructLayout({"address": 32, "beats": 32}))),
                "old": In(stream.Signature(BEAT)),
                "new": Out(stream.Signature(BEAT)),
                "written": In(1),
                "signal": Out(isa.SEMAPHORES),
                "busy": Out(1),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        order = self.order.payload
        m.submodules.parameters = params = parameters.Parameters(config)
        m.submodules.emit = emitter = emit.Emit(config)
        m.submodules.softmax = loss = self.softmax
        m.submodules.update = update = Update(config)
        m.submodules.tile_register = register = self.tile_register
        m.submodules.random = random = RandomRows(config)
        m.submodules.random_beta = random_beta = RandomRows(config)

        is_update, is_loss = order.head == isa.Head.UPDATE, order.head == isa.Head.LOSS
        group, tile, row = Signal(10), Signal(10), Signal(range(lanes))
        channel = Signal(14)
        last_group, last_tile, last_row = Signal(), Signal(), Signal()
        coding = Signal()  # this pass, or this half of a LOSS pass, ends in gradient codes
        begin_coding = Signal()
        m.d.comb += [
            last_group.eq(group == order.groups - 1),
            last_tile.eq(tile == order.tiles - 1),
            last_row.eq(row == lanes - 1),
            register.order.eq(order),
            random.begin.eq(register.begin),
            random.kind.eq(Mux(is_update, Kind.WEIGHT, Kind.CODE)),
            random.tiles.eq(order.tiles),
            random.height.eq(lanes - 1),
            random_beta.begin.eq(register.begin),
            random_beta.kind.eq(Kind.BETA),
            random_beta.tiles.eq(1),
        ]
        for source in (random, random_beta):
            m.d.comb += [source.seed.eq(self.seed), source.step.eq(order.step), source.layer.eq(order.layer)]

        # Parameters take the batch sums of a column from the group; in the second half of a LOSS pass from the softmax.
        columns_1, columns_2 = Signal(sums_layout(config).elem_shape), Signal(sums_layout(config).elem_shape)
        columns_3 = Signal(sums_layout(config).elem_shape)
        m.d.sync += [
            columns_1.eq(Array(self.group.payload[i].as_value() for i in range(lanes))[params.column_needed]),
            columns_2.eq(columns_1),
            columns_3.eq(columns_2),
        ]
        m.d.comb += [
            params.sums.eq(Mux(coding & is_loss, loss.sums, columns_3)),
            loss.sums_class.eq(channel - order.channel + params.column_needed),
            params.backward.eq(coding),
            params.inference.eq(order.inference),
            params.sign_sgd.eq(order.sign_sgd),
            params.channel.eq(channel),
            params.batch_log2.eq(order.batch_log2),
            params.decay.eq(Mux(order.step > formats.DECAY, formats.DECAY, order.step)),
            params.rate.eq(order.rate),
            params.random.eq(random_beta.row.payload),
            params.record.eq(self.record),
            loss.load.eq(params.valid & is_loss & ~coding),
            loss.load_class.eq(channel - order.channel + params.column),
            loss.parameters.eq(params.result),
            loss.inference.eq(order.inference),
            loss.images.eq(1 << order.batch_log2),
            loss.classes.eq((order.groups - 1) * lanes + order.columns),
            loss.row.eq(self.row),
            self.offset.eq(loss.offset),
        ]

        # The exponent: E chains the layers of a backward pass, `above` is the sum of the exponents so far.
        above, absolute = Signal(signed(formats.EXPONENT_BITS)), Signal(signed(formats.EXPONENT_BITS))
        exponent = Signal(range(formats.MAX_EXPONENT + 1))
        relative = Signal(signed(formats.EXPONENT_BITS + 1))
        magnitude_log2 = Signal(signed(8))
        threshold = Signal(emit.MAGNITUDE_BITS + 1)
        at_exponent, write_exponent = Signal(), Signal()
        fresh = Signal(RECORD)
        m.d.comb += [
            relative.eq(self.record.mu - above),
            absolute.eq(above + magnitude_log2 + order.headroom + 1 - order.columns_planes),
            fresh.mu.eq(absolute),
            self.record_address.eq(Mux(at_exponent, order.exponent, params.address)),
            self.record_write.eq(params.write | write_exponent),
            self.record_write_address.eq(Mux(write_exponent, order.exponent, params.write_address)),
            self.record_write_data.eq(Mux(write_exponent, fresh, params.write_record)),
        ]

        # Rows on their way to the emitter, with their random bits.
        issue = Signal()
        issued = [issue]
        randoms = [random.row.payload]
        for stage in range(tile_buffer.READ_LATENCY):
            issued.append(Signal(name=f"issued_{stage}"))
            randoms.append(Signal(64, name=f"random_{stage}"))
            m.d.sync += [issued[-1].eq(issued[-2]), randoms[-1].eq(randoms[-2])]
        m.d.comb += [
            emitter.load.eq(params.valid),
            emitter.column.eq(params.column),
            emitter.result.eq(params.result),
            emitter.backward.eq(coding),
            emitter.gradient_planes.eq(order.columns_planes),
            emitter.exponent.eq(exponent),
            emitter.valid.eq(issued[-1]),
            emitter.row.eq(self.row),
            emitter.random.eq(randoms[-1]),
            emitter.clear.eq(begin_coding),
        ]

        # Rows on their way to the update: signs of the gradients, read ahead.
        m.submodules.row_queue = queue = fifo.SyncFIFOBuffered(width=lanes, depth=ROW_QUEUE)
        ahead = Signal(range(ROW_QUEUE + 1))
        read_ahead = Signal()
        updating = Signal()
        unread = Signal(32)  # rows of this pass that have not been read; those behind them are the next pass's
        fed = Signal(range(lanes))
        feed_allowed = Signal()
        m.d.comb += [
            read_ahead.eq(updating & (unread != 0) & (self.available != 0) & (ahead != ROW_QUEUE)),
            queue.w_data.eq(Cat(~self.row[j].value[-1] for j in range(lanes))),
            queue.w_en.eq(issued[-1] & updating),
            feed_allowed.eq((fed != 0) | register.room),
            update.rows.valid.eq(queue.r_rdy & random.row.valid & feed_allowed),
            update.rows.payload.positive.eq(queue.r_data),
            update.rows.payload.random.eq(random.row.payload),
            queue.r_en.eq(update.rows.ready & updating),
            update.rate.eq(order.rate),
            update.sign_sgd.eq(order.sign_sgd),
            self.stalled.eq(update.stalled),
        ]
        m.d.sync += ahead.eq(ahead + read_ahead - (update.rows.ready & updating))
        with m.If(read_ahead):
            m.d.sync += unread.eq(unread - 1)
        with m.If(update.rows.ready):
            m.d.sync += fed.eq(fed + 1)
        wiring.connect(m, wiring.flipped(self.old), update.old)
        wiring.connect(m, update.new, wiring.flipped(self.new))
        pass_rows = Signal(32)
        m.d.comb += [
            pass_rows.eq(order.groups * order.tiles * lanes),
            self.latents.payload.address.eq(order.address),
            self.latents.payload.beats.eq(pass_rows * config.beats_per_row),
        ]

        with m.If(updating):
            m.d.comb += [register.shift.eq(update.shift), register.planes[0].eq(update.signs)]
        with m.Else():
            m.d.comb += [register.shift.eq(emitter.shift), register.planes.eq(emitter.planes)]

        def walk_tiles(step: Signal) -> None:
            """After each row: next tile, next group."""
            with m.If(step):
                m.d.sync += row.eq(row + 1)
                with m.If(last_row):
                    m.d.sync += tile.eq(tile + 1)
                    with m.If(last_tile):
                        m.d.sync += [tile.eq(0), group.eq(group + 1), channel.eq(channel + lanes)]

        settle = Signal(range(SETTLE + 1))
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(self.order.valid)
                m.d.sync += [group.eq(0), tile.eq(0), row.eq(0), fed.eq(0), channel.eq(order.channel)]
                m.d.sync += coding.eq(order.head == isa.Head.BACKWARD)
                with m.If(self.order.valid):
                    m.d.comb += register.begin.eq(1)
                    with m.If(is_update):
                        m.next = "LATENTS"
                    with m.Elif(order.head == isa.Head.BACKWARD):
                        m.next = "READ EXPONENT"
                    with m.Else():
                        m.next = "GROUP"

            with m.State("GROUP"):
                # In the second half of a LOSS pass the sums are at hand.
                with m.If((self.group.valid | (coding & is_loss)) & (random_beta.row.valid | ~coding)):
                    m.d.comb += params.begin.eq(1)
                    m.next = "PARAMETERS"
            with m.State("PARAMETERS"):
                with m.If(params.done):
                    m.d.comb += [random_beta.row.ready.eq(coding), self.group.ready.eq(~(coding & is_loss))]
                    m.next = "ROWS"
                    with m.If(is_loss & ~coding):
                        m.d.sync += [group.eq(group + 1), channel.eq(channel + lanes)]
                        m.next = "GROUP"
                        with m.If(last_group):
                            m.d.sync += [group.eq(0), channel.eq(order.channel)]
                            m.next = "SOFTMAX"
            with m.State("SOFTMAX"):
                m.d.sync += [settle.eq(1), unread.eq(pass_rows)]
                m.d.comb += loss.begin.eq(settle != 1)
                with m.If(loss.done):
                    m.d.sync += [settle.eq(0), coding.eq(1), above.eq(0)]
                    m.next = "READ EXPONENT"
                    with m.If(order.inference):
                        m.next = "DISCARD"
            with m.State("DISCARD"):
                # this pass's rows, and no more: the next pass may have begun to send its own
                m.d.comb += self.pop.eq(unread != 0)
                with m.If(self.pop):
                    m.d.sync += unread.eq(unread - 1)
                with m.Else():
                    m.next = "END"

            with m.State("ROWS"):
                start = Signal()
                m.d.comb += [
                    start.eq((row == 0) & register.room & (random.row.valid | ~coding)),
                    register.start.eq(start),
                    issue.eq(start | (row != 0)),
                    self.pop.eq(issue),
                    random.row.ready.eq(issue & coding),
                ]
                walk_tiles(issue)
                with m.If(issue & last_row & last_tile):
                    m.next = "GROUP"
                    with m.If(last_group):
                        m.d.sync += settle.eq(0)
                        m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle + 1)
                with m.If(settle == SETTLE):
                    m.d.sync += [settle.eq(0), magnitude_log2.eq(-1), threshold.eq(order.count)]
                    m.next = "END"
                    with m.If(coding):
                        m.next = "MEASURE"

            with m.State("READ EXPONENT"):
                m.d.comb += [at_exponent.eq(1), begin_coding.eq(1)]
                m.next = "SET EXPONENT"
            with m.State("SET EXPONENT"):
                m.d.sync += exponent.eq(
                    Mux(relative < 0, 0, Mux(relative > formats.MAX_EXPONENT, formats.MAX_EXPONENT, relative))
                )
                m.next = "GROUP"
            with m.State("MEASURE"):
                # floor(log2(mean |dy|)), -1 below one
                with m.If(threshold <= emitter.magnitude):
                    m.d.sync += [threshold.eq(threshold << 1), magnitude_log2.eq(magnitude_log2 + 1)]
                with m.Else():
                    m.next = "WRITE EXPONENT"
            with m.State("WRITE EXPONENT"):
                m.d.comb += write_exponent.eq(1)
                m.d.sync += above.eq(above + exponent)
                m.next = "END"

            with m.State("LATENTS"):
                m.d.comb += self.latents.valid.eq(1)
                m.d.sync += unread.eq(pass_rows)
                with m.If(self.latents.ready):
                    m.next = "UPDATE"
            with m.State("UPDATE"):
                m.d.comb += [
                    updating.eq(1),
                    issue.eq(read_ahead),
                    self.pop.eq(read_ahead),
                    random.row.ready.eq(update.rows.ready),
                    register.start.eq(update.rows.ready & (fed == 0)),
                ]
                walk_tiles(update.rows.ready)
                with m.If(update.rows.ready & last_row & last_tile & last_group):
                    m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += updating.eq(1)
                with m.If(self.written & register.idle & ~update.new.valid):
                    m.next = "END"

            with m.State("END"):
                with m.If(register.idle):
                    m.d.comb += [self.signal.eq(order.signal), self.order.ready.eq(1)]
                    m.next = "IDLE"
        return m

