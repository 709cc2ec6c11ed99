"""The verilated RTL against the golden model, bit for bit."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from exact import Pair
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from networks import random_network
from scripts import load_script

from bnnedge import Configuration, Conv2D, Dense, MaxPool2D, Network, Settings, Trainer, configuration
from bnnedge.compiler import estimate
from bnnedge.compiler.layout import fits, layout
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl
from bnnedge.sim.verilated import MemoryModel, VerilatedBus


def test_every_tensor_of_every_step_is_the_same(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [20, 24, 12, 10], Settings(batch=64, seed=5))
    for _ in range(3):
        pair.probe()


def test_a_trainer_compares_every_step(small: AcceleratorDevice) -> None:
    random = np.random.RandomState(0)
    images, labels = random.randint(0, 256, (130, 6, 6, 2)).astype(np.uint8), random.randint(0, 3, 130)
    for front in ([Dense(24)], [Conv2D(8, 3, padding="same"), MaxPool2D("sums")]):
        network = Network((6, 6, 2), [*front, Dense(16), Dense(3)])
        trainer = Trainer(network, small, settings=Settings(batch=64, gradient_planes=4), check=True)
        trainer.fit(images, labels)
        trainer.evaluate(images, labels)
        assert trainer.bit_exact


def test_the_device_trains_on_its_own_and_infers(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [64, 128, 128, 10], Settings(batch=64, seed=0xFEDC_BA98_7654_3210))
    pair.train(6)
    pair.infer()


@pytest.mark.parametrize("batch", [64, 128, 256])
def test_every_batch_size(small: AcceleratorDevice, batch: int) -> None:
    planes = 8 if batch < 256 else 2
    pair = Pair.of(small, [24, 16, 3], Settings(batch=batch, input_planes=planes, gradient_planes=4), images=300)
    pair.probe()
    pair.train(2)


def test_a_single_layer_is_a_network(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [30, 10], Settings(batch=64))
    pair.probe()
    pair.train(3)
    pair.infer()


def test_extreme_pixels_and_one_class_only(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [33, 9, 2], Settings(batch=64))
    pair.images[:] = 255
    pair.labels[:] = 1
    pair.train(4)
    pair.images[:] = 0
    small.prepare(pair.golden.network, pair.golden.settings)
    small.load_state(pair.golden.state)
    pair.train(2)
    pair.infer()


def test_two_runs_in_a_row_are_two_fresh_ones(small: AcceleratorDevice) -> None:
    first = Pair.of(small, [20, 24, 10], Settings(batch=64))
    order = first.order(3)
    first.train(3, order)
    state = small.state()
    small.bus.write(0xC, 2)  # whatever a soft reset changes must not matter either
    again = Pair.of(small, [20, 24, 10], Settings(batch=64))
    again.train(3, order)
    assert small.state().differences(state) == []


def test_a_run_cut_in_pieces_is_the_same(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [20, 24, 10], Settings(batch=64))
    for steps in (1, 2, 3):
        pair.train(steps)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[int], Settings, MemoryModel, int]:
    """A network that fits `sim-small`, settings, and a memory."""
    sizes = draw(st.lists(st.integers(1, 70), min_size=1, max_size=4))
    input_planes = draw(st.integers(1, 8))
    settings = Settings(
        batch=draw(st.sampled_from([64, 128])),
        gradient_planes=draw(st.integers(1, 8)),
        input_planes=input_planes,
        slope_planes=draw(st.integers(1, min(3, input_planes))),
        optimiser=draw(st.sampled_from(["sign-momentum", "sign-sgd"])),
        seed=draw(st.integers(0, 2**64 - 1)),
    )
    memory = MemoryModel(
        bytes_per_cycle=draw(st.sampled_from([1.5, 5.0, 14.0, 32.0])),
        latency=draw(st.integers(1, 150)),
        stall=draw(st.sampled_from([0.0, 0.1, 0.5])),
        outstanding=draw(st.integers(1, 8)),
        seed=draw(st.integers(1, 1000)),
    )
    return [*sizes, draw(st.integers(2, 16))], settings, memory, draw(st.integers(0, 1000))


# Layers that take a path of their own through compiler and hardware.
CONVOLUTIONS = {
    "sums over several passes, parts of weight gradients": ((8, 8, 1), [Conv2D(12, padding="same"), Conv2D(10, 7, 2, "same")]),
    "padded windows of 5 across words": ((5, 29, 3), [Conv2D(9, 5, padding="same"), Conv2D(8, 3, 2), MaxPool2D("sums")]),
    "signs pooled under a stride": ((8, 8, 3), [Conv2D(9), MaxPool2D(), Conv2D(33, 3, 2, "same")]),
    "sums pooled under a stride": ((8, 8, 2), [Conv2D(9, padding="same"), MaxPool2D("sums"), Conv2D(33, 2, 2)]),
    "maps of one pixel": ((3, 3, 4), [Conv2D(16), Conv2D(33, 1), Conv2D(5, 1)]),
    "strips of 31 pixels": ((2, 64), [Conv2D(8, 1), MaxPool2D()]),
    "one column": ((6, 1), [Conv2D(16, 1), Conv2D(8, 1, 2)]),
    "groups of channels by turns": ((4, 4, 2), [Conv2D(72, 1), Conv2D(96, 2), Conv2D(40, 1)]),
    "windows of 7 row by row": ((7, 7), [Conv2D(8, 7, padding="same"), Conv2D(16, 7, padding="same"), Conv2D(3, 7)]),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_every_kind(small: AcceleratorDevice, name: str) -> None:
    shape, layers = CONVOLUTIONS[name]
    settings = Settings(batch=64, gradient_planes=4, input_planes=5)
    for again in range(2):  # on the chip is then what the first run left behind
        pair = Pair.of(small, Network(shape, [*layers, Dense(9)]), settings, images=100, seed=again)
        pair.probe()
        pair.train(2)
        pair.infer()


# Wider than a memory, or with larger sums than a pass can hold.
EXCEEDING = {
    "more channels than the totals hold, data gradient": ((64,), [Dense(302), Dense(720)], 64, 2, 4),
    "more channels than the totals hold, forward": ((4, 4, 3), [Conv2D(300, padding="same"), MaxPool2D()], 64, 2, 2),
    "weight gradients in parts, resident": ((64,), [Dense(128), Dense(128)], 64, 8, 8),
    "weight gradients in parts, streamed": ((90,), [Dense(600), Dense(20)], 128, 8, 8),
}


@pytest.mark.parametrize("name", EXCEEDING)
def test_what_exceeds_a_memory_or_an_accumulator(small: AcceleratorDevice, name: str) -> None:
    shape, layers, batch, slope_planes, planes = EXCEEDING[name]
    settings = Settings(batch=batch, gradient_planes=planes, slope_planes=slope_planes)
    pair = Pair.of(small, Network(shape, [*layers, Dense(9)]), settings, images=batch)
    pair.images[:] = np.where(pair.images > 60, 255, 0)
    pair.labels[:] = 1  # gradients of one sign: the largest sums
    pair.probe()
    pair.train(2)
    pair.infer()


@pytest.mark.parametrize("seed", range(20))
def test_any_convolutions_with_any_memory(small: AcceleratorDevice, seed: int) -> None:
    network, settings = fitting_network(seed, small.configuration, 2e5)
    check_with_any_memory(small, network, settings, seed)


def fitting_network(seed: int, config: Configuration, work: float) -> tuple[Network, Settings]:
    """The first of the random networks behind a seed that a configuration holds."""
    for number in range(seed, 10_000, 100):
        network, settings = random_network(number, work)
        if fits(network, settings, config):
            return network, settings
    raise ValueError("none fits")


def check_with_any_memory(device: AcceleratorDevice, network: Network, settings: Settings, seed: int) -> None:
    """Steps and inference, with memory of other speed and stalls for each seed."""
    bus, r = device.bus, random.Random(seed)
    assert isinstance(bus, VerilatedBus)
    speed, latency, stall = r.choice([1.5, 5.0, 14.0, 32.0]), r.randint(1, 150), r.choice([0.0, 0.1, 0.5])
    bus.set_memory(MemoryModel(bytes_per_cycle=speed, latency=latency, stall=stall, outstanding=r.randint(1, 8), seed=seed + 1))
    pair = Pair.of(device, network, settings, seed=seed, images=100)
    pair.probe()
    pair.train(2)
    pair.infer()


def test_parameters_by_turns_and_small_buffers() -> None:
    # Memories a quarter as large: bands, groups and tiles by turns, one copy of each, parameters of a layer at a time. Latent
    # weights of 8 bits, whose words of 12 lie across the beats of memory.
    small = configuration("sim-small")
    tight = {"left_depth": 384, "right_depth": 512, "tile_rows": 128, "channels": 64, "latent": 8}
    config = dataclasses.replace(small, name="tight", **tight)
    device = open_rtl(config)
    settings = Settings(batch=64, gradient_planes=3, input_planes=3)
    network = Network((4, 5, 3), [Conv2D(16), Conv2D(16, 1), Conv2D(12, 3, padding="same"), Conv2D(16, 1), Dense(4)])
    assert not layout(network, settings, config).parameters_stay
    check_with_any_memory(device, network, settings, 0)
    for seed in range(6):
        check_with_any_memory(device, *fitting_network(seed, config, 1e5), seed)
    device.close()


@given(runs())
@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_any_network_with_any_memory(small_session: AcceleratorDevice, run: tuple[list[int], Settings, MemoryModel, int]) -> None:
    sizes, settings, memory, seed = run
    bus = small_session.bus
    assert isinstance(bus, VerilatedBus)
    bus.set_memory(memory)
    try:
        pair = Pair.of(small_session, sizes, settings, seed=seed)
        pair.probe()
        pair.train(2)
        pair.infer()
    finally:
        bus.set_memory(MemoryModel())


@pytest.mark.parametrize(("sizes", "batch"), [([65, 33, 17, 10], 64), ([19, 50, 11], 512), ([7, 3], 256)])
def test_odd_sizes_on_the_board_s_configuration(board_size: AcceleratorDevice, sizes: list[int], batch: int) -> None:
    pair = Pair.of(board_size, sizes, Settings(batch=batch, gradient_planes=5), images=700)
    pair.probe()
    pair.train(2)
    pair.infer()


def test_the_papers_mlp_on_the_board_s_configuration(board_size: AcceleratorDevice) -> None:
    # Pixels of real digits, enlarged: most of them black or white, as in the data set that the network is meant for.
    from bnnedge import data

    digits = data.load("digits")
    pair = Pair.of(board_size, [784, 256, 256, 256, 256, 10], Settings(batch=128, gradient_planes=4))
    large = np.kron(digits.x_train[:400].reshape(-1, 8, 8), np.ones((1, 4, 4), np.uint8))[:, 2:-2, 2:-2]
    pair.images, pair.labels = np.ascontiguousarray(large.reshape(400, 784)), digits.y_train[:400].astype(np.int64)
    pair.probe()
    steady = pair.train(4)[-1] / 128
    print(f"pynq-z2, MLP, batch 128, 4 gradient planes: {steady:.1f} cycles per image")
    written = load_script("cycles")
    before = float(written.read()[written.Case("mlp", "pynq-z2", 128, 4)][1])
    assert steady == pytest.approx(before, rel=1e-3), "if that is meant: python docs/cycles.py --rtl pynq-z2"
    assert estimate(pair.golden.network, pair.golden.settings, board_size.configuration).cycles_per_image == pytest.approx(
        steady, rel=0.05
    )
    eight = Pair.of(board_size, [784, 256, 256, 256, 256, 10], Settings(batch=128))
    eight.images, eight.labels = pair.images, pair.labels
    eight.train(3)


@pytest.mark.long
@pytest.mark.parametrize(("name", "cycles"), [("pynq-z2-x64", 1250), ("pynq-z2-lean", 1400)])
def test_the_papers_mlp_on_the_other_configurations(name: str, cycles: int) -> None:
    device = open_rtl(configuration(name))
    pair = Pair.of(device, [784, 256, 256, 256, 256, 10], Settings(batch=128, gradient_planes=4))
    pair.probe()
    steady = pair.train(3)[-1] / 128
    print(f"{name}, MLP, batch 128, 4 gradient planes: {steady:.1f} cycles per image")
    assert steady <= cycles
    assert estimate(pair.golden.network, pair.golden.settings, device.configuration).cycles_per_image == pytest.approx(
        steady, rel=0.05
    )
    device.close()
