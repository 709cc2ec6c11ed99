"""What a network's first steps do, and batches of any size: RTL against the golden model.

Averages become slower from step 0 to 40, so a state that is saved, loaded, or trained on with another batch before then is where
a step that is lost shows.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import limits
import pytest
from exact import RATE, Pair

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, checkpoint, formats
from bnnedge.checkpoint import Checkpoint
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl
from bnnedge.sim.golden import Golden
from bnnedge.sim.verilated import MemoryModel, VerilatedBus

POOLED = Network((6, 6, 2), [Conv2D(9, padding="same"), MaxPool2D("sums"), Conv2D(8, 2), MaxPool2D("signs"), Dense(11), Dense(5)])
WARM = 1 + (formats.SIZE_DECAY << formats.WARM_UP)  # steps, until the slowest average is as slow as it gets


@pytest.fixture(scope="module")
def least() -> Iterator[AcceleratorDevice]:
    """An accelerator whose words hold 16 images."""
    device = open_rtl(limits.EXTREMES["least"])
    yield device
    device.close()


def any_memory(device: AcceleratorDevice, seed: int) -> None:
    """Give it a memory of some speed, with stalls; `small` takes it back."""
    assert isinstance(device.bus, VerilatedBus)
    r = random.Random(seed)
    speed, latency, stall = r.choice([1.5, 5.0, 14.0]), r.randint(1, 100), r.choice([0.0, 0.1, 0.5])
    device.bus.set_memory(
        MemoryModel(bytes_per_cycle=speed, latency=latency, stall=stall, outstanding=r.randint(1, 8), seed=seed)
    )


@pytest.mark.parametrize("network", [Network((12,), [Dense(9), Dense(4)]), POOLED], ids=["dense", "pooled"])
def test_a_state_saved_and_loaded_at_each_step_of_the_warm_up(small: AcceleratorDevice, tmp_path: Path, network: Network) -> None:
    """A run that is saved, and loaded behind another network's run, at each step, is one run of the golden model."""
    settings, other = Settings(batch=32, gradient_planes="auto", seed=9), [10, 8, 3]
    pair = Pair.of(small, network, settings, images=40)
    path, config = tmp_path / "checkpoint.npz", small.configuration
    for step in range(WARM + 4):
        checkpoint.save(path, Checkpoint(network, settings, config, small.state(), 0.1, "cosine"))
        if step % 8 == 0:
            Pair.of(small, other, Settings(batch=64), images=64, seed=step).train(1)
        kept = checkpoint.load(path)
        assert kept.state.step == step
        small.prepare(network, settings)
        small.load_state(kept.state)
        pair.train(1)


@pytest.mark.parametrize("optimiser", ["sign-momentum", "sign-sgd"])
def test_two_runs_through_the_warm_up_are_the_same(small: AcceleratorDevice, optimiser: str) -> None:
    settings = Settings(batch=32, gradient_planes=(3, 5, 8, 8), optimiser=optimiser)
    pair = Pair.of(small, POOLED, settings, images=64)
    start, order = small.state(), pair.order(WARM)
    any_memory(small, 3)
    pair.train(WARM, order)
    after = small.state()
    small.load_state(start)
    again = small.train(pair.images, pair.labels, order, RATE)
    assert small.state().differences(after) == []
    assert len(again) == WARM
    assert start.differences(after) != []


def test_a_batch_that_changes_in_the_warm_up(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, POOLED, Settings(batch=64, gradient_planes=6), images=100)
    for steps, batch in enumerate((96, 32, 64, 160), 3):
        pair.train(steps)
        settings = dataclasses.replace(pair.golden.settings, batch=batch)
        state = small.state()
        small.prepare(POOLED, settings)
        small.load_state(state)
        pair.golden = Golden(POOLED, settings, small.configuration, state.copy(), keep=True)
        pair.probe()
    assert pair.golden.state.step == 22


@pytest.mark.parametrize("batch", [32, 96, 160, 224])
@pytest.mark.parametrize("pools", [("signs", "sums"), ("sums", "signs")], ids="-".join)
def test_batches_that_are_no_power_of_two(small: AcceleratorDevice, batch: int, pools: tuple[str, str]) -> None:
    r = random.Random(batch)
    first, second = (MaxPool2D(pool) for pool in pools)
    network = Network((8, 8, 3), [Conv2D(9, padding="same"), first, Conv2D(16, padding="same"), second, Dense(20), Dense(8)])
    any_memory(small, batch)
    planes = tuple(r.randint(1, 8) for _ in range(4))
    pair = Pair.of(small, network, Settings(batch=batch, gradient_planes=planes, input_planes=r.randint(1, 8), slope_planes=1))
    pair.probe()
    pair.train(2)
    pair.infer()


@pytest.mark.parametrize("batch", [16, 48])
def test_batches_of_odd_multiples_of_16(least: AcceleratorDevice, batch: int) -> None:
    network = Network((6, 5), [Conv2D(5, 2), MaxPool2D(), Conv2D(6, 1), Dense(3)])
    for seed, net in enumerate((network, [30, 13, 4])):
        pair = Pair.of(least, net, Settings(batch=batch, gradient_planes=(7, 1, 4) if net is network else (2, 5)), seed=seed)
        pair.probe()
        pair.train(3)
        pair.infer()
