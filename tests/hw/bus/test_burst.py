"""Transfers are cut at multiples of 128 bytes, in order and without loss."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hardware import simulate, stalls, steady, stream_get, stream_put

from bnnedge.hw.bus.burst import Bursts

pytestmark = pytest.mark.usefixtures("left_behind")

CORNERS = [
    (0x1000, 16),
    (0x1000, 1),
    (0x1078, 1),
    (0x1078, 2),
    (0x0F80, 16),  # up to a page
    (0x0FF8, 33),  # over it
    (0x2000, 0),
    (0x2008, 15),
    (0x2008, 16),
    (0xFFFF_FF80, 16),
]


def cut(address: int, beats: int) -> list[tuple[int, int]]:
    bursts = []
    while beats:
        here = min(beats, (128 - address % 128) // 8)
        bursts.append((address, here))
        address, beats = address + 8 * here, beats - here
    return bursts


def run(transfers: list[tuple[int, int]], count: int, chance: float) -> list[tuple[int, int]]:
    dut, bursts = Bursts(), []

    async def send(ctx: Any) -> None:
        values = [{"address": address, "beats": beats} for address, beats in transfers]
        await stream_put(ctx, dut.transfer, values, stalls(1, chance))

    async def receive(ctx: Any) -> None:
        for burst in await stream_get(ctx, dut.burst, count, stalls(2, chance)):
            bursts.append((burst.address, burst.beats))

    async def busy(ctx: Any) -> None:
        async for _, _, valid, is_busy, accepts in ctx.tick().sample(dut.burst.valid, dut.busy, dut.transfer.ready):
            assert is_busy or not valid
            assert accepts == (not is_busy)

    simulate(dut, send, receive, background=[steady(dut.burst), busy])
    return bursts


@pytest.mark.parametrize("chance", [0, 0.5])
def test_transfers_are_cut_at_multiples_of_128_bytes(chance: float) -> None:
    source = random.Random(3)
    transfers = CORNERS + [(8 * source.randrange(1 << 20), source.randrange(80)) for _ in range(30)]
    expected = [burst for transfer in transfers for burst in cut(*transfer)]
    assert run(transfers, len(expected), chance) == expected


def test_the_largest_transfer_begins_like_any_other() -> None:
    assert run([(0x78, 2**32 - 1)], 5, 0) == cut(0x78, 100)[:5]
