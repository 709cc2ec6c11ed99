"""Estimated cycles against simulated ones, and how fast the simulation is."""

from __future__ import annotations

import time

import pytest
from exact import Pair
from scripts import load_script

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, configuration
from bnnedge.compiler import estimate
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl
from bnnedge.layers import Layer

written = load_script("cycles")

# Sizes, batch, gradient planes, input planes: bound by gathering, the engine, the heads, the softmax, memory.
CASES = [
    ([16, 16, 2], 64, 8, 1),
    ([100, 10], 64, 6, 8),
    ([20, 24, 12, 10], 64, 8, 8),
    ([33, 17, 10], 128, 4, 8),
    ([64, 128, 128, 10], 64, 8, 8),
    ([64, 128, 128, 10], 64, 4, 4),
    ([64, 64, 64, 64, 10], 64, 2, 2),
    ([200, 200, 10], 64, 3, 2),
    ([32, 32, 32, 32, 32, 32, 32, 4], 64, 8, 1),
]


@pytest.mark.parametrize(("sizes", "batch", "gradient_planes", "input_planes"), CASES)
def test_estimate_is_within_5_percent_of_the_simulation(
    small: AcceleratorDevice, sizes: list[int], batch: int, gradient_planes: int, input_planes: int
) -> None:
    settings = Settings(
        batch=batch,
        gradient_planes=gradient_planes,
        input_planes=input_planes,
        slope_planes=min(2, input_planes),
    )
    pair = Pair.of(small, sizes, settings)
    measured = pair.train(4)[-1] / batch
    expected = estimate(pair.golden.network, settings, small.configuration).cycles_per_image
    print(f"{sizes}, batch {batch}: {measured:.1f} cycles per image, estimated {expected:.1f}")
    assert expected == pytest.approx(measured, rel=0.05)


# Shape, layers but for the last one, batch, gradient planes, input planes.
CONVOLUTIONS = [
    ((8, 8, 3), [Conv2D(16), MaxPool2D()], 64, 4, 8),
    ((8, 8, 3), [Conv2D(16, padding="same"), MaxPool2D("sums"), Conv2D(24, padding="same")], 64, 4, 4),
    ((9, 9, 3), [Conv2D(8), Conv2D(24, 3, 2, "same"), Conv2D(8, 1)], 64, 8, 2),
    ((8, 8), [Conv2D(32, 5), Conv2D(32), Dense(32)], 64, 2, 8),
    ((10, 10, 3), [Conv2D(16), Conv2D(16), MaxPool2D(), Conv2D(32)], 64, 4, 8),
]


@pytest.mark.parametrize(("shape", "layers", "batch", "gradient_planes", "input_planes"), CONVOLUTIONS)
def test_estimate_of_convolutions_is_within_5_percent(
    small: AcceleratorDevice, shape: tuple[int, ...], layers: list[Layer], batch: int, gradient_planes: int, input_planes: int
) -> None:
    network = Network(shape, [*layers, Dense(10)])
    settings = Settings(batch=batch, gradient_planes=gradient_planes, input_planes=input_planes)
    measured = Pair.of(small, network, settings).train(3)[-1] / batch
    expected = estimate(network, settings, small.configuration).cycles_per_image
    print(f"{network.layers}, batch {batch}: {measured:.1f} cycles per image, estimated {expected:.1f}")
    assert expected == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("case", [case for case in written.SIMULATED if case.config == "sim-small"], ids=str)
def test_digits_takes_the_cycles_that_are_written_down(small: AcceleratorDevice, case: written.Case) -> None:
    measured, before = written.simulated(case, small), written.read()[case][1]
    assert measured == before, f"in results/cycles.csv it was {before}; if that is meant: python docs/cycles.py --rtl sim-small"


@pytest.mark.long
@pytest.mark.parametrize("name", sorted({case.config for case in written.SIMULATED} - {"sim-small"}))
def test_larger_networks_take_the_cycles_that_are_written_down(name: str) -> None:
    device = open_rtl(configuration(name))
    cases = [case for case in written.SIMULATED if case.config == name]
    measured = {case: written.simulated(case, device) for case in cases}
    device.close()
    assert measured == {case: written.read()[case][1] for case in cases}, f"if that is meant: python docs/cycles.py --rtl {name}"


def test_simulation_is_fast_enough_to_train_in_a_notebook(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [64, 128, 128, 10], Settings(batch=64))
    order = pair.order(20)
    begin, cycles = time.process_time(), small.bus.cycles
    small.train(pair.images, pair.labels, order, 400)
    speed = (small.bus.cycles - cycles) / (time.process_time() - begin)
    print(f"sim-small: {speed:,.0f} cycles per CPU second")
    assert speed > 50_000
