"""Writes the accelerator as Verilog, with a manifest that tells what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path

from amaranth.back import verilog

from bnnedge import isa
from bnnedge.configuration import Configuration
from bnnedge.hw.accelerator import Accelerator

MODULE = "accelerator"


def to_verilog(config: Configuration) -> str:
    """Return the Verilog of the whole accelerator; its top module is MODULE, with ports clk, rst, s_axi_*, m0_axi_*, ..., irq."""
    top = Accelerator(config)
    ports = {"_".join(map(str, path)): (value, None) for path, _, value in top.signature.flatten(top)}
    return verilog.convert(top, name=MODULE, ports=ports, emit_src=False)


def write_whole(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
    return path


def generate(config: Configuration, directory: Path) -> list[Path]:
    """Write accelerator.v and manifest.json to `directory`, which is made if need be; return the files."""
    text = to_verilog(config)
    manifest = {
        "configuration": dataclasses.asdict(config),
        "digest": f"{config.digest:#010x}",
        "instruction_set": isa.VERSION,
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    return [
        write_whole(directory / f"{MODULE}.v", text),
        write_whole(directory / "manifest.json", json.dumps(manifest, indent=2) + "\n"),
    ]
