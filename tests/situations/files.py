"""Model files as people have them: other names, other tools' files, damaged ones; and Keras models that have no equal."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from chains import F, normed

from bnnedge import importer
from situations import Row, works

os.environ.setdefault("KERAS_BACKEND", "jax")
ROWS: list[Row] = []


def row(name: str, act: Callable[[Path], Any], outcome: Any, *needs: str) -> None:
    ROWS.append(Row(f"a model file: {name}", act, outcome, needs=needs))


def brought(folder: Path, name: str, content: bytes | str | None) -> Any:
    """Import a file of this name and content; None: a folder with a file of TensorFlow's."""
    path = folder / name
    if content is None:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"\x08\x01")
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return importer.load(path, (-1, 1))


for name, content, outcome in (
    ("empty.onnx", b"", "empty.onnx: it is empty$"),
    ("empty.keras", b"", "it is empty$"),
    ("empty.h5", b"", "it is empty$"),
    ("EMPTY.ONNX", b"", "it is empty$"),
    ("saved", None, "it is a folder of TensorFlow: .*`model.save"),
    ("folder.keras", None, "it is a folder"),
    ("net.pt", b"PK\3\4", r"net.pt: it is a file of PyTorch: export it with `torch.onnx.export"),
    ("net.PTH", b"PK\3\4", "it is a file of PyTorch: export it"),
    ("net.onnx", b"PK\3\4 ..", "it is an archive: if Keras 3 wrote it call it .keras; if it is of PyTorch: export it"),
    ("net.keras", b"\x89HDF\r\n\x1a\n", "it is an HDF5 file: call it .h5"),
    ("net.tflite", b"TFL3", "it is a file of TensorFlow: .*tf2onnx"),
    ("net.json", "{}", "it is a file that describes a model without its weights"),
    ("net.npz", b"PK\3\4", "a checkpoint of bnnedge needs no import, `bnnedge train --start FILE`"),
    ("net", b"something", "its name must end in .keras, .h5, .hdf5, .onnx; from PyTorch .*torch.onnx.export"),
    ("last.ckpt", b"PK\3\4", "its name must end in .*torch.onnx.export"),
    ("net.onnx", "version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
    ("net.h5", "\n<!DOCTYPE html><html>", "it is a web page, not a model"),
    ("net.onnx", b"\x00\xff" * 40, "it is no ONNX model"),
):
    row(f"{name}, {outcome}"[:60], functools.partial(brought, name=name, content=content), outcome)
row("one that is not there", lambda folder: importer.load(folder / "net.onnx", (-1, 1)), "net.onnx: there is no such file")


def onnx_file(
    folder: Path, name: str = "net.onnx", cut: int | None = None, change: Any = None, make: Any = normed, **options: Any
) -> Any:
    model = make().model(**options)
    if change:
        change(model)
    (folder / name).write_bytes(model.SerializeToString()[:cut])
    return importer.load(folder / name, (-1, 1))


def outside(model: Any) -> None:
    """As torch.onnx.export(external_data=True) leaves it."""
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="net.onnx.data")


def of_set(version: int | None) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        del model.opset_import[:]
        if version is not None:
            model.opset_import.add(domain="", version=version)

    return change


def own_functions(model: Any) -> None:
    import onnx

    model.functions.append(onnx.helper.make_function("own", "Sign", ["a"], ["b"], [], [onnx.helper.make_opsetid("", 13)]))


row(".ONNX", lambda folder: onnx_file(folder, "NET.ONNX"), works, "onnxruntime")
row("an ONNX file cut short", lambda folder: onnx_file(folder, cut=900), "it is no ONNX model, or", "onnx")
row("constants in another file", lambda folder: onnx_file(folder, change=outside), "external_data=False", "onnx")
row("operators of 2016", lambda folder: onnx_file(folder, change=of_set(6)), "operator set 6: .* reads 7 to", "onnx")
row("operators of the future", lambda folder: onnx_file(folder, change=of_set(99)), "operator set 99: .*opset_version=13", "onnx")
row("no operator set", lambda folder: onnx_file(folder, change=of_set(None)), "it states no operator set", "onnx")
row("ONNX functions", lambda folder: onnx_file(folder, change=own_functions), "functions of its own.*inline", "onnx")
for version in (9, 11, 13, 15, 18, 20):
    act = functools.partial(onnx_file, make=lambda: normed(lambda graph: graph.add("Sign")), opset=version)
    row(f"operators of set {version}", act, works, "onnxruntime")


# Keras.
def keras() -> Any:
    import keras

    return keras


def binary(x: Any) -> Any:
    return keras().ops.where(x >= 0, 1.0, -1.0)


def centred(x: Any) -> Any:
    return binary(x - keras().ops.mean(x, axis=-1, keepdims=True))


def failing(x: Any) -> Any:
    raise RuntimeError("one line\nand another")


def network(middle: Callable[[Any], Any], units: int = 16) -> Any:
    """A dense network with `middle` between its two layers."""
    layers = keras().layers
    model = keras().Sequential(
        [layers.Input((32,)), layers.Dense(units), layers.BatchNormalization(), middle(layers), layers.Dense(4)]
    )
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.choice([-1, 1], kernel.shape).astype(F), rng.normal(0, 1, bias.shape)])
    return model


def keras_file(folder: Path, name: str, cut: int | None = None) -> Any:
    model = network(lambda layers: layers.Activation(keras().saving.register_keras_serializable("bnnedge-files")(binary)))
    path = folder / f"model{Path(name).suffix.lower()}"
    model.save(path)
    (folder / name).write_bytes(path.read_bytes()[:cut])
    return importer.load(folder / name, (-1, 1))


def weights_alone(folder: Path) -> Any:
    network(lambda layers: layers.Activation("relu")).save_weights(folder / "net.weights.h5")
    return importer.load(folder / "net.weights.h5", (-1, 1))


def memory(middle: Callable[[Any], Any], units: int = 16) -> Callable[[Path], Any]:
    return lambda folder: importer.understand(network(middle, units), (-1, 1))


KERAS = ("keras", "jax", "h5py")
for name in ("NET.KERAS", "NET.H5", "Net.Hdf5"):
    row(name, functools.partial(keras_file, name=name), works, *KERAS)
for name in ("net.keras", "net.h5"):
    row(f"{name}, cut short", functools.partial(keras_file, name=name, cut=3000), "it is damaged, or no Keras model", *KERAS)
row("weights of Keras alone", weights_alone, "it holds weights alone: save the whole model, with `model.save`", *KERAS)
for units in (16, 24):
    row(f"PReLU of {units}", memory(lambda layers: layers.PReLU(), units), r"\(PReLU\) has slopes for each of its inputs", *KERAS)
row("LeakyReLU", memory(lambda layers: layers.LeakyReLU()), r"\(LeakyReLU\) is no sign", *KERAS)
row("gelu", memory(lambda layers: layers.Activation("gelu")), "activation gelu is no sign", *KERAS)
row(
    "layer norm",
    memory(lambda layers: layers.LayerNormalization()),
    r"\(LayerNormalization\): the device has nothing like",
    *KERAS,
)
row(
    "a sign about each image's mean",
    memory(lambda layers: layers.Activation(centred)),
    "no function of each number by itself",
    *KERAS,
)
row("a function that fails", memory(lambda layers: layers.Activation(failing)), "activation failing is no .*: one line$", *KERAS)
row("a Keras model without an Input", lambda folder: importer.understand(keras().Sequential(), (-1, 1)), "keras.Input", *KERAS)
row(
    "an array instead of a model",
    lambda folder: importer.understand(F(1), (-1, 1)),
    "a model of Keras or Larq is wanted, not float32",
)
