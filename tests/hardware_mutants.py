"""Mutations of the hardware, each a change of one operator, width, address, constant or condition; see mutations.py."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """In `file` (below hw/) the text `old`, which stands there once, becomes `new`; `why`: nothing can notice it."""

    file: str
    old: str
    new: str
    why: str = ""


MUTANTS = [
    # engine
    Mutant("popcount.py", "functools.reduce(operator.xor, some)", "functools.reduce(operator.or_, some)"),
    Mutant("engine/accumulator.py", "Mux(first, 0, Mux(double", "Mux(first & (value != 0), value, Mux(double"),
    Mutant("engine/array.py", "(tag.high > i)", "(tag.high >= i)"),
    Mutant("engine/array.py", "[kept_bias.eq(bias), kept_meta.eq(meta)]", "[kept_bias.eq(bias), kept_meta.eq(tag.meta)]"),
    Mutant("engine/walk.py", 'side["row"] + side["tap_y"]', 'side["tap"] + side["tap_y"]'),
    Mutant("engine/walk.py", "(i != 0) & (j != final_j)", "(i != 0) & (j != self.right_planes - 1)"),
    Mutant("engine/walk.py", "lower_right = ~more_left | right_lower", "lower_right = ~more_left"),
    Mutant(
        "engine/prepare.py",
        "Mux(self.pitch, (1 - self.origin) >> 1, -self.origin)",
        "Mux(self.pitch, -self.origin >> 1, -self.origin)",
    ),
    Mutant("engine/prepare.py", "room = self.limit - 1 - self.origin", "room = self.limit - self.origin"),
    Mutant("engine/prepare.py", "self.begin | ~advance_x | last_of_strip", "self.begin | last_of_strip"),
    Mutant("engine/fetch.py", "self.waiting.eq(walk.last & ~credit)", "self.waiting.eq(0)"),
    Mutant("engine/fetch.py", "self.left_address + order.side_plane", "this.side + order.side_plane"),
    Mutant("engine/fetch.py", "plane == READ_LATENCY + 1", "plane == READ_LATENCY"),
    Mutant("engine/transpose.py", "order.groups - before.word", "order.groups + 1 - before.word"),
    Mutant("engine/window.py", "WINDOW_BITS + (1 << low) - 1", "WINDOW_BITS + (1 << low) - 2"),
    # what several units share
    Mutant("loops.py", "self.ends.eq(inner & at_end[name])", "self.ends.eq(inner)"),
    Mutant("loops.py", 'strides["y"].as_signed() >> 1', 'strides["y"] >> 1'),
    Mutant(
        "product.py",
        "wide[PART_BITS:].as_signed() if wide.shape().signed else wide[PART_BITS:]",
        "wide[PART_BITS:].as_signed()",
    ),
    Mutant("gearbox.py", "known + self.wide_in >= self.wide_out", "known + self.wide_in > self.wide_out"),
    # buffers
    Mutant(
        "buffers/banked.py",
        "Cat(self.address[place:] == first >> place, chosen)",
        "Cat(self.address[place:] >= first >> place, chosen)",
    ),
    Mutant("buffers/banked.py", "Mux(written, self.write.granules[i], 0)", "self.write.granules[i]"),
    Mutant("buffers/tile_buffer.py", "self.room.eq(free >= lanes)", "self.room.eq(free > lanes)"),
    Mutant("buffers/tile_register.py", "((started == 1) & ~full)", "(started == 1)"),
    Mutant("buffers/tile_register.py", "rows_left & ~beside & (following", "rows_left & (following"),
    Mutant("buffers/tile_register.py", 'active["columns"]) & ~stay', 'active["columns"])'),
    Mutant("buffers/tile_register.py", "(order.head == isa.Head.BACKWARD) & (order.pool", "(order.pool"),
    # heads
    Mutant("heads/statistics.py", "(value_2 <= largest_before[j].value)", "(value_2 < largest_before[j].value)"),
    Mutant("heads/statistics.py", "max(0, lanes - 1 - (READ", "max(0, lanes - 2 - (READ"),
    Mutant("heads/statistics.py", "fresh.eq(begun & ~counts)", "fresh.eq(begun & counts)"),
    Mutant("heads/accumulator.py", "Mux(minus, -addend, addend)", "Mux(minus, ~addend, addend)"),
    Mutant("heads/totals.py", 'delayed(m, group.fresh, 2, "fresh")', 'delayed(m, group.fresh, 3, "fresh")'),
    Mutant(
        "heads/totals.py",
        "~Cat(issued[1:]).any()",
        "~Cat(issued[1:3]).any()",
        "the last column is written a cycle before anyone can read it, and another one earlier does no harm",
    ),
    Mutant("heads/thresholds.py", "Const(one - 1) - psi_3", "Const(one) - psi_3"),
    Mutant("heads/thresholds.py", "high_6 - threshold_6 + 1", "high_6 - threshold_6"),
    Mutant("heads/thresholds.py", "centre_2 + (1 << CENTRE_DROP - 1)", "centre_2 + (1 << CENTRE_DROP)"),
    Mutant("heads/averages.py", "Mux(first < 0, -s, s)", "Mux(first < 0, ~s, s)"),
    Mutant("heads/averages.py", "Cat(v, v[-1] & self.last)", "Cat(v, v[-1])"),
    Mutant("heads/averages.py", "slope < -most, -most,", "slope < -most, ~most,"),
    Mutant("heads/averages.py", "bits_of_v.eq(place + 1)", "bits_of_v.eq(place)"),
    Mutant("heads/averages.py", "half_rate = 1 << formats.BETA_RATE - 1", "half_rate = 1 << formats.BETA_RATE"),
    Mutant("heads/exponent.py", "self.clipped > order.clips", "self.clipped >= order.clips"),
    Mutant("heads/exponent.py", "self.large <= order.clips >> 1", "self.large < order.clips >> 1"),
    Mutant("heads/exponent.py", "with m.If(self.top):", "with m.If(0):"),
    Mutant("heads/head.py", "~((thresholds.wants & found) | thresholds.reading)", "~(thresholds.wants & found)"),
    Mutant("heads/head.py", "thresholds.granted.eq(~averages.claims & found)", "thresholds.granted.eq(found)"),
    Mutant("heads/head.py", "averages.group > thresholds.groups_read", "averages.group >= thresholds.groups_read"),
    Mutant("heads/thresholds.py", "Mux(self.own, 0, self.shift)", "self.shift"),
    Mutant("heads/head.py", "averages.group < thresholds.groups_read", "averages.group <= thresholds.groups_read"),
    Mutant("heads/feed.py", "(ahead != ROW_QUEUE)", "(ahead != ROW_QUEUE + 1)"),
    Mutant("heads/feed.py", "more.eq(left != 1)", "more.eq(left != 0)"),
    Mutant("heads/feed.py", "queue.r_rdy & ((fed != 0) | self.room)", "queue.r_rdy"),
    Mutant(
        "heads/head.py",
        "Mux(self.pop, self.available > lanes, self.available >= lanes)",
        "self.available >= lanes",
        "rows of a tile come one a cycle, without a pause: the one that is missing is there when its turn comes",
    ),
    Mutant("heads/head.py", "emit.counted(lanes) - 1", "emit.counted(lanes) - 2"),
    Mutant("heads/head.py", "emitter.clear.eq(exponent.open)", "emitter.clear.eq(thresholds.begin)"),
    Mutant(
        "heads/head.py",
        "self.written & register.idle & ~update.new.valid",
        "self.written & register.idle",
        "the write port, which counts the transfer's beats, is not done while one is still in the update",
    ),
    Mutant("heads/softmax.py", "delayed(m, self.sums_class < self.classes", "delayed(m, self.sums_class <= self.classes"),
    Mutant("heads/softmax.py", "below.eq(most - seen_2", "below.eq(largest - seen_2"),
    Mutant("heads/softmax.py", "Mux(below[formats.LOGIT :] > 15, 15,", "Mux(below[formats.LOGIT :] > 16, 15,"),
    Mutant("heads/softmax.py", "Mux(seen_2.z < 0, -class_2.slope", "Mux(seen_2.biased < 0, -class_2.slope"),
    Mutant("heads/softmax.py", "with m.If(pause == 5):", "with m.If(pause == 4):"),
    Mutant("heads/emit.py", "self.gradient_planes - 1 - self.twin", "self.gradient_planes - 1"),
    Mutant("heads/emit.py", "clips | (bits[:planes] & half).any()", "(bits[:planes] & half).any()"),
    Mutant("heads/emit.py", "counted(lanes) - 1", "counted(lanes) - 2"),
    Mutant("heads/emit.py", "distance < Mux(sign_3", "distance <= Mux(sign_3"),
    Mutant("heads/emit.py", "with m.If(swaps_3[-1]):", "with m.If(swaps_3[-2]):"),
    Mutant("heads/random.py", "order.step ^ (place <<", "order.step | (place <<"),
    Mutant("heads/random.py", "self.row.ready | ~self.row.valid", "self.row.ready"),
    Mutant("heads/weight.py", "self.random[:3]) >> 3", "self.random[:2]) >> 3"),
    Mutant("heads/weight.py", "Cat(~self.random[-formats.RATE :]", "Cat(self.random[-formats.RATE :]"),
    Mutant("heads/update.py", "self.shift.eq(new.valid & new.ready & ends)", "self.shift.eq(new.valid & ends)"),
    Mutant("heads/divider.py", "fits = trial >= self.divisor", "fits = trial > self.divisor"),
    # control
    Mutant("control/element.py", "self.number.word_select(phase == 2, HALF)", "self.number.word_select(phase != 1, HALF)"),
    Mutant("control/rows.py", "self.address.eq(base + order.base_stride)", "self.address.eq(self.address + order.base_stride)"),
    Mutant("control/queue.py", "self.empty.eq(~full.any())", "self.empty.eq(~full[-1])"),
    Mutant("control/sequencer.py", "iteration + 1 != loop.count", "iteration != loop.count"),
    Mutant("control/load.py", "accepted & (last_part | (words == 1))", "accepted & last_part"),
    Mutant("control/store.py", "self.written & (requests == 0)", "self.written"),
    Mutant(
        "control/request.py",
        "(samples % CHUNK == 0) & (indices < order.count)",
        "(samples % CHUNK == 0) & (indices <= order.count)",
    ),
    # bus and top
    Mutant("bus/read.py", "promised <= QUEUE_BEATS - BURST_BEATS", "promised < QUEUE_BEATS"),
    Mutant("bus/write.py", "(uncommitted >= beats)", "(uncommitted != 0)"),
    Mutant("bus/registers.py", "axi.awvalid & axi.wvalid & ~axi.bvalid", "axi.awvalid & axi.wvalid"),
    Mutant("accelerator.py", "(flush & core.quiet & ~clear & ~cleared)", "(flush & ~clear & ~cleared)"),
    Mutant(
        "accelerator.py",
        "load.left_ready.eq(~transpose.active & ~tile_register.left_active)",
        "load.left_ready.eq(~transpose.active)",
    ),
]
