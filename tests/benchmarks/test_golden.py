"""The benchmark of the golden model: parts add up, and the table has what it promises."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="module")
def golden() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        return importlib.import_module("golden")


def test_timers_count_a_function_without_those_that_it_calls(golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(golden.time, "perf_counter", lambda: now[0])

    def work(seconds: float, *calls: Any) -> None:
        now[0] += seconds
        for call in calls:
            call()

    owner = SimpleNamespace()
    owner.draw = lambda: work(5)
    owner.code = lambda: work(2, lambda: owner.draw(), lambda: work(1), lambda: owner.draw())
    owner._hidden = lambda: work(7, lambda: owner.code())
    timers = golden.Timers()
    timers.wrap(owner)
    owner._hidden()
    owner.draw()
    assert timers.seconds == {"random numbers": 15, "code": 3}


def test_multiplications_are_those_of_three_products_a_layer(golden: Any) -> None:
    assert golden.Case("digits", 64).multiplications == 64 * (2 * 64 * 128 + 3 * (128 * 128 + 128 * 10))


def test_prints_a_table_of_parts(golden: Any) -> None:
    command = [sys.executable, golden.__file__, "--network", "digits", "--seconds", "0.5"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [line.strip("| ").split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")][2:]
    figures = {name: float(figure.replace(",", "")) for name, figure in lines}
    step = figures["a step, ms"]
    parts = {name: figure for name, figure in figures.items() if name.startswith("- ")}
    assert {f"- {part}" for part in golden.PARTS.values()} | {"- rest"} == set(parts)
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(step, abs=0.06 * len(parts))
    assert figures["images/s"] == pytest.approx(64e3 / step, rel=0.1)
    assert figures["memory of a step, MB"] > 0
    torch = importlib.util.find_spec("torch") is not None
    assert ("PyTorch's step / step" in figures) == torch
    assert ("PyTorch is not installed" in ran.stdout) != torch
