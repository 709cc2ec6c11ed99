"""Writes the accelerator as Verilog, with a manifest that tells what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from amaranth.back import verilog

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.files import atomic
from bnnedge.hw.accelerator import Accelerator

MODULE = "accelerator"


def to_verilog(config: Configuration) -> str:
    """Verilog of the whole accelerator: module MODULE with ports clk, rst, s_axi_*, m0_axi_*, m1_axi_*, irq."""
    top = Accelerator(config)
    ports = {"_".join(map(str, path)): (value, None) for path, _, value in top.signature.flatten(top)}
    return verilog.convert(top, name=MODULE, ports=ports, emit_src=False)


def generate(config: Configuration, directory: Path) -> list[Path]:
    """Write accelerator.v and manifest.json to `directory`, which is made if need be; return the files."""
    text = to_verilog(config)
    manifest = {
        "configuration": dataclasses.asdict(config),
        "digest": f"{config.digest:#010x}",
        "instruction_set": isa.VERSION,
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    files = {f"{MODULE}.v": text, "manifest.json": json.dumps(manifest, indent=2) + "\n"}
    for name, content in files.items():
        with atomic(directory / name) as file:
            file.write(content.encode())
    return [directory / name for name in files]
