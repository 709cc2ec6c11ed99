"""The benchmark of the golden model: parts add up, and the table has what it promises."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnnedge.sim.golden import Random, model, products
from bnnedge.sim.golden.plain import Plain


@pytest.fixture(scope="module")
def golden() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("golden")


def test_timers_count_operations_as_the_model_calls_them(golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(golden.time, "perf_counter", lambda: now[0])

    class Products:
        def forward(self, seconds: float) -> float:
            now[0] += seconds
            return seconds

        def data_gradient(self, seconds: float) -> float:
            return self.forward(seconds)

    model = SimpleNamespace(products=Products(), elementwise=SimpleNamespace(updated=lambda: 1, codes=Products().forward))
    timers = golden.Timers()
    watched = timers.watched(model)
    assert watched.products.data_gradient(2) == 2
    assert watched.products.forward(3) == 3
    assert watched.products.forward(4) == 4
    assert watched.elementwise.codes(5) == 5
    assert timers.seconds == {"products, data gradient": 2, "products, forward": 7, "gradients, rounding": 5}


def test_every_operation_has_its_part(golden: Any) -> None:
    """Each one that the model calls: none is missing from what stands in for it."""
    names = [name for names in golden.PARTS.values() for name in names]
    source = inspect.getsource(model)
    assert sorted(set(re.findall(r"self\.(?:products|elementwise)\.(\w+)", source))) == sorted(names)


@pytest.mark.parametrize("network", ["digits", "cnv-0.5"])
def test_random_numbers_alone_are_those_of_a_step(golden: Any, monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    case = golden.Case(network, 64, plain=True)
    drawn, random = [], case.golden().random
    draw = random.draw

    def noted(step: int, *tensor: Any) -> Any:
        drawn.append(tensor)
        return draw(step, *tensor)

    monkeypatch.setattr(Random, "draw", lambda self, step, *tensor: noted(step, *tensor))
    case.step(case.golden())()
    tensors = list(golden.draws.tensors(case.network, 64))
    assert sorted(tensors) == sorted(drawn)
    if importlib.util.find_spec("numba"):
        for tensor in tensors:
            assert golden.draws.compiled(random, tensor, golden.Threads(2)) == golden.draws.plain(random, tensor)


def test_multiplications_are_those_of_three_products_a_layer(golden: Any) -> None:
    assert golden.Case("digits", 64).multiplications == 64 * (2 * 64 * 128 + 3 * (128 * 128 + 128 * 10))


def test_the_plain_way_is_measured_if_asked_for(golden: Any) -> None:
    model = golden.Case("cnv-0.5", 64, plain=True).golden()
    assert model.products is products
    assert type(model.elementwise) is Plain


def test_prints_a_table_of_parts(golden: Any) -> None:
    command = [sys.executable, golden.__file__, "--network", "digits", "--seconds", "0.5"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [line.strip("| ").split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")][2:]
    figures = {name: float(figure.replace(",", "")) for name, figure in lines}
    step = figures["a step, ms"]
    parts = {name: figure for name, figure in figures.items() if name.startswith("- ")}
    assert {f"- {part}" for part in golden.PARTS} | {"- rest"} == set(parts)
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(step, abs=0.06 * len(parts))
    assert figures["random numbers of these, ms"] > 0
    assert figures["images/s"] == pytest.approx(64e3 / step, rel=0.1)
    assert figures["memory of a step, MB"] > 0
    torch = importlib.util.find_spec("torch") is not None
    assert ("PyTorch's step / step" in figures) == torch
    assert ("PyTorch is not installed" in ran.stdout) != torch
