"""The description for FuseSoC (CAPI 2), in YAML; JSON's quotes are YAML's, too."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bnnedge.configuration import Configuration
from bnnedge.hw.embed.wrapper import MODULE


def core(config: Configuration, sources: Sequence[str], waivers: str) -> str:
    """The .core of the files beside it: targets `default`, for designs that depend on it, and `lint`, with Verilator.

    waivers: the file of those of Verilator's warnings.
    """
    return f"""\
CAPI=2:
name: ::{MODULE}:1.0
description: {json.dumps(f"Trains binary neural networks: configuration {config.name}, digest {config.digest:#010x}")}

filesets:
  rtl:
    files: [{", ".join(sources)}]
    file_type: verilogSource-2005
  waivers:
    files: [{waivers}]
    file_type: vlt

targets:
  default:
    filesets: [rtl]
    toplevel: {MODULE}
  lint:
    filesets: [waivers, rtl]
    toplevel: {MODULE}
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
"""
