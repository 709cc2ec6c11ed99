"""The paper's convolutional networks at full size on the verilated RTL: every tensor of a step, and cycles.

What these tests print is kept in docs/evidence.txt.
"""

from __future__ import annotations

import time

import pytest
from exact import Pair

from bnnedge import Network, Settings, binarynet, cnv, configuration
from bnnedge.compiler import estimate
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl

pytestmark = pytest.mark.long
BATCH = 64


def probed(device: AcceleratorDevice, network: Network, planes: int) -> None:
    """One step, every tensor compared."""
    began = time.process_time()
    pair = Pair.of(device, network, Settings(batch=BATCH, gradient_planes=planes, seed=7), images=BATCH)
    pair.probe()
    seconds = time.process_time() - began
    print(
        f"{network.name}, batch {BATCH}, {planes} gradient planes, {device.configuration.name} RTL: one step bit-exact, with "
        f"activations, masks, gradient codes, weights, statistics and exponents ({seconds:.0f} CPU seconds)"
    )


def timed(device: AcceleratorDevice, network: Network, planes: int, most: float) -> None:
    """Two steps in one run, compared; the second one's cycles."""
    config, settings = device.configuration, Settings(batch=BATCH, gradient_planes=planes, seed=8)
    measured = Pair.of(device, network, settings, images=BATCH).train(2)[-1] / BATCH
    expected = estimate(network, settings, config).cycles_per_image
    rate = f"{config.clock_hz / measured:,.0f} images/s at {config.clock_hz / 1e6:.0f} MHz"
    print(
        f"{network.name}, batch {BATCH}, {planes} gradient planes, {config.name} RTL: two steps bit-exact, "
        f"{measured:,.0f} cycles an image ({rate}), estimated {expected:,.0f}"
    )
    assert abs(expected / measured - 1) < 0.05
    assert measured <= most


def test_cnv_every_tensor(board_size: AcceleratorDevice) -> None:
    probed(board_size, cnv(), 4)


def test_cnv_cycles(board_size: AcceleratorDevice) -> None:
    timed(board_size, cnv(), 4, 87_000)


def test_cnv_cycles_with_8_planes(board_size: AcceleratorDevice) -> None:
    timed(board_size, cnv(), 8, 150_000)


def test_cnv_cycles_with_words_of_64_bits() -> None:
    device = open_rtl(configuration("pynq-z2-x64"))
    timed(device, cnv(), 4, 60_000)
    device.close()


def test_binarynet_every_tensor(board_size: AcceleratorDevice) -> None:
    probed(board_size, binarynet(), 4)
