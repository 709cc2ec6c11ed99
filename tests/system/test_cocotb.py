"""The generated Verilog behind independent AXI models (cocotb, cocotbext-axi), on two simulators.

docs/how-to/own-bench.md is typed in as it stands: its files are written, its commands run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnnedge.configuration import Configuration
from bnnedge.sim.benches import configuration_of_bench, run_bench
from bnnedge.sim.verilated import BuildError

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-bench.md"
MODULE = "bnnedge.sim.benches.training"
BENCHES = [
    "trains_without_stalls",
    "trains_with_stalls",
    "trains_again",
    "recovers_from_errors",
    "recovers_from_an_interruption",
]
# That of the page, which is compiled but once.
SMALL = Configuration("small", lanes=4, word=16, left_depth=256, right_depth=256, tile_rows=256, channels=64)

icarus = pytest.mark.skipif(not shutil.which("iverilog"), reason="needs Icarus Verilog (apt install iverilog)")


@pytest.mark.parametrize("bench", BENCHES)
def test_on_verilator(bench: str, tmp_path: Path) -> None:
    run_bench("verilator", SMALL, MODULE, bench, tmp_path)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page."""
    folder = tmp_path_factory.mktemp("page")
    for block in re.findall(r"^```(?:python|yaml)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        (folder / re.match(r"# (\S+)\n", block)[1]).write_text(block)
    assert Configuration.from_file(folder / "small.yaml") == SMALL
    return folder


def run(folder: Path, command: str) -> str:
    """Run a line of the page; return what it printed."""
    assert re.search(rf"^{re.escape(command)}$", PAGE.read_text(), re.MULTILINE), "the page has no such line"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("simulator", [pytest.param("icarus", marks=icarus), "verilator"])
def test_the_page_trains(simulator: str, typed: Path) -> None:
    printed = run(typed, f"python run_bench.py {simulator}")
    assert "trains_with_stalls    PASS" in printed
    assert simulator == "verilator" or "running my_bench.trains_with_stalls on icarus" in printed
    assert "cycles" in (typed / f"run-{simulator}" / "trains_with_stalls.log").read_text()


@pytest.fixture(scope="module")
def generated(typed: Path) -> Path:
    run(typed, "bnnedge generate --config small.yaml --out core")
    return typed


@pytest.mark.parametrize("simulator", [pytest.param("icarus", marks=icarus), pytest.param("verilator", marks=pytest.mark.long)])
def test_the_page_runs_cocotb_alone(simulator: str, generated: Path) -> None:
    assert "PASS=1 FAIL=0" in run(generated, f"python run_ports.py {simulator}")


@pytest.mark.long
def test_the_page_lints(generated: Path) -> None:
    run(generated, "python -m verilator --lint-only -Wall --top-module accelerator core/accelerator.vlt core/accelerator.v")


@icarus
def test_a_failing_bench_says_so(typed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_bad.py").write_text("import cocotb\n@cocotb.test()\nasync def fails(dut):\n    assert False, 'it is so'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as in a session of Python
    with pytest.raises(AssertionError, match=r"my_bad.fails on icarus failed:(.|\n)*it is so"):
        run_bench("icarus", SMALL, "my_bad", "fails", tmp_path / "work")
    with pytest.raises(AssertionError, match="there_is_none"):
        run_bench("icarus", SMALL, "my_bad", "there_is_none", tmp_path / "work")


def test_what_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no simulator 'questa' for benches; there are verilator, icarus"):
        run_bench("questa", SMALL, "my_bench", "test")
    with pytest.raises(RuntimeError, match="only run_bench tells a test"):
        configuration_of_bench()
    monkeypatch.setenv("BNNEDGE_CACHE", str(tmp_path / "with a space"))
    with pytest.raises(BuildError, match="folders without spaces"):
        run_bench("verilator", Configuration("other", lanes=4, word=16, left_depth=128), "my_bench", "test")
