"""What a board gets, with the part's primitives in it, computes the same as what all other tests simulate."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.back import rtlil
from exact import Pair

from bnnedge import Configuration, Settings
from bnnedge.boards import yosys
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import DDR_BYTES, PORTS
from bnnedge.hw.accelerator import Accelerator
from bnnedge.hw.generate import MODULE, convert
from bnnedge.hw.series7 import SERIES7
from bnnedge.sim.verilated import VerilatedBus

pytest.importorskip("pyosys", reason="needs pyosys (pip install 'bnnedge[synth]'): it has models of the primitives")
CONFIG = Configuration(name="series7", lanes=4, word=32, left_depth=512, right_depth=512, tile_rows=128, channels=128)


def expanded(config: Configuration, folder: Path) -> str:
    """Verilog of the accelerator with 7-series primitives, and these replaced by Yosys's models of them."""
    text = convert(Accelerator(config), MODULE, platform=SERIES7, language=rtlil)
    lanes, bias, statistics = config.lanes**2 // 2, 1, 2 * config.lanes
    assert text.count("cell \\DSP48E1") == lanes + bias + statistics
    (folder / "top.il").write_text(text)
    script = [
        f"read_rtlil {folder / 'top.il'}",
        "read_verilog +/xilinx/cells_sim.v",
        f"hierarchy -top {MODULE}",
        "proc",
        "opt -fast",
        f"write_verilog -noattr {folder / 'top.v'}",
    ]
    yosys.run(script, folder, folder / "yosys.log")
    return (folder / "top.v").read_text()


def test_training_with_the_parts_primitives(tmp_path: Path) -> None:
    bus = VerilatedBus.from_verilog(expanded(CONFIG, tmp_path), PORTS, size=DDR_BYTES)
    device = AcceleratorDevice(bus, CONFIG, "series7")
    pair = Pair.of(device, [70, 33, 20, 8], Settings(batch=64, gradient_planes=4, input_planes=3, slope_planes=2))
    pair.train(3)
    pair.probe()
    device.close()
