"""The last layer against the golden model's logits and softmax."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, Stall, never, signed, simulate, stalls, steady

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.hw.heads.softmax import CLASSES, SCORE_BITS, SUMS_LATENCY, Softmax
from bnnedge.hw.layouts import tile_row
from bnnedge.sim.golden.softmax import logits, softmax

pytestmark = pytest.mark.usefixtures("left_behind")

LANES, TOP = TINY.lanes, 1 << formats.BETA_USED - 1
SUM = TINY.largest_sum
VALUE_BITS = TINY.accumulator
CELL_BITS = tile_row(TINY).elem_shape.as_shape().width
OTHER = (1 << CELL_BITS * LANES) - 1  # rows that belong to someone else


@dataclasses.dataclass(frozen=True)
class Batch:
    """Sums y (images, classes), labels (images,), and the classes' parameters (classes,)."""

    y: np.ndarray
    labels: np.ndarray
    mu: np.ndarray
    psi: np.ndarray
    beta: np.ndarray
    slope: np.ndarray
    inference: bool = False

    @property
    def images(self) -> int:
        """Number of images."""
        return self.y.shape[0]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.y.shape[1]

    def rows(self) -> list[int]:
        """The sums in the tile buffer."""
        return pack(self.y)


def pack(values: np.ndarray) -> list[int]:
    """Rows of the tile buffer: of all images the first LANES classes, then of all images the next ones."""
    cells = values & (1 << VALUE_BITS) - 1
    cells = np.pad(cells, ((0, 0), (0, -cells.shape[1] % LANES)))
    groups = cells.reshape(len(cells), -1, LANES).transpose(1, 0, 2).reshape(-1, LANES)
    return [sum(cell << j * CELL_BITS for j, cell in enumerate(row)) for row in groups.tolist()]


def drawn(seed: int, images: int, classes: int, *, spread: int = 40, inference: bool = False) -> Batch:
    """A batch of plausible sums, in which most images have more than one likely class."""
    random = np.random.default_rng(seed)
    return Batch(
        y=random.integers(-spread, spread + 1, (images, classes)),
        labels=random.integers(0, classes, images),
        mu=random.integers(-10 * 64, 10 * 64, classes),
        psi=random.integers(10 * 64, 30 * 64, classes),
        beta=random.integers(-TOP, TOP, classes),
        slope=random.choice((0, 1, -4095, 4095, random.integers(-300, 300)), classes),
        inference=inference,
    )


def plain(y: np.ndarray, labels: np.ndarray, psi: int = 64) -> Batch:
    """A batch whose logits are the sums in units of psi."""
    nothing = np.zeros(y.shape[1], int)
    return Batch(y=y, labels=labels, mu=nothing, psi=nothing + psi, beta=nothing, slope=nothing)


def expected(batch: Batch) -> dict[str, Any]:
    """What must come of a batch: biased logits, rows of gradients, their sums by class, loss and hits."""
    z, biased = logits(batch.y, batch.mu, batch.psi, batch.beta)
    d0, loss, hits = softmax(biased, batch.labels)
    d0[np.arange(batch.images), batch.labels] -= 1 << formats.PROBABILITY
    d = d0 - np.where(z >= 0, batch.slope, -batch.slope)
    last = np.arange(batch.classes) == batch.classes - 1
    return {
        "scores": [(value, end) for row in biased.tolist() for value, end in zip(row, last.tolist(), strict=True)],
        "rows": pack(d),
        "sums": list(zip(d.sum(0).tolist(), ((d0 * z).sum(0) * 710 >> 18).tolist(), strict=True)),
        "loss": loss,
        "hits": hits,
    }


async def load(ctx: Any, dut: Softmax, batch: Batch) -> None:
    """Give the parameters of all classes, and something for the lanes without a class, as `Averages` does."""
    for number in range(-(-batch.classes // LANES) * LANES):
        ctx.set(dut.load_class, number)
        parameters = {"mu": -1, "psi": 1, "beta": -1, "slope": 99}
        if number < batch.classes:
            parameters = {name: int(getattr(batch, name)[number]) for name in parameters}
        ctx.set(dut.of_class, parameters)
        ctx.set(dut.load, 1)
        await ctx.tick()
    ctx.set(dut.load, 0)


async def sums_of(ctx: Any, dut: Softmax, number: int) -> tuple[int, int]:
    ctx.set(dut.sums_class, number)
    await ctx.tick().repeat(SUMS_LATENCY)
    sums = ctx.get(dut.sums)
    return sums.first, sums.second


async def compare(ctx: Any, dut: Softmax, batch: Batch, buffer: list[int], scores: list[tuple[int, bool]]) -> None:
    """Compare all that a finished batch leaves behind."""
    want = expected(batch)
    before = batch.rows()
    assert scores == (want["scores"] if batch.inference else [])
    assert buffer[: len(before)] == (before if batch.inference else want["rows"])
    assert buffer[len(before) :] == [OTHER] * (len(buffer) - len(before))
    assert ctx.get(dut.loss) == want["loss"]
    assert ctx.get(dut.hits) == want["hits"]
    lanes_without_class = -batch.classes % LANES
    sums = [await sums_of(ctx, dut, number) for number in range(batch.classes + lanes_without_class)]
    assert sums == want["sums"] + [(0, 0)] * lanes_without_class


def check(
    *batches: Batch,
    label_stall: Stall = never,
    score_stall: Stall = never,
    reset_after: int = 0,
    config: Configuration = TINY,
) -> None:
    """Run batch after batch; with `reset_after`, first break the first one off after that many cycles."""
    unit, reset = Softmax(config), Signal()
    buffer = [0] * config.tile_rows
    labels: list[int] = []
    scores: list[tuple[int, bool]] = []

    async def tile_buffer(ctx: Any) -> None:
        """Rows come two cycles behind their offset."""
        read = 0
        ports = (unit.offset, unit.rewrite, unit.rewrite_offset, unit.rewrite_sum)
        async for _, _, offset, rewrite, to, gradient in ctx.tick().sample(*ports):
            ctx.set(unit.row.as_value(), read)
            read = buffer[offset]
            for lane in range(LANES):
                if rewrite >> lane & 1:
                    kept = buffer[to] & ~((1 << CELL_BITS) - 1 << lane * CELL_BITS)
                    buffer[to] = kept | (gradient & (1 << VALUE_BITS) - 1) << lane * CELL_BITS

    async def give_labels(ctx: Any) -> None:
        there = False
        while True:
            there = bool(labels) and (there or not label_stall())
            ctx.set(unit.label.valid, there)
            ctx.set(unit.label.payload, labels[0] if there else 0)
            _, _, ready = await ctx.tick().sample(unit.label.ready)
            if there and ready:
                del labels[0]
                there = False

    async def take_scores(ctx: Any) -> None:
        while True:
            ctx.set(unit.score.ready, not score_stall())
            ports = (unit.score.valid & unit.score.ready, unit.score.payload, unit.score_last)
            _, _, taken, score, last = await ctx.tick().sample(*ports)
            if taken:
                scores.append((signed(score, SCORE_BITS), bool(last)))

    async def start(ctx: Any, *batches: Batch) -> None:
        """Start the first batch; the labels of the others wait already."""
        rows = batches[0].rows()
        buffer[:] = rows + [OTHER] * (len(buffer) - len(rows))
        labels[:] = np.concatenate([batch.labels for batch in batches]).tolist()
        scores.clear()
        for name in ("classes", "images", "inference"):
            ctx.set(getattr(unit, name), getattr(batches[0], name))
        await load(ctx, unit, batches[0])
        ctx.set(unit.begin, 1)
        await ctx.tick()
        ctx.set(unit.begin, 0)

    async def bench(ctx: Any) -> None:
        if reset_after:
            await start(ctx, *batches)
            await ctx.tick().repeat(reset_after)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        for number, batch in enumerate(batches):
            await start(ctx, *batches[number:])
            await ctx.tick().until(unit.done)
            await compare(ctx, unit, batch, buffer, scores)
            assert len(labels) == sum(later.images for later in batches[number + 1 :])

    background = [tile_buffer, give_labels, take_scores, steady(unit.score)]
    simulate(ResetInserter(reset)(unit), bench, background=background, limit=100_000)


@pytest.mark.parametrize("classes", range(2, 13))
def test_batches_of_classes_in_one_to_three_groups(classes: int) -> None:
    check(drawn(classes, 5, classes), label_stall=stalls(classes, 0.9))


@pytest.mark.parametrize("classes", [2, 4, 5, 12])
def test_inference_gives_scores_and_leaves_the_sums_under_back_pressure(classes: int) -> None:
    batch = drawn(classes, 4, classes, inference=True)
    check(batch, label_stall=stalls(1, 0.9), score_stall=stalls(2, 0.7))


def test_the_most_classes_there_are() -> None:
    check(drawn(1, TINY.tile_rows * LANES // CLASSES, CLASSES))


def test_batches_of_other_sizes_and_kinds_follow_each_other() -> None:
    check(
        drawn(3, 3, 8),
        drawn(4, 4, 5),
        drawn(5, 2, 12, inference=True),
        drawn(6, 3, 6, inference=True),
        drawn(7, 4, 3),
        label_stall=stalls(3),
        score_stall=stalls(4),
    )


@pytest.mark.parametrize("inference", [False, True])
def test_logits_saturate(inference: bool) -> None:
    """psi counts as 1 where it is less; y, mu and beta as large as can be."""
    signs = np.array([[1, -1, 1, 1, -1], [-1, 1, 1, -1, -1], [-1, -1, -1, -1, -1]])
    batch = Batch(
        y=signs * SUM,
        labels=np.array([0, 3, 4]),
        mu=np.array([-SUM, SUM, SUM, -SUM, 0]) * 64,
        psi=np.array([0, 63, 64, 2 * SUM * 64, 1]),
        beta=np.array([TOP - 1, -TOP, TOP - 1, -TOP, 0]),
        slope=np.array([4095, -4095, 4095, -4095, 1]),
        inference=inference,
    )
    check(batch)


@pytest.mark.parametrize("winner", range(5))
def test_of_equal_logits_the_first_wins(winner: int) -> None:
    """In the second image all are equal."""
    y = np.zeros((2, 5), int)
    y[0, winner:] = 3
    check(plain(y, np.array([winner, 0])))


def test_the_largest_batch_of_wrong_images_has_the_largest_loss_and_sums() -> None:
    """Probabilities of 0 and 1, and logits at their ends, so that every gradient and product is as large as can be."""
    images, config = formats.MOST_BATCH, dataclasses.replace(TINY, tile_rows=formats.MOST_BATCH)
    batch = plain(np.tile([SUM, -SUM], (images, 1)), np.ones(images, int))
    check(dataclasses.replace(batch, slope=np.array([-4095, -4095])), config=config)


@pytest.mark.parametrize("slope", [-4095, -1, 1, 4095])
def test_the_slope_leaves_a_gradient_by_the_sign_of_the_logit_before_beta(slope: int) -> None:
    """A logit of 0 counts as positive; each beta is larger than the logits."""
    batch = plain(np.array([[-1, 0, 1], [1, -1, 0]]), np.array([0, 1]), psi=64 * 64)
    check(dataclasses.replace(batch, beta=np.array([TOP - 1, -TOP, -TOP]), slope=np.full(3, slope)))


def test_powers_underflow_when_a_logit_lies_far_below_the_largest() -> None:
    """Sums of 1 are 1.44 octaves."""
    y = np.array([[0, -5, -10, -11, -12, -15, -22, -23], [-8, -3, 3, -7, -9, -20, 2, 1]])
    check(plain(y, np.array([3, 0])))


@pytest.mark.parametrize("psi", [0, 1, 63, 64, 65])
def test_a_deviation_below_one_counts_as_one(psi: int) -> None:
    check(plain(np.array([[1, 0, -2, 3]]), np.array([0]), psi))


@pytest.mark.parametrize("reset_after", [3, 60, 146, 155, 165, 185, 205, 220])
def test_a_reset_in_the_middle_leaves_nothing_behind(reset_after: int) -> None:
    check(drawn(8, 3, 5), drawn(9, 2, 4, inference=True), reset_after=reset_after)
