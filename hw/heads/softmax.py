"""The last layer: logits, base-2 softmax, loss, and the gradient dz = p - onehot, image by image and class by class."""

from __future__ import annotations

from amaranth import Array, Const, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers import tile_buffer
from bnnedge.hw.delay import delayed
from bnnedge.hw.heads.averages import CLASS
from bnnedge.hw.heads.divider import RECIPROCAL_BITS, Divider
from bnnedge.hw.heads.totals import READ_LATENCY as SUMS_LATENCY
from bnnedge.hw.layouts import TOTALS, tile_row
from bnnedge.hw.product import product

CLASSES = formats.MAX_CLASSES  # a multiple of the lanes
LOGIT_SHIFT = formats.RECIPROCAL + formats.LOG2_E_FRACTION - formats.LOGIT
SCORE_BITS = 16
LABEL_BITS = 8
BETA_SHIFT = formats.BETA_FRACTION + formats.LOG2_E_FRACTION - formats.LOGIT
BIASED_BITS = formats.LOGIT_BITS + 2
IMAGES = formats.MOST_BATCH
D_BITS = formats.PROBABILITY + 2  # |d0| <= 2**PROBABILITY, |c2| is less
ALONG_BITS = formats.PROBABILITY + formats.LOGIT_BITS + formats.INVERSE_LOG2_E.bit_length()  # of d0 * z / log2(e)
ALL_IMAGES = IMAGES.bit_length() - 1  # bits that a sum over the images has more

# What is kept of a class: its parameters, its logit of an image before and behind beta, and its sums over the batch.
PARAMETERS = data.StructLayout(
    {
        "mu": signed(formats.MU_BITS),
        "psi": formats.MU_BITS,
        "bias": signed(BIASED_BITS),
        "slope": CLASS.members["slope"],
    }
)
LOGITS = data.StructLayout({"z": signed(formats.LOGIT_BITS), "biased": signed(BIASED_BITS)})
SUMS = data.StructLayout({"d": signed(D_BITS + ALL_IMAGES), "along": signed(ALONG_BITS + ALL_IMAGES)})


class Softmax(wiring.Component):
    """Replaces the last layer's sums in the tile buffer by gradients, and adds these up.

    `load` first gives what `Averages` tells of each class; `begin` then works out 1/psi for each of them, and goes through
    the batch. Every image takes three passes over the classes: logits and their maximum; sum of powers; probabilities.
    The third pass of an image is the first pass of the next one. -log2 p = (max - z) + log2(sum of powers).

    Members
    -------
    load, load_class, of_class: in, one class a cycle.
    begin: in, one cycle; classes, images, inference: in, stable from then on. done: out, one cycle.
    label: in stream, one an image. score: out stream, biased logits class by class (inference only); `score_last` ends
    an image.
    offset, row: the tile buffer's reading side; rewrite, rewrite_offset, rewrite_sum: its writing side.
    sums_class: in; sums: out, SUMS_LATENCY cycles later: of d, and of d0 * z / log2(e), of that class; 0 where there is no such
    class.
    loss, hits: out, of the last batch, stable until `begin`.
    """

    def __init__(self, config: Configuration) -> None:
        self.config = config
        rows = range(config.tile_rows)
        super().__init__(
            {
                "load": In(1),
                "load_class": In(range(CLASSES)),
                "of_class": In(CLASS),
                "begin": In(1),
                "classes": In(range(CLASSES + 1)),
                "images": In(range(IMAGES + 1)),
                "inference": In(1),
                "label": In(stream.Signature(LABEL_BITS)),
                "score": Out(stream.Signature(SCORE_BITS)),
                "score_last": Out(1),
                "done": Out(1),
                "offset": Out(rows),
                "row": In(tile_row(config)),
                "rewrite": Out(config.lanes),
                "rewrite_offset": Out(rows),
                "rewrite_sum": Out(signed(config.accumulator)),
                "sums_class": In(range(CLASSES)),
                "sums": Out(TOTALS),
                "loss": Out(32),
                "hits": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.lanes
        limit = (1 << formats.LOGIT_BITS - 1) - 1

        # Parameters of a class; the reciprocals of psi are worked out when all are here.
        m.submodules.per_class = per_class = memory.Memory(shape=PARAMETERS.as_shape(), depth=CLASSES, init=[])
        per_class_read, per_class_write = per_class.read_port(), per_class.write_port()
        incoming, into = Signal(PARAMETERS, reset_less=True), Signal(range(CLASSES), reset_less=True)
        m.d.sync += [
            per_class_write.en.eq(self.load),
            into.eq(self.load_class),
            incoming.mu.eq(self.of_class.mu),
            incoming.psi.eq(self.of_class.psi),
            incoming.bias.eq((self.of_class.beta * formats.LOG2_E) >> BETA_SHIFT),
            incoming.slope.eq(self.of_class.slope),
        ]
        m.d.comb += [per_class_write.addr.eq(into), per_class_write.data.eq(incoming)]
        m.submodules.divider = divider = Divider()
        m.submodules.reciprocals = reciprocals = memory.Memory(shape=RECIPROCAL_BITS, depth=CLASSES, init=[])
        reciprocals_read, reciprocals_write = reciprocals.read_port(), reciprocals.write_port()

        # What an image's passes hand on, and the sums over the batch.
        m.submodules.logits = logits = memory.Memory(shape=LOGITS.as_shape(), depth=CLASSES, init=[])
        logits_read, logits_write = logits.read_port(), logits.write_port()
        m.submodules.totals = totals = memory.Memory(shape=SUMS.as_shape(), depth=CLASSES, init=[])
        totals_read, totals_write = totals.read_port(), totals.write_port()
        m.submodules.exp2 = exp2 = memory.Memory(shape=formats.PROBABILITY + 1, depth=256, init=formats.EXP2_TABLE)
        exp2_read = exp2.read_port()
        m.submodules.log2 = log2 = memory.Memory(shape=9, depth=256, init=formats.LOG2_TABLE)
        log2_read = log2.read_port()

        image, index = Signal(range(config.tile_rows)), Signal(range(CLASSES + 1))
        base, lane = Signal(range(config.tile_rows)), Signal(range(lanes))  # row of the class's group, and its lane
        last_image = Signal()
        final_class, final_image = Signal(range(CLASSES)), Signal.like(image)
        m.d.sync += [final_class.eq(self.classes - 1), final_image.eq(self.images - 1)]
        m.d.comb += last_image.eq(image == final_image)

        def walk_classes(step: Signal | Const) -> None:
            """Advance index, base and lane to the next class."""
            with m.If(step):
                m.d.sync += [index.eq(index + 1), lane.eq(lane + 1)]
                with m.If(lane == lanes - 1):
                    m.d.sync += [lane.eq(0), base.eq(base + self.images)]

        def restart_classes(image: Value) -> None:
            m.d.sync += [index.eq(0), lane.eq(0), base.eq(image)]

        def pipeline(start: Signal, stages: int, name: str) -> tuple[list[Signal], list[Signal]]:
            """`start`, and it 1, 2 ... cycles later; with the class number beside it."""
            flags, places = [Signal(name=f"{name}_0")], [Signal(range(CLASSES), name=f"{name}_class_0")]
            m.d.comb += [flags[0].eq(start), places[0].eq(index)]
            for i in range(1, stages + 1):
                flags.append(Signal(name=f"{name}_{i}"))
                places.append(Signal(range(CLASSES), name=f"{name}_class_{i}", reset_less=True))
                m.d.sync += [flags[i].eq(flags[i - 1]), places[i].eq(places[i - 1])]
            return flags, places

        issue_logit, issue_power, issue_gradient = Signal(), Signal(), Signal()

        # First pass. 0: addresses. 2: the row is here. 3: the sum less its mean. 7: times 1/psi. 8: rounded, clipped.
        # 9: biased.
        flags, places = pipeline(issue_logit, 9, "logit")
        assert tile_buffer.READ_LATENCY == 2
        lane_2 = delayed(m, lane, 2, "lane")
        m.d.comb += [self.offset.eq(base), per_class_read.addr.eq(index), reciprocals_read.addr.eq(index)]
        class_2 = data.View(PARAMETERS, delayed(m, Value.cast(per_class_read.data), 1, "class"))
        reciprocal_3 = delayed(m, reciprocals_read.data, 2, "reciprocal")
        floor = 1 << formats.STATISTICS
        m.d.comb += [
            divider.divisor.eq(Mux(class_2.psi < floor, floor, class_2.psi)),
            reciprocals_write.addr.eq(index),
            reciprocals_write.data.eq(divider.quotient),
        ]
        y = Signal(signed(config.accumulator))
        m.d.comb += y.eq(Array(self.row[j].sum.value for j in range(lanes))[lane_2])
        centred = Signal(signed(formats.MU_BITS + 1), reset_less=True)
        m.d.sync += centred.eq((y << formats.STATISTICS) - class_2.mu)
        # 1/psi in two parts that multiplier blocks take.
        narrow = 17
        low = product(m, centred, reciprocal_3[:narrow], "low")
        high = product(m, centred, reciprocal_3[narrow:], "high")
        scaled_7 = Signal(signed(formats.MU_BITS + 1 + RECIPROCAL_BITS), reset_less=True)
        z_8 = Signal(signed(formats.LOGIT_BITS), reset_less=True)
        rounded = (scaled_7 + (1 << LOGIT_SHIFT - 1)) >> LOGIT_SHIFT
        m.d.sync += [
            scaled_7.eq(low + (high << narrow)),
            z_8.eq(Mux(rounded < -limit, -limit, Mux(rounded > limit, limit, rounded))),
        ]
        logit_9 = Signal(LOGITS, reset_less=True)
        m.d.sync += [logit_9.z.eq(z_8), logit_9.biased.eq(z_8 + delayed(m, class_2.bias, 6, "bias"))]
        largest, winner = Signal(signed(BIASED_BITS), reset_less=True), Signal(range(CLASSES), reset_less=True)
        m.d.comb += [logits_write.addr.eq(places[9]), logits_write.data.eq(logit_9), logits_write.en.eq(flags[9])]
        with m.If(flags[9] & ((places[9] == 0) | (logit_9.biased > largest))):
            m.d.sync += [largest.eq(logit_9.biased), winner.eq(places[9])]
        # Two cycles later the second pass begins, behind the first logits; two more, and it needs the largest one.
        logits_done = flags[7] & (places[7] == final_class)

        # What the third pass needs to know of its image, while the first pass of the next image goes on.
        first_image, hit = Signal(reset_less=True), Signal(reset_less=True)
        label, most = Signal(LABEL_BITS, reset_less=True), Signal.like(largest, reset_less=True)

        # Second and third pass. 0: address. 2: the logit is here. 3: distance below the maximum (third pass: -log2 p).
        # 4: the power is here. 5: shifted into place.
        flags_2, _ = pipeline(issue_power, 5, "power")
        flags_3, places_3 = pipeline(issue_gradient, 8, "gradient")
        seen_2 = data.View(LOGITS, delayed(m, Value.cast(logits_read.data), 1, "seen"))
        log2_total = Signal(13, reset_less=True)
        below = Signal(BIASED_BITS + 1, reset_less=True)
        m.d.comb += logits_read.addr.eq(index)
        m.d.sync += below.eq(most - seen_2.biased + Mux(flags_3[2], log2_total, 0))
        octaves = Signal(4, reset_less=True)
        m.d.comb += exp2_read.addr.eq(below[: formats.LOGIT])
        m.d.sync += octaves.eq(Mux(below[formats.LOGIT :] > 15, 15, below[formats.LOGIT :]))
        power = Signal(formats.PROBABILITY + 1, reset_less=True)
        m.d.sync += power.eq(exp2_read.data >> octaves)
        sum_bits = formats.PROBABILITY + 1 + CLASSES.bit_length() - 1
        powers = Signal(sum_bits, reset_less=True)
        with m.If(flags_2[5]):
            m.d.sync += powers.eq(powers + power)

        # log2 of the sum of powers, which is at least 2**PROBABILITY.
        octave = Signal(range(CLASSES.bit_length()))
        for n in range(CLASSES.bit_length()):
            with m.If(powers[formats.PROBABILITY + n]):
                m.d.comb += octave.eq(n)
        mantissa = Signal(formats.LOGIT, reset_less=True)
        m.d.sync += mantissa.eq(powers >> (octave + (formats.PROBABILITY - formats.LOGIT)))
        m.d.comb += log2_read.addr.eq(mantissa)
        m.d.sync += log2_total.eq((octave << formats.LOGIT) + log2_read.data)

        # Third pass goes on. 6: d0, z / log2(e), and c2 with the sign of z. 7: d, and the product. 8: their sums over the batch
        # are here, to be written back.
        label_hit = Signal()
        below_5 = delayed(m, below, 2, "below")
        m.d.comb += label_hit.eq(flags_3[5] & (places_3[5] == label))
        d0_6 = Signal(signed(D_BITS), reset_less=True)
        m.d.sync += d0_6.eq(power - Mux(label_hit, 1 << formats.PROBABILITY, 0))
        slope_6 = delayed(m, Mux(seen_2.z < 0, -class_2.slope, class_2.slope), 4, "slope")
        z_6 = delayed(m, delayed(m, seen_2.z, 2, "z") * Const(formats.INVERSE_LOG2_E), 2, "scaled_z")
        d_8 = delayed(m, (d0_6 - slope_6)[:D_BITS].as_signed(), 2, "d")
        along_8 = delayed(m, d0_6 * z_6, 2, "along")
        with m.If(label_hit):
            m.d.sync += [self.loss.eq(self.loss + below_5), self.hits.eq(self.hits + hit)]
        total_8, after = data.View(SUMS, delayed(m, Value.cast(totals_read.data), 1, "total")), Signal(SUMS)
        m.d.comb += [
            totals_read.addr.eq(Mux(flags_3[6], places_3[6], self.sums_class)),
            after.d.eq(Mux(first_image, 0, total_8.d) + d_8),
            after.along.eq(Mux(first_image, 0, total_8.along) + along_8),
            totals_write.addr.eq(places_3[8]),
            totals_write.data.eq(after),
            totals_write.en.eq(flags_3[8]),
        ]

        # The gradient takes the place of its sum: of the image before the one that the first pass is at.
        lane_8 = delayed(m, lane, 8, "gradient_lane")
        m.d.comb += [
            self.rewrite.eq((flags_3[8] & ~self.inference) << lane_8),
            self.rewrite_offset.eq(delayed(m, (base - 1)[: len(base)], 8, "gradient_base")),
            self.rewrite_sum.eq(d_8),
        ]
        gradients_done = Signal()
        m.d.sync += gradients_done.eq(flags_3[8] & (places_3[8] == final_class))

        # Lanes without a class have no sums: what another network left in the memory must not move their gradients from 0, for
        # these count among the large codes.
        there = delayed(m, self.sums_class < self.classes, SUMS_LATENCY, "there")
        with m.If(there):
            m.d.comb += [
                self.sums.first.eq(total_8.d),
                self.sums.second.eq(total_8.along >> formats.LOG2_E_FRACTION + formats.LOGIT),
            ]

        last_class, walking = index == final_class, index != self.classes
        pause = Signal(range(6))
        more, behind = Signal(), Signal()  # an image is left for the first pass; one waits for the third
        m.d.sync += self.done.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                restart_classes(Const(0))
                m.d.sync += [image.eq(0), more.eq(1), behind.eq(0), pause.eq(0)]
                with m.If(self.begin):
                    m.d.sync += [self.loss.eq(0), self.hits.eq(0)]
                    m.next = "RECIPROCALS"
            with m.State("RECIPROCALS"):
                # psi is here two cycles after its class number, when the first step needs it
                with m.If(pause != 2):
                    m.d.sync += pause.eq(pause + 1)
                m.d.comb += divider.begin.eq(pause == 1)
                with m.If(divider.done):
                    m.d.comb += reciprocals_write.en.eq(1)
                    m.d.sync += [index.eq(index + 1), pause.eq(0)]
                    with m.If(last_class):
                        m.d.sync += index.eq(0)
                        m.next = "CLASSES"
            with m.State("CLASSES"):
                # logits of an image, and gradients of the one before
                m.d.comb += [issue_logit.eq(walking & more), issue_gradient.eq(walking & behind)]
                walk_classes(walking)
                with m.If(logits_done):
                    m.next = "LABEL"
                with m.If(gradients_done & ~more):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("LABEL"):
                m.d.comb += self.label.ready.eq(1)
                m.d.sync += [label.eq(self.label.payload), powers.eq(0), index.eq(0), pause.eq(0)]
                with m.If(self.label.valid):
                    m.next = "POWERS"
                    with m.If(self.inference):
                        m.next = "SCORES"
            with m.State("SCORES"):
                # inference only: the logits leave
                with m.If(pause != 2):  # the logit is not here yet
                    m.d.sync += pause.eq(pause + 1)
                with m.Else():
                    m.d.comb += self.score.valid.eq(1)
                    with m.If(self.score.ready):
                        m.d.sync += [index.eq(index + 1), pause.eq(0)]
                        with m.If(last_class):
                            m.d.sync += index.eq(0)
                            m.next = "POWERS"
            with m.State("POWERS"):
                # here the gradients of the image before are through
                m.d.sync += [first_image.eq(image == 0), most.eq(largest), hit.eq(winner == label)]
                m.d.comb += issue_power.eq(walking)
                with m.If(walking):
                    m.d.sync += index.eq(index + 1)
                with m.Else():
                    m.d.sync += pause.eq(pause + 1)
                with m.If(pause == 5):  # the logarithm of all powers is here when the third pass needs it
                    restart_classes(image + 1)
                    m.d.sync += [image.eq(image + 1), more.eq(~last_image), behind.eq(1)]
                    m.next = "CLASSES"
        m.d.comb += [
            self.score.payload.eq(seen_2.biased),
            self.score_last.eq(last_class),
        ]
        return m
