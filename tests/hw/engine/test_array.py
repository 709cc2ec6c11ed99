"""The lanes against products of odd integers, with the sums watched in every cycle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate
from tiles import pairs_of, weights

from bnnedge.configuration import Configuration
from bnnedge.hw.engine.array import LaneArray, finish_latency

Range = tuple[int, int]


@dataclasses.dataclass
class Tile:
    """Operands (lanes, planes, words, bits) of one tile, which bits of each word count, and what goes with it.

    twins: whether the planes of the left and of the right operand are twins.
    """

    left: np.ndarray
    right: np.ndarray
    ranges: list[Range]
    meta: dict[str, int]
    twins: tuple[int, int] = (0, 0)

    def valid(self, operand: np.ndarray) -> np.ndarray:
        """(lanes, planes, bits) that count."""
        return np.concatenate([operand[:, :, i, low:high] for i, (low, high) in enumerate(self.ranges)], axis=2)

    @property
    def products(self) -> np.ndarray:
        """Row by column, of the integers that the planes stand for."""
        return codes(self.valid(self.left), self.twins[0]) @ codes(self.valid(self.right), self.twins[1]).T

    @property
    def bias(self) -> int:
        """The largest product there could be."""
        scales = [int(codes(np.ones((1, planes, 1)), twin)[0, 0]) for planes, twin in zip(self.planes, self.twins, strict=True)]
        return self.valid(self.left).shape[2] * scales[0] * scales[1]

    @property
    def planes(self) -> tuple[int, int]:
        return self.left.shape[1], self.right.shape[1]

    def cycles(self) -> list[dict[str, Any]]:
        """Inputs of the array, cycle by cycle."""
        tags = []
        before: int | None = None
        for i, j, weight in pairs_of(self.planes, self.twins):
            for w, (low, high) in enumerate(self.ranges):
                double = before is not None and weight < before and w == 0
                tag = {"valid": 1, "double": int(double), "low": low, "high": high}
                words = {"left": integers(self.left[:, i, w]), "right": integers(self.right[:, j, w])}
                tags.append({**words, "tag": tag})
            before = weight
        tags[0]["tag"]["first"] = 1
        tags[-1]["tag"] |= {"last": 1, "meta": self.meta}
        return tags


def codes(bits: np.ndarray, twin: int) -> np.ndarray:
    """Integers (lanes, bits) of (lanes, planes, bits), least significant plane first."""
    scales = 2 ** np.array(weights(bits.shape[1], twin), dtype=np.int64)
    return ((2 * bits.astype(np.int64) - 1) * scales[:, None]).sum(1)


def integers(bits: np.ndarray) -> list[int]:
    """Words of rows of bits, bit 0 first."""
    return [int("".join(str(int(bit)) for bit in row[::-1]), 2) for row in bits]


def words_of(bits: int, word: int) -> list[Range]:
    """Ranges of a contraction over `bits` bits."""
    return [(0, min(word, bits - done)) for done in range(0, bits, word)]


def random_tile(
    config: Configuration,
    source: np.random.Generator,
    planes: tuple[int, int],
    ranges: list[Range],
    twins: tuple[int, int] = (0, 0),
) -> Tile:
    shape = (len(ranges), config.word)
    left, right = (source.integers(0, 2, (config.lanes, count, *shape)).astype(bool) for count in planes)
    meta = {"head": 4, "pool": 3, "place": 4, "part": 4, "columns": config.lanes + 1, "row_first": 16, "row_last": 16}
    flags = ("inference", "continues", "unfinished", "begins", "first", "last")
    meta |= dict.fromkeys(flags, 2)
    return Tile(left, right, ranges, {name: int(source.integers(end)) for name, end in meta.items()}, twins)


def check(config: Configuration, tiles: list[Tile], seed: int, idle: float = 0.0) -> None:
    """Send the tiles with idle cycles between words; in each cycle compare all outputs with the tile that is due."""
    source = np.random.default_rng(seed)
    dut = LaneArray(config)
    stimulus: list[tuple[dict[str, Any], Tile | None]] = []
    for tile in tiles:
        cycles = tile.cycles()
        for inputs in cycles:
            while source.random() < idle:
                stimulus.append((nothing(config, source), None))
            stimulus.append((inputs, tile if inputs is cycles[-1] else None))
    stimulus += [(nothing(config, source), None)] * (finish_latency(config) + 2 * config.lanes)

    async def bench(ctx: Any) -> None:
        due: list[Tile | None] = [None] * finish_latency(config)
        here: Tile | None = None
        finished = 0
        expected: list[int] | None = None
        for inputs, ends in stimulus:
            due.append(ends)
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), value)
            row = int(source.integers(config.lanes))
            ctx.set(dut.row, row)
            _, _, done, bias, meta, sums = await ctx.tick().sample(dut.done, dut.bias, dut.meta, dut.sums)
            arrives = due.pop(0)
            assert done == (arrives is not None)
            if arrives is not None:
                here, finished = arrives, finished + 1
            if expected is not None:
                assert list(sums) == expected
            if here is not None:
                assert bias == here.bias
                assert {name: int(meta[name]) for name in here.meta} == here.meta
                expected = [int(agree) for agree in (here.products[row] + here.bias) // 2]
        assert finished == len(tiles)

    simulate(dut, bench)


def nothing(config: Configuration, source: np.random.Generator) -> dict[str, Any]:
    """A cycle that must not count, though its inputs look alive."""
    words = integers(source.integers(0, 2, (2 * config.lanes, config.word)))
    tag = {"valid": 0, "first": 1, "double": 1, "last": 1, "low": 1, "high": 3}
    return {"left": words[: config.lanes], "right": words[config.lanes :], "tag": tag}


@pytest.mark.parametrize("idle", [0.0, 0.3])
def test_sums_are_products_of_all_planes_and_stay_until_the_next_tile(idle: float) -> None:
    source = np.random.default_rng(1)
    shapes = [((1, 1), 16), ((8, 1), 5), ((1, 1), 33), ((3, 2), 20), ((1, 3), 31), ((2, 2), 1), ((1, 8), 17)]
    tiles = [random_tile(TINY, source, planes, words_of(bits, TINY.word)) for planes, bits in shapes]
    check(TINY, tiles, seed=2, idle=idle)


@pytest.mark.parametrize("twins", [(0, 1), (1, 0), (1, 1)])
def test_twin_planes_weigh_the_same(twins: tuple[int, int]) -> None:
    source = np.random.default_rng(12)
    shapes = [(left, right) for left in (1 + twins[0], 3, 8) for right in (1 + twins[1], 4, 8)]
    tiles = [random_tile(TINY, source, planes, words_of(20, TINY.word), twins) for planes in shapes]
    check(TINY, tiles, seed=13)


def test_any_range_of_a_words_bits_can_count() -> None:
    source = np.random.default_rng(8)
    ranges = [(low, high) for low in range(TINY.word) for high in range(low, TINY.word + 1)]
    tiles = [random_tile(TINY, source, (1, 1), [r]) for r in ranges]
    tiles += [random_tile(TINY, source, (2, 2), [(3, 9), (0, 0), (12, 16)])]
    check(TINY, tiles, seed=9)


def test_without_any_bits_the_sums_are_zero() -> None:
    source = np.random.default_rng(10)
    tiles = [random_tile(TINY, source, (3, 2), [(0, 0)] * words) for words in (1, 3)]
    assert not tiles[0].products.any()
    check(TINY, tiles, seed=11)


def test_tiles_of_one_word_follow_each_other_without_a_gap() -> None:
    source = np.random.default_rng(3)
    check(TINY, [random_tile(TINY, source, (1, 1), [(0, bits)]) for bits in range(1, 17)], seed=4)


@pytest.mark.parametrize("word", [32, 64])
def test_wider_words(word: int) -> None:
    config = dataclasses.replace(TINY, word=word)
    source = np.random.default_rng(word)
    tiles = [random_tile(config, source, (1, 2), words_of(bits, word)) for bits in (1, word - 1, word, word + 1)]
    check(config, tiles, seed=5, idle=0.1)


def test_accumulators_hold_the_largest_sums() -> None:
    config = dataclasses.replace(TINY, accumulator=16)
    tiles = []
    planes, bits = 8, config.largest_sum // 255
    ranges = words_of(bits, config.word)
    for left, right in ((1, 1), (0, 0), (1, 0)):
        operands = (np.full((config.lanes, n, len(ranges), config.word), side, bool) for n, side in ((planes, left), (1, right)))
        tiles.append(Tile(*operands, ranges, {"head": 0, "first": 1, "last": 1, "columns": 4}))
    assert abs(tiles[0].products).max() > config.largest_sum - 255
    check(config, tiles, seed=6)


def test_a_reset_forgets_the_tile_in_flight() -> None:
    reset = Signal()
    dut = LaneArray(TINY)
    source = np.random.default_rng(7)
    tile = random_tile(TINY, source, (1, 1), words_of(40, TINY.word))
    cycles = tile.cycles()
    done = 0

    async def send(ctx: Any, inputs: dict[str, Any]) -> None:
        nonlocal done
        for name, value in inputs.items():
            ctx.set(getattr(dut, name), value)
        _, _, now = await ctx.tick().sample(dut.done)
        done += now

    async def bench(ctx: Any) -> None:
        for inputs in cycles:
            await send(ctx, inputs)
        ctx.set(reset, 1)
        await send(ctx, nothing(TINY, source))
        ctx.set(reset, 0)
        for inputs in cycles + [nothing(TINY, source)] * (finish_latency(TINY) + 1):
            await send(ctx, inputs)
        assert done == 1
        for row in range(TINY.lanes):
            ctx.set(dut.row, row)
            await send(ctx, nothing(TINY, source))
            assert [2 * s - ctx.get(dut.bias) for s in ctx.get(dut.sums)] == tile.products[row].tolist()

    simulate(ResetInserter(reset)(dut), bench)
