"""Folders of runs: what they hold, and each way in which they can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnedge import Settings
from bnnedge.report.run import load_run


def test_loads(folder: Path) -> None:
    run = load_run(folder)
    assert run.report == json.loads((folder / "report.json").read_text())
    assert (run.name, run.network.name, run.configuration.name) == ("run", "digits", "sim-small")
    assert run.settings == Settings(batch=64)
    assert run.layers == "8x8: dense 128, dense 128, dense 10"


def test_layers_with_parameters(amend: Callable[..., Path]) -> None:
    layers = [{"conv2d": {"filters": 4, "padding": "same"}}, "maxpool2d", {"dense": 10}]
    run = load_run(amend(network_description={"name": "small", "input_shape": [8, 8, 3], "layers": layers}))
    assert run.layers == "8x8x3: conv2d filters 4 padding same, maxpool2d, dense 10"


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none: there is no such folder"):
        load_run(tmp_path / "none")
    with pytest.raises(ValueError, match=r"there is no report\.json in it"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "damaged: it is no JSON text"),
        (b"\xff\xfe", "damaged: 'utf-8' codec"),
        (b"[" * 100_000, "damaged: it is no JSON text"),
        (b'{"seed": NaN}', "NaN is no number of JSON"),
        (b"[]", "it is no table"),
        (b'{"network": "x"}', "it lacks data, device"),
    ],
)
def test_damaged(folder: Path, content: bytes, message: str) -> None:
    (folder / "report.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_run(folder)
    assert str(folder / "report.json") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "many"}, "steps is 'many'"),
        ({"train_loss": [1, None]}, r"train_loss is \[1, None\]"),
        ({"memory_bytes": {"on_chip": {}}}, "memory_bytes is"),
        ({"reference": {"rate": 1}}, "reference is"),
        ({"network_description": {}}, "needs the keys input_shape and layers"),
        ({"settings": {"rate": 0.1, "schedule": "cosine", "batch": 65}}, "batch must be a power of two"),
        ({"configuration": {"name": "x", "lanes": 3}}, "lanes of configuration 'x' must be"),
    ],
)
def test_wrong_entries(amend: Callable[..., Path], changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_run(amend(**changes))
