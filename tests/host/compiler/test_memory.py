"""Bytes of training state."""

from __future__ import annotations

from bnnedge import Settings, configuration, mlp
from bnnedge.compiler import layout, memory_of
from bnnedge.sim.reference import footprint


def test_on_chip_bytes_are_those_of_the_placement() -> None:
    config, settings = configuration("pynq-z2"), Settings(batch=128, gradient_planes=4)
    plan, memory = layout(mlp(), settings, config), memory_of(mlp(), settings, config)
    buffers = sum(n for kind, n in memory.on_chip.items() if kind not in ("tile buffer", "parameters"))
    assert buffers == (plan.left_words + plan.right_words) * 16 * 32 // 8


def test_latent_weights_take_16_bits() -> None:
    memory = memory_of(mlp(), Settings(batch=128), configuration("pynq-z2"))
    padded = mlp().weights + 256 * 6  # the last layer's 10 outputs fill a group of 16
    assert memory.ddr["latent weights"] == 2 * padded


def test_the_papers_mlp_takes_a_sixth_of_the_float32_standard() -> None:
    standard = sum(footprint(mlp().sizes, 128, "adam", "standard").values())
    for planes in (4, 8):
        memory = memory_of(mlp(), Settings(batch=128, gradient_planes=planes), configuration("pynq-z2"))
        ours = sum(memory.on_chip.values()) + sum(memory.ddr.values())
        print(f"MLP, batch 128, {planes} gradient planes: {ours:,} bytes, float32 standard {standard:,}: "
              f"{standard / ours:.2f} times less")  # fmt: skip
        if planes == 4:
            assert standard / ours >= 6
