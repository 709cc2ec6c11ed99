"""Control of the heads: takes the sums of a pass to parameters and rows, group by group and tile by tile."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats, isa
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.hw.buffers import tile_buffer
from bnnedge.hw.buffers.tile_register import TileRegister
from bnnedge.hw.checks import check
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads import emit, parameters, softmax
from bnnedge.hw.heads.random import RandomRows
from bnnedge.hw.heads.totals import READ_LATENCY as TOTALS_LATENCY
from bnnedge.hw.heads.update import BEAT, WORDS, Update
from bnnedge.hw.layouts import PASS, RECORD, TOTALS, tile_row
from bnnedge.hw.loops import Loops

ROW_QUEUE = 8  # rows of gradient signs read ahead of the update
SETTLE = tile_buffer.READ_LATENCY + emit.LATENCY + 2  # cycles after which the last row of a pass has left every pipeline


class Head(wiring.Component):
    """Carries out the second half of PASS instructions, one after another.

    FORWARD: for each group: parameters, then its rows -> signs and masks.
    BACKWARD: exponent; for each group: parameters, then its rows -> gradient codes (with pooling four times, once for each
    place); exponent.
    LOSS: for each group: parameters; softmax over the whole batch; then as BACKWARD.
    UPDATE: each row of sums gives the signs of a row of gradients.
    A pass that does not emit is over when the totals have its groups.

    Members
    -------
    order: in stream, from `Fetch`. seed: in.
    added, read, address, totals: of `Totals`.
    available, offset, row, blocked, pop, rewrite...: the tile buffer's.
    record_address, record, record_write...: parameter memory, read latency 2.
    latents: out stream, address and beats for the reader and the writer; old, new: the beats; written: in, writer idle.
    label, score, score_last, loss, hits: see `Softmax`.
    left, right, left_blocked: see `TileRegister`.
    signal: out, semaphores to raise at the end of a pass. stalled: out, the update waits for memory.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.tile_register = TileRegister(config)
        self.softmax = softmax.Softmax(config)
        # Whose parameters are worked out: the parameter memory's address of the group's first channel, and which kind.
        self.channel, self.coding = Signal(range(config.channels), name="channel"), Signal(name="coding")
        rows = range(config.tile_rows)
        super().__init__(
            {
                "order": In(stream.Signature(PASS)),
                "added": In(stream.Signature(0)),
                "read": Out(1),
                "address": Out(range(config.layer_channels)),
                "totals": In(TOTALS),
                "seed": In(64),
                "available": In(range(config.tile_rows + 1)),
                "offset": Out(rows),
                "row": In(tile_row(config)),
                "blocked": In(1),
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

        m.submodules.loops = loops = Loops()
        is_update, is_loss = Signal(), Signal()
        row = Signal(range(lanes))
        last_row = row == lanes - 1
        group = Signal(10)  # that the parameters are of
        final_group, last_group = Signal.like(group), Signal()
        channel, coding = self.channel, self.coding  # coding: this pass, or this half of a LOSS pass, ends in gradient codes
        begin_coding = Signal()
        places, sweeps = Signal(), Signal()  # tiles come, or each goes out, once for each of four places
        # What the order says, from registers, a cycle behind it.
        backward, forward = order.head == isa.Head.BACKWARD, order.head == isa.Head.FORWARD
        backward_places = backward & (order.pool != isa.Pool.NONE)
        m.d.sync += [
            is_update.eq(order.head == isa.Head.UPDATE),
            is_loss.eq(order.head == isa.Head.LOSS),
            sweeps.eq(backward_places),
            places.eq(backward_places | (forward & (order.pool == isa.Pool.SIGNS))),
            final_group.eq(order.groups - 1),
        ]
        m.d.comb += [
            last_group.eq(group == final_group),
            loops.order.eq(order),
            loops.places.eq(places),
            loops.begin.eq(register.begin),
            register.order.eq(order),
            register.places.eq(places),
            random.begin.eq(register.begin),
            random.kind.eq(Mux(is_update, Kind.WEIGHT, Kind.CODE)),
            random.height.eq(lanes - 1),
            random.places.eq(places),
            random_beta.begin.eq(register.begin),
            random_beta.kind.eq(Kind.BETA),
            random_beta.flat.eq(1),
        ]
        for source in (random, random_beta):
            m.d.comb += [source.seed.eq(self.seed), source.order.eq(order)]

        # Parameters take a column's sums from the totals; in the second half of a LOSS pass from the softmax.
        assert parameters.SUMS_LATENCY == softmax.SUMS_LATENCY
        sums = delayed(m, self.totals.as_value(), parameters.SUMS_LATENCY - TOTALS_LATENCY, "sums")
        from_loss = Signal()
        m.d.sync += [from_loss.eq(coding & is_loss), loss.classes.eq(final_group * lanes + order.columns)]
        settings = ("inference", "sign_sgd", "commit", "reciprocal", "mean_log2", "rate")
        m.d.sync += [getattr(params, name).eq(getattr(order, name)) for name in settings]
        m.d.sync += params.decay.eq(Mux(order.step > formats.DECAY, formats.DECAY, order.step))
        m.d.comb += [
            self.address.eq((order.first_group + group) * lanes + params.column_needed),
            params.sums.eq(Mux(from_loss, loss.sums.as_value(), sums)),
            loss.sums_class.eq(group * lanes + params.column_needed),
            params.backward.eq(coding),
            params.channel.eq(channel),
            params.random.eq(random_beta.row.payload),
            params.record.eq(self.record),
            loss.load.eq(params.valid & is_loss & ~coding),
            loss.load_class.eq(group * lanes + params.column),
            loss.parameters.eq(params.result),
            loss.inference.eq(order.inference),
            loss.images.eq(1 << order.batch_log2),
            loss.row.eq(self.row),
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
        ]
        m.d.sync += [
            self.record_write.eq(params.write | write_exponent),
            self.record_write_address.eq(Mux(write_exponent, order.exponent, params.write_address)),
            self.record_write_data.eq(Mux(write_exponent, fresh, params.write_record)),
        ]

        # Rows on their way to the emitter, with their random bits.
        issue = Signal()
        issued: list[Value] = [issue]
        randoms: list[Value] = [random.row.payload]
        numbers: list[Value] = [Cat(row, loops.place)]
        for stage in range(tile_buffer.READ_LATENCY):
            for values, name in ((issued, "issued"), (randoms, "random"), (numbers, "number")):
                values.append(Signal(len(values[-1]), name=f"{name}_{stage}"))
                m.d.sync += values[-1].eq(values[-2])
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
            emitter.pool.eq(order.pool),
            emitter.row_number.eq(numbers[-1][: len(row)]),
            emitter.place.eq(numbers[-1][len(row) :]),
            emitter.clear.eq(begin_coding),
        ]

        # Rows on their way to the update, read ahead: signs of the gradients, and random bits.
        m.submodules.row_queue = queue = fifo.SyncFIFOBuffered(width=update.rows.payload.shape().size, depth=ROW_QUEUE)
        ahead = Signal(range(ROW_QUEUE + 1))
        read_ahead = Signal()
        updating = Signal()
        unread, more = Signal(32), Signal()  # rows of this pass that have not been read; behind them come the next pass's
        fed = Signal(range(lanes))
        feed_allowed = Signal()
        m.d.comb += [
            read_ahead.eq(updating & more & (self.available != 0) & (ahead != ROW_QUEUE) & random.row.valid & ~self.blocked),
            queue.w_data.eq(Cat(Cat(self.row[j].slope >= 0 for j in range(lanes)), randoms[-1])),
            queue.w_en.eq(issued[-1] & updating),
            feed_allowed.eq((fed != 0) | register.room),
            update.rows.valid.eq(queue.r_rdy & feed_allowed),
            update.rows.payload.eq(queue.r_data),
            queue.r_en.eq(update.rows.ready & updating),
            update.rate.eq(order.rate),
            update.sign_sgd.eq(order.sign_sgd),
            self.stalled.eq(update.stalled),
        ]
        m.d.sync += ahead.eq(ahead + read_ahead - (update.rows.ready & updating))
        m.d.sync += more.eq((unread != 0) & ~(read_ahead & (unread == 1)))
        with m.If(read_ahead):
            m.d.sync += unread.eq(unread - 1)
        with m.If(update.rows.ready):
            m.d.sync += fed.eq(fed + 1)
        wiring.connect(m, wiring.flipped(self.old), update.old)
        wiring.connect(m, update.new, wiring.flipped(self.new))
        beats = order.rows * (lanes // WORDS)
        if config.weight_word == 12:
            beats = beats - (beats >> 2)  # whole tiles are whole fours of beats
        m.d.comb += [self.latents.payload.address.eq(order.address), self.latents.payload.beats.eq(beats)]

        with m.If(updating):
            m.d.comb += [register.shift.eq(update.shift), register.planes[0].eq(update.signs)]
        with m.Else():
            m.d.comb += [register.shift.eq(emitter.shift), register.planes.eq(emitter.planes)]

        last_channel = order.channel + order.groups * lanes - 1
        message = "parameter memory: the head reaches address {}, beyond its depth"
        check(m, platform, params.begin, last_channel < config.channels, message, last_channel)
        check(m, platform, at_exponent | write_exponent, order.exponent < config.channels, message, order.exponent)
        logits, classes = (final_group + 1) << order.batch_log2, final_group * lanes + order.columns
        check(m, platform, loss.begin, classes <= softmax.CLASSES, "softmax: {} classes are too many", classes)
        images = 1 << order.batch_log2
        check(m, platform, loss.begin, images <= softmax.IMAGES, "softmax: a batch of {} images is too large", images)
        check(m, platform, loss.begin, logits <= config.tile_rows, "softmax: the batch takes {} rows of the tile buffer", logits)

        tile_fed = Signal()
        m.d.sync += tile_fed.eq(0)
        with m.If(tile_fed):
            m.d.comb += loops.step.eq(1)

        settle = Signal(range(SETTLE + 1))
        enough = Signal()  # rows of a whole tile are there
        m.d.sync += enough.eq(Mux(self.pop, self.available > lanes, self.available >= lanes))
        m.d.comb += [self.busy.eq(1), self.offset.eq(loss.offset)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(self.order.valid)
                m.d.sync += [group.eq(0), row.eq(0), fed.eq(0), channel.eq(order.channel)]
                m.d.sync += coding.eq(backward)
                with m.If(self.order.valid):
                    m.d.comb += register.begin.eq(1)
                    with m.If(~order.emit):
                        m.next = "COLLECT"
                    with m.Elif(order.head == isa.Head.UPDATE):
                        m.next = "LATENTS"
                    with m.Elif(backward & order.opens):
                        m.next = "READ EXPONENT"
                    with m.Else():
                        m.next = "GROUP"

            with m.State("COLLECT"):
                m.d.comb += self.added.ready.eq(1)
                with m.If(self.added.valid):
                    m.d.sync += group.eq(group + 1)
                    with m.If(last_group):
                        m.next = "END"

            with m.State("GROUP"):
                # Sums that this pass adds to have to wait for it; in the second half of a LOSS pass they are at hand.
                waits = order.statistics & ~(coding & is_loss)
                ready = ~waits | self.added.valid
                with m.If(ready & (random_beta.row.valid | ~coding)):
                    m.d.comb += [params.begin.eq(1), self.added.ready.eq(waits)]
                    m.next = "PARAMETERS"
            with m.State("PARAMETERS"):
                m.d.comb += self.read.eq(1)
                with m.If(params.done):
                    m.d.comb += random_beta.row.ready.eq(coding)
                    m.next = "ROWS"
                    with m.If(is_loss & ~coding):
                        m.d.sync += [group.eq(group + 1), channel.eq(channel + lanes)]
                        m.next = "GROUP"
                        with m.If(last_group):
                            m.d.sync += [group.eq(0), channel.eq(order.channel)]
                            m.next = "SOFTMAX"
            with m.State("SOFTMAX"):
                m.d.sync += [settle.eq(1), unread.eq(order.groups << order.batch_log2)]
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
                again = sweeps & (loops.place != 3)  # the rows are wanted once more
                m.d.comb += [
                    start.eq((row == 0) & register.room & (random.row.valid | ~coding) & enough),
                    issue.eq((start | (row != 0)) & ~self.blocked),
                    register.start.eq(start & issue),
                    self.pop.eq(issue & ~again),
                    self.offset.eq(Mux(again, row, 0)),
                    random.row.ready.eq(issue & coding),
                ]
                with m.If(issue):
                    m.d.sync += row.eq(row + 1)
                    m.d.comb += loops.step.eq(last_row)
                with m.If(issue & last_row & loops.last):
                    m.d.sync += [group.eq(group + 1), channel.eq(channel + lanes)]
                    m.next = "GROUP"
                    with m.If(last_group):
                        m.d.sync += settle.eq(0)
                        m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(settle + 1)
                with m.If(settle == SETTLE):
                    m.d.sync += [settle.eq(0), magnitude_log2.eq(-1), threshold.eq(order.count)]
                    m.next = "END"
                    with m.If(coding & (order.closes | is_loss)):
                        m.next = "MEASURE"

            with m.State("READ EXPONENT"):
                m.d.comb += [at_exponent.eq(1), begin_coding.eq(1)]
                m.next = "AWAIT EXPONENT"
            with m.State("AWAIT EXPONENT"):
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
                m.d.sync += unread.eq(order.rows)
                with m.If(self.latents.ready):
                    m.next = "UPDATE"
            with m.State("UPDATE"):
                # The loops tell here the last tile alone: they may step a cycle later.
                m.d.comb += [
                    updating.eq(1),
                    issue.eq(read_ahead),
                    self.pop.eq(read_ahead),
                    self.offset.eq(0),
                    random.row.ready.eq(read_ahead),
                    register.start.eq(update.rows.ready & (fed == 0)),
                ]
                with m.If(update.rows.ready):
                    m.d.sync += [row.eq(row + 1), tile_fed.eq(last_row)]
                with m.If(update.rows.ready & last_row & loops.ends):
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
