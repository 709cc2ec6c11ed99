"""Bytes of training state."""

from __future__ import annotations

import pytest
from networks import random_network

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, binarynet, cnv, configuration, mlp
from bnnedge.compiler import memory_of
from bnnedge.compiler.layout import layout
from bnnedge.compiler.memory import tensors_of
from bnnedge.sim.reference import footprint

FIXED = ("tile buffer", "parameters")


def test_on_chip_bytes_are_those_of_the_buffers_addresses() -> None:
    config, settings = configuration("pynq-z2"), Settings(batch=128, gradient_planes=4)
    there, memory = layout(mlp(), settings, config).resident, memory_of(mlp(), settings, config)
    assert there is not None
    buffers = sum(n for kind, n in memory.on_chip.items() if kind not in FIXED)
    assert buffers == sum(there.used.values()) * 16 * 32 // 8


def test_a_network_that_streams_fills_the_buffers_and_keeps_its_tensors_in_memory() -> None:
    config, settings = configuration("sim-small"), Settings(batch=64, gradient_planes=4)
    network = Network((8, 8, 3), [Conv2D(16, padding="same"), MaxPool2D(), Conv2D(24), Dense(10)])
    memory = memory_of(network, settings, config)
    assert memory.on_chip["buffers"] == (1024 + 2048) * 8 * 32 // 8
    # Columns and rows of the codes, 4 planes: 8 x 8 pixels of 16 channels, 2 x 2 of 24, the classes.
    rows = 64 * (4 * 32 + 32) * 4 // 8
    columns = (64 * 16 + 4 * 24 + 16) * 64 * 4 // 8
    assert memory.ddr["gradient codes"] == rows + columns
    assert memory.ddr["shared"] < 0


@pytest.mark.parametrize("seed", range(10))
def test_shared_tensors_take_what_is_reserved(seed: int) -> None:
    network, settings = random_network(seed, 1e5)
    config = configuration("pynq-z2")
    there, memory = layout(network, settings, config), memory_of(network, settings, config)
    kinds = {"activations", "masks", "routes", "gradient codes", "kept weights", "shared"}
    if there.resident is None:
        assert sum(n for kind, n in memory.ddr.items() if kind in kinds) == there.arena()[1]
    latents = sum(there.latent_bytes(i) for i in range(len(network.geometry)))
    assert memory.ddr["latent weights"] == latents >= 2 * network.weights


def test_latent_weights_take_16_bits() -> None:
    memory = memory_of(mlp(), Settings(batch=128), configuration("pynq-z2"))
    padded = mlp().weights + 256 * 6  # the last layer's 10 outputs fill a group of 16
    assert memory.ddr["latent weights"] == 2 * padded


@pytest.mark.parametrize(
    ("network", "batch", "times"), [(mlp(), 128, 6.5), (cnv(), 128, 11), (binarynet(), 128, 9.8)], ids=["mlp", "cnv", "binarynet"]
)
def test_the_papers_networks_take_a_fraction_of_the_float32_standard(network: Network, batch: int, times: float) -> None:
    settings = Settings(batch=batch, gradient_planes=4)
    standard = sum(footprint(network.geometry, batch, "adam", "standard").values())
    memory = memory_of(network, settings, configuration("pynq-z2"))
    ours = sum(memory.on_chip.values()) + sum(memory.ddr.values())
    print(f"{network.name}, batch {batch}: {ours:,} bytes, float32 standard {standard:,}: {standard / ours:.2f}x")
    assert standard / ours >= times


def test_where_tensors_live() -> None:
    config, settings = configuration("pynq-z2"), Settings(batch=64, gradient_planes=4)
    resident = {item["tensor"]: item["lives"] for item in tensors_of(layout(mlp(), settings, config))}
    assert resident["1.weight"].startswith("right buffer")
    assert resident["input"].startswith("left buffer")
    streamed = {item["tensor"]: item for item in tensors_of(layout(cnv(), settings, config))}
    assert streamed["2.mask"] == {"tensor": "2.mask", "bytes": 64 * 14 * 14 * 64 // 8, "lives": "DDR"}
