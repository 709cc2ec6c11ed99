"""The openXC7 flow with programs that pretend: commands, log, faults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hardware import TINY
from pretend import BOARD, Tool

from bnnedge.boards.build import build
from bnnedge.boards.flows.flow import FlowError
from bnnedge.boards.flows.openxc7 import PROGRAMS, OpenXC7, fmax_hz, utilisation

LOG = """\
Info: Max frequency for clock 'clk': 131.20 MHz (PASS at 100.00 MHz)
Info: Device utilisation:
Info: \t          SLICE_LUTX: 40120/106400    37%
Info: \t           SLICE_FFX: 45601/106400    42%
Info: \t   RAMB18E1_RAMB18E1:     3/  280     1%
Info: \t   RAMB36E1_RAMB36E1:   127/  140    90%
Info: \t     DSP48E1_DSP48E1:    26/  220    11%
Info: \t             PS7_PS7:     1/    1   100%
Info: Max frequency for clock 'clk': 104.50 MHz (PASS at 100.00 MHz)
"""
USED = {"luts": (40120, 106400), "ffs": (45601, 106400), "bram36": (128.5, 140), "dsps": (26, 220)}

# Each writes down its arguments, checks that what it reads is there, and writes what the next one reads.
FAKES = {
    "yosys": 'echo "$0 $*" >>calls; echo {} >bnnedge.json',
    "nextpnr-xilinx": 'echo "$0 $*" >>calls; test -f bnnedge.json -a -f "$2" -a -f "$4"; echo >bnnedge.fasm; cat log',
    "fasm2frames": 'echo "$0 $*" >>calls; test -f "$5" -a -d "$4"; echo >"$6"',
    "xc7frames2bit": 'echo "$0 $*" >>calls; test -f "$2" -a -f "$6"; printf bits >"$8"',
}


@pytest.fixture
def tools(tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tools and databases; returns the folder of the latter."""
    for name, text in FAKES.items():
        tool(name, text.replace("cat log", f"cat {tmp_path}/log"))
    (tmp_path / "log").write_text(LOG)
    database = tmp_path / "databases"
    (database / "zynq7" / BOARD.part.name).mkdir(parents=True)
    (database / "zynq7" / BOARD.part.name / "part.yaml").touch()
    (database / "xc7z020clg400.bin").touch()
    monkeypatch.setenv("CHIPDB", str(database))
    monkeypatch.setenv("PRJXRAY_DB_DIR", str(database))
    return database


@pytest.mark.usefixtures("converted")
def test_build(tmp_path: Path, tools: Path) -> None:
    out = tmp_path / "out"
    report = build(BOARD, TINY, out, OpenXC7())
    assert report["utilisation"] == {name: {"used": used, "available": there} for name, (used, there) in USED.items()}
    assert report["fmax_hz"] == 104_500_000
    assert list(report["seconds"]) == ["generation", "synthesis", "placement and routing", "frames", "bitstream"]
    assert (out / "bnnedge.bit").read_bytes() == b"bits"
    synthesis, routing, frames, bits = (
        line.replace(f"{tmp_path}/tools/", "").replace(str(tools), "DB").replace(str(out), "OUT")
        for line in (out / "bnnedge.openxc7" / "calls").read_text().splitlines()
    )
    assert synthesis == (
        'yosys -p read_verilog "../bnnedge.v"; synth_xilinx -flatten -abc9 -arch xc7 -top bnnedge -run :map_ffs; '
        "dfflegalize -cell $_DFFE_?P?P_ 01 -cell $_SDFFE_?P?P_ 01 -cell $_DLATCH_?P?_ 01 -mince 8 -minsrst 8; "
        "synth_xilinx -flatten -abc9 -arch xc7 -top bnnedge -run map_ffs:; "
        "delete */t:$scopeinfo; write_json bnnedge.json"
    )
    assert routing == (
        "nextpnr-xilinx --chipdb DB/xc7z020clg400.bin --xdc OUT/bnnedge.xdc --json bnnedge.json --fasm bnnedge.fasm "
        "--freq 100 --timing-allow-fail"
    )
    assert frames == "fasm2frames --part xc7z020clg400-1 --db-root DB/zynq7 bnnedge.fasm bnnedge.frames"
    assert bits == (
        "xc7frames2bit --part_file DB/zynq7/xc7z020clg400-1/part.yaml --part_name xc7z020clg400-1 "
        "--frm_file bnnedge.frames --output_file bnnedge.bit"
    )


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_failing_program(tmp_path: Path, tools: Path, tool: Tool, name: str) -> None:
    tool(name, "echo ERROR: out of luck; exit 1")
    with pytest.raises(FlowError, match=rf"(?s)^{name} failed in step '.*' \(exit status 1\); .*ERROR: out of luck$"):
        build(BOARD, TINY, tmp_path / "out", OpenXC7())
    assert not (tmp_path / "out" / "bnnedge.bit").exists()


def test_everything_missing(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIPDB", raising=False)
    monkeypatch.delenv("PRJXRAY_DB_DIR", raising=False)
    assert OpenXC7().missing(BOARD) == [
        "yosys, nextpnr-xilinx, fasm2frames, xc7frames2bit on PATH",
        "a folder with xc7z020clg400.bin in the environment variable CHIPDB (now '')",
        "a folder with zynq7/xc7z020clg400-1/part.yaml in the environment variable PRJXRAY_DB_DIR (now '')",
    ]


def test_something_missing(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenXC7().missing(BOARD) == []
    (tmp_path / "tools" / "fasm2frames").unlink()
    monkeypatch.setenv("CHIPDB", "/nowhere")
    assert OpenXC7().missing(BOARD) == [
        "fasm2frames on PATH",
        "a folder with xc7z020clg400.bin in the environment variable CHIPDB (now '/nowhere')",
    ]


def test_logs_of_other_versions() -> None:
    assert utilisation(re.sub(r"_RAMB\w+|_DSP\w+", "", LOG)) == USED
    assert utilisation(LOG.replace("RAMB18E1_RAMB18E1", "OTHER"))["bram36"] == (127, 140)


def test_the_slowest_clock_counts_after_routing() -> None:
    assert fmax_hz(LOG + "Warning: Max frequency for clock   'b': 80.25 MHz (FAIL at 100.00 MHz)\n") == 80_250_000


def test_faulty_logs() -> None:
    with pytest.raises(FlowError, match="reports no number of SLICE_FFX"):
        utilisation(LOG.replace("SLICE_FFX", "FF"))
    with pytest.raises(FlowError, match="reports no frequency of a clock"):
        fmax_hz("Info: Routing complete.")
