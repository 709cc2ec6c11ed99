"""The generated Verilog behind independent AXI models (cocotb, cocotbext-axi), on two simulators."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bnnedge.configuration import Configuration, configuration
from bnnedge.sim.benches.build import run_bench

MODULE = "bnnedge.sim.benches.training"
BENCHES = [
    "trains_without_stalls",
    "trains_with_stalls",
    "trains_again",
    "recovers_from_errors",
    "recovers_from_an_interruption",
]


@pytest.mark.parametrize("bench", BENCHES)
def test_on_verilator(bench: str, tmp_path: Path) -> None:
    run_bench("verilator", configuration("sim-small"), MODULE, bench, tmp_path)


@pytest.mark.skipif(not shutil.which("iverilog"), reason="needs Icarus Verilog (apt install iverilog)")
def test_on_icarus(tmp_path: Path) -> None:
    config = Configuration(name="icarus", lanes=4, word=16, left_depth=256, right_depth=256, tile_rows=64, channels=64)
    run_bench("icarus", config, MODULE, "trains_a_step", tmp_path)
