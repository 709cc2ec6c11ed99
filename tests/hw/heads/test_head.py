"""The conductor of the heads, between a model of the engine and models of the memories, against the golden model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from hardware import Stall, never, signed, simulate, stalls, steady, wait_for

from bnnedge import formats, isa
from bnnedge.compiler.pack import codes_of, pack_weights, unpack_banked, unpack_weights
from bnnedge.compiler.placement import Layout, Tensor, layout
from bnnedge.compiler.program import DONE, Addresses, Compiler
from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.tile_buffer import TileBuffer
from bnnedge.hw.heads.head import Head
from bnnedge.hw.heads.softmax import SCORE_BITS
from bnnedge.hw.layouts import PASS
from bnnedge.isa import Instruction, Opcode
from bnnedge.network import Dense, Network
from bnnedge.settings import Settings
from bnnedge.sim.golden import Golden, Result
from bnnedge.sim.golden.model import pixel_codes, signs
from bnnedge.state import TrainingState

CONFIG = Configuration(name="tiny", lanes=4, word=16, left_depth=256, right_depth=64, tile_rows=256, channels=64)
LANES = CONFIG.lanes
NETWORK = Network((6,), [Dense(7), Dense(5)])  # the last tile of inputs and the last group of each layer are partial
RATE = 700
LATENTS = (0x1000, 0x2000)
VALUE_BITS = CONFIG.accumulator


@dataclasses.dataclass
class Rows:
    """What engine and statistics make of a pass: sums and signs of activations (rows, columns), pivots (columns,)."""

    sums: np.ndarray
    active: np.ndarray | None = None
    pivots: np.ndarray | None = None

    def tiles(self) -> Iterator[list[list[int]]]:
        """Group by group the tiles of LANES rows of the tile buffer, as numbers."""
        mask = (1 << VALUE_BITS) - 1
        cells = self.sums.astype(np.int64) & mask
        if self.active is not None:
            cells |= self.active.astype(np.int64) << VALUE_BITS
        cells = np.pad(cells, [(0, -n % LANES) for n in cells.shape])
        for first in range(0, cells.shape[1], LANES):
            group = cells[:, first : first + LANES].tolist()
            rows = [sum(cell << j * (VALUE_BITS + 1) for j, cell in enumerate(row)) for row in group]
            yield [rows[i : i + LANES] for i in range(0, len(rows), LANES)]

    def group_sums(self) -> list[list[dict[str, int]]]:
        """Batch sums of the columns of each group, none in an update."""
        if self.active is not None:
            x, second = self.active, np.where(self.active, self.sums, -self.sums)
        elif self.pivots is not None:
            x, second = np.zeros_like(self.sums), np.abs(self.sums - self.pivots)
        else:
            return []
        columns = [
            {"first": int(self.sums[:, j].sum()), "second": int(second[:, j].sum()), "ones": int(x[:, j].sum())}
            for j in range(self.sums.shape[1])
        ]
        columns += [{"first": 0, "second": 0, "ones": 0}] * (-len(columns) % LANES)
        return [columns[i : i + LANES] for i in range(0, len(columns), LANES)]


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

    def bits(self, tensor: Tensor | None) -> np.ndarray:
        """(vectors, planes, bits) of a tensor."""
        assert tensor is not None
        words = getattr(self, tensor.buffer)[tensor.base : tensor.base + tensor.words]
        return unpack_banked(words.view(np.uint8).ravel(), (tensor.vectors, tensor.planes, tensor.bits), CONFIG)


def record(mu: int, psi: int = 0, beta: int = 0) -> int:
    """An entry of the parameter memory."""
    bits = formats.MU_BITS
    return mu & (1 << bits) - 1 | psi << bits | (beta & 0xFFFF) << 2 * bits


def records_of(state: TrainingState, places: Layout) -> list[int]:
    """The parameter memory of a training state."""
    records = [0] * CONFIG.channels
    for layer, place in zip(state.layers, places.layers, strict=True):
        for j in range(place.fan_out):
            records[place.channel + j] = record(int(layer.mu[j]), int(layer.psi[j]), int(layer.beta[j]))
        records[place.exponent] = record(layer.exponent)
    return records


def run(
    passes: Sequence[tuple[Instruction, Rows]],
    records: list[int],
    latents: dict[int, list[int]],
    labels: Sequence[int],
    seed: int,
    stall: Stall = never,
) -> Memories:
    """Carry out the passes. The engine runs ahead as far as the DONE semaphore and the tile buffer let it."""
    head, tiles, dut = Head(CONFIG), TileBuffer(CONFIG), Module()
    softmax, register = head.softmax, head.tile_register
    dut.submodules.head, dut.submodules.tiles = head, tiles
    dut.d.comb += [
        tiles.offset.eq(head.offset),
        tiles.pop.eq(head.pop),
        tiles.rewrite.eq(softmax.rewrite),
        tiles.rewrite_offset.eq(softmax.rewrite_offset),
        tiles.rewrite_row.eq(softmax.rewrite_row),
        head.available.eq(tiles.available),
        head.row.eq(tiles.row_out),
    ]
    found = Memories(
        left=np.zeros((CONFIG.left_depth, LANES), "<u2"),
        right=np.zeros((CONFIG.right_depth, LANES), "<u2"),
        records=list(records),
        latents={address: list(beats) for address, beats in latents.items()},
        scores=[],
    )
    tokens = 1

    async def orders(ctx: Any) -> None:
        nonlocal tokens
        ctx.set(head.seed, seed)
        ctx.set(head.written, 1)
        for instruction, _ in passes:
            fields = {**instruction.fields, "opcode": instruction.opcode}
            ctx.set(head.order.payload, {name: fields.get(name, 0) for name in PASS.members})
            ctx.set(head.order.valid, 1)
            signal, idle, written = await wait_for(ctx, head.order.ready, head.signal, register.idle, head.written)
            assert signal == fields.get("signal", 0)
            assert idle
            assert written
            tokens += bool(signal & DONE)
        ctx.set(head.order.valid, 0)
        assert not ctx.get(head.busy)
        assert ctx.get(tiles.available) == 0
        found.loss, found.hits = ctx.get(softmax.loss), ctx.get(softmax.hits)

    async def engine(ctx: Any) -> None:
        nonlocal tokens
        for instruction, rows in passes:
            if instruction.fields.get("wait", 0) & DONE:
                while not tokens:
                    await ctx.tick()
                tokens -= 1
            sums = iter(rows.group_sums())
            for group in rows.tiles():
                for tile in group:
                    while not ctx.get(tiles.room) or stall():
                        await ctx.tick()
                    ctx.set(tiles.reserve, 1)
                    for row in tile:
                        ctx.set(tiles.push, 1)
                        ctx.set(tiles.row_in.as_value(), row)
                        await ctx.tick()
                        ctx.set(tiles.reserve, 0)
                    ctx.set(tiles.push, 0)
                columns = next(sums, None)
                if columns is not None:
                    ctx.set(head.group.payload, columns)
                    ctx.set(head.group.valid, 1)
                    await wait_for(ctx, head.group.ready)
                    ctx.set(head.group.valid, 0)

    async def parameter_memory(ctx: Any) -> None:
        ports = (head.record_address, head.record_write, head.record_write_address, head.record_write_data.as_value())
        async for _, _, address, write, to, data in ctx.tick().sample(*ports):
            ctx.set(head.record.as_value(), found.records[address])
            if write:
                found.records[to] = data

    async def bit_buffers(ctx: Any) -> None:
        ports = [(port.granules.as_value(), port.address, port.data) for port in (register.left, register.right)]
        async for _, _, *values in ctx.tick().sample(*(value for port in ports for value in port)):
            for buffer, (granules, address, data) in zip(
                (found.left, found.right), (values[:3], values[3:]), strict=True
            ):
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
            _, _, valid, ready, order = await ctx.tick().sample(
                head.latents.valid, head.latents.ready, head.latents.payload
            )
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

    background = [parameter_memory, bit_buffers, labels_there]
    if any(order.fields["head"] == isa.Head.UPDATE for order, _ in passes):
        background += [latent_memory, steady(head.latents), steady(head.new)]
    if any(order.fields.get("inference") for order, _ in passes):
        background += [scores, steady(softmax.score)]
    if stall is not never:
        background.append(block_left)
    simulate(dut, orders, engine, background=background)
    return found


def passes_of(instructions: Sequence[Instruction], step: int) -> list[Instruction]:
    """The passes of a program, with the step that the sequencer puts in."""
    orders = [order for order in instructions if order.opcode == Opcode.PASS]
    return [dataclasses.replace(order, fields={**order.fields, "step": step}) for order in orders]


class Step:
    """A golden training step after `number` others, its program, and what the engine gives to the head."""

    def __init__(self, settings: Settings, number: int) -> None:
        random = np.random.default_rng(number)
        self.settings, self.places = settings, layout(NETWORK, settings, CONFIG)
        self.labels = random.integers(0, NETWORK.classes, settings.batch)
        state = TrainingState.initial(NETWORK, CONFIG.latent, settings.gradient_planes, seed=3)
        golden = Golden(NETWORK, settings, CONFIG, state, keep=True)
        for _ in range(number + 1):
            self.before = state.copy()
            pixels = random.integers(0, 256, (settings.batch, *NETWORK.input_shape)).astype(np.uint8)
            self.result: Result = golden.train(pixels, self.labels, RATE)
        self.after, self.trace = state, golden.trace
        program = Compiler(NETWORK, settings, CONFIG, self.places, Addresses(latents=LATENTS)).training(1, RATE)
        self.passes = [(order, self.rows(order)) for order in passes_of(program.instructions, number)]

    def rows(self, order: Instruction) -> Rows:
        """What the engine gives for a pass."""
        layer, head = order.fields["layer"], order.fields["head"]
        trace = {name.partition(".")[2]: value for name, value in self.trace.items() if name[0] == str(layer + 1)}
        if head == isa.Head.UPDATE:
            return Rows(trace["slope"])
        if head == isa.Head.BACKWARD:
            return Rows(trace["d"], active=trace["active"])
        half = 1 << formats.STATISTICS - 1
        return Rows(trace["y"], pivots=self.before.layers[layer].mu + half >> formats.STATISTICS)

    def select(self, head: isa.Head) -> list[tuple[Instruction, Rows]]:
        """The passes of one kind."""
        return [(order, rows) for order, rows in self.passes if order.fields["head"] == head]

    def run(self, passes: Sequence[tuple[Instruction, Rows]], *, stall: Stall = never, above: int = 0) -> Memories:
        """Carry out some of the passes; `above` is what a LOSS pass left out would have added to the exponents."""
        state = self.before.copy()
        state.layers[0].exponent -= above
        latents = {
            address: pack_weights(layer.weight, CONFIG).view("<u8").tolist()
            for address, layer in zip(LATENTS, state.layers, strict=True)
        }
        return run(passes, records_of(state, self.places), latents, self.labels, self.settings.seed, stall)

    def check_signs(self, found: Memories) -> None:
        """Of the hidden layer: signs and masks as rows, signs as columns."""
        place = self.places.layers[0]
        assert np.array_equal(found.bits(place.active)[:, 0], self.trace["1.active"])
        assert np.array_equal(found.bits(place.mask)[:, 0], self.trace["1.mask"])
        assert np.array_equal(found.bits(place.active_columns)[:, 0], self.trace["1.active"].T)

    def check_codes(self, found: Memories, layer: int) -> None:
        """Gradient codes of a layer, as rows (of the first layer nobody needs them) and as columns."""
        place, code = self.places.layers[layer], self.trace[f"{layer + 1}.code"]
        assert np.array_equal(codes_of(found.bits(place.code_columns)), code.T)
        if place.code is not None:
            assert np.array_equal(codes_of(found.bits(place.code)), code)

    def check_weights(self, found: Memories, layer: int) -> None:
        """Latent weights of a layer, and its binary weights in both orientations."""
        place, state = self.places.layers[layer], self.after.layers[layer]
        words = np.array(found.latents[LATENTS[layer]], "<u8").view("<i2")
        assert np.array_equal(unpack_weights(words, state.weight.shape, CONFIG), state.weight)
        assert np.array_equal(found.bits(place.weight_forward)[:, 0], state.sign.T)
        if place.weight_backward is not None:
            assert np.array_equal(found.bits(place.weight_backward)[:, 0], state.sign)

    def check_records(self, found: Memories, layer: int, *, forward: bool, backward: bool, above: int = 0) -> None:
        """Moving averages are the new ones after a forward pass, beta and exponent after a backward one."""
        place, before, after = self.places.layers[layer], self.before.layers[layer], self.after.layers[layer]
        averages, learnt = (after if forward else before), (after if backward else before)
        want = [record(*map(int, entry)) for entry in zip(averages.mu, averages.psi, learnt.beta, strict=True)]
        assert found.records[place.channel :][: place.fan_out] == want
        assert found.records[place.exponent] == record(learnt.exponent - above)


def test_a_whole_step_leaves_what_the_golden_model_does() -> None:
    """Five passes under stalls; the rows of each update come while the pass before it is still on."""
    settings = Settings(
        batch=64, gradient_planes=3, input_planes=1, slope_planes=1, seed=2**64 - 1, optimiser="sign-sgd"
    )
    step = Step(settings, 4)
    found = step.run(step.passes, stall=stalls(1, 0.3))
    step.check_signs(found)
    assert (found.loss, found.hits) == (step.result.loss, step.result.hits)
    step.check_codes(found, 0)
    for layer in (0, 1):
        step.check_weights(found, layer)
        step.check_records(found, layer, forward=True, backward=True)


@pytest.fixture(scope="module")
def step() -> Step:
    """A first step, of which each test carries out the passes of one kind."""
    return Step(Settings(batch=64, gradient_planes=1, input_planes=2), 0)


def test_forward_alone_gives_signs_and_masks(step: Step) -> None:
    found = step.run(step.select(isa.Head.FORWARD))
    step.check_signs(found)
    step.check_records(found, 0, forward=True, backward=False)
    step.check_records(found, 1, forward=False, backward=False)
    assert not found.right.any()


def test_loss_and_backward_give_codes_and_a_loss_starts_the_exponents_anew(step: Step) -> None:
    """Backward first, as if behind that LOSS pass, then LOSS: its exponent must not count from what is above."""
    above = step.trace["2.e"]
    found = step.run(step.select(isa.Head.BACKWARD) + step.select(isa.Head.LOSS), above=above)
    step.check_codes(found, 0)
    step.check_codes(found, 1)
    assert (found.loss, found.hits) == (step.result.loss, step.result.hits)
    step.check_records(found, 0, forward=False, backward=True, above=above)
    step.check_records(found, 1, forward=True, backward=True)


def test_updates_alone_move_the_weights(step: Step) -> None:
    found = step.run(step.select(isa.Head.UPDATE))
    assert not found.left.any()
    for layer in (0, 1):
        step.check_weights(found, layer)
        step.check_records(found, layer, forward=False, backward=False)


def test_rows_of_a_backward_pass_wait_behind_those_of_an_update(step: Step) -> None:
    above = step.trace["2.e"]
    update = step.select(isa.Head.UPDATE)[0]
    found = step.run([update, *step.select(isa.Head.BACKWARD)], stall=stalls(3, 0.3), above=above)
    step.check_weights(found, update[0].fields["layer"])
    step.check_codes(found, 0)
    step.check_records(found, 0, forward=False, backward=True, above=above)


@pytest.mark.parametrize(("last", "mean_log2"), [(7, 0), (0, -1)])
def test_the_next_exponent_counts_the_last_row_too(step: Step, last: int, mean_log2: int) -> None:
    """448 gradients, whose sizes add up to 368, and to 452 with a last row of 7 in three columns."""
    ((order, _),) = step.select(isa.Head.BACKWARD)
    d = np.zeros((64, 7), int)
    d[:, 0], d[:28, 1] = np.tile([1, -1], 32), np.tile([1, -1], 14)
    d[63, 4:] = last
    found = step.run([(order, Rows(d, active=np.ones((64, 7), bool)))])
    planes = step.settings.gradient_planes
    want = mean_log2 + formats.headroom(planes) + 1 - planes
    assert signed(found.records[step.places.layers[0].exponent], formats.MU_BITS) == want


def test_inference_gives_scores_while_rows_of_the_next_batch_wait(step: Step) -> None:
    """They stand in the tile buffer behind those that the LOSS pass discards."""
    state, places = step.after, layout(NETWORK, step.settings, CONFIG, training=False)
    golden = Golden(NETWORK, step.settings, CONFIG, state)
    program = Compiler(NETWORK, step.settings, CONFIG, places, Addresses()).inference(1)
    orders = passes_of(program.instructions, step=0)
    passes: list[tuple[Instruction, Rows]] = []
    scores: list[int] = []
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 6)).astype(np.uint8)
        hidden = pixel_codes(pixels, 2) @ signs(state.layers[0].sign)
        tau = state.layers[0].mu - ((state.layers[0].beta >> 4) * state.layers[0].psi >> CONFIG.latent - 1)
        active = 64 * hidden.astype(int) >= tau
        sums = (hidden, signs(active) @ signs(state.layers[1].sign))
        passes += [(order, Rows(y, pivots=np.zeros(y.shape[1], int))) for order, y in zip(orders, sums, strict=True)]
        scores = scores or golden.infer(pixels).ravel().tolist()
    records = records_of(state, places)
    found = run(passes[:-1], records, {}, step.labels.tolist(), step.settings.seed, stalls(2, 0.2))
    assert found.scores == scores
    assert found.records == records
    assert np.array_equal(found.bits(places.layers[0].active)[:, 0], active)


@pytest.mark.parametrize("cycles", [2, 20])
def test_a_reset_ends_a_pass(step: Step, cycles: int) -> None:
    """In the middle of the first tile of an update, or while it waits for its rows."""
    reset, head = Signal(), Head(CONFIG)
    order = step.select(isa.Head.UPDATE)[0][0]

    async def bench(ctx: Any) -> None:
        ctx.set(head.order.payload, {name: order.fields.get(name, 0) for name in PASS.members})
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
