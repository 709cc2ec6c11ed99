"""The writing half of TRANSPOSE against NumPy's transposition, alone and behind the operand fetch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth import Module, ResetInserter, Signal
from hardware import TINY, simulate, stalls, stream_put

from bnnedge.configuration import Configuration
from bnnedge.hw.buffers.banked import READ_LATENCY, BankedBuffer
from bnnedge.hw.engine.fetch import Fetch
from bnnedge.hw.engine.transpose import Transpose
from bnnedge.isa import Opcode

pytestmark = pytest.mark.usefixtures("left_behind")

CONFIGS = {
    f"granules-{word // lanes}": dataclasses.replace(TINY, lanes=lanes, word=word, left_depth=256)
    for lanes, word in ((4, 16), (16, 16), (8, 16), (4, 64))
}


def word(bits: np.ndarray) -> int:
    return sum(int(bit) << place for place, bit in enumerate(bits))


class Case:
    """Images (pixels, images, planes, channels) to transpose into columns that begin at `base`.

    Tiles are numbered from `first`: the tile register's columns begin at that granule. A pixel's columns follow those of
    the one before.
    """

    def __init__(
        self, config: Configuration, images: int, planes: int, channels: int, base: int, *, first: int = 0, pixels: int = 1
    ) -> None:
        self.config, self.planes, self.base, self.first, self.pixels = config, planes, base, first, pixels
        self.tiles, self.groups = images // config.lanes, -(-channels // config.lanes)
        self.words = -(-channels // config.word)
        self.bits = np.zeros((pixels, images, planes, self.words * config.word), bool)
        source = np.random.default_rng(images + channels)
        self.bits[..., :channels] = source.integers(0, 2, (pixels, images, planes, channels))
        self.plane_stride = -(-(first + self.tiles) // config.granules)
        self.pixel_stride = self.groups * planes * self.plane_stride
        self.order = {
            "opcode": int(Opcode.TRANSPOSE),
            "groups": self.groups,
            "columns_group": planes * self.plane_stride,
            "columns_plane": self.plane_stride,
        }

    def places(self) -> list[tuple[int, int, int, int]]:
        """Pixel, tile, plane and word of each read."""
        return [
            (pixel, tile, plane, index)
            for pixel in range(self.pixels)
            for tile in range(self.tiles)
            for plane in reversed(range(self.planes))
            for index in range(self.words)
        ]

    def row_words(self, pixel: int, tile: int, plane: int, index: int) -> list[int]:
        """What the banks of the left buffer hold there."""
        lanes, span = self.config.lanes, slice(index * self.config.word, (index + 1) * self.config.word)
        return [word(self.bits[pixel, tile * lanes + i, plane, span]) for i in range(lanes)]

    def columns(self) -> dict[tuple[int, int, int], int]:
        """Granules to write: (bank, address, granule) -> bits."""
        lanes, granules = self.config.lanes, self.config.granules
        expected = {}
        for pixel in range(self.pixels):
            for channel in range(self.groups * lanes):
                for plane in range(self.planes):
                    for tile in range(self.tiles):
                        group, bank = divmod(channel, lanes)
                        address, granule = divmod(self.first + tile, granules)
                        address += self.base + pixel * self.pixel_stride + (group * self.planes + plane) * self.plane_stride
                        images = self.bits[pixel, tile * lanes : (tile + 1) * lanes, plane, channel]
                        expected[bank, address, granule] = word(images)
        return expected


class Written:
    """Watches a write port."""

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.granules: dict[tuple[int, int, int], int] = {}

    def note(self, active: int, address: int, data: Any, masks: Any) -> None:
        lanes = self.config.lanes
        assert all(bool(mask) == bool(active) for mask in masks)
        for bank, (value, mask) in enumerate(zip(data, masks, strict=True)):
            for granule in range(self.config.granules):
                if mask >> granule & 1:
                    place = (bank, address, granule)
                    assert place not in self.granules, "written twice"
                    self.granules[place] = value >> granule * lanes & (1 << lanes) - 1


def transpose(
    config: Configuration, cases: list[Case], gaps: np.random.Generator | None, *, checked: bool = True
) -> list[dict[Any, int]]:
    """What the unit writes for each case, words coming as fast as allowed or with gaps."""
    dut = Transpose(config)
    results = []

    async def bench(ctx: Any) -> None:
        for case in cases:
            written = Written(config)
            coming: list[list[int] | None] = [None] * READ_LATENCY
            ctx.set(dut.order, case.order)
            reads: list[tuple[int, int, int, int] | None] = []
            for place in case.places():
                reads += [place] + [None] * (config.granules - 1 + (int(gaps.integers(3)) if gaps else 0))
            for read in reads + [None] * (READ_LATENCY + config.granules + 1):
                ctx.set(dut.read, read is not None)
                if read is not None:
                    pixel, tile, plane, index = read
                    ctx.set(dut.base, case.base + pixel * case.pixel_stride)
                    ctx.set(dut.tile, case.first + tile)
                    ctx.set(dut.plane, plane)
                    ctx.set(dut.word, index)
                coming.append(case.row_words(*read) if read else None)
                junk = [(1 << config.word) - 1] * config.lanes
                ctx.set(dut.words, coming.pop(0) or junk)
                port = dut.write
                _, _, *now = await ctx.tick().sample(dut.active, port.address, port.data, port.granules)
                written.note(*now)
            assert not ctx.get(dut.active)
            results.append(written.granules)

    simulate(dut, bench, checked=checked)
    return results


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("gaps", [False, True])
def test_writes_each_column_granule_once(config: Configuration, gaps: bool) -> None:
    two = 2 * config.word // config.lanes + 1  # tiles: more than a word of images
    cases = [
        Case(config, config.lanes * min(two, 5), 2, config.word + config.lanes + 1, base=3),
        Case(config, config.lanes, 1, 1, base=0, first=config.granules - 1),
        Case(config, config.lanes * 2, 3, config.word, base=7, first=config.granules // 2, pixels=3),
    ]
    results = transpose(config, cases, np.random.default_rng(4) if gaps else None)
    for case, result in zip(cases, results, strict=True):
        assert result == case.columns()


def test_the_largest_strides_and_addresses_wrap() -> None:
    case = Case(TINY, images=4, planes=3, channels=16, base=2**16 - 3)
    case.order |= {"columns_group": 2**16 - 5, "columns_plane": 2**16 - 1}
    expected = {}
    for group in range(4):
        for plane in range(3):
            for bank in range(4):
                address = (case.base - 5 * group - plane) % 64
                expected[bank, address, 0] = word(case.bits[0, :, plane, 4 * group + bank])
    assert transpose(TINY, [case], None, checked=False) == [expected]


def test_images_of_more_than_a_word_go_on_at_the_next_address() -> None:
    case = Case(TINY, images=36, planes=2, channels=10, base=1)
    assert case.plane_stride == 3
    assert transpose(TINY, [case], None) == [case.columns()]


@pytest.mark.parametrize("after", range(READ_LATENCY + TINY.granules))
def test_a_reset_ends_the_writing(after: int) -> None:
    reset = Signal()
    dut = Transpose(TINY)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.order, {"groups": 4})
        ctx.set(dut.read, 1)
        await ctx.tick()
        ctx.set(dut.read, 0)
        for _ in range(after):
            await ctx.tick()
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(READ_LATENCY + TINY.granules):
            assert not ctx.get(dut.active)
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("chance", [0, 0.5])
def test_behind_the_fetch_everything_is_written_when_the_signal_comes(config: Configuration, chance: float) -> None:
    case = Case(config, config.lanes * 2, 2, config.word + 1, base=20, first=config.granules // 2, pixels=4)
    m = Module()
    m.submodules.fetch = fetch = Fetch(config)
    m.submodules.left = left = BankedBuffer(config, config.left_depth)
    m.submodules.transpose = unit = Transpose(config)
    m.d.comb += [
        left.address.eq(fetch.left_address),
        unit.order.eq(fetch.instruction.payload),
        unit.read.eq(fetch.transpose),
        unit.word.eq(fetch.transpose_word),
        unit.plane.eq(fetch.transpose_plane),
        unit.tile.eq(fetch.transpose_tile),
        unit.base.eq(fetch.transpose_base),
        unit.words.eq(left.words),
    ]
    written, stall = Written(config), stalls(7, chance)
    slot = case.planes * case.words
    order = case.order | {
        "height": 2,
        "width": 2,
        "tiles": case.tiles,
        "first_tile": case.first,
        "words": case.words,
        "strip": 1,
        "left_planes": case.planes,
        "left_base": 5 + (case.planes - 1) * case.words,
        "left_y": 2 * case.tiles * slot,
        "left_x": case.tiles * slot,
        "left_tile": slot,
        "left_plane": -case.words % (1 << 16),
        "columns_base": case.base,
        "columns_y": 2 * case.pixel_stride,
        "columns_x": case.pixel_stride,
        "signal": 4,
    }

    async def bench(ctx: Any) -> None:
        ctx.set(left.write.granules, [(1 << config.granules) - 1] * config.lanes)
        for place in case.places():
            pixel, tile, plane, index = place
            ctx.set(left.write.address, 5 + (pixel * case.tiles + tile) * slot + plane * case.words + index)
            ctx.set(left.write.data, case.row_words(*place))
            await ctx.tick()
        ctx.set(left.write.granules, [0] * config.lanes)
        await stream_put(ctx, fetch.instruction, [order])

    async def hold(ctx: Any) -> None:
        while True:
            ctx.set(fetch.hold, stall())
            await ctx.tick()

    async def watch(ctx: Any) -> None:
        port = unit.write
        signal = 0
        while not signal:
            values = (unit.active, port.address, port.data, port.granules, fetch.signal)
            _, _, *now, signal = await ctx.tick().sample(*values)
            written.note(*now)
        assert signal == 4
        assert written.granules == case.columns()

    simulate(m, bench, watch, background=[hold])
