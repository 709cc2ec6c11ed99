"""The top: engine, buffers, heads, control and memory ports, wired together."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal
from amaranth.hdl import Value
from amaranth.lib import data, fifo, memory, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import isa, registers
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY, BankedBuffer
from bnnedge.hw.buffers.tile_buffer import TileBuffer
from bnnedge.hw.bus.axi import Axi4, AxiLite
from bnnedge.hw.bus.read import ReadMaster
from bnnedge.hw.bus.registers import Registers
from bnnedge.hw.bus.write import WriteMaster
from bnnedge.hw.checks import CHECKED
from bnnedge.hw.control.load import Load
from bnnedge.hw.control.queue import DEPTHS, Chain, Queue, Semaphores
from bnnedge.hw.control.sequencer import Sequencer
from bnnedge.hw.control.store import Store
from bnnedge.hw.delay import delayed
from bnnedge.hw.engine.array import LaneArray
from bnnedge.hw.engine.fetch import Fetch
from bnnedge.hw.engine.transpose import Transpose
from bnnedge.hw.engine.window import Window
from bnnedge.hw.heads.head import Head
from bnnedge.hw.heads.softmax import LABEL_BITS
from bnnedge.hw.heads.statistics import Statistics
from bnnedge.hw.heads.totals import Totals
from bnnedge.hw.layouts import HEAD_PASS, PASS, RECORD, SIDE_BITS, WAITING_LOAD, WAITING_STORE
from bnnedge.hw.watch import watch

LABELS = 1024  # two of the largest batches: GATHER runs one batch ahead


class Core(wiring.Component):
    """All that a soft reset clears: everything but the registers.

    Port 0 serves the program, loads and stores; port 1 the latent weights.

    Members
    -------
    m0_axi, m1_axi: out, memory ports. start, program, step, seed: in, from the registers.
    busy, done, error, cause, port, error_address: out, the state; the first error is kept.
    flush: in, finish what is on the bus and start nothing. quiet: out, nothing is on the bus.
    counters: out, one member for each `registers.Counter`.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "m0_axi": Out(Axi4()),
                "m1_axi": Out(Axi4()),
                "start": In(1),
                "program": In(32),
                "step": In(32),
                "seed": In(64),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(4),
                "port": Out(1),
                "error_address": Out(32),
                "flush": In(1),
                "quiet": Out(1),
                **{counter.name.lower(): Out(registers.COUNTER_BITS) for counter in registers.Counter},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = Sequencer()
        m.submodules.semaphores = semaphores = Semaphores(takers=3, givers=4)
        m.submodules.execute_queue = execute_queue = Queue(PASS, DEPTHS[isa.Unit.EXECUTE])
        m.submodules.load_queue = load_queue = Queue(WAITING_LOAD, DEPTHS[isa.Unit.LOAD])
        m.submodules.store_queue = store_queue = Queue(WAITING_STORE, DEPTHS[isa.Unit.STORE])
        m.submodules.orders = orders = Chain(HEAD_PASS, depth=2)  # from the engine to the head, which is one or two passes behind
        m.submodules.fetch = fetch = Fetch(config)
        m.submodules.window = window = Window(config)
        m.submodules.transpose = transpose = Transpose(config)
        m.submodules.array = array = LaneArray(config)
        m.submodules.statistics = statistics = Statistics(config)
        m.submodules.totals = totals = Totals(config)
        m.submodules.head = head = Head(config)
        m.submodules.left = left = BankedBuffer(config, config.left_depth)
        m.submodules.right = right = BankedBuffer(config, config.right_depth)
        m.submodules.tile_buffer = tiles = TileBuffer(config)
        m.submodules.load = load = Load(config)
        m.submodules.store = store = Store(config)
        softmax, tile_register = head.softmax, head.tile_register

        # Control: sequencer -> queues -> units, and tokens back.
        queues = (execute_queue, load_queue, store_queue)
        for i, (stream, queue) in enumerate(zip((sequencer.execute, sequencer.load, sequencer.store), queues, strict=True)):
            _connect_fields(m, stream, queue.instruction)
            m.d.comb += [queue.there.eq(semaphores.there), getattr(semaphores, f"take_{i}").eq(queue.take)]
        for i, given in enumerate((fetch.signal, head.signal, load.signal, store.signal)):
            m.d.comb += getattr(semaphores, f"give_{i}").eq(given)
        wiring.connect(m, execute_queue.order, fetch.instruction)
        _connect_fields(m, load_queue.order, load.order)
        _connect_fields(m, store_queue.order, store.order)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.program.eq(self.program),
            sequencer.step.eq(self.step),
            sequencer.abort.eq(self.error),
            sequencer.units_idle.eq(Cat(queue.empty for queue in (*queues, orders)).all() & ~head.busy),
            self.busy.eq(sequencer.busy & ~self.error),
            self.done.eq(sequencer.done),
        ]

        # Engine: buffers -> lanes. The engine gives way to a store.
        flags = [Cat(fetch.tag.valid, fetch.side_end, fetch.side)]  # these begin something: a reset takes them back
        for i in range(READ_LATENCY):
            flags.append(Signal(len(flags[0]), name=f"flags_{i}"))
            m.d.sync += flags[-1].eq(flags[-2])
        side_end, side_here = flags[-1][1], flags[-1][2:]
        side_granule = delayed(m, fetch.side_granule, READ_LATENCY, "side_granule")
        m.d.comb += [
            fetch.hold.eq(store.read_left | store.read_right),
            left.address.eq(Mux(fetch.hold, store.address, fetch.left_address)),
            right.address.eq(Mux(fetch.hold, store.address, fetch.right_address)),
            store.left.eq(left.words),
            store.right.eq(right.words),
            window.words.eq(left.words),
            window.shift.eq(delayed(m, fetch.shift, READ_LATENCY, "shift")),
            array.left.eq(window.wanted),
            array.right.eq(right.words),
            array.tag.eq(delayed(m, fetch.tag.as_value(), READ_LATENCY, "tag")),
            array.tag.valid.eq(flags[-1][0]),
            array.row.eq(statistics.row),
            fetch.drained.eq(statistics.drained),
            transpose.order.eq(fetch.instruction.payload),
            transpose.read.eq(fetch.transpose),
            transpose.word.eq(fetch.transpose_word),
            transpose.plane.eq(fetch.transpose_plane),
            transpose.tile.eq(fetch.transpose_tile),
            transpose.base.eq(fetch.transpose_base),
            transpose.words.eq(window.wanted),
        ]
        tile_sides = Signal.like(statistics.sides, reset_less=True)
        m.d.comb += statistics.sides.eq(tile_sides)
        m.d.sync += statistics.sides_end.eq(side_end)
        for i in range(config.lanes):
            granule = left.words[i].word_select(side_granule, config.lanes) if config.granules > 1 else left.words[i]
            for bit in range(SIDE_BITS + 1):
                with m.If(side_here[bit]):
                    m.d.sync += tile_sides[bit][i].eq(granule)

        # Sums: lanes -> statistics -> tile buffer -> head.
        _connect_fields(m, fetch.head, orders.input)
        _connect_fields(m, orders.output, head.order)
        wiring.connect(m, fetch.pivots, statistics.pivots)
        wiring.connect(m, statistics.group, totals.group)
        wiring.connect(m, totals.added, head.added)
        m.d.comb += [
            head.seed.eq(self.seed),
            statistics.done.eq(array.done),
            statistics.meta.eq(array.meta),
            statistics.bias.eq(array.bias),
            statistics.sums.eq(array.sums),
            statistics.room.eq(tiles.room),
            tiles.reserve.eq(statistics.reserve),
            tiles.push.eq(statistics.push),
            tiles.row_in.eq(statistics.row_out),
            tiles.continues.eq(statistics.continues),
            tiles.unfinished.eq(statistics.unfinished),
            tiles.begins.eq(statistics.begins),
            totals.address.eq(head.address),
            head.totals.eq(totals.record),
            head.blocked.eq(tiles.busy),
            tiles.offset.eq(head.offset),
            tiles.pop.eq(head.pop),
            tiles.rewrite.eq(softmax.rewrite),
            tiles.rewrite_offset.eq(softmax.rewrite_offset),
            tiles.rewrite_sum.eq(softmax.rewrite_sum),
            head.available.eq(tiles.available),
            head.row.eq(tiles.row_out),
        ]

        # Bits: back into the buffers. Who writes first: transpose, then the tile register, then loads.
        def write(buffer: BankedBuffer, *sources: tuple[object, object]) -> None:
            """Connect the first of the (active, port) sources that is active."""
            (active, port), *others = sources
            if others:
                with m.If(active):
                    m.d.comb += _copy(buffer.write, port)
                with m.Else():
                    write(buffer, *others)
            else:
                m.d.comb += _copy(buffer.write, port)

        write(
            left,
            (transpose.active, transpose.write),
            (tile_register.left_active, tile_register.left),
            (1, load.left),
        )
        write(right, (tile_register.right_active, tile_register.right), (1, load.right))
        m.d.comb += [
            tile_register.left_blocked.eq(transpose.active),
            load.left_ready.eq(~transpose.active & ~tile_register.left_active),
            load.right_ready.eq(~tile_register.right_active),
        ]

        # Parameter memory: one port, for the head before stores; the moving means once more, for the pivots.
        m.submodules.parameters = parameters = memory.Memory(shape=RECORD.as_shape(), depth=config.channels, init=[])
        m.submodules.means = means = memory.Memory(shape=RECORD.members["mu"], depth=config.channels, init=[])
        record_port, record_write = parameters.read_port(), parameters.write_port()
        mean_port, mean_write = means.read_port(), means.write_port()
        record = delayed(m, Value.cast(record_port.data), 1, "record")
        m.d.comb += [
            statistics.mean.eq(delayed(m, mean_port.data, 1, "mean")),
            record_port.addr.eq(Mux(head.record_read, head.record_address, store.address)),
            head.record.eq(record),
            store.record.eq(record),
            store.record_granted.eq(store.read_record & ~head.record_read),
            mean_port.addr.eq(statistics.mean_address),
            load.record_ready.eq(~head.record_write),
            record_write.en.eq(head.record_write | load.record_write),
            record_write.addr.eq(Mux(head.record_write, head.record_write_address, load.record_address)),
            record_write.data.eq(Mux(head.record_write, head.record_write_data, load.record)),
            mean_write.en.eq(record_write.en),
            mean_write.addr.eq(record_write.addr),
            mean_write.data.eq(data.View(RECORD, record_write.data).mu),
        ]

        # Labels wait for their batch; logits and loss go to the store.
        m.submodules.labels = labels = fifo.SyncFIFOBuffered(width=LABEL_BITS, depth=LABELS)
        wiring.connect(m, softmax.score, store.score)
        m.d.comb += [
            labels.w_data.eq(load.label.payload),
            labels.w_en.eq(load.label.valid),
            load.label.ready.eq(labels.w_rdy),
            softmax.label.payload.eq(labels.r_data),
            softmax.label.valid.eq(labels.r_rdy),
            labels.r_en.eq(softmax.label.ready),
            store.score_last.eq(softmax.score_last),
            store.loss.eq(softmax.loss),
            store.hits.eq(softmax.hits),
            store.cycles.eq(self.cycles),
        ]

        # Memory ports.
        m.submodules.read_0 = read_0 = ReadMaster(clients=2)
        m.submodules.read_1 = read_1 = ReadMaster(clients=1)
        m.submodules.write_0 = write_0 = WriteMaster()
        m.submodules.write_1 = write_1 = WriteMaster()
        wiring.connect(m, sequencer.transfer, read_0.transfer_0)
        wiring.connect(m, read_0.beat_0, sequencer.beat)
        wiring.connect(m, load.transfer, read_0.transfer_1)
        wiring.connect(m, read_0.beat_1, load.beat)
        wiring.connect(m, store.transfer, write_0.transfer)
        wiring.connect(m, store.beat, write_0.beat)
        wiring.connect(m, read_1.beat_0, head.old)
        wiring.connect(m, head.new, write_1.beat)
        both = read_1.transfer_0.ready & write_1.transfer.ready
        m.d.comb += [
            read_1.transfer_0.payload.eq(head.latents.payload),
            write_1.transfer.payload.eq(head.latents.payload),
            head.latents.ready.eq(both),
            read_1.transfer_0.valid.eq(head.latents.valid & both),
            write_1.transfer.valid.eq(head.latents.valid & both),
            head.written.eq(write_1.done),
            store.written.eq(write_0.done),
        ]
        masters: tuple[ReadMaster | WriteMaster, ...] = (read_0, write_0, read_1, write_1)
        for axi, reader, writer in ((self.m0_axi, read_0, write_0), (self.m1_axi, read_1, write_1)):
            for name, member in Axi4().members.items():
                mine = writer.axi if name[0] in "wb" or name.startswith("aw") else reader.axi
                outer, inner = getattr(axi, name), getattr(mine, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        m.d.comb += self.quiet.eq(Cat(master.idle for master in masters).all())
        for master in masters:
            m.d.comb += master.flush.eq(self.flush | self.error)

        # The first error stays.
        with m.If(~self.error):
            for number, master in enumerate(masters):
                with m.If(master.error):
                    cause = registers.Cause.READ_ERROR if master in (read_0, read_1) else registers.Cause.WRITE_ERROR
                    m.d.sync += [self.error.eq(1), self.cause.eq(cause), self.port.eq(number // 2)]
                    m.d.sync += self.error_address.eq(master.error_address)
            with m.If(sequencer.illegal):
                m.d.sync += [self.error.eq(1), self.cause.eq(registers.Cause.ILLEGAL_INSTRUCTION)]
                m.d.sync += self.error_address.eq(sequencer.address)

        # Performance counters; the reset that comes with every start clears them.
        events = {
            registers.Counter.CYCLES: (self.busy, 1),
            registers.Counter.ENGINE: (fetch.busy, 1),
            registers.Counter.STALL_TOKEN: (self.busy & ~fetch.instruction.valid, 1),
            registers.Counter.STALL_DRAIN: (fetch.waiting, 1),
            registers.Counter.STALL_MEMORY: (head.stalled, 1),
        }
        for port, axi in enumerate((self.m0_axi, self.m1_axi)):
            events[registers.Counter[f"READ_{port}"]] = (axi.rvalid & axi.rready, 8)
            events[registers.Counter[f"WRITE_{port}"]] = (axi.wvalid & axi.wready, 8)
        for counter, (event, amount) in events.items():
            value = getattr(self, counter.name.lower())
            m.d.sync += value.eq(value + Mux(event, amount, 0))

        if platform == CHECKED:
            watch(m, config, self.error)
        return m


def _connect_fields(m: Module, source: Any, target: Any) -> None:
    """Connect streams whose payloads have fields in common; what the source lacks is 0, for nobody reads it."""
    m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready)]
    there = source.payload.shape().members
    m.d.comb += [target.payload[name].eq(source.payload[name]) for name in target.payload.shape().members if name in there]


def _copy(target: object, source: object) -> list[object]:
    return [getattr(target, name).eq(getattr(source, name)) for name in ("address", "data", "granules")]


class Accelerator(wiring.Component):
    """The whole accelerator: registers, and the core behind a reset of its own.

    A soft reset lets the bus finish what has begun, then clears the core; so does a start, with the bus at rest.

    Members
    -------
    s_axi: in, registers. m0_axi, m1_axi: out, memory. irq: out, halted with `done` or `error`.
    busy, error: out, as in register STATUS.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        super().__init__(
            {
                "s_axi": In(AxiLite()),
                "m0_axi": Out(Axi4()),
                "m1_axi": Out(Axi4()),
                "irq": Out(1),
                "busy": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = file = Registers(self.config)
        m.domains.core = ClockDomain()
        m.submodules.core = core = DomainRenamer("core")(Core(self.config))
        # What resets the core is a register: it goes to thousands of places.
        clear, cleared, flush = Signal(), Signal(init=1), Signal()
        begins = Signal(3)  # a start, and on to when the core has been cleared
        starting = file.start | begins.any()
        m.d.comb += [ClockSignal("core").eq(ClockSignal()), ResetSignal("core").eq(cleared)]
        m.d.comb += [core.flush.eq(flush), core.start.eq(begins[-1])]
        start = file.start & ~core.busy & ~core.error & ~flush
        m.d.sync += [cleared.eq(clear), begins.eq(Cat(start, begins))]
        # Every run starts from the same state, whatever the run before left behind.
        m.d.sync += clear.eq(start | (flush & core.quiet & ~clear & ~cleared))
        with m.If(file.reset):
            m.d.sync += flush.eq(1)
        with m.Elif(cleared):
            m.d.sync += flush.eq(0)
        wiring.connect(m, wiring.flipped(self.s_axi), file.axi)
        wiring.connect(m, core.m0_axi, wiring.flipped(self.m0_axi))
        wiring.connect(m, core.m1_axi, wiring.flipped(self.m1_axi))
        m.d.comb += [
            file.resetting.eq(file.reset | flush),
            file.busy.eq(core.busy | starting),
            file.done.eq(core.done & ~starting),
            file.error.eq(core.error),
            self.irq.eq(file.done | file.error),
            self.busy.eq(file.busy),
            self.error.eq(file.error),
        ]
        for name in ("program", "step", "seed"):
            m.d.comb += getattr(core, name).eq(getattr(file, name))
        for name in ("cause", "port", "error_address", *(c.name.lower() for c in registers.Counter)):
            m.d.comb += getattr(file, name).eq(getattr(core, name))
        return m
