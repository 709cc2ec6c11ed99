from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
larq = pytest.importorskip("larq", reason="`make test-libraries` installs Larq")
tf = pytest.importorskip("tensorflow")

from foreign import agree, statistics  # noqa: E402

from bnnedge import Trainer, export, importer  # noqa: E402
from bnnedge.rates import scale  # noqa: E402

keras, quant = tf.keras.layers, larq.layers
BINARY = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
FIRST = {**BINARY, "input_quantizer": None}


def sequential(*stack: Any) -> Any:
    model = tf.keras.Sequential(list(stack))
    rng = np.random.default_rng(5)
    for before, layer in zip([None, *model.layers], model.layers, strict=False):
        shapes = [weight.shape for weight in layer.get_weights()]
        if type(layer).__name__.startswith("Quant"):
            layer.set_weights([rng.uniform(-1, 1, shape) for shape in shapes])
            fan_in = np.prod(shapes[0][:-1])
        elif isinstance(layer, keras.BatchNormalization):
            drawn = statistics(rng, shapes[0][0], fan_in, not isinstance(before, keras.MaxPooling2D))
            names = [weight.name.split("/")[-1].removesuffix(":0") for weight in layer.weights]
            named = {"moving_mean": drawn["mean"], "moving_variance": drawn["variance"], **drawn}
            layer.set_weights([named[name] for name in names])
    return model


def dense_model() -> Any:
    return sequential(
        keras.InputLayer((8, 8)),
        keras.Flatten(),
        quant.QuantDense(40, use_bias=False, **FIRST),
        keras.BatchNormalization(scale=False),
        quant.QuantDense(30, use_bias=False, **{**BINARY, "kernel_quantizer": "magnitude_aware_sign"}),
        keras.BatchNormalization(),
        quant.QuantDense(10, use_bias=False, **{**BINARY, "input_quantizer": larq.quantizers.ApproxSign()}),
        keras.BatchNormalization(scale=False),
        keras.Activation("softmax"),
    )


def conv_model() -> Any:
    """As BinaryNet is built in Larq's examples: sums are pooled; and signs once."""
    return sequential(
        keras.InputLayer((12, 12, 3)),
        quant.QuantConv2D(8, 3, padding="same", use_bias=False, **FIRST),
        keras.MaxPooling2D(2),
        keras.BatchNormalization(scale=False),
        quant.QuantConv2D(12, 3, padding="same", use_bias=False, **BINARY),
        keras.BatchNormalization(),
        larq.quantizers.SteSign(),
        keras.MaxPooling2D(2),
        keras.Flatten(),
        quant.QuantDense(16, use_bias=True, **BINARY),
        keras.BatchNormalization(scale=False),
        quant.QuantDense(5, use_bias=False, **BINARY),
        keras.BatchNormalization(scale=False),
    )


@pytest.mark.parametrize("make", [dense_model, conv_model])
@pytest.mark.parametrize("suffix", [None, ".keras", ".h5"])
def test_model_predicts_the_same(tmp_path: Path, make: Any, suffix: str | None):
    model = make()
    if suffix:
        model.save(tmp_path / f"model{suffix}")
        imported = importer.load(tmp_path / f"model{suffix}", (-1, 1))
    else:
        imported = importer.understand(model, (-1, 1))
    agree(imported, lambda x: model.predict(2 * x - 1, verbose=0))


def test_latent_weights_are_taken_over():
    model = dense_model()
    state = importer.understand(model, (-1, 1)).checkpoint.state
    kernel = model.layers[1].get_weights()[0]
    scaled = np.clip(kernel * 2 ** scale(len(kernel)), -1, 1)
    assert np.abs((state.layers[0].weight >> 6) / 512 - scaled).max() < 1 / 512 + 1e-6


def test_what_has_no_form_is_named():
    model = sequential(
        keras.InputLayer((8, 8, 1)), quant.QuantDepthwiseConv2D(3, name="wise"), keras.Flatten(), quant.QuantDense(4, **BINARY)
    )
    with pytest.raises(importer.UnsupportedError, match=r"layer 'wise' .QuantDepthwiseConv2D.: the device has nothing like it"):
        importer.understand(model, (-1, 1))


def test_ternary_weights_are_not_binary():
    model = sequential(keras.InputLayer((64,)), quant.QuantDense(4, kernel_quantizer="ste_tern", name="three"))
    with pytest.raises(importer.UnsupportedError, match=r"weights of layer 'three' .* are not binary"):
        importer.understand(model, (-1, 1))


def test_padding_with_ones():
    model = sequential(
        keras.InputLayer((8, 8, 1)),
        quant.QuantConv2D(4, 3, padding="same", pad_values=1.0, **FIRST),
        keras.Flatten(),
        quant.QuantDense(4, **BINARY),
    )
    with pytest.raises(importer.UnsupportedError, match="pads with 1"):
        importer.understand(model, (-1, 1))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_not_run(tmp_path: Path, suffix: str):
    """Keras 2 runs what is in an .h5 without asking."""
    made = tmp_path / "made"
    model = dense_model()
    run = eval(f"lambda x: (__import__('os').makedirs({str(made)!r}, exist_ok=True), x)[1]")
    evil = tf.keras.Sequential([keras.InputLayer((8, 8)), *model.layers, keras.Lambda(run, name="harmless")])
    evil.save(tmp_path / f"model{suffix}")
    shutil.rmtree(made)
    with pytest.raises(importer.UnsupportedError, match=r"layer 'harmless' is a Lambda: that is code in the file"):
        importer.load(tmp_path / f"model{suffix}", (-1, 1))
    assert not made.exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_chains_of_the_functional_kind(tmp_path: Path, suffix: str):
    model = dense_model()
    entry = tensor = keras.Input((8, 8))
    for layer in model.layers:
        tensor = layer(tensor)
    tf.keras.Model(entry, tensor).save(tmp_path / f"model{suffix}")
    agree(importer.load(tmp_path / f"model{suffix}", (-1, 1)), lambda x: model.predict(2 * x - 1, verbose=0))


def binarynet(width: float, side: int = 32) -> Any:
    """BinaryNet for CIFAR-10 as in Larq's examples, untrained: the first convolution is valid, maps of odd sides are pooled."""

    def norm() -> Any:
        return keras.BatchNormalization(momentum=0.999, scale=False)

    def conv(filters: int) -> Any:
        return quant.QuantConv2D(round(filters * width), 3, padding="same", use_bias=False, **BINARY)

    first = quant.QuantConv2D(round(128 * width), 3, use_bias=False, **FIRST)
    stack = [keras.InputLayer((side, side, 3)), first, norm(), conv(128), keras.MaxPooling2D(2), norm()]
    for filters in (256, 512):
        stack += [conv(filters), norm(), conv(filters), keras.MaxPooling2D(2), norm()]
    stack.append(keras.Flatten())
    for units in (1024, 1024):
        stack += [quant.QuantDense(round(units * width), use_bias=False, **BINARY), norm()]
    stack += [quant.QuantDense(10, use_bias=False, **BINARY), norm(), keras.Activation("softmax")]
    tf.keras.utils.set_random_seed(1)
    return tf.keras.Sequential(stack)


@pytest.mark.parametrize("width", [1 / 16, pytest.param(1.0, marks=pytest.mark.long)])
def test_binarynet_is_taken_over_and_trained_on(width: float):
    imported = importer.understand(binarynet(width), (-1, 1))
    x, y = np.random.default_rng(1).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8), np.arange(64) % 10
    with Trainer.load(imported.checkpoint) as trainer:
        trainer.evaluate(x[:8], y[:8])
        trainer.fit(x, y, steps=1)
        assert trainer.state.step == 1


@pytest.mark.parametrize("units", [(64, 64, 10), (256, 10), (33, 31, 10), (128, 128, 128, 10)])
def test_models_that_have_not_been_trained(units: tuple[int, ...]):
    """A sign of Larq makes +1 of 0: ties of float32 sums of pixels are all that can differ."""
    stack = [keras.InputLayer((8, 8)), keras.Flatten()]
    for i, n in enumerate(units):
        options = {"kernel_quantizer": "ste_sign", "input_quantizer": "ste_sign" if i else None}
        stack += [quant.QuantDense(n, use_bias=False, **options), keras.BatchNormalization(scale=False)]
    model = tf.keras.Sequential(stack)
    imported = importer.understand(model, (-1, 1))
    assert not [note for note in imported.notes if "of 0" in note]
    images = np.random.default_rng(3).integers(0, 256, (500, 8, 8), dtype=np.uint8)
    theirs, ours = model.predict(images / 127.5 - 1, verbose=0), export.fold(imported.checkpoint).infer(images)
    lost = ours.max(1) - ours[np.arange(500), theirs.argmax(1)]
    assert np.mean(lost <= 3) > 0.97
