"""The lanes against products of odd integers, with the sums watched in every cycle."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from hardware import TINY, simulate

from bnnedge.compiler.pack import codes_of
from bnnedge.configuration import Configuration
from bnnedge.hw.engine.array import LaneArray, finish_latency


@dataclasses.dataclass
class Tile:
    """Operands (lanes, planes, bits) of one tile, and what goes with it."""

    left: np.ndarray
    right: np.ndarray
    meta: dict[str, int]

    @property
    def products(self) -> np.ndarray:
        """Row by column, of the odd integers that the planes stand for."""
        return codes_of(self.left).astype(np.int64) @ codes_of(self.right).astype(np.int64).T

    @property
    def bias(self) -> int:
        """The largest product there could be."""
        scale = [2 ** operand.shape[1] - 1 for operand in (self.left, self.right)]
        return self.left.shape[2] * scale[0] * scale[1]

    def cycles(self, config: Configuration, junk: np.random.Generator) -> list[dict[str, Any]]:
        """Inputs of the array, cycle by cycle; bits behind the last valid one are junk."""
        lanes, word = config.lanes, config.word
        bits = self.left.shape[2]
        words = -(-bits // word)
        padded = []
        for operand in (self.left, self.right):
            full = junk.integers(0, 2, (lanes, operand.shape[1], words * word)).astype(bool)
            full[:, :, :bits] = operand
            padded.append(full)
        tags = []
        planes = [operand.shape[1] for operand in padded]
        for diagonal in reversed(range(sum(planes) - 1)):
            pairs = [(i, diagonal - i) for i in range(planes[0]) if 0 <= diagonal - i < planes[1]]
            for pair in pairs:
                for w in range(words):
                    new_diagonal = pair == pairs[0] and w == 0 and diagonal != sum(planes) - 2
                    span = slice(w * word, (w + 1) * word)
                    inputs = [integers(padded[side][:, pair[side], span]) for side in (0, 1)]
                    tag = {"valid": 1, "double": new_diagonal, "tail": bits % word if w == words - 1 else 0}
                    tags.append({"left": inputs[0], "right": inputs[1], "tag": tag})
        tags[0]["tag"]["first"] = 1
        tags[-1]["tag"] |= {"last": 1, "meta": self.meta}
        return tags


def integers(bits: np.ndarray) -> list[int]:
    """Words of rows of bits, bit 0 first."""
    return [int("".join(str(int(bit)) for bit in row[::-1]), 2) for row in bits]


def random_tile(config: Configuration, source: np.random.Generator, planes: tuple[int, int], bits: int) -> Tile:
    left, right = (source.integers(0, 2, (config.lanes, count, bits)).astype(bool) for count in planes)
    meta = {"head": int(source.integers(4)), "first": int(source.integers(2)), "last": int(source.integers(2))}
    return Tile(left, right, meta | {"columns": int(source.integers(1, config.lanes + 1))})


def check(config: Configuration, tiles: list[Tile], seed: int, idle: float = 0.0) -> None:
    """Send the tiles with idle cycles between words; in each cycle compare all outputs with the tile that is due."""
    source = np.random.default_rng(seed)
    dut = LaneArray(config)
    stimulus: list[tuple[dict[str, Any], Tile | None]] = []
    for tile in tiles:
        cycles = tile.cycles(config, source)
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
    tag = {"valid": 0, "first": 1, "double": 1, "last": 1, "tail": 3}
    return {"left": words[: config.lanes], "right": words[config.lanes :], "tag": tag}


@pytest.mark.parametrize("idle", [0.0, 0.3])
def test_sums_are_products_of_all_planes_and_stay_until_the_next_tile(idle: float) -> None:
    source = np.random.default_rng(1)
    shapes = [((1, 1), 16), ((8, 1), 5), ((1, 1), 33), ((3, 2), 20), ((1, 3), 31), ((2, 2), 1), ((1, 8), 17)]
    check(TINY, [random_tile(TINY, source, *shape) for shape in shapes], seed=2, idle=idle)


def test_tiles_of_one_word_follow_each_other_without_a_gap() -> None:
    source = np.random.default_rng(3)
    check(TINY, [random_tile(TINY, source, (1, 1), bits) for bits in range(1, 17)], seed=4)


@pytest.mark.parametrize("word", [32, 64])
def test_wider_words(word: int) -> None:
    config = dataclasses.replace(TINY, word=word)
    source = np.random.default_rng(word)
    tiles = [random_tile(config, source, (1, 2), bits) for bits in (1, word - 1, word, word + 1)]
    check(config, tiles, seed=5, idle=0.1)


def test_accumulators_hold_the_largest_sums() -> None:
    config = dataclasses.replace(TINY, accumulator=16)
    tiles = []
    for left, right in ((1, 1), (0, 0), (1, 0)):
        planes, bits = 8, config.largest_sum // 255
        operands = (np.full((config.lanes, n, bits), side, bool) for n, side in ((planes, left), (1, right)))
        tiles.append(Tile(*operands, {"head": 0, "first": 1, "last": 1, "columns": 4}))
    assert abs(tiles[0].products).max() > config.largest_sum - 255
    check(config, tiles, seed=6)


def test_a_reset_forgets_the_tile_in_flight() -> None:
    reset = Signal()
    dut = LaneArray(TINY)
    source = np.random.default_rng(7)
    tile = random_tile(TINY, source, (1, 1), 40)
    cycles = tile.cycles(TINY, source)
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
