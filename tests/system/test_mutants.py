"""Damaged and hostile files, through the command line: each is one line that names the file, or does no harm.

What has checksums (a checkpoint's arrays and header, a bitstream's files) gives the same content or is refused. What people
write and read (reports, manifests, studies, tables, networks) may still be sound with another number in it.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutants
import numpy as np
import pytest
import yaml
from overlays import bit_file, overlay

from bnnedge import checkpoint, cli, configuration
from bnnedge.boards import board
from bnnedge.boards import package as packaging
from bnnedge.checkpoint import Checkpoint
from bnnedge.devices import StepResult
from bnnedge.network import Dense, Network, cnv
from bnnedge.schedule import Plan
from bnnedge.settings import Settings
from bnnedge.sim.study import Table, load_study
from bnnedge.sim.study.table import Row
from bnnedge.state import TrainingState

SEED = 6
QUICK, MANY = 25, 220  # mutants of each kind of file

STUDY: dict[str, Any] = {
    "title": "A trial",
    "text": "Of no importance.",
    "common": {"data": "digits", "network": "digits", "epochs": 2, "batch": 64, "config": "sim-small"},
    "seeds": [1, 2],
    "runs": [{"label": "standard", "model": "standard", "rate": 0.01}, {"label": "g = {gradient_planes}", "model": "integer",
             "gradient_planes": [8, 2], "augment": "shift=0.1"}],
    "paper": {"standard": 98.5},
}  # fmt: skip
NETWORK: dict[str, Any] = {
    "name": "small",
    "input_shape": [8, 8, 3],
    "layers": [{"conv2d": {"filters": 16, "kernel": 3, "padding": "same"}}, {"maxpool2d": "signs"}, {"dense": 32}, {"dense": 10}],
}
CONFIGURATION: dict[str, Any] = {
    "name": "mine", "lanes": 8, "word": 32, "left_depth": 1024, "right_depth": 1024, "tile_rows": 256, "channels": 1024,
    "latent": 10, "accumulator": 20, "clock_hz": 80_000_000,
}  # fmt: skip
BOARD: dict[str, Any] = {
    "title": "My board", "part": "xc7z010clg400-1", "pins": {"led_busy": ["M14", "LVCMOS33"]}, "configuration": "pynq-z2",
    "registers": [0x43C0_0000, 0x1_0000], "memory_ports": [0, 2],
}  # fmt: skip


def save(path: Path, network: Network, epochs: int = 2) -> Path:
    small, settings = configuration("sim-small"), Settings(batch=64)
    plan = Plan(300, 64, 1, 2 * epochs, 8 * epochs, 0, 9, True, 0.1, "cosine")
    for _ in range(epochs):
        plan = plan.after([StepResult(70_000, 30)] * 4).with_entry({"loss": 0.1 + 0.2, "accuracy": 0.5, "rate": 0.1})
    state = TrainingState.initial(network, small.latent, 8, 1)
    checkpoint.save(path, Checkpoint(network, settings, small, state, 0.1, "cosine", plan))
    return path


def header_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop("header").tobytes()), arrays


def text_of(table: Any) -> bytes:
    return json.dumps(table).encode()


@dataclasses.dataclass
class Kind:
    """A kind of file: the path of a sound one in a folder, the command that reads it, what that leaves, and its tables."""

    path: Path
    command: list[str]
    product: Path
    alter: Callable[[random.Random], None] | None = None  # writes a mutant that is a whole file, with another value in it
    sealed: bool = False  # by checksums


def _checkpoint(folder: Path) -> Kind:
    path = save(folder / "checkpoint.npz", Network((4, 4), [Dense(32), Dense(4)], "tiny"))
    header, arrays = header_of(path)

    def alter(draw: random.Random) -> None:
        text = mutants.damaged(text_of(header), draw) if draw.random() < 0.3 else text_of(mutants.altered(header, draw))
        np.savez(path, header=np.frombuffer(text, np.uint8), **arrays)

    out = folder / "out.npz"
    return Kind(path, ["export", str(path), "--format", "npz", "--out", str(out)], out, alter, sealed=True)


def _report(folder: Path, trained: Path) -> Kind:
    shutil.copytree(trained, folder / "run")
    path = folder / "run" / "report.json"
    report = json.loads(path.read_text())

    def alter(draw: random.Random) -> None:
        path.write_bytes(text_of(mutants.altered(report, draw)))

    return Kind(path, ["report", str(folder / "run")], folder / "run" / "report.html", alter)


def _compared(folder: Path, trained: Path) -> Kind:
    kind, out = _report(folder, trained), folder / "out.html"
    kind.command, kind.product = ["compare", str(trained), str(folder / "run"), "--out", str(out)], out
    return kind


def _study(folder: Path) -> Kind:
    path, out = folder / "trial.yaml", folder / "out"
    path.write_text(yaml.safe_dump(STUDY))
    table = Table(out / "trial.csv")
    for number, run in enumerate(load_study(path).runs):
        table.add(Row(run, number / 8, 0.75, 1.25, 3.0, (0.25, number / 8)))

    def alter(draw: random.Random) -> None:
        path.write_bytes(text_of(mutants.altered(STUDY, draw)))  # JSON, which is YAML, but for half characters

    return Kind(path, ["study", str(path), "--out", str(out), "--report"], out / "trial.md", alter)


def _table(folder: Path) -> Kind:
    kind = _study(folder)
    kind.path, kind.alter = folder / "out" / "trial.csv", None
    return kind


def _network(folder: Path) -> Kind:
    path = folder / "network.yaml"
    path.write_text(yaml.safe_dump(NETWORK))

    def alter(draw: random.Random) -> None:
        path.write_bytes(text_of(mutants.altered(NETWORK, draw)))

    return Kind(path, ["estimate", "--network", str(path), "--config", "sim-small", "--batch", "64"], path, alter)


def _json(folder: Path) -> Kind:
    kind, path = _network(folder), folder / "network.json"
    path.write_bytes(text_of(NETWORK))
    kind.command[2] = str(path)
    return Kind(path, kind.command, path, lambda draw: path.write_bytes(text_of(mutants.altered(NETWORK, draw))) and None)


def _configuration(folder: Path) -> Kind:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(CONFIGURATION))

    def alter(draw: random.Random) -> None:
        path.write_bytes(text_of(mutants.altered(CONFIGURATION, draw)))

    return Kind(path, ["estimate", "--network", "digits", "--config", str(path), "--batch", "64"], path, alter)


def _board(folder: Path) -> Kind:
    path, out = folder / "mine" / "board.yaml", folder / "out.tar.gz"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(BOARD))
    overlay(folder / "overlay", configuration("pynq-z2"), board(path.parent), bit_file("7z010clg400"))

    def alter(draw: random.Random) -> None:
        path.write_bytes(text_of(mutants.altered(BOARD, draw)))

    command = ["package", "--board", str(path.parent), "--from", str(folder / "overlay"), "--out", str(out)]
    return Kind(path, command, out, alter)


def _manifest(folder: Path) -> Kind:
    path = overlay(folder / "overlay", configuration("pynq-z2")) / "manifest.json"
    manifest, out = json.loads(path.read_text()), folder / "out.tar.gz"
    command = ["package", "--board", "pynq-z2", "--from", str(folder / "overlay"), "--out", str(out)]
    return Kind(path, command, out, lambda draw: path.write_bytes(text_of(mutants.altered(manifest, draw))) and None)


def _bits(folder: Path) -> Kind:
    kind = _manifest(folder)
    return Kind(kind.path.with_name("bnnedge.bit"), kind.command, kind.product, sealed=True)


KINDS: dict[str, Callable[..., Kind]] = {
    "checkpoint": _checkpoint,
    "report": _report,
    "compared": _compared,
    "study": _study,
    "table": _table,
    "network": _network,
    "json": _json,
    "configuration": _configuration,
    "board": _board,
    "manifest": _manifest,
    "bits": _bits,
}


def largest(name: str, kind: Kind, folder: Path) -> None:
    """Put a file in its place as large as people have them."""
    if name == "checkpoint":
        save(kind.path, cnv(width=0.5), epochs=1000)
    elif name in ("report", "compared"):
        report = json.loads(kind.path.read_text())
        lists = {key: 2000 * value for key, value in report.items() if isinstance(value, list)}
        kind.path.write_bytes(text_of({**report, **lists}))
    elif name == "study":
        kind.path.write_bytes(text_of({**STUDY, "text": "Of some importance. " * 3000}))
    elif name == "table":
        table = Table(kind.path)
        row = next(iter(table.rows.values()))
        rows = [dataclasses.replace(row, run=dataclasses.replace(row.run, seed=n)) for n in range(300)]
        table.rows = {row.run.key: row for row in rows}
        table.add(row)
    elif name in ("network", "json"):
        layers = 900 * [{"conv2d": {"filters": 64, "kernel": 3, "padding": "same"}}] + [{"dense": 10}]
        kind.path.write_bytes(text_of({**NETWORK, "layers": layers}))
    elif name in ("configuration", "board"):
        kind.path.write_bytes(kind.path.read_bytes() + b"# about it\n" * 23_000)  # as long as it may be
    else:
        overlay(folder / "overlay", configuration("pynq-z2"), bits=bit_file(content=bytes(4 << 20)))


def peak(command: list[str]) -> tuple[int, int]:
    """Exit status of a command, and the bytes of memory that it took in addition, at most; 0 if that is not traced."""
    if not tracemalloc.is_tracing():
        return cli.main(command), 0
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    status = cli.main(command)
    return status, tracemalloc.get_traced_memory()[1] - before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "digits"
    options = ["--device", "golden", "--samples", "128", "--epochs", "2", "--reference"]
    assert cli.main(["train", *options, "--out", str(folder)]) == 0
    return folder


def made(name: str, folder: Path, trained: Path) -> Kind:
    folder.mkdir(exist_ok=True)
    return KINDS[name](folder, trained) if name in ("report", "compared") else KINDS[name](folder)


def survive(name: str, count: int, folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Read so many mutants; return how many were refused, gave the same content, or were sound with another."""
    kind, draw, most = made(name, folder, trained), random.Random(f"{SEED} {name}"), 0
    sound, found = kind.path.read_bytes(), {"refused": 0, "same": 0, "other": 0}
    assert cli.main(kind.command) == 0
    product = kind.product.read_bytes()
    if tracemalloc.is_tracing():
        large = made(name, folder / "large", trained)
        largest(name, large, folder / "large")
        status, most = peak(large.command)
        assert status == 0 or "the program format holds 64" in capsys.readouterr().err
    capsys.readouterr()
    for number in range(count):
        whole = bool(kind.alter) and number % 2 == 0
        if kind.alter and whole:
            kind.alter(draw)
        else:
            kind.path.write_bytes(mutants.damaged(sound, draw))
        kept = folder / "mutant"
        shutil.copyfile(kind.path, kept)
        status, taken = peak(kind.command)
        output, error = capsys.readouterr()
        about = f"{name} {number}: {kept}: {error[:300]}"
        assert taken <= 3 * most, about
        shown = {unicodedata.category(char) for char in output + error if char != "\n"}
        assert not shown & {"Cc", "Cf", "Cs", "Co"}, about
        if status:
            lines = error.splitlines()
            assert status == 1, about
            assert len(lines) == 1, about
            assert lines[0].startswith("bnnedge: error: "), about
            assert len(lines[0]) < 2000, about
            assert str(folder) in lines[0] or "does not fit configuration" in lines[0], about
            found["refused"] += 1
        elif kind.path == kind.product or kind.product.read_bytes() == product:
            found["same"] += 1
        else:
            assert whole or not kind.sealed, about
            found["other"] += 1
        kind.path.write_bytes(sound)
    return found


@pytest.fixture(autouse=True)
def _no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spare the building of wheels."""
    (tmp_path / "x.whl").write_bytes(b"wheel")
    monkeypatch.setattr(packaging, "wheel", lambda folder: tmp_path / "x.whl")


@pytest.mark.parametrize("name", KINDS)
def test_mutants(name: str, tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = survive(name, QUICK, tmp_path, trained, capsys)
    assert found["refused"] > QUICK // 4


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_many_mutants(name: str, tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracemalloc.start()
    try:
        found = survive(name, MANY, tmp_path, trained, capsys)
    finally:
        tracemalloc.stop()
    with capsys.disabled():
        print(
            f"\n{MANY} mutants of {name}, seed {SEED}: {found['refused']} refused in one line, {found['same']} of the same "
            f"content, {found['other']} sound with another value, 0 others"
        )
