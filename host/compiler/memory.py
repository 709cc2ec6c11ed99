"""Bytes that a network takes, by kind, on the chip and in DDR."""

from __future__ import annotations

from typing import Any

from bnnedge import isa
from bnnedge.compiler.emitter import RECORD_BYTES, REPORT_BYTES
from bnnedge.compiler.layout import Layout, layout
from bnnedge.compiler.program import unplaced
from bnnedge.configuration import Configuration
from bnnedge.devices.device import Memory
from bnnedge.formats import RECORD_WORDS
from bnnedge.network import Network
from bnnedge.settings import Settings

RECORD_BITS = sum(sum(word.values()) for word in RECORD_WORDS)  # on the chip
KINDS = {
    "active": "activations",
    "mask": "masks",
    "route_low": "routes",
    "route_high": "routes",
    "active_columns": "activations",
    "code": "gradient codes",
    "code_columns": "gradient codes",
    "weight": "weights",
    "weight_backward": "weights",
    "kept_weight": "kept weights",
}


def kind_of(name: str) -> str:
    """What a tensor of that name is, for people."""
    return "input" if name.startswith("input") else KINDS[name.split(".")[1]]


def tensors_of(there: Layout) -> list[dict[str, Any]]:
    """Each tensor's name, bytes, and where it lives: in a buffer from an address on, or in DDR."""
    bank = there.config.lanes * there.config.word // 8
    found = []
    for name, item in there.plan.tensors.items():
        home = there.resident.homes.get(name) if there.resident is not None else None
        where = f"{home.buffer} buffer, {home.base}" if home else "DDR" if "." in name else "by turns on the chip"
        if home or there.resident is None:
            found.append({"tensor": name, "bytes": item.tensor.size * bank, "lives": where})
    return found


def memory_of(network: Network, settings: Settings, config: Configuration) -> Memory:
    """Bytes for training, without the data set.

    Tensors by kind, on the chip if all of them are resident, else in DDR (those that share a place by turns are each
    counted in full: `shared` takes the difference off again; on the chip there are then the buffers that parts of them
    pass through). Sums in the tile buffer, parameters. In DDR also latent weights, the images of weights and parameters,
    the program, a report for one step, and its index list.
    """
    there = layout(network, settings, config)
    bank = config.lanes * config.word // 8
    kinds: dict[str, int] = {}
    for name, item in there.plan.tensors.items():
        if (there.resident is not None and name != "input_top") or (there.resident is None and there.moves(name)):
            kinds[kind_of(name)] = kinds.get(kind_of(name), 0) + item.tensor.size * bank
    chip = {
        "tile buffer": config.tile_rows * config.lanes * (config.accumulator + 1) // 8,
        "parameters": min(there.plan.entries, config.channels) * RECORD_BITS // 8,
    }
    ddr = {
        "latent weights": sum(there.latent_bytes(i) for i in range(len(there.plan.geometry))),
        "binary weights": sum(tensor.size for tensor in there.weights()) * bank,
        "parameters": there.plan.entries * RECORD_BYTES,
        "program": len(unplaced(there).instructions) * isa.INSTRUCTION_BYTES,
        "reports": REPORT_BYTES,
        "order": 8 * settings.batch,
    }
    if there.resident is not None:
        kinds["shared"] = sum(there.resident.used.values()) * bank - sum(kinds.values())
        return Memory(on_chip={**kinds, **chip}, ddr=ddr)
    kinds["shared"] = there.arena()[1] - sum(kinds.values())
    return Memory(on_chip={"buffers": (config.left_depth + config.right_depth) * bank, **chip}, ddr={**kinds, **ddr})
