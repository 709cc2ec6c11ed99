"""The conductor of the heads, between a model of the engine and models of the memories, against the golden model."""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.lib import wiring
from hardware import Stall, never, signed, simulate, stalls, steady, stream_put, wait_for

from bnnedge import formats, isa
from bnnedge.compiler.pack import codes_of, unpack_tensor
from bnnedge.compiler.passes import Outputs, Part, Passes
from bnnedge.compiler.plan import Plan
from bnnedge.compiler.tensors import View
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.tile_buffer import TileBuffer
from bnnedge.hw.heads.head import Head
from bnnedge.hw.heads.softmax import SCORE_BITS
from bnnedge.hw.heads.totals import Totals
from bnnedge.hw.layouts import PASS, RECORD, tile_row
from bnnedge.layers import Conv2D, Dense, MaxPool2D
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.sim import pooling
from bnnedge.sim.golden import Golden, Result
from bnnedge.state import TrainingState

pytestmark = pytest.mark.usefixtures("left_behind")

CONFIG = Configuration(name="tiny", lanes=4, word=16, left_depth=1024, right_depth=1024, tile_rows=512, channels=64)
LANES = CONFIG.lanes
RATE = 700
LATENTS = (0x1000, 0x2000)
TILES = 64 // LANES  # of a batch


def network(pool: str) -> Network:
    """2 x 2 pixels of 3 channels, or 2 x 4 to be pooled; the last tile of inputs and the last groups are partial.

    dense: of many groups with few rows.
    """
    if pool == "dense":
        return Network((12,), [Dense(21), Dense(6)])
    if pool == "none":
        return Network((2, 2, 3), [Conv2D(5, kernel=1), Dense(6)])
    return Network((2, 4, 3), [Conv2D(5, kernel=1), MaxPool2D(on=pool), Dense(6)])


@dataclasses.dataclass
class Work:
    """A pass, and what engine and statistics make of it: tiles (lanes, lanes) of sums and of side bits, and group sums."""

    fields: dict[str, int]
    sums: list[np.ndarray]
    sides: list[np.ndarray]
    groups: list[list[dict[str, int]] | None]

    @property
    def head(self) -> isa.Head:
        """Its head."""
        return isa.Head(self.fields["head"])

    def rows(self) -> Iterator[int]:
        """Rows of the tile buffer, as numbers."""
        cell = tile_row(CONFIG).elem_shape.size
        for sums, sides in zip(self.sums, self.sides, strict=True):
            cells = sums.astype(np.int64) & (1 << cell) - 1
            if self.head != isa.Head.UPDATE:
                cells = sums.astype(np.int64) & (1 << CONFIG.accumulator) - 1 | sides.astype(np.int64) << CONFIG.accumulator
            yield from (sum(c << j * cell for j, c in enumerate(row)) for row in cells.tolist())


@dataclasses.dataclass
class Memories:
    """All that the head writes: bit buffers (address, bank), parameter memory, latent weights by address, scores."""

    left: np.ndarray
    right: np.ndarray
    records: list[int]
    latents: dict[int, list[int]]
    scores: list[int]
    loss: int = 0
    hits: int = 0
    blocked: int = 0

    def bits(self, view: View) -> np.ndarray:
        """(vectors, height, width, planes, bits) of a tensor."""
        words = getattr(self, view.buffer)[view.base : view.base + view.size]
        return unpack_tensor(words.view(np.uint8).ravel(), view.tensor, CONFIG)


def record(**fields: Any) -> int:
    """An entry of the parameter memory."""
    return RECORD.const({name: int(value) for name, value in fields.items()}).as_bits()


def run(
    passes: Sequence[Work],
    records: list[int],
    latents: dict[int, list[int]],
    labels: Sequence[int],
    seed: int,
    stall: Stall = never,
    gaps: Stall = never,
) -> Memories:
    """Carry out the passes. The engine runs ahead as far as the tile buffer lets it, but not of a LOSS that trains.

    stall: of all streams, and of the engine before each tile; gaps: of the engine alone.
    """
    head, tiles, totals, dut = Head(CONFIG), TileBuffer(CONFIG), Totals(CONFIG), Module()
    softmax, register = head.softmax, head.tile_register
    dut.submodules.head, dut.submodules.tiles, dut.submodules.totals = head, tiles, totals
    wiring.connect(dut, totals.added, head.added)
    dut.d.comb += [
        tiles.offset.eq(head.offset),
        tiles.pop.eq(head.pop),
        tiles.rewrite.eq(softmax.rewrite),
        tiles.rewrite_offset.eq(softmax.rewrite_offset),
        tiles.rewrite_sum.eq(softmax.rewrite_sum),
        head.available.eq(tiles.available),
        head.row.eq(tiles.row_out),
        head.blocked.eq(tiles.busy),
        totals.address.eq(head.address),
        head.totals.eq(totals.record),
    ]
    found = Memories(
        left=np.zeros((CONFIG.left_depth, LANES), "<u2"),
        right=np.zeros((CONFIG.right_depth, LANES), "<u2"),
        records=list(records),
        latents={address: list(beats) for address, beats in latents.items()},
        scores=[],
    )
    done = 0
    finished: deque[dict[str, Any]] = deque()  # groups that wait for the totals

    async def orders(ctx: Any) -> None:
        nonlocal done
        ctx.set(head.seed, seed)
        ctx.set(head.written, 1)
        for number, work in enumerate(passes):
            order = {name: work.fields.get(name, 0) for name in PASS.members}
            ctx.set(head.order.payload, order | {"signal": number + 1, "opcode": int(isa.Opcode.PASS)})
            ctx.set(head.order.valid, 1)
            signal, idle, written = await wait_for(ctx, head.order.ready, head.signal, register.idle, head.written)
            assert signal == number + 1
            assert idle
            assert written
            done += 1
        ctx.set(head.order.valid, 0)
        assert not ctx.get(head.busy)
        assert ctx.get(tiles.available) == 0
        found.loss, found.hits = ctx.get(softmax.loss), ctx.get(softmax.hits)

    async def engine(ctx: Any) -> None:
        for number, work in enumerate(passes):
            fields = work.fields
            while any(w.head == isa.Head.LOSS and not w.fields["inference"] for w in passes[done:number]):
                await ctx.tick()
            rows = list(work.rows())
            continues = fields.get("continues", 0)
            ctx.set(tiles.continues, continues)
            ctx.set(tiles.unfinished, fields.get("unfinished", 0))
            per_group = len(rows) // fields["groups"]
            for group, sums in enumerate(work.groups):
                for i in range(group * per_group, (group + 1) * per_group):
                    if i % LANES == 0:
                        while not (continues or ctx.get(tiles.room)) or stall() or gaps():
                            await ctx.tick()
                    ctx.set(tiles.reserve, i % LANES == 0 and not continues)
                    ctx.set(tiles.push, 1)
                    ctx.set(tiles.begins, i == 0)
                    ctx.set(tiles.row_in.as_value(), rows[i])
                    await ctx.tick()
                    ctx.set(tiles.reserve, 0)
                    ctx.set(tiles.push, 0)
                if sums is not None or fields.get("unfinished"):
                    told = {"group": fields["first_group"] + group, "fresh": fields.get("fresh", 0), "counts": sums is not None}
                    finished.append(told | {"sums": sums or []})
                while len(finished) > 4:
                    await ctx.tick()

    async def tell(ctx: Any) -> None:
        while True:
            while not finished:
                await ctx.tick()
            await stream_put(ctx, totals.group, [finished[0]])
            finished.popleft()

    async def parameter_memory(ctx: Any) -> None:
        ports = (head.record_address, head.record_write, head.record_write_address, head.record_write_data.as_value())
        read = 0
        async for _, _, address, write, to, data in ctx.tick().sample(*ports):
            ctx.set(head.record.as_value(), read)
            read = found.records[address]
            if write:
                found.records[to] = data

    async def count_blocked(ctx: Any) -> None:
        async for _, _, busy, available in ctx.tick().sample(tiles.busy, tiles.available):
            found.blocked += busy and available > 0

    async def bit_buffers(ctx: Any) -> None:
        ports = [(port.granules.as_value(), port.address, port.data) for port in (register.left, register.right)]
        async for _, _, *values in ctx.tick().sample(*(value for port in ports for value in port)):
            for buffer, (granules, address, data) in zip((found.left, found.right), (values[:3], values[3:]), strict=True):
                for bank in range(LANES) if granules else ():
                    enabled = granules >> bank * CONFIG.granules & (1 << CONFIG.granules) - 1
                    mask = sum(0xF << 4 * i for i in range(CONFIG.granules) if enabled >> i & 1)
                    buffer[address, bank] = int(buffer[address, bank]) & ~mask | data[bank] & mask

    async def block_left(ctx: Any) -> None:
        blocked = stalls(9, 0.8)
        while True:
            ctx.set(register.left_blocked, blocked())
            await ctx.tick()

    async def labels_there(ctx: Any) -> None:
        for label in labels:
            while stall():
                await ctx.tick()
            ctx.set(softmax.label.payload, int(label))
            ctx.set(softmax.label.valid, 1)
            await wait_for(ctx, softmax.label.ready)
            ctx.set(softmax.label.valid, 0)

    async def scores(ctx: Any) -> None:
        while True:
            ctx.set(softmax.score.ready, not stall())
            taken = softmax.score.valid & softmax.score.ready
            _, _, valid, score = await ctx.tick().sample(taken, softmax.score.payload)
            if valid:
                found.scores.append(signed(score, SCORE_BITS))

    async def latent_memory(ctx: Any) -> None:
        """A read stream and a write stream of the same transfer, each with stalls of its own."""
        while True:
            ctx.set(head.latents.ready, not stall())
            _, _, valid, ready, order = await ctx.tick().sample(head.latents.valid, head.latents.ready, head.latents.payload)
            if not (valid and ready):
                continue
            ctx.set(head.latents.ready, 0)
            ctx.set(head.written, 0)
            old, new = found.latents[order.address], []
            assert order.beats == len(old)
            sent, there = 0, False
            while len(new) < len(old):
                there = there or (sent < len(old) and not stall())
                ctx.set(head.old.valid, there)
                ctx.set(head.old.payload, old[sent] if there else 0)
                ctx.set(head.new.ready, not stall())
                taken = head.new.valid & head.new.ready
                _, _, read, written, beat = await ctx.tick().sample(head.old.ready, taken, head.new.payload)
                if there and read:
                    sent, there = sent + 1, False
                if written:
                    new.append(beat)
            ctx.set(head.old.valid, 0)
            ctx.set(head.new.ready, 0)
            found.latents[order.address] = new
            for _ in range(150):  # a slow memory: meanwhile the next pass's rows arrive
                await ctx.tick()
            ctx.set(head.written, 1)

    background = [tell, parameter_memory, bit_buffers, labels_there, count_blocked]
    if any(work.head == isa.Head.UPDATE for work in passes):
        background += [latent_memory, steady(head.latents), steady(head.new)]
    if any(work.fields["inference"] for work in passes if work.head == isa.Head.LOSS):
        background += [scores, steady(softmax.score)]
    if stall is not never:
        background.append(block_left)
    simulate(dut, orders, engine, background=background)
    return found


class Step:
    """A golden training step after `number` others, and the passes that make it up.

    low: by how much the first layer's exponent is too low at first, so that many of its codes are clipped.
    """

    def __init__(self, pool: str, number: int, low: int = 0, **settings: Any) -> None:
        random = np.random.default_rng(number)
        self.network, self.settings = network(pool), Settings(batch=64, **settings)
        self.plan = Plan(self.network, self.settings, CONFIG)
        self.passes = Passes(CONFIG, self.settings, self.plan.codes, RATE)
        self.number, self.pool = number, "none" if pool == "dense" else pool
        self.labels = random.integers(0, 6, 64)
        state = TrainingState.initial(self.network, CONFIG.latent, self.settings.gradient_planes, seed=3)
        state.layers[0].exponent -= low
        golden = Golden(self.network, self.settings, CONFIG, state, keep=True)
        for _ in range(number + 1):
            self.before = state.copy()
            self.pixels = random.integers(0, 256, (64, *self.network.input_shape)).astype(np.uint8)
            self.result: Result = golden.train(self.pixels, self.labels, RATE)
        self.after = state
        self.trace = {name: np.asarray(value) for name, value in golden.trace.items()}
        self.views: dict[str, View] = {}
        used = {"left": 0, "right": 0}
        for name, item in self.plan.tensors.items():
            buffer = "right" if "columns" in name or "weight" in name else "left"
            self.views[name] = View.of(item.tensor, buffer, used[buffer])
            used[buffer] += item.tensor.size

    def map(self, name: str) -> np.ndarray:
        """A map of the trace, (images, height, width, channels)."""
        values = self.trace[name]
        return values.reshape(len(values), 1, 1, -1) if values.ndim == 2 else values

    # What the engine gives

    def tiles(self, part: Part, maps: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Tiles of maps (images, height, width, channels) that stand for the places: group, y, x, tile, place."""
        found = []
        for group in range(part.group, part.group + part.groups):
            for y in range(part.y, part.y + part.rows):
                for x in range(maps[0].shape[2]):
                    for tile in range(part.tile, part.tile + part.tiles):
                        for values in maps:
                            cut = values[tile * LANES :][:LANES, y, x, group * LANES :][:, :LANES].astype(np.int64)
                            found.append(np.pad(cut, [(0, LANES - n) for n in cut.shape]))
        return found

    def totals(self, part: Part, terms: dict[str, np.ndarray]) -> list[list[dict[str, int]] | None]:
        """Sums of each group's columns over the part's images and rows of the map."""
        found: list[list[dict[str, int]] | None] = []
        images = slice(part.tile * LANES, (part.tile + part.tiles) * LANES)
        for group in range(part.group, part.group + part.groups):
            sums = {name: term[images, part.y : part.y + part.rows].sum((0, 1, 2)) for name, term in terms.items()}
            found.append([])
            for j in range(group * LANES, (group + 1) * LANES):
                there = j < len(sums["first"])
                found[-1].append({name: int(values[j]) if there else 0 for name, values in sums.items()})  # type: ignore[union-attr]
        return found

    def forward(self, layer: int, part: Part, **flags: int) -> Work:
        """Forward pass of a layer."""
        name, place = f"{layer + 1}.", self.plan.places[layer]
        y, views, geometry = self.map(name + "y"), self.views, place.geometry
        wide = pooling.places(y) if geometry.pool == "signs" else [y]
        sides = [self.map(name + "route") if geometry.pool == "sums" else np.zeros_like(m) for m in wide]
        half = 1 << formats.STATISTICS - 1
        pivots = self.before.layers[layer].mu + half >> formats.STATISTICS
        terms = {"first": sum(wide), "second": sum(abs(m - pivots) for m in wide)}
        if layer:
            out = Outputs((), views[f"{name}code_columns.0"])
            if f"{name}code" in views:
                out = dataclasses.replace(out, rows=(views[f"{name}code"],))
        else:
            routes = ("route_low", "route_high") if geometry.pool != "none" else ()
            rows = tuple(views[name + kind] for kind in ("active", "mask", *routes))
            out = Outputs(rows, views[f"{name}active_columns.0"])
        source = "1.active" if layer else "input"
        operands = views[source], views[f"{name}weight"]
        fields = self.passes.forward(place, part, *operands, out, loss=layer == 1, **flags)
        return self.work(fields, part, wide, sides, terms)

    def backward(self, part: Part, **flags: int) -> Work:
        """Data gradient of the first layer."""
        place, above, views = self.plan.places[0], self.plan.geometry[1], self.views
        d = self.map("1.d")
        side = self.map("1.route").astype(int) if self.pool != "none" else np.zeros(d.shape, int)
        sides = [views[f"1.{kind}"] for kind in ("mask", "route_low", "route_high") if f"1.{kind}" in views]
        out = Outputs((), views["1.code_columns.0"])
        fields = self.passes.backward(
            place, above, part, views["2.code"], views["2.weight_backward"], sides, out, first_x=0, width=d.shape[2], **flags
        )
        return self.work(fields, part, [d], [side], {"first": d, "second": abs(d)})

    def update(self, layer: int, share: np.ndarray | None = None, **flags: int) -> Work:
        """Weight gradient of a layer, or a share of it."""
        name, place, views = f"{layer + 1}.", self.plan.places[layer], self.views
        slope = self.trace[name + "slope"] if share is None else share
        source = "1.active_columns.0" if layer else "input_columns"
        groups, tiles = -(-place.geometry.filters // LANES), -(-place.geometry.tap_inputs // LANES)
        part = Part(0, groups, 0, place.geometry.out_height, 0, tiles)
        backward = (views[f"{name}weight_backward"],) if layer else ()
        out = Outputs(backward, views[f"{name}weight"])
        flags = {"address": LATENTS[layer]} | flags
        cut = {"columns": (0, place.geometry.out_width), "taps_y": (0, place.geometry.kernel_y), "words": (0, 64 // CONFIG.word)}
        operands = views[source], views[f"{name}code_columns.0"]
        fields = self.passes.update(place, part, *operands, out, **cut, **flags)
        sums = list(self.weight_rows(layer, slope).reshape(-1, LANES, LANES))
        return Work(fields | {"inference": 0, "step": self.number}, sums, sums, [None] * groups)

    def work(self, fields: dict[str, int], part: Part, maps: Any, sides: Any, terms: dict[str, np.ndarray]) -> Work:
        fields = {"inference": 0} | fields | {"step": self.number}
        groups = [None] * part.groups if fields["inference"] else self.totals(part, terms)
        return Work(fields, self.tiles(part, maps), self.tiles(part, sides), groups)

    def weight_rows(self, layer: int, weights: np.ndarray) -> np.ndarray:
        """Rows of a (K, M) matrix in the order in which they are updated, columns beyond M 0."""
        g = self.plan.geometry[layer]
        full = weights.reshape(g.taps, g.tap_inputs, g.filters)
        full = np.pad(full, [(0, 0), (0, -g.tap_inputs % LANES), (0, -g.filters % LANES)])
        return full.reshape(*full.shape[:2], -1, LANES).transpose(2, 0, 1, 3).reshape(-1, LANES).astype(np.int64)

    # Running, and comparing

    def records(self, *, above: int = 0) -> list[int]:
        """The parameter memory before the step; `above`: what a LOSS pass left out would have added to the exponents."""
        records = [0] * CONFIG.channels
        for layer, place in zip(self.before.layers, self.plan.places, strict=True):
            fields = {name: getattr(layer, name) for name in RECORD.members}
            for j in range(place.geometry.filters):
                records[place.channel + j] = record(**{name: values[j] for name, values in fields.items()})
            less = 0 if place.number else above
            records[place.exponent] = record(mu=layer.exponent - less, centre=layer.unit - less)
        return records

    def run(self, passes: Sequence[Work], *, stall: Stall = never, gaps: Stall = never, above: int = 0) -> Memories:
        """Carry out passes of this step."""
        latents = {}
        for i, layer in enumerate(self.before.layers):
            words = self.weight_rows(i, layer.weight) & 0xFFFF
            latents[LATENTS[i]] = [sum(word << 16 * j for j, word in enumerate(row)) for row in words.tolist()]
        return run(passes, self.records(above=above), latents, self.labels.tolist(), self.settings.seed, stall, gaps)

    def check_signs(self, found: Memories) -> None:
        """Of the hidden layer: signs and masks as rows, signs as columns."""
        columns = found.bits(self.views["1.active_columns.0"])
        bits = {name: found.bits(view)[..., 0, :] for name, view in self.views.items() if view.buffer == "left"}
        assert np.array_equal(bits["1.active"], self.map("1.active"))
        assert np.array_equal(bits["1.mask"], self.map("1.mask"))
        assert np.array_equal(columns[..., 0, :], self.map("1.active").transpose(3, 1, 2, 0))
        if self.pool != "none":
            assert np.array_equal(bits["1.route_low"] + 2 * bits["1.route_high"], self.map("1.route"))

    def check_codes(self, found: Memories, layer: int) -> None:
        """Gradient codes of a layer, as rows (of the first layer nobody needs them) and as columns."""
        code, kind = self.map(f"{layer + 1}.code"), self.plan.codes[layer]
        columns = codes_of(found.bits(self.views[f"{layer + 1}.code_columns.0"]), kind)
        assert np.array_equal(columns, code.transpose(3, 1, 2, 0))
        if layer:
            assert np.array_equal(codes_of(found.bits(self.views["2.code"]), kind), code)

    def check_weights(self, found: Memories, layer: int) -> None:
        """Latent weights of a layer, and its binary weights in both orientations."""
        g, weights = self.plan.geometry[layer], self.after.layers[layer].weight
        words = [[beat >> 16 * j & 0xFFFF for j in range(LANES)] for beat in found.latents[LATENTS[layer]]]
        there = self.weight_rows(layer, np.ones_like(weights)) > 0
        assert np.array_equal(np.array(words)[there], (self.weight_rows(layer, weights) & 0xFFFF)[there])
        signs = (weights >= 0).reshape(g.kernel_y, -1, g.tap_inputs, g.filters)
        assert np.array_equal(found.bits(self.views[f"{layer + 1}.weight"])[..., 0, :], signs.transpose(3, 0, 1, 2))
        if layer:
            assert np.array_equal(found.bits(self.views["2.weight_backward"])[..., 0, :], signs.transpose(2, 0, 1, 3))

    def check_records(self, found: Memories, layer: int, *, forward: bool, backward: bool, above: int = 0) -> None:
        """Moving averages are the new ones after a forward pass; centre, size, beta and exponent after a backward one."""
        place, before, after = self.plan.places[layer], self.before.layers[layer], self.after.layers[layer]
        averages, learnt = (after if forward else before), (after if backward else before)
        fields = {name: getattr(averages if name in ("mu", "psi") else learnt, name) for name in RECORD.members}
        want = [record(**{name: values[j] for name, values in fields.items()}) for j in range(place.geometry.filters)]
        assert found.records[place.channel :][: place.geometry.filters] == want
        assert found.records[place.exponent] == record(mu=learnt.exponent - above, centre=learnt.unit - above)


@functools.cache
def early_step(pool: str) -> Step:
    """A step that lets the first layer's exponent grow, of which each test carries out the passes of one kind."""
    return Step(pool, 2, low=2, gradient_planes=2, input_planes=2, slope_planes=1)


def whole(step: Step, layer: int) -> Part:
    """All that a layer's passes cover."""
    g = step.plan.geometry[layer]
    return Part(0, -(-g.filters // LANES), 0, g.pooled_height, 0, TILES)


def cut(part: Part) -> list[Part]:
    """In two by groups, and each in two by tiles; uneven."""
    return [
        dataclasses.replace(part, group=group, groups=1, tile=tile, tiles=tiles)
        for group in range(part.groups)
        for tile, tiles in ((0, 5), (5, TILES - 5))
    ]


def in_parts(make: Any, parts: Sequence[Part]) -> list[Work]:
    """Passes whose sums are added up; the last one of each group commits them."""
    passes = []
    for number, part in enumerate(parts):
        ends = {"opens": int(number == 0), "closes": int(number == len(parts) - 1)}
        passes.append(make(part, fresh=int(part.tile == 0), commit=int(part.tile != 0), **ends))
    return passes


ALL = {"fresh": 1, "commit": 1}


@pytest.mark.parametrize("pool", ["none", "signs", "sums", "dense"])
def test_a_whole_step_leaves_what_the_golden_model_does(pool: str) -> None:
    """Five passes under stalls; the rows of each update come while the pass before it is still on."""
    planes = {"gradient_planes": 3, "input_planes": 1, "slope_planes": 1}
    step = Step(pool, 4, **planes, seed=2**64 - 1, optimiser="sign-sgd")
    passes = [
        step.forward(0, whole(step, 0), **ALL),
        step.forward(1, whole(step, 1), **ALL),
        step.backward(whole(step, 0), **ALL, opens=1, closes=1),
        step.update(1),
        step.update(0),
    ]
    found = step.run(passes, stall=stalls(1, 0.2))
    step.check_signs(found)
    assert (found.loss, found.hits) == (step.result.loss, step.result.hits)
    for layer in (0, 1):
        step.check_codes(found, layer)
        step.check_weights(found, layer)
        step.check_records(found, layer, forward=True, backward=True)


@pytest.mark.parametrize("pool", ["none", "signs", "sums"])
def test_forward_in_parts_gives_signs_and_masks_and_commits_once(pool: str) -> None:
    step = early_step(pool)
    found = step.run(in_parts(functools.partial(step.forward, 0), cut(whole(step, 0))))
    step.check_signs(found)
    step.check_records(found, 0, forward=True, backward=False)
    step.check_records(found, 1, forward=False, backward=False)


@pytest.mark.parametrize("pool", ["none", "signs", "sums"])
def test_backward_in_parts_gives_codes_and_one_exponent(pool: str) -> None:
    step = early_step(pool)
    above = int(step.trace["2.e"])
    found = step.run(in_parts(step.backward, cut(whole(step, 0))), above=above)
    step.check_codes(found, 0)
    step.check_records(found, 0, forward=False, backward=True, above=above)


def test_averages_stay_until_the_thresholds_of_their_group_come_from_them() -> None:
    """Sums come twice as fast as codes of eight planes go, and the tile buffer holds five groups. Backward it is the other way
    round: gradients of a dense layer wait for the averages of their group.
    """
    step = Step("dense", 4, gradient_planes=8, input_planes=2, slope_planes=1)
    above = int(step.trace["2.e"])
    part = whole(step, 0)
    found = step.run([step.forward(0, part, **ALL), step.backward(part, **ALL, opens=1, closes=1)], above=above)
    step.check_signs(found)
    step.check_codes(found, 0)
    step.check_records(found, 0, forward=True, backward=True, above=above)


def test_loss_and_backward_give_codes_and_a_loss_starts_the_exponents_anew() -> None:
    """Backward first, as if behind that LOSS pass: the exponent of LOSS must not count from what is above."""
    step = early_step("none")
    above = int(step.trace["2.e"])
    passes = [step.backward(whole(step, 0), **ALL, opens=1, closes=1), step.forward(1, whole(step, 1), **ALL)]
    found = step.run(passes, above=above)
    step.check_codes(found, 0)
    step.check_codes(found, 1)
    assert (found.loss, found.hits) == (step.result.loss, step.result.hits)
    step.check_records(found, 0, forward=False, backward=True, above=above)
    step.check_records(found, 1, forward=True, backward=True)


@pytest.mark.parametrize("pool", ["none", "signs", "sums"])
def test_rows_that_are_added_up_meanwhile_delay_those_that_go_out(pool: str) -> None:
    """Of an update in three passes, behind a backward pass and behind another update."""
    step = early_step(pool)
    above = int(step.trace["2.e"])
    random = np.random.default_rng(5)
    passes = [step.backward(whole(step, 0), **ALL, opens=1, closes=1)]
    for layer in (1, 0):
        slope = step.trace[f"{layer + 1}.slope"].astype(np.int64)
        first, second = (random.integers(-(1 << 20), 1 << 20, slope.shape) for _ in range(2))
        ways = ({"unfinished": 1}, {"continues": 1, "unfinished": 1}, {"continues": 1})
        shares = (first, second, slope - first - second)
        passes += [step.update(layer, share, **way) for share, way in zip(shares, ways, strict=True)]
    found = step.run(passes, stall=stalls(3, 0.3) if pool == "none" else never, above=above)
    assert found.blocked > 10
    step.check_codes(found, 0)
    step.check_records(found, 0, forward=False, backward=True, above=above)
    for layer in (0, 1):
        step.check_weights(found, layer)


def test_an_update_takes_no_row_of_the_next_one() -> None:
    """Tiles come so slowly that each row is read at once, and the next pass's first one right behind this pass's last one."""
    step = early_step("none")
    passes = [step.update(1), step.update(0)]
    begun, pause, first_of_next = 0, 20, len(passes[0].sums)

    def gaps() -> bool:
        nonlocal begun, pause
        if pause and begun != first_of_next:
            pause -= 1
            return True
        begun, pause = begun + 1, 20
        return False

    found = step.run(passes, gaps=gaps)
    assert begun == first_of_next + len(passes[1].sums)
    for layer in (0, 1):
        step.check_weights(found, layer)


def test_rows_that_were_read_ahead_wait_for_a_slow_memory() -> None:
    """Twenty cycles from beat to beat: the queue between rows and words fills up."""
    step = early_step("none")
    step.check_weights(step.run([step.update(1)], stall=stalls(4, 0.95)), 1)


def test_inference_gives_scores_while_rows_of_the_next_batch_wait() -> None:
    """They stand in the tile buffer behind those that the LOSS pass discards."""
    step = Step("none", 0, gradient_planes=2, input_planes=2, slope_planes=1)
    golden = Golden(step.network, step.settings, CONFIG, step.before.copy())
    scores = golden.infer(step.pixels).ravel().tolist()
    layer, planes = step.before.layers[0], step.settings.input_planes
    weight = golden.elementwise.signs(layer.sign)
    y = golden.products.forward(golden._input(step.pixels), weight, step.plan.geometry[0], planes)
    active, _ = golden.elementwise.normalise(y, golden._threshold(layer), layer.psi)
    signs = np.where(active, 1, -1).reshape(64, -1) @ np.where(step.before.layers[1].weight >= 0, 1, -1)
    step = Step("none", 0, gradient_planes=2, input_planes=2, slope_planes=1)
    step.trace |= {"1.y": y, "2.y": signs}
    passes = [step.forward(layer, whole(step, layer), inference=1) for layer in (0, 1, 0)]
    found = step.run(passes, stall=stalls(2, 0.2))
    assert found.scores == scores
    assert found.records == step.records()
    assert np.array_equal(found.bits(step.views["1.active"])[..., 0, :], active)


@pytest.mark.parametrize(("others", "last", "change"), [(80, 1, 1), (80, 0, 0), (40, 0, -1), (40, 1, 0)])
def test_the_next_exponent_counts_the_last_row_too(others: int, last: int, change: int) -> None:
    """Of 1280 codes one in 16 may be clipped; one of the last row makes it one more."""
    step = Step("none", 0, gradient_planes=2, input_planes=2, slope_planes=1)
    d = np.zeros((64, 2, 2, 5), int)
    d.reshape(-1)[:others] = 10
    d[63, 1, 1, 4] = 10 * last
    step.trace |= {"1.d": d}
    step.before.layers[0].exponent = 2
    step.before.layers[0].centre[:] = 0
    found = step.run([step.backward(whole(step, 0), **ALL, opens=1, closes=1)])
    assert found.records[step.plan.places[0].exponent] == record(mu=2 + change, centre=0)


@pytest.mark.parametrize("cycles", [2, 20])
def test_a_reset_ends_a_pass(cycles: int) -> None:
    """In the middle of the first tile of an update, or while it waits for its rows."""
    reset, head = Signal(), Head(CONFIG)
    fields = early_step("none").update(1).fields

    async def bench(ctx: Any) -> None:
        ctx.set(head.order.payload, {name: fields.get(name, 0) for name in PASS.members})
        ctx.set(head.order.valid, 1)
        for port in (head.latents.ready, head.old.valid, head.new.ready):
            ctx.set(port, 1)
        ctx.set(head.available, 2)
        await ctx.tick().repeat(cycles)
        assert ctx.get(head.busy)
        ctx.set(head.order.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(20):
            for port in (head.busy, head.latents.valid, head.new.valid, head.pop, head.record_write, head.signal):
                assert not ctx.get(port)
            assert ctx.get(head.tile_register.idle)
            await ctx.tick()

    simulate(ResetInserter(reset)(head), bench)
