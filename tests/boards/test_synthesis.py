"""Resources by unit and logic delay; synthesis itself, of a small accelerator and of the board's, is for the long tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bnnedge import Configuration, cli
from bnnedge.boards import BOARDS
from bnnedge.boards.synthesis import Resources, Synthesis, _shares, synthesise
from bnnedge.commands.synth import check
from bnnedge.configuration import CONFIGURATIONS

pytest.importorskip("pyosys", reason="needs pyosys (pip install 'bnnedge[synth]')")
BOARD = BOARDS["pynq-z2"]
TINY = Configuration(name="tiny", lanes=4, word=16, left_depth=512, right_depth=512, tile_rows=64, channels=64)


def test_cells_are_counted_as_what_they_take() -> None:
    cells = {
        "LUT2": 3,
        "LUT6": 2,
        "INV": 1,
        "SRL16E": 2,
        "RAM32M": 1,
        "FDRE": 7,
        "FDSE": 1,
        "RAMB36E1": 2,
        "RAMB18E1": 1,
        "BUFG": 1,
    }
    controls = {"FDRE": {"C": [1], "CE": ["1"], "R": [2]}, "FDSE": {"C": [1], "CE": [3], "S": [2]}}
    netlist = [{"type": kind, "connections": controls.get(kind, {})} for kind, count in cells.items() for _ in range(count)]
    assert Resources.of(netlist) == Resources(lut=12, ff=8, bram36=2.5, dsp=0, control_sets=2)


def test_cells_belong_to_the_unit_that_they_lie_in() -> None:
    names = {
        r"$flatten\accelerator.\core.array.$abc$1$lut$2": "array",
        r"$flatten\accelerator.\core.array.\lane.$auto$ff.cc:3:slice$4": "array",
        r"$flatten\accelerator.\core.right$500.$auto$5": "right",
        r"\accelerator.core.right$500.bank.0.0": "right",
        r"$flatten\accelerator.$auto$ff.cc:6:slice$7": "rest",
        r"\accelerator.core.labels.storage.0.0": "rest",
        r"$flatten\bridge.$auto$8": "rest",
        r"\ps7": "rest",
    }
    shares = _shares({name: {"type": name} for name in names}, ["array", "right"])
    assert {cell["type"]: unit for unit, cells in shares.items() for cell in cells} == names


def test_too_large_a_design_is_told_with_what_it_lacks() -> None:
    def found(lut: int, dsp: int) -> Synthesis:
        return Synthesis(Resources(lut, 1000, 100.5, dsp, 100), {}, 5.0, [], [])

    check(BOARD, TINY, found(53_200, 220))
    with pytest.raises(ValueError, match=r"'tiny' does not fit TUL PYNQ-Z2: it needs 53300 LUTs, xc7z020clg400-1 has 53200 "):
        check(BOARD, TINY, found(53_300, 220))
    with pytest.raises(ValueError, match=r"\(1 too few\); 230 multiplier blocks, xc7z020clg400-1 has 220 \(10 too few\)$"):
        check(BOARD, TINY, found(53_201, 230))


@pytest.mark.long
def test_table_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(CONFIGURATIONS, "tiny", TINY)
    assert cli.main(["synth", "--board", "pynq-z2", "--config", "tiny", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "synth.json").read_text())
    assert (found["board"], found["part"], found["configuration"]) == ("pynq-z2", "xc7z020clg400-1", "tiny")
    for kind in ("lut", "ff", "bram36", "dsp"):
        assert found["total"][kind] == sum(unit[kind] for unit in found["units"].values())
    sets = [unit["control_sets"] for unit in found["units"].values()]
    assert max(sets) < found["total"]["control_sets"] < sum(sets)  # units share some
    assert found["units"]["array"]["dsp"] == TINY.lanes**2 // 2 + 1  # two accumulators in each, and the bias
    assert found["units"]["left"]["bram36"] == TINY.lanes / 2
    assert 1 < found["logic_delay_ns"] < 10
    assert found["unregistered"] == []
    assert re.search(rf"^all +{found['total']['lut']} .* {found['total']['control_sets']}$", printed, re.MULTILINE)
    assert "LUTs per bit-operation" in printed


@pytest.mark.long
def test_the_boards_design_fits(tmp_path: Path) -> None:
    config = CONFIGURATIONS[BOARD.configuration]
    found = synthesise(BOARD, config, tmp_path / "log")
    part, total = BOARD.part, found.total
    print(f"{config.name} on {part.name}: {total}, {found.logic_delay_ns:.2f} ns, engine {found.units['array'].lut} LUTs")
    assert total.lut <= 36_000 < 0.70 * part.luts
    assert total.ff <= 46_000 < 0.45 * part.ffs
    assert total.control_sets <= 200
    assert total.bram36 <= 0.95 * part.bram36
    assert total.dsp <= part.dsps
    assert found.units["array"].lut / (config.lanes**2 * config.word) <= 1.7
    assert found.logic_delay_ns <= 4.2
    assert found.unregistered == []
