"""A build with tools that pretend: what lies in the folder after success, after a failure, and if tools are missing."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
from hardware import TINY
from overlays import bit_file
from pretend import BOARD, Tool

from bnnedge.boards import Board, Part
from bnnedge.boards.build import build
from bnnedge.boards.flows.flow import FlowError, Outcome, Progress
from bnnedge.devices import bitstream
from bnnedge.files import atomic

pytestmark = pytest.mark.usefixtures("converted")
SOURCES = {"bnnedge.v", "bnnedge.xdc", "bnnedge.hwh", "bnnedge.tcl", "manifest.json"}


class Pretended:
    """A flow of one program, `build-it`."""

    name = "pretended"

    def __init__(self, fmax_hz: float = 123_456_789.4) -> None:
        self.fmax_hz, self.lacking = fmax_hz, list[str]()

    def missing(self, board: object) -> list[str]:
        return self.lacking

    def run(self, board: object, clock_hz: int, sources: Path, progress: Progress) -> Outcome:
        assert (sources / "bnnedge.v").exists()
        progress.begin("first")
        progress.run(["build-it"], mark="step ")
        return Outcome(progress.folder / "out.bit", {"luts": (10, 40), "bram36": (1.5, 2)}, self.fmax_hz)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_success(tmp_path: Path, tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    tool("build-it", "echo step second; sleep 0.2; echo step third; printf bits >out.bit")
    out = tmp_path / "out"
    report = build(BOARD, TINY, out, Pretended())
    assert names(out) == SOURCES | {"bnnedge.bit", "build.json", "bnnedge.pretended"}
    assert (out / "bnnedge.bit").read_bytes() == b"bits"
    assert json.loads((out / "build.json").read_text()) == report
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["sha256"]["bnnedge.bit"] == report["bitstream_sha256"] == hashlib.sha256(b"bits").hexdigest()
    assert manifest["sha256"]["bnnedge.v"] == report["verilog_sha256"]
    assert report["utilisation"] == {"luts": {"used": 10, "available": 40}, "bram36": {"used": 1.5, "available": 2}}
    assert (report["board"], report["part"], report["flow"]) == ("pynq-z2", "xc7z020clg400-1", "pretended")
    assert (report["configuration"], report["clock_hz"], report["fmax_hz"]) == ("tiny", 100_000_000, 123_456_789)
    assert list(report["seconds"]) == ["generation", "first", "second", "third"]
    assert 0.2 <= report["seconds"]["second"] < 2
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" ... ")[0] for line in printed] == [f"pretended: {step}" for step in report["seconds"]]
    assert (out / "bnnedge.pretended" / "build-it.log").read_text() == "step second\nstep third\n"


def test_the_folder_is_what_a_driver_starts_with(tmp_path: Path, tool: Tool) -> None:
    (tmp_path / "true.bit").write_bytes(bit_file())
    tool("build-it", f"cp {tmp_path}/true.bit out.bit")
    build(BOARD, TINY, tmp_path / "out", Pretended())
    found = bitstream.check(tmp_path / "out", TINY)
    assert (found.path, found.board, found.clock_hz) == (tmp_path / "out" / "bnnedge.bit", BOARD, TINY.clock_hz)


def test_a_driver_knows_a_board_of_ones_own_from_the_folder_alone(tmp_path: Path, tool: Tool) -> None:
    mine = Board("mine", Part.called("xc7z010clg400-1"), registers=(0x4000_0000, 0x1000), memory_ports=(1, 3))
    (tmp_path / "true.bit").write_bytes(bit_file("7z010clg400", user=TINY.digest))
    tool("build-it", f"cp {tmp_path}/true.bit out.bit")
    build(mine, TINY, tmp_path / "out", Pretended())
    assert bitstream.check(tmp_path / "out", TINY).board == mine


def test_a_failing_tool(tmp_path: Path, tool: Tool) -> None:
    tool("build-it", "printf bits >out.bit")
    build(BOARD, TINY, tmp_path, Pretended())
    tool("build-it", "echo step routing; echo no route to b; echo it hurts >&2; printf bits >out.bit; exit 3")
    with pytest.raises(FlowError) as caught:
        build(BOARD, TINY, tmp_path, Pretended())
    lines = str(caught.value).splitlines()
    log = tmp_path / "bnnedge.pretended" / "build-it.log"
    assert lines[0] == f"build-it failed in step 'routing' (exit status 3); all it said: {log}"
    assert lines[1:] == ["step routing", "no route to b", "it hurts"]
    assert log.exists()
    assert names(tmp_path) - {"tools"} == SOURCES | {"bnnedge.pretended"}, "a bitstream is left, of another build"
    assert "bnnedge.bit" not in json.loads((tmp_path / "manifest.json").read_text())["sha256"]


def test_a_tool_that_writes_nothing(tmp_path: Path, tool: Tool) -> None:
    tool("build-it", "printf bits >out.bit")
    build(BOARD, TINY, tmp_path / "out", Pretended())
    tool("build-it", "true")
    with pytest.raises(FlowError, match=r"pretended ended without an error, but wrote no .*out.bit"):
        build(BOARD, TINY, tmp_path / "out", Pretended())
    assert not (tmp_path / "out" / "bnnedge.bit").exists()


def test_missing_tools_leave_everything_as_it_is(tmp_path: Path) -> None:
    flow = Pretended()
    flow.lacking = ["a, b on PATH", "a folder with c in the environment variable D (now '')"]
    message = r"flow pretended needs a, b on PATH; a folder with c in the environment variable D .*: see docs/boards.md"
    with pytest.raises(FlowError, match=message):
        build(BOARD, TINY, tmp_path / "out", flow)
    assert not (tmp_path / "out").exists()


def test_too_slow_a_design(tmp_path: Path, tool: Tool) -> None:
    tool("build-it", "printf bits >out.bit")
    with pytest.raises(FlowError) as caught:
        build(BOARD, TINY, tmp_path, Pretended(93.66e6))
    kept = tmp_path / "bnnedge.pretended" / "out.bit"
    assert str(caught.value) == (
        f"the design reaches 93.7 MHz, less than its clock of 100 MHz: try --clock 93; the bitstream stays in {kept}"
    )
    assert kept.read_bytes() == b"bits"
    assert not (tmp_path / "bnnedge.bit").exists()
    assert json.loads((tmp_path / "build.json").read_text())["fmax_hz"] == 93_660_000


def test_an_interrupt_ends_the_tools_and_what_they_started(tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("build-it", f"(sleep 2; touch {tmp_path}/alive) & echo step second; wait")

    class Interrupted(Progress):
        def begin(self, step: str) -> None:
            if step == "second":
                raise KeyboardInterrupt
            super().begin(step)

    monkeypatch.setattr("bnnedge.boards.build.Progress", Interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build(BOARD, TINY, tmp_path, Pretended())
    assert time.monotonic() - began < 2
    time.sleep(2.2)
    assert not (tmp_path / "alive").exists()


def test_a_full_disk_leaves_no_part_of_a_bitstream(tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("build-it", "printf bits >out.bit")

    def full(path: Path) -> object:
        if path.name == "bnnedge.bit":
            raise OSError(28, "No space left on device", str(path))
        return atomic(path)

    monkeypatch.setattr("bnnedge.boards.build.atomic", full)
    with pytest.raises(OSError, match="No space"):
        build(BOARD, TINY, tmp_path, Pretended())
    assert not (tmp_path / "bnnedge.bit").exists()
    assert "bnnedge.bit" not in json.loads((tmp_path / "manifest.json").read_text())["sha256"]
