"""Mutants of every file that comes from elsewhere: the same content, or one line with the file's name; see tests/hostile.py.

The issue's own inputs are in tests/host/test_bounded.py, tests/host/importer/test_config.py and test_graph.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# MB above what the sound file takes: MNIST, compressed, takes 55.
MEMORY = 150
NEEDED = {"keras": ("keras", "jax"), "h5": ("keras", "jax"), "onnx": ("onnx", "qonnx")}
READERS = ("npz", "idx", "pickle", "cifar", "mat", "checkpoint", "keras", "h5", "onnx")


def read_mutants(reader: str, seed: int, count: int) -> None:
    lacking = [module for module in NEEDED.get(reader, ()) if importlib.util.find_spec(module) is None]
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}")
    program = Path(__file__).parents[1] / "hostile.py"
    ran = subprocess.run(
        [sys.executable, str(program), reader, str(seed), str(count)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"the process died: {ran.stderr[-2000:]}"
    found = json.loads(ran.stdout.splitlines()[-1])
    print(f"{reader}, seed {seed}: {found}")
    assert found["bad"] == []
    assert found["read"] + found["refused"] == count
    assert found["refused"] > found["read"] > 0
    assert found["memory"] < MEMORY


@pytest.mark.parametrize("reader", READERS)
def test_some_mutants(reader: str):
    read_mutants(reader, 1, 60 if reader in NEEDED else 120)


@pytest.mark.long
@pytest.mark.parametrize("reader", READERS)
def test_many_mutants(reader: str):
    read_mutants(reader, 2, 400)
