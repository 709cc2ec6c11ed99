"""An engineer's bench: configurations, boards, simulation, files for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnnedge import Dense, Network, Settings, Trainer, checkpoint
from situations import Row, bnnedge, says

SMALL = "lanes: 4\nword: 16\nleft_depth: 1024\nright_depth: 1024\ntile_rows: 256\nchannels: 1024\nclock_hz: 80e6\n"


def estimated(text: str, name: str = "own.yaml") -> Callable[[Path], Any]:
    """`estimate` of the digits network with a configuration of this text."""

    def act(folder: Path) -> str:
        (folder / name).write_text(text)
        return bnnedge("estimate", "--network", "digits", "--batch", 64, "--config", name)

    return act


def trained(folder: Path) -> str:
    """Two runs, the second one resumed, with a configuration that is gone by then; the report's configuration and clock."""
    (folder / "own.yaml").write_text(SMALL)
    device = ("--device", "golden")
    bnnedge("train", *device, "--samples", 128, "--steps", 2, "--config", "own.yaml", "--out", "run")
    (folder / "own.yaml").unlink()
    bnnedge("train", *device, "--samples", 128, "--steps", 4, "--resume", "run/checkpoint.npz", "--out", "run")
    assert checkpoint.load("run/checkpoint.npz").configuration.name == "own"
    return (folder / "run" / "report.json").read_text()


def from_python(folder: Path) -> str:
    (folder / "own.json").write_text('{"lanes": 4, "word": 16, "name": "mine"}')
    with Trainer(Network((4,), [Dense(4)]), configuration=folder / "own.json", settings=Settings(batch=64)) as trainer:
        return trainer.device.configuration.name


def raw(folder: Path, content: bytes) -> str:
    (folder / "own.yaml").write_bytes(content)
    return bnnedge("estimate", "--config", "own.yaml")


def tested(folder: Path) -> str:
    (folder / "tiny.yaml").write_text("lanes: 4\nword: 16\nleft_depth: 64\nright_depth: 64\ntile_rows: 64\nchannels: 64\n")
    return bnnedge("selftest", "--device", "golden", "--config", "tiny.yaml")


CONFIGURATIONS = [
    Row("an own configuration for estimate", estimated(SMALL), says("images per second")),
    Row("an own configuration, trained and resumed", trained, says('"config": "own"', '"lanes": 4', '"clock_hz": 80000000')),
    Row("a configuration as JSON, by its path, from Python", from_python, says("mine")),
    Row("twelve lanes", estimated("lanes: 12"), r"own.yaml: lanes .* power of two in 4..16 .*, not 12; 8 or 16 would do"),
    Row("a hundred lanes", estimated("lanes: 100"), "not 100; 16 would do"),
    Row("words of 128 bits", estimated("word: 128"), "word .* a 64-bit beat.*, not 128; 64 would do"),
    Row("an accumulator of 32 bits", estimated("accumulator: 32"), "accumulator .* 16..22 .*, not 32; 22 would do"),
    Row("a buffer of an odd depth", estimated("left_depth: 1000"), "multiple of 64 in .*, not 1000; 960 or 1024 would do"),
    Row("a tile buffer of no power of two", estimated("tile_rows: 500"), "tile_rows .* not 500; 256 or 512 would do"),
    Row("a clock in MHz", estimated("clock_hz: 100"), r"clock_hz .* \(it is in Hz\), not 100"),
    Row("a number in quotes", estimated("lanes: '8'"), "lanes .* not '8'"),
    Row("a parameter's name misspelt", estimated("left_dept: 1024"), "no parameter 'left_dept', did you mean left_depth"),
    Row("a tuple of Python", estimated("lanes: !!python/tuple [8]"), "tags .* are not read"),
    Row("a network for a configuration", estimated("input_shape: [8, 8]\nlayers: [{dense: 10}]"), "no parameter 'input_shape'"),
    Row("an empty file", estimated(""), "own.yaml: it must be a table of parameters"),
    Row("bytes that are no text", lambda folder: raw(folder, b"lanes: \xff"), "own.yaml: line 1 is not UTF-8 text"),
    Row("the name of a built-in one", estimated("lanes: 8", "pynq-z2.yaml"), "is that of the built-in configuration 'pynq-z2'"),
    Row("no such file", lambda folder: bnnedge("estimate", "--config", "owm.yaml"), "'owm.yaml': neither a built-in one"),
    Row("a folder", lambda folder: bnnedge("estimate", "--config", folder), "there is no configuration .* nor a file"),
    Row("a tiny one for selftest", tested, "'tiny' is too small for the network that selftest trains"),
]


ROWS: list[Row] = [*CONFIGURATIONS]
