"""`bnnedge export`: files where they are wanted, whole or not at all, and errors that say what to do."""

import argparse
import sys

import numpy as np
import pytest

from bnnedge import Dense, Network, Settings, checkpoint
from bnnedge.checkpoint import Checkpoint, CheckpointError
from bnnedge.commands import export
from bnnedge.configuration import configuration
from bnnedge.export import FORMATS
from bnnedge.state import TrainingState

NETWORK = Network((4, 4), [Dense(32), Dense(4)], "my net/1")
SMALL = configuration("sim-small")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "run" / "checkpoint.npz"
    state = TrainingState.initial(NETWORK, SMALL.latent, 8, 9)
    checkpoint.save(path, Checkpoint(NETWORK, Settings(), SMALL, state, 0.1, "cosine"))
    return path


def run(*arguments):
    parser = argparse.ArgumentParser()
    export.add(parser)
    return export.run(parser.parse_args([str(argument) for argument in arguments]))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("kind", "begins"), [("npz", b"PK"), ("c", b"/* A binary neural network"), ("onnx", b"\x08\x07"), ("qonnx", b"\x08\x07")]
)
def test_beside_the_checkpoint(source, capsys, kind, begins):
    if "onnx" in kind:
        pytest.importorskip("onnx")
    assert run(source, "--format", kind) == 0
    out = source.with_name(f"my-net-1{FORMATS[kind]}")
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_bytes().startswith(begins)
    assert files(source.parent) == sorted(["checkpoint.npz", out.name])


def test_equal_content_gives_equal_bytes(source, tmp_path):
    for kind in ("npz", "c"):
        for folder in ("a", "b"):
            run(source, "--format", kind, "--out", tmp_path / folder / "model")
        assert (tmp_path / "a" / "model").read_bytes() == (tmp_path / "b" / "model").read_bytes()


def test_packed_weights_are_small(source, tmp_path):
    run(source, "--format", "npz", "--out", tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as model:
        assert sorted(model.files) == ["1.threshold", "1.weight", "2.weight", "header", "mean", "offset", "reciprocal"]
        assert (model["1.weight"].shape, model["1.weight"].dtype) == ((32, 2), np.uint8)
        assert (model["1.threshold"].shape, model["1.threshold"].dtype) == ((32,), np.int32)


@pytest.mark.parametrize("kind", ["onnx", "qonnx"])
def test_without_onnx(source, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=rf"^format {kind} needs the Python module onnx: pip install 'bnnedge\[exchange\]'$"):
        run(source, "--format", kind)
    assert files(source.parent) == ["checkpoint.npz"]


def test_unknown_format(source, capsys):
    with pytest.raises(SystemExit):
        run(source, "--format", "tflite")
    assert "invalid choice: 'tflite'" in capsys.readouterr().err


def test_damaged_checkpoint(source):
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"checkpoint\.npz: truncated, or no checkpoint at all"):
        run(source, "--format", "c")
    assert files(source.parent) == ["checkpoint.npz"]


def test_exported_file_is_no_checkpoint(source):
    run(source, "--format", "npz")
    with pytest.raises(CheckpointError, match="it is not a checkpoint of bnnedge"):
        run(source.with_name("my-net-1.npz"), "--format", "c")


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        run(tmp_path / "none.npz", "--format", "c")


def test_checkpoint_is_kept(source):
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint\.npz is the checkpoint itself, and stays: give another file with --out$"):
        run(source, "--format", "npz", "--out", source)
    assert source.read_bytes() == before


def test_out_is_a_folder(source):
    with pytest.raises(ValueError, match=r"^--out .*run is a folder: give the name of a file in it$"):
        run(source, "--format", "c", "--out", source.parent)


def test_out_cannot_be_written(source):
    with pytest.raises(OSError, match=r"checkpoint\.npz"):
        run(source, "--format", "c", "--out", source / "model.h")


def test_failure_keeps_the_earlier_file(source, monkeypatch):
    out = source.with_name("model.h")
    out.write_text("earlier")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bnnedge.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(source, "--format", "c", "--out", out)
    assert out.read_text() == "earlier"
    assert files(source.parent) == ["checkpoint.npz", "model.h"]
