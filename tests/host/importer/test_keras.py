from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip("jax")
keras = pytest.importorskip("keras")

import stacks  # noqa: E402
from foreign import agree, statistics  # noqa: E402

from bnnedge import Dense, Network, Settings, Trainer, cli, importer, load  # noqa: E402

layers = keras.layers


@keras.saving.register_keras_serializable("bnnedge-test")
def binary(x: Any) -> Any:
    return keras.ops.where(x >= 0, 1.0, -1.0)


def sequential(*stack: Any) -> Any:
    """A model with binary weights and a past; a batch norm behind a pool has positive scales."""
    model = keras.Sequential(list(stack))
    rng = np.random.default_rng(3)
    for before, layer in zip([None, *model.layers], model.layers, strict=False):
        shapes = [weight.shape for weight in layer.get_weights()]
        if isinstance(layer, (layers.Dense, layers.Conv2D)):
            size = rng.uniform(0.1, 1, shapes[0][-1])  # of each output
            weights = [rng.choice([-1, 1], shapes[0]) * size, *(rng.normal(0, 1, shape) for shape in shapes[1:])]
            layer.set_weights(weights)
            fan_in = 0.3 * np.prod(shapes[0][:-1])
        elif isinstance(layer, layers.BatchNormalization):
            drawn = statistics(rng, shapes[0][0], fan_in, not isinstance(before, layers.MaxPooling2D))
            layer.set_weights([drawn[name] for name in ("gamma", "beta", "mean", "variance")][-len(shapes) :])
    return model


def dense_model() -> Any:
    return sequential(
        layers.Input((8, 8)),
        layers.Flatten(),
        layers.Dense(40, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation(binary),
        layers.Dropout(0.2),
        layers.Dense(30, activation=binary),
        layers.Dense(10),
        layers.BatchNormalization(),
        layers.Softmax(),
    )


def conv_model() -> Any:
    return sequential(
        layers.Input((10, 10, 3)),
        layers.Conv2D(8, 3, padding="same", use_bias=False),
        layers.MaxPooling2D(),
        layers.BatchNormalization(),
        layers.Activation(binary),
        layers.Conv2D(12, 2, use_bias=True),
        layers.BatchNormalization(scale=True),
        layers.Activation(binary),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 2, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.Activation(binary),
        layers.Flatten(),
        layers.Dense(5, activation="softmax"),
    )


def library(model: Any, low: float = -1, high: float = 1) -> Any:
    return lambda x: model.predict(low + (high - low) * x, verbose=0)


def test_dense_model_predicts_the_same():
    model = dense_model()
    imported = importer.understand(model, pixels=(-1, 1))
    assert [g.name for g in imported.checkpoint.network.geometry] == [
        f"layer {i + 1} (dense {n})" for i, n in enumerate((40, 30, 10))
    ]
    assert imported.notes == ()
    agree(imported, library(model))


def test_convolutions_predict_the_same():
    model = conv_model()
    imported = importer.understand(model, pixels=(-1, 1))
    assert [g.pool for g in imported.checkpoint.network.geometry] == ["sums", "signs", "none", "none"]
    agree(imported, library(model))


@pytest.mark.parametrize("pixels", [(0, 1), (0, 255), (-3, 0.5)])
def test_pixels_of_any_range(pixels: tuple[float, float]):
    model = dense_model()
    agree(importer.understand(model, pixels), library(model, *pixels))


def test_rescaling_is_part_of_the_range():
    model = sequential(
        layers.Input((8, 8, 1)), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(6, 3, padding="same"), layers.Activation(binary),
        layers.Flatten(), layers.Dense(4),
    )  # fmt: skip
    agree(importer.understand(model, (0, 255)), library(model, 0, 255))


def moved_model(*front: Any) -> Any:
    """Of two channels, 6 x 5 pixels, whatever `front` makes them of."""
    return sequential(
        *front,
        layers.Conv2D(6, 3, padding="same"),
        layers.BatchNormalization(),
        layers.Activation(binary),
        layers.Reshape((-1,)),
        layers.Dense(4),
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("front", "moved"),
    [
        ([layers.Input((60,)), layers.Reshape((6, 5, 2))], lambda x: x.reshape(len(x), -1)),
        ([layers.Input((60,)), layers.Reshape((6, -1, 2))], lambda x: x.reshape(len(x), -1)),
        ([layers.Input((2, 6, 5)), layers.Permute((2, 3, 1))], lambda x: x.transpose(0, 3, 1, 2)),
        (
            [layers.Input((60,)), layers.Reshape((2, 6, 5)), layers.Permute((2, 3, 1))],
            lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1),
        ),
    ],
    ids=range(4),
)
def test_pixels_are_moved(tmp_path: Path, front: list[Any], moved: Any, suffix: str):
    model = moved_model(*front)
    model.save(tmp_path / f"model{suffix}")
    imported = importer.load(tmp_path / f"model{suffix}", (-1, 1))
    assert imported.checkpoint.network.input_shape == (6, 5, 2)
    agree(imported, lambda x: model.predict(2 * moved(x) - 1, verbose=0))


def test_binarised_pixels_have_one_plane():
    model = sequential(
        layers.Input((8, 8)),
        layers.Activation(binary),
        layers.Flatten(),
        layers.Dense(20),
        layers.Activation(binary),
        layers.Dense(4),
    )
    imported = importer.understand(model, (-1, 1))
    assert (imported.checkpoint.settings.input_planes, imported.checkpoint.settings.slope_planes) == (1, 1)
    agree(imported, library(model))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_give_what_the_model_gives(tmp_path: Path, suffix: str):
    model = conv_model()
    model.save(tmp_path / f"model{suffix}")
    read = importer.load(tmp_path / f"model{suffix}", (-1, 1)).checkpoint
    assert read.state.differences(importer.understand(model, (-1, 1)).checkpoint.state) == []


def test_round_trip_of_a_trained_network():
    data = load("digits")
    with Trainer(Network((8, 8), [Dense(48), Dense(10)]), settings=Settings(batch=64), rate=0.03) as trainer:
        trainer.fit(data.x_train, data.y_train, epochs=3)
        trained, accuracy = trainer.state, trainer.evaluate(data.x_test, data.y_test)["accuracy"]
    model = keras.Sequential([layers.Input((8, 8)), layers.Flatten()])
    for i, layer in enumerate(trained.layers):
        model.add(layers.Dense(layer.sign.shape[1], use_bias=False))
        model.layers[-1].set_weights([np.where(layer.sign, 1.0, -1.0)])
        model.add(layers.BatchNormalization(epsilon=0, scale=False))
        model.layers[-1].set_weights([(layer.beta >> 8) / 512, layer.mu / 64, (layer.psi / 64.0) ** 2])
        if i == 0:
            model.add(layers.Activation(binary))
    imported = importer.understand(model, (-255, 255))
    for ours, theirs in zip(trained.layers, imported.checkpoint.state.layers, strict=True):
        assert np.array_equal(ours.sign, theirs.sign)
    with Trainer.load(imported.checkpoint, settings=Settings(batch=64), rate=0.01) as trainer:
        assert trainer.evaluate(data.x_test, data.y_test)["accuracy"] == accuracy
        trainer.fit(data.x_train, data.y_train, epochs=3)
        assert trainer.evaluate(data.x_test, data.y_test)["accuracy"] > accuracy - 0.01
        assert trainer.plan.start == 0


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ([layers.Dense(8, activation="relu"), layers.Dense(4)], "relu is no sign: of -2, -0.5, 0.5, 2 it makes 0, 0, 0.5, 2"),
        ([layers.Dense(8), layers.Dense(4)], "gets sums, not signs"),
        ([layers.Dense(8), layers.Activation(binary)], "ends with a sign"),
        ([layers.Dense(8, activation="tanh"), layers.BatchNormalization(), layers.Dense(4)], "activation tanh is no sign"),
        ([layers.Conv2D(4, 3, data_format="channels_last", dilation_rate=2), layers.Flatten()], "dilation_rate"),
        ([layers.Conv2D(4, (3, 2)), layers.Activation(binary), layers.Flatten(), layers.Dense(4)], "window of 3 x 2"),
        ([layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(4)], "AveragePooling2D.*nothing like it"),
        ([layers.Conv2D(4, 3), layers.MaxPooling2D(3), layers.Flatten(), layers.Dense(4)], "pool_size"),
        ([layers.Flatten()], "no layer of weights"),
        ([layers.Dense(8, activation=binary), layers.Reshape((2, 4)), layers.Dense(4)], r"\(Reshape\) stands behind weights"),
        ([layers.Conv2D(4, 3, activation=binary), layers.Permute((2, 1, 3)), layers.Flatten(), layers.Dense(4)], "weights"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_has_no_form_is_named(stack: list[Any], said: str):
    first = (
        [layers.Input((8, 8, 1))]
        if any("Conv" in type(s).__name__ or "Pool" in type(s).__name__ for s in stack)
        else [layers.Input((8,))]
    )
    with pytest.raises(importer.UnsupportedError, match=said):
        importer.understand(sequential(*first, *stack), (-1, 1))


def test_real_weights_are_not_binary():
    model = keras.Sequential([layers.Input((8,)), layers.Dense(4, name="wide")])
    with pytest.raises(importer.UnsupportedError, match=r"weights of layer 'wide' .* are not binary"):
        importer.understand(model, (-1, 1))


def test_negative_scale_behind_a_pool_of_sums():
    model = sequential(
        layers.Input((8, 8, 1)),
        layers.Conv2D(4, 3),
        layers.MaxPooling2D(),
        layers.BatchNormalization(),
        layers.Activation(binary),
        layers.Flatten(),
        layers.Dense(4),
    )
    model.layers[2].gamma.assign(-model.layers[2].gamma)
    with pytest.raises(importer.UnsupportedError, match="negative scales behind a maximum"):
        importer.understand(model, (-1, 1))


def test_zeros_around_pixels_that_are_not_centred():
    model = sequential(
        layers.Input((8, 8, 1)), layers.Conv2D(4, 3, padding="same"), layers.Activation(binary), layers.Flatten(), layers.Dense(4)
    )
    with pytest.raises(importer.UnsupportedError, match=r"middle between black and white, which here is 0.5"):
        importer.understand(model, (0, 1))


def test_branches_are_noticed():
    entry = layers.Input((64,))
    hidden = layers.Dense(30)(entry)
    side = layers.Activation(binary)(hidden)
    model = keras.Model(entry, layers.Dense(10)(layers.Add()([side, side])))
    with pytest.raises(importer.UnsupportedError):
        importer.understand(model, (-1, 1))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dense_model().save(tmp_path / "net.keras")
    assert cli.main(["import", str(tmp_path / "net.keras"), "--pixels=-1,1"]) == 0
    assert "bnnedge train --start" in capsys.readouterr().out
    out = tmp_path / "run"
    start = ["train", "--start", str(tmp_path / "net.npz"), "--device", "golden", "--out", str(out)]
    assert cli.main([*start, "--steps", "3", "--grad-planes", "4"]) == 0
    assert re.search(r"128, 4-bit gradients,.* rate 0\.0012,", capsys.readouterr().out)
    assert cli.main([*start, "--network", "mlp"]) == 1
    assert cli.main(["import", str(tmp_path / "no.keras"), "--pixels=-1,1"]) == 1


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_not_run(tmp_path: Path, suffix: str):
    made = tmp_path / "made"
    model = keras.Sequential(
        [
            layers.Input((8, 8)),
            layers.Flatten(),
            layers.Lambda(lambda x: x, output_shape=(64,), name="harmless"),
            layers.Dense(4),
        ]
    )
    model.layers[1].function = eval(f"lambda x: (__import__('os').mkdir({str(made)!r}), x)[1]")
    model.save(tmp_path / f"model{suffix}")
    with pytest.raises(importer.UnsupportedError, match=rf"model{suffix}: layer 'harmless' is a Lambda: that is code in"):
        importer.load(tmp_path / f"model{suffix}", (-1, 1))
    assert not made.exists()


def test_numbers_that_are_none_are_refused():
    model = dense_model()
    model.layers[2].moving_variance.assign(np.full(40, np.nan))
    with pytest.raises(importer.UnsupportedError, match=r"BatchNormalization\) has numbers that are infinite or none"):
        importer.understand(model, (-1, 1))


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net.pb"])
def test_damaged_files(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=name):
        importer.load(tmp_path / name, (-1, 1))


def test_starts_with_another_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A configuration that does not hold it gives way to one that does; one that is asked for stays."""
    dense_model().save(tmp_path / "net.keras")
    assert cli.main(["import", str(tmp_path / "net.keras"), "--pixels=-1,1"]) == 0
    start = ["train", "--start", str(tmp_path / "net.npz"), "--device", "golden", "--out", str(tmp_path / "run"), "--steps", "1"]
    assert cli.main([*start, "--batch", "512"]) == 0
    assert "(pynq-z2): batch 512" in capsys.readouterr().out
    assert cli.main([*start, "--batch", "512", "--config", "sim-small"]) == 1
    assert "256 at most" in capsys.readouterr().err
    assert cli.main([*start, "--batch", "64", "--config", "pynq-z2-lean"]) == 1
    assert "has latent weights of 10 bits" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("make", [stacks.cnv, stacks.binarynet, lambda: stacks.binarynet(first="valid")])
def test_networks_of_the_paper_at_full_width(make: Any):
    imported = importer.understand(make(), (-1, 1))
    assert not any("fit" in note for note in imported.notes)
    x, y = np.random.default_rng(1).integers(0, 256, (128, 32, 32, 3), dtype=np.uint8), np.arange(128) % 10
    with Trainer.load(imported.checkpoint) as trainer:
        assert trainer.settings.batch == 128
        trainer.evaluate(x, y)
        trainer.fit(x, y, steps=1)
        assert trainer.state.step == 1
