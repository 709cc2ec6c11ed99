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
        (b"\xff\xfe", r"damaged: line 1 is not UTF-8 text \(byte 0 is 0xff\)"),
        (b"[" * 100_000, "damaged: it is no JSON text"),
        (b'{"seed": 1' + b"0" * 400 + b"}", "a whole number has 401 digits"),
        (b'{"rate": 1e400}', "the number 1e400 is too large"),
        (b'{"seed": 1, "seed": 2}', "the key 'seed' stands twice"),
        (b" " * (1 << 24) + b"{}", "it is larger than 16,777,216 bytes"),
        (b"[" + b"[]," * 20_000, "divided into more lists and tables than 10,000"),
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


HISTORIES = "train_loss", "train_accuracy", "test_loss_history", "test_accuracy_history", "rate_history"
COUNTS = "seed", "steps", "samples", "checked_steps"
RATES = "epochs", "cycles_per_image", "images_per_second", "clock_hz", "engine_utilisation", "wall_seconds", "check_seconds"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "many"}, "steps is 'many'"),
        *(({name: value}, f"{name} is") for name in COUNTS for value in (None, True, 1.5, -1, "1", [])),
        *(({name: value}, f"{name} is") for name in ("network", "data", "device", "config") for value in (None, 3, "x" * 256)),
        *(({name: [value]}, f"{name} is") for name in HISTORIES for value in (None, True, "1", -1, 1e30, [])),
        *(({name: value}, f"{name} is") for name in ("test_accuracy", "reference_accuracy") for value in (-0.1, 1.1, True, "x")),
        *(({name: value}, f"{name} is") for name in RATES for value in (-1, True, "x", 1e30, [])),
        *(({"bit_exact": value}, "bit_exact is") for value in (1, "yes")),
        *(({"versions": value}, "versions is") for value in (None, [], {"x": 1}, {"x": "y" * 256}, {"y" * 256: ""})),
        ({"versions": {str(n): "" for n in range(101)}}, "versions is"),
        ({"memory_bytes": {"on_chip": {"x": 1.5}, "ddr": {}, "total": 1, "float32_standard": 1, "ratio": 1}}, "memory_bytes is"),
        ({"settings": {"rate": 0.1, "schedule": "cosine", "x": []}}, "settings is"),
        ({"network_description": {"input_shape": [8, 8], "layers": [{"dense": "2024-01-01"}]}}, "Dense needs a positive whole"),
        ({"network_description": {"name": 8, "input_shape": [8, 8], "layers": [{"dense": 10}]}}, "name must be text"),
        ({"configuration": {"name": "../x"}}, "name of a configuration must be"),
        ({"train_loss": [1, None]}, r"train_loss is \[1, None\]"),
        ({"memory_bytes": {"on_chip": {}}}, "memory_bytes is"),
        ({"reference": {"rate": 1}}, "reference is"),
        ({"network_description": {}}, "needs the keys input_shape and layers"),
        ({"settings": {"rate": 0.1, "schedule": "cosine", "batch": 65}}, "batch must be a multiple of 16, not 65; 64 and 80 fit"),
        ({"configuration": {"name": "x", "lanes": 3}}, "lanes of configuration 'x' must be"),
    ],
)
def test_wrong_entries(amend: Callable[..., Path], changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_run(amend(**changes))
