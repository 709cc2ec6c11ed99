from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("qonnx")

from chains import CUSTOM, Graph, runs  # noqa: E402
from foreign import agree  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from bnnedge import Trainer, export, importer  # noqa: E402


def dense_graph() -> Graph:
    graph = Graph(1, 8, 8).add("Mul", np.float32(2)).add("Sub", np.float32(1)).sign()
    graph.add("Reshape", np.array([1, 64]))
    graph.add("Gemm", graph.weight(24, 64), transB=1).norm(24).sign(0.5)
    graph.add("MatMul", graph.weight(16, 24, transpose=True)).norm(16, 0.05).sign()
    return graph.add("Gemm", graph.weight(10, 16), graph.rng.normal(0, 0.1, 10).astype(np.float32), transB=1).norm(10)


def conv_graph() -> Graph:
    graph = Graph(3, 10, 10).add("Mul", np.float32(2)).add("Sub", np.float32(1))
    graph.add("Conv", graph.weight(8, 3, 3, 3), pads=[1, 1, 1, 1]).norm(8).sign()
    graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Conv", graph.weight(12, 8, 2, 2)).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).norm(12, signed=False).sign()
    graph.add("Flatten").add("Gemm", graph.weight(20, 48), transB=1).norm(20).sign()
    return graph.add("MatMul", graph.weight(5, 20, transpose=True)).add("Softmax", axis=1)


@pytest.mark.parametrize(("make", "planes"), [(dense_graph, 1), (conv_graph, 8)])
def test_model_predicts_the_same(tmp_path: Path, make: Any, planes: int):
    path = make().write(tmp_path / "model.onnx")
    imported = importer.load(path, (0, 1))
    assert imported.checkpoint.settings.input_planes == planes
    agree(imported, runs(path), images=50)  # qonnx runs node by node


def test_latent_weights_are_taken_over(tmp_path: Path):
    graph = dense_graph()
    latent = next(numpy_helper.to_array(c) for c in graph.constants if tuple(c.dims) == (24, 64)).T
    state = importer.load(graph.write(tmp_path / "model.onnx"), (0, 1)).checkpoint.state.layers[0]
    turned = np.where(state.sign == (latent >= 0), 1, -1)
    assert np.ptp(turned, axis=0).max() == 0, "outputs are turned as a whole"
    # Of 64 inputs: twice as large.
    assert np.abs((state.weight >> 6) / 512 - np.clip(2 * turned * latent, -1, 1)).max() <= 1 / 512 + 1e-6


def test_pixels_that_are_rounded_otherwise_are_noted(tmp_path: Path):
    graph = Graph(1, 8, 8).add("Mul", np.float32(2)).add("Sub", np.float32(1))
    scale, zero, bits = np.float32(1 / 128), np.float32(0), np.float32(8)
    graph.add("Quant", scale, zero, bits, domain=CUSTOM, signed=1, narrow=0, rounding_mode="ROUND").add("Flatten")
    graph.add("Gemm", graph.weight(24, 64), transB=1).norm(24).sign().add("Gemm", graph.weight(4, 24), transB=1)
    assert "rounds pixels otherwise" in importer.load(graph.write(tmp_path / "model.onnx"), (0, 1)).notes[0]


@pytest.mark.parametrize("kind", ["onnx", "qonnx"])
def test_an_exported_network_comes_back_by_its_checkpoint(tmp_path: Path, kind: str):
    imported = importer.load(dense_graph().write(tmp_path / "model.onnx"), (0, 1))
    export.save(tmp_path / "ours.onnx", export.fold(imported.checkpoint), kind)
    with pytest.raises(importer.UnsupportedError, match=r"ours.onnx: bnnedge exported it: .*`bnnedge train --start CHECKPOINT`"):
        importer.load(tmp_path / "ours.onnx", (0, 255))


def test_training_goes_on(tmp_path: Path):
    imported = importer.load(dense_graph().write(tmp_path / "model.onnx"), (0, 1))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (256, 8, 8), dtype=np.uint8), rng.integers(0, 10, 256)
    with Trainer.load(imported.checkpoint, rate=0.05) as trainer:
        before = trainer.evaluate(x, y)["accuracy"]
        trainer.fit(x, y, epochs=20)
        assert trainer.evaluate(x, y)["accuracy"] > before + 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda g: g.add("Gemm", g.weight(8, 64), transB=1).add("Relu").add("Gemm", g.weight(4, 8), transB=1),
            "Relu.* is no sign",
        ),
        (lambda g: g.add("Gemm", g.weight(8, 64), transB=1).add("GlobalAveragePool"), "nothing like it"),
        (lambda g: g.add("Gemm", g.weight(8, 64), transA=1, transB=1), "cannot take|not transposed"),
        (lambda g: g.add("MatMul", g.rng.normal(0, 1, (64, 4)).astype(np.float32)), "are not binary"),
        (
            lambda g: g.add("Mul", np.linspace(1, 2, 64, dtype=np.float32)).add("Gemm", g.weight(4, 64), transB=1),
            "channels of pixels",
        ),
    ],
    ids=range(5),
)
def test_what_has_no_form_is_named(tmp_path: Path, change: Any, said: str):
    graph = Graph(64)
    change(graph)
    with pytest.raises(importer.UnsupportedError, match=said):
        importer.load(graph.write(tmp_path / "model.onnx"), (-1, 1))


def test_damaged_file(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"model.onnx: it is no ONNX model"):
        importer.load(tmp_path / "model.onnx", (0, 1))


@pytest.mark.parametrize("offset", [-1e9, 1e9, 1e30])
def test_offsets_beyond_any_sum_give_a_state_that_can_be_trained(tmp_path: Path, offset: float):
    graph = Graph(1, 8, 8).add("Mul", np.float32(2)).add("Sub", np.float32(1)).sign().add("Reshape", np.array([1, 64]))
    hidden, classes = np.zeros(12, np.float32), np.zeros(5, np.float32)
    hidden[3], classes[2] = offset, -abs(offset)
    graph.add("Gemm", graph.weight(12, 64), hidden, transB=1).sign()
    graph.add("Gemm", graph.weight(5, 12), classes, transB=1)
    saved = importer.load(graph.write(tmp_path / "model.onnx"), (0, 1)).checkpoint
    saved.state.check(saved.network, saved.configuration)
    with Trainer.load(saved) as trainer:
        images = np.random.RandomState(1).randint(0, 256, (128, 8, 8)).astype(np.uint8)
        assert (trainer.predict(images).argmax(1) != 2).all()
        trainer.fit(images, np.arange(128) % 5, steps=2)
        trainer.state.check(saved.network, saved.configuration)


def cnv(width: float) -> Graph:
    """The paper's CNV as Brevitas exports it, with bits of weights behind BipolarQuant, and statistics of a past."""
    graph, channels = Graph(3, 32, 32).add("Mul", np.float32(2)).add("Sub", np.float32(1)), 3
    for i, filters in enumerate((64, 64, 128, 128, 256, 256)):
        outputs = max(1, round(filters * width))
        graph.add("Conv", graph.weight(outputs, channels, 3, 3), kernel_shape=[3, 3]).norm(outputs).sign()
        if i in (1, 3):
            graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        channels = outputs
    graph.add("Reshape", np.array([1, -1]))
    for units in (512, 512):
        outputs = max(1, round(units * width))
        graph.add("MatMul", graph.weight(outputs, channels, transpose=True)).norm(outputs).sign()
        channels = outputs
    return graph.add("MatMul", graph.weight(10, channels, transpose=True)).norm(10)


@pytest.mark.parametrize("width", [1 / 16, pytest.param(1.0, marks=pytest.mark.long)])
def test_cnv_is_taken_over_and_trained_on(tmp_path: Path, width: float):
    imported = importer.load(cnv(width).write(tmp_path / "model.onnx"), (0, 1))
    assert not any("predicted otherwise" in note for note in imported.notes)
    batch = imported.checkpoint.settings.batch
    x, y = np.random.default_rng(1).integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8), np.arange(batch) % 10
    with Trainer.load(imported.checkpoint) as trainer:
        trainer.evaluate(x[:8], y[:8])
        trainer.fit(x, y, steps=1)
        assert trainer.state.step == 1
