"""Bytes that a network takes, by kind, on the chip and in DDR."""

from __future__ import annotations

from bnnedge import isa
from bnnedge.compiler.pack import RECORD_BYTES
from bnnedge.compiler.placement import Layout, layout
from bnnedge.compiler.program import REPORT_BYTES, Addresses, Compiler
from bnnedge.configuration import Configuration
from bnnedge.devices.device import Memory
from bnnedge.formats import WEIGHT_WORD
from bnnedge.network import Network
from bnnedge.settings import Settings


def memory_of(network: Network, settings: Settings, config: Configuration) -> Memory:
    """Bytes for training, without the data set.

    on_chip: tensors by kind where they live (tensors that share a place by turns are each counted in full: `shared` takes
    the difference off again), sums in the tile buffer, parameters. ddr: latent weights, the images of weights and
    parameters that a run starts from, the program, and a report for one step.
    """
    plan = layout(network, settings, config)
    bank = config.lanes * config.word // 8
    kinds: dict[str, int] = {}
    for tensor in plan.tensors():
        kind = tensor.name.split(" ", 2)[-1] if tensor.name.startswith("layer") else tensor.name
        kind = "input" if kind.startswith("input") else kind.removesuffix(", transposed")
        kinds[kind] = kinds.get(kind, 0) + tensor.words * bank
    kinds["shared"] = (plan.left_words + plan.right_words) * bank - sum(kinds.values())
    kinds["tile buffer"] = config.tile_rows * config.lanes * (config.accumulator + 1) // 8
    kinds["parameters"] = plan.entries * RECORD_BYTES
    return Memory(
        on_chip=kinds,
        ddr={
            "latent weights": sum(latent_bytes(plan, i, config) for i in range(len(plan.layers))),
            "binary weights": plan.weight_words * bank,
            "parameters": plan.entries * RECORD_BYTES,
            "program": len(_program(network, settings, config, plan)) * isa.INSTRUCTION_BYTES,
            "reports": REPORT_BYTES,
            "order": 8 * settings.batch,
        },
    )


def latent_bytes(plan: Layout, i: int, config: Configuration) -> int:
    """Bytes of layer i's weight words in tile order."""
    layer = plan.layers[i]
    rows = -(-layer.fan_in // config.lanes) * config.lanes
    return rows * layer.groups * config.lanes * WEIGHT_WORD // 8


def _program(network: Network, settings: Settings, config: Configuration, plan: Layout) -> tuple[isa.Instruction, ...]:
    addresses = Addresses(latents=(0,) * len(plan.layers))
    return Compiler(network, settings, config, plan, addresses).training(1, 0).instructions
