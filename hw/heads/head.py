"""Control of the heads: takes the sums of a pass to parameters and rows, group by group and tile by tile."""

from __future__ import annotations

import itertools

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.formats import Kind
from bnnedge.hw.buffers import tile_buffer
from bnnedge.hw.buffers.tile_register import TileRegister
from bnnedge.hw.bus.burst import TRANSFER
from bnnedge.hw.checks import check
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads import emit, softmax
from bnnedge.hw.heads.averages import Averages
from bnnedge.hw.heads.exponent import Exponent
from bnnedge.hw.heads.feed import Feed
from bnnedge.hw.heads.random import RandomRows
from bnnedge.hw.heads.thresholds import Thresholds
from bnnedge.hw.heads.update import BEAT, WORDS, Update
from bnnedge.hw.layouts import PASS, RECORD, TOTALS, tile_row
from bnnedge.hw.loops import Loops


class Head(wiring.Component):
    """Carries out the second half of PASS instructions, one after another.

    FORWARD: rows -> signs, masks and routes. BACKWARD: exponent; rows -> gradient codes (with pooling four times, once for
    each place); exponent. LOSS: averages; softmax over the whole batch; then as BACKWARD. UPDATE: each row of sums gives the
    signs of a row of gradients; an unfinished pass is over when its sums are in the tile buffer.

    Three conductors go through the groups of a pass: one prepares the thresholds of the next group while another one issues
    the rows of this one; the third moves the averages behind the sums that the totals tell of. It is ahead of the other two in
    a pass whose gradients wait to be centred by their own mean.

    Members
    -------
    order: in stream, from `Fetch`. seed: in.
    added, address, totals: of `Totals`.
    available, offset, row, blocked, pop, rewrite...: the tile buffer's.
    record_read, record_address, record, record_write...: parameter memory, read latency 2.
    latents: out stream, address and beats for the reader and the writer; old, new: the beats; written: in, writer idle.
    label, score, score_last, loss, hits: see `Softmax`.
    left, right, left_blocked: see `TileRegister`.
    signal: out, semaphores to raise at the end of a pass. stalled: out, the update waits for memory.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.tile_register = TileRegister(config)
        self.softmax = softmax.Softmax(config)
        # For assertions: totals are read on behalf of the group whose first channel this is, of sums of this kind.
        self.reading, self.coding = Signal(name="reading"), Signal(name="coding")
        self.channel = Signal(range(config.channels), name="channel")
        rows = range(config.tile_rows)
        super().__init__(
            {
                "order": In(stream.Signature(PASS)),
                "added": In(stream.Signature(0)),
                "address": Out(range(config.layer_channels)),
                "totals": In(TOTALS),
                "seed": In(64),
                "available": In(range(config.tile_rows + 1)),
                "offset": Out(rows),
                "row": In(tile_row(config)),
                "blocked": In(1),
                "pop": Out(1),
                "record_read": Out(1),
                "record_address": Out(range(config.channels)),
                "record": In(RECORD),
                "record_write": Out(1),
                "record_write_address": Out(range(config.channels)),
                "record_write_data": Out(RECORD),
                "latents": Out(stream.Signature(TRANSFER)),
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
        m.submodules.thresholds = thresholds = Thresholds(config)
        m.submodules.averages = averages = Averages(config)
        m.submodules.exponent = exponent = Exponent()
        m.submodules.emit = emitter = emit.Emit(config)
        m.submodules.softmax = loss = self.softmax
        m.submodules.feed = feed = Feed(config)
        m.submodules.update = update = Update(config)
        m.submodules.tile_register = register = self.tile_register
        m.submodules.random = random = RandomRows(config)
        m.submodules.loops = loops = Loops()

        # What the order says, from registers, a cycle behind it.
        is_update, is_loss, own_centre, last_coding, sweeps, gathers = (Signal() for _ in range(6))
        last_group = Signal(PASS.members["groups"].width, reset_less=True)
        backward, forward = order.head == isa.Head.BACKWARD, order.head == isa.Head.FORWARD
        m.d.sync += [
            is_update.eq(order.head == isa.Head.UPDATE),
            is_loss.eq(order.head == isa.Head.LOSS),
            own_centre.eq(order.own_centre),
            last_coding.eq(order.closes | is_loss),
            sweeps.eq(backward & (order.pool != isa.Pool.NONE)),  # each tile goes out once for each of four places
            gathers.eq(forward & (order.pool == isa.Pool.SIGNS)),  # tiles of four places come, and one goes out
            last_group.eq(order.groups - 1),
            loss.classes.eq(last_group * lanes + order.columns),
        ]
        coding = self.coding  # this pass, or this half of a LOSS pass, ends in gradient codes
        m.d.comb += [
            loops.order.eq(order),
            loops.places.eq(sweeps | gathers),
            loops.begin.eq(register.begin),
            register.order.eq(order),
            random.begin.eq(register.begin),
            random.order.eq(order),
            random.seed.eq(self.seed),
            random.kind.eq(Mux(is_update, Kind.WEIGHT, Kind.CODE)),
            random.height.eq(lanes - 1),
            random.places.eq(sweeps),
            exponent.order.eq(order),
            exponent.top.eq(is_loss),
            exponent.clipped.eq(emitter.clipped),
            exponent.large.eq(emitter.large),
            emitter.clear.eq(exponent.open),
        ]

        # The parameter memory: who reads it.
        m.d.comb += [
            self.record_read.eq(exponent.reading | averages.reading_record | thresholds.reading),
            self.record_address.eq(
                Mux(exponent.reading, order.exponent, Mux(averages.reading_record, averages.address, thresholds.address))
            ),
            *(unit.record.eq(self.record) for unit in (thresholds, averages, exponent)),
        ]
        write_address = Mux(exponent.write, order.exponent, averages.write_address)
        write_record = Mux(exponent.write, exponent.write_record.as_value(), averages.write_record.as_value())
        m.d.sync += self.record_write.eq(averages.write | exponent.write)
        m.d.comb += [
            self.record_write_address.eq(delayed(m, write_address, 1, "write_address")),
            self.record_write_data.eq(delayed(m, write_record, 1, "write_record")),
        ]

        # Thresholds of the next group, ahead of its rows; averages, behind the sums that the totals or the softmax tell of.
        opens_group = Signal()  # the first row of a group is issued
        found = Signal()  # what the next group's thresholds come from
        m.d.comb += [
            thresholds.channel.eq(order.channel),
            thresholds.last_group.eq(last_group),
            thresholds.backward.eq(coding),
            thresholds.own.eq(own_centre),
            thresholds.shift.eq(exponent.shift),
            thresholds.centred.eq(averages.centred),
            thresholds.own_column.eq(averages.class_column),
            thresholds.own_centre.eq(averages.own_centre),
            thresholds.granted.eq(~averages.claims & found),
            thresholds.take.eq(opens_group),
            averages.channel.eq(order.channel),
            averages.last_group.eq(last_group),
            averages.backward.eq(coding),
            averages.last.eq(is_loss),
            averages.shift.eq(exponent.shift),
            # Sums may be far ahead of the rows: a group's record stays as it is until its thresholds come from it. In a pass with
            # own centres it is the other way round: thresholds come from a group's means, before those of the next one are found.
            found.eq(~own_centre | averages.done | (averages.group > thresholds.groups_read)),
            averages.granted.eq(
                ~((thresholds.wants & found) | thresholds.reading)
                & ((is_loss & ~coding) | (averages.group < thresholds.groups_read + own_centre))
            ),
        ]
        from_loss, logits = Signal(), Signal(range(softmax.CLASSES * softmax.IMAGES), reset_less=True)
        settings = ("inference", "commit", "reciprocal", "mean_log2", "step", "rate", "decay")
        m.d.comb += [getattr(averages, name).eq(delayed(m, getattr(order, name), 1, name)) for name in settings]
        m.d.sync += [
            from_loss.eq(is_loss & coding),
            averages.waits.eq(is_update | ~(order.inference | from_loss)),
            averages.walks.eq(~is_update & (order.commit | is_loss)),
        ]
        wiring.connect(m, wiring.flipped(self.added), averages.added)
        m.d.comb += [
            self.address.eq((order.first_group + averages.group) * lanes + averages.column),
            averages.sums.eq(Mux(from_loss, loss.sums.as_value(), self.totals.as_value())),
            loss.sums_class.eq(averages.group * lanes + averages.column),
            loss.load.eq(averages.valid & is_loss),
            loss.load_class.eq(averages.group * lanes + averages.class_column),
            loss.of_class.eq(averages.of_class),
            loss.inference.eq(order.inference),
            loss.images.eq(order.images),
            loss.row.eq(self.row),
            self.reading.eq(averages.reading & averages.waits),
            self.channel.eq(order.channel + averages.group * lanes),
        ]
        with m.If(loss.load & (averages.class_column == 0)):  # rows of the tile buffer that a LOSS pass takes
            m.d.sync += logits.eq(logits + order.images)

        # Rows on their way to the emitter, with their random bits.
        row = Signal(range(lanes))
        last_row = row == lanes - 1
        issue = Signal()
        ways = tile_buffer.READ_LATENCY
        issued = [issue, *(Signal(name=f"issued_{stage}") for stage in range(ways))]
        m.d.sync += [later.eq(earlier) for earlier, later in itertools.pairwise(issued)]
        random_bits = delayed(m, random.row.payload, ways, "random")
        m.d.comb += [
            emitter.load.eq(thresholds.valid),
            emitter.result.eq(thresholds.result),
            emitter.swap.eq(delayed(m, opens_group, ways - 1, "swap")),
            emitter.backward.eq(coding),
            emitter.pool.eq(order.pool),
            emitter.gradient_planes.eq(order.columns_planes),
            emitter.twin.eq(order.twin),
            emitter.exponent.eq(exponent.exponent),
            emitter.valid.eq(issued[-1]),
            emitter.row.eq(self.row),
            emitter.random.eq(random_bits),
            emitter.row_number.eq(delayed(m, row, ways, "row")),
            emitter.place.eq(delayed(m, loops.place, ways, "place")),
        ]

        # Rows on their way to the update, and latent weights.
        updating = Signal()
        m.d.comb += [
            feed.rows.eq(order.rows),
            feed.active.eq(updating),
            feed.there.eq((self.available != 0) & random.row.valid & ~self.blocked),
            feed.came.eq(issued[-1] & updating),
            feed.positive.eq(Cat(self.row[j].slope >= 0 for j in range(lanes))),
            feed.random.eq(random_bits),
            feed.room.eq(register.room),
            update.rate.eq(order.rate),
            update.sign_sgd.eq(order.sign_sgd),
            self.stalled.eq(update.stalled),
        ]
        wiring.connect(m, feed.row, update.rows)
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
        reaches = thresholds.begin | (averages.begin & ~is_update)
        check(m, platform, reaches, last_channel < config.channels, message, last_channel)
        check(m, platform, exponent.reading | exponent.write, order.exponent < config.channels, message, order.exponent)

        tile_fed = Signal()
        m.d.sync += tile_fed.eq(0)
        with m.If(tile_fed):
            m.d.comb += loops.step.eq(1)

        # Cycles after which the last row of a pass has left every pipeline, and its codes are counted.
        settles = tile_buffer.READ_LATENCY + emit.LATENCY + emit.counted(lanes) - 1
        settle = Signal(range(settles + 1))
        enough, whole = Signal(), Signal()  # rows of a tile are there, rows of the whole batch
        m.d.sync += enough.eq(Mux(self.pop, self.available > lanes, self.available >= lanes))
        m.d.sync += whole.eq(self.available >= logits)
        m.d.comb += [self.busy.eq(1), self.offset.eq(loss.offset)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(self.order.valid)
                m.d.sync += [row.eq(0), settle.eq(0), logits.eq(0), coding.eq(backward)]
                with m.If(self.order.valid):
                    m.d.comb += register.begin.eq(1)
                    m.next = "BEGIN"
                    with m.If((order.head == isa.Head.LOSS) | order.unfinished):
                        m.next = "SUMS"
                    with m.Elif(order.head == isa.Head.UPDATE):
                        m.next = "LATENTS"
                    with m.Elif(backward & order.opens):
                        m.next = "OPEN"

            # A batch's sums, to their end.
            with m.State("SUMS"):
                m.d.comb += averages.begin.eq(1)
                m.next = "COLLECT"
            with m.State("COLLECT"):
                with m.If(averages.done):
                    m.next = "END"
                    with m.If(is_loss):
                        m.next = "LOGITS"
            with m.State("LOGITS"):
                m.d.comb += loss.begin.eq(whole)
                for value, most, message in (
                    (loss.classes, softmax.CLASSES, "{} classes are too many"),
                    (order.images, softmax.IMAGES, "a batch of {} images is too large"),
                    (logits, config.tile_rows, "the batch takes {} rows of the tile buffer"),
                ):
                    check(m, platform, Const(1), value <= most, f"softmax: {message}", value)
                with m.If(whole):
                    m.next = "SOFTMAX"
            with m.State("SOFTMAX"):
                with m.If(loss.done):
                    m.d.sync += coding.eq(1)
                    m.next = "OPEN"
                    with m.If(order.inference):
                        m.next = "DISCARD"
            with m.State("DISCARD"):
                # this pass's rows, and no more: the next pass may have begun to send its own
                m.d.comb += self.pop.eq(logits != 0)
                with m.If(self.pop):
                    m.d.sync += logits.eq(logits - 1)
                with m.Else():
                    m.next = "END"

            with m.State("OPEN"):
                m.d.comb += exponent.open.eq(1)
                m.next = "EXPONENT"
            with m.State("EXPONENT"):
                with m.If(exponent.opened):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [thresholds.begin.eq(1), averages.begin.eq(~order.inference)]
                m.next = "ROWS"
            with m.State("ROWS"):
                start, leaves = Signal(), Signal()
                again = sweeps & (loops.place != 3)  # the rows are wanted once more
                m.d.comb += [
                    leaves.eq(~gathers | (loops.place == 3)),
                    start.eq(
                        (row == 0)
                        & enough
                        & (thresholds.prepared | ~loops.first)
                        & (register.room | ~leaves)
                        & (random.row.valid | ~coding)
                    ),
                    issue.eq((start | (row != 0)) & ~self.blocked),
                    opens_group.eq(start & issue & loops.first),
                    register.start.eq(start & issue & leaves),
                    self.pop.eq(issue & ~again),
                    self.offset.eq(Mux(again, row, 0)),
                    random.row.ready.eq(issue & coding),
                ]
                with m.If(issue):
                    m.d.sync += row.eq(row + 1)
                    m.d.comb += loops.step.eq(last_row)
                with m.If(issue & last_row & loops.ends):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(settle != settles):
                    m.d.sync += settle.eq(settle + 1)
                with m.Elif(averages.done):
                    m.next = "END"
                    with m.If(coding & last_coding):
                        m.d.comb += exponent.close.eq(1)
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                with m.If(exponent.closed):
                    m.next = "END"

            with m.State("LATENTS"):
                m.d.comb += [self.latents.valid.eq(1), feed.begin.eq(1)]
                with m.If(self.latents.ready):
                    m.next = "UPDATE"
            with m.State("UPDATE"):
                # The loops tell here the last tile alone: they may step a cycle later.
                m.d.comb += [
                    updating.eq(1),
                    issue.eq(feed.take),
                    self.pop.eq(feed.take),
                    self.offset.eq(0),
                    random.row.ready.eq(feed.take),
                    register.start.eq(feed.start),
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
