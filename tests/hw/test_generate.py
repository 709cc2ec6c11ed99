"""Generation: whole files, the same each time, with the ports that boards and simulators connect."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hardware import TINY

from bnnedge import isa
from bnnedge.hw.bus.axi import Axi4, AxiLite
from bnnedge.hw.generate import MODULE, generate, to_verilog


@pytest.fixture(scope="module")
def verilog() -> str:
    return to_verilog(TINY)


def test_the_top_has_the_ports_of_its_buses(verilog: str) -> None:
    (header,) = re.findall(rf"^module {MODULE}\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)
    body = verilog[verilog.index(f"module {MODULE}(") :]
    body = body[: body.index("endmodule")]
    found = {}
    for port in header.replace(" ", "").replace("\n", "").split(","):
        ((direction, width),) = re.findall(rf"^  (input|output) (?:\[(\d+):0\] )?{port};", body, re.MULTILINE)
        found[port] = (direction, int(width or 0) + 1)
    expected = {"clk": ("input", 1), "rst": ("input", 1), **dict.fromkeys(("irq", "busy", "error"), ("output", 1))}
    buses = (("s_axi", AxiLite().flip()), ("m0_axi", Axi4()), ("m1_axi", Axi4()))
    for name, signature in buses:
        for member, port in signature.members.items():
            expected[f"{name}_{member}"] = ("output" if port.flow.name == "Out" else "input", port.shape)
    assert found == expected


def test_generate_writes_the_verilog_and_what_it_is(tmp_path: Path, verilog: str) -> None:
    directory = tmp_path / "new" / "folder"
    files = generate(TINY, directory)
    assert sorted(path.name for path in directory.iterdir()) == ["accelerator.v", "manifest.json"]
    assert [path.name for path in files] == ["accelerator.v", "manifest.json"]
    assert files[0].read_text() == verilog, "two generations differ"
    manifest = json.loads(files[1].read_text())
    assert manifest["configuration"]["name"] == "tiny"
    assert manifest["configuration"]["left_depth"] == 64
    assert int(manifest["digest"], 16) == TINY.digest
    assert manifest["instruction_set"] == isa.VERSION
    assert manifest["sha256"] == {"accelerator.v": hashlib.sha256(files[0].read_bytes()).hexdigest()}


def test_nothing_of_this_machine_is_in_the_verilog(verilog: str) -> None:
    assert str(Path(__file__).parents[2]) not in verilog
    assert ".py" not in verilog
