"""That a model which is read wrongly does not pass: its steps, or the state that is made of them, are spoilt one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import stacks

from bnnedge import importer
from bnnedge.importer import UnsupportedError, compare
from bnnedge.importer import keras as reader
from bnnedge.importer.assemble import assemble
from bnnedge.importer.states import limited
from bnnedge.importer.steps import Affine, Flattening, Function, Linear, Model, Pool, Stage, Step

pytest.importorskip("jax")
pytest.importorskip("keras")

PIXELS = (-1.0, 1.0)


def convolutions() -> Any:
    from keras import layers

    return stacks.model(
        layers.Input((10, 10, 3)), layers.Conv2D(8, 3, padding="same", use_bias=False), layers.MaxPooling2D(),
        layers.BatchNormalization(), layers.Activation(stacks.binary), layers.Conv2D(12, 2, use_bias=False),
        layers.BatchNormalization(), layers.Activation(stacks.binary), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(16, use_bias=False), layers.BatchNormalization(), layers.Activation(stacks.binary),
        layers.Dense(5, use_bias=False), layers.BatchNormalization(), layers.Softmax(), trained=True,
    )  # fmt: skip


MODELS = {"dense": lambda: stacks.dense(48, 32, 10, trained=True), "convolutions": convolutions}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return reader.understand(MODELS[request.param]())


def spoilt(model: Model, kind: type[Step], number: int, change: Callable[[Any], Step | None]) -> Model:
    """The model with its `number`-th step of a kind changed, or left out."""
    target = [step for step in model.steps if isinstance(step, kind)][number]
    stages = []
    for stage in model.stages:
        steps = [change(step) if step is target else step for step in stage.steps]
        stages.append(Stage(stage.name, tuple(step for step in steps if step)))
    return dataclasses.replace(model, stages=tuple(stages))


def replaced(**changes: Callable[[Any], Any]) -> Callable[[Any], Step]:
    return lambda step: dataclasses.replace(step, **{name: change(getattr(step, name)) for name, change in changes.items()})


def rolled(values: np.ndarray) -> np.ndarray:
    return np.roll(values, 1, axis=-1)


def one_turned(weight: np.ndarray) -> np.ndarray:
    weight = weight.copy()
    weight.reshape(-1)[7] *= -1
    return weight


def exchanged(step: Affine) -> Affine:
    """Offset and scale of a batch norm as if its gamma and beta had changed places."""
    gamma, beta = step.scale * step.deviation, step.offset + step.scale * step.mean
    scale = beta / step.deviation
    return dataclasses.replace(step, scale=scale, offset=gamma - scale * step.mean)


STEPS: dict[str, tuple[type[Step], Callable[[Any], Any]]] = {
    "weights transposed": (Linear, replaced(weight=lambda w: w.swapaxes(-1, -2).reshape(w.shape))),
    "inputs in another order": (Linear, replaced(weight=lambda w: w[..., ::-1, :])),
    "outputs in another order": (Linear, replaced(weight=lambda w: w[..., ::-1])),
    "one weight turned": (Linear, replaced(weight=one_turned)),
    "all weights turned": (Linear, replaced(weight=lambda w: -w)),
    "scale of another channel": (Affine, replaced(scale=rolled)),
    "offset of another channel": (Affine, replaced(offset=rolled)),
    "offset shifted": (Affine, replaced(offset=lambda o: o + 0.1)),
    "gamma and beta exchanged": (Affine, lambda step: exchanged(step) if step.mean is not None else None),
    "left out": (Affine, lambda step: None),
    "a sign of the other kind": (Function, replaced(apply=lambda f: lambda x: -f(x))),
    "a sign shifted": (Function, replaced(apply=lambda f: lambda x: f(x - 0.5))),
}


@pytest.mark.parametrize("number", [0, 1, -1])
@pytest.mark.parametrize("name", STEPS)
def test_wrong_steps_are_noticed(model: Model, name: str, number: int):
    kind, change = STEPS[name]
    with pytest.raises(UnsupportedError):
        importer.understand(spoilt(model, kind, number, change), PIXELS)


@pytest.mark.parametrize("kind", [Pool, Flattening])
def test_steps_of_maps_that_are_left_out(kind: type[Step]):
    model = reader.understand(convolutions())
    with pytest.raises(UnsupportedError):
        importer.understand(spoilt(model, kind, 0, lambda step: None), PIXELS)


def test_a_map_flattened_in_another_order():
    model = reader.understand(convolutions())
    order = np.arange(2 * 2 * 12).reshape(2, 2, 12).transpose(2, 0, 1).reshape(-1)
    model = spoilt(model, Linear, 2, replaced(weight=lambda w: w[order], latent=lambda w: w[order]))
    with pytest.raises(UnsupportedError, match=r"layer 'dense.*' \(Dense\) computes otherwise than its kind does"):
        importer.understand(model, PIXELS)


def test_the_layer_that_differs_is_named_and_the_rest_passes(model: Model):
    importer.understand(model, PIXELS)
    last = [stage for stage in model.stages if any(isinstance(step, Affine) for step in stage.steps)][-1]
    wrong = spoilt(model, Affine, -1, replaced(offset=rolled))
    with pytest.raises(UnsupportedError) as refusal:
        importer.understand(wrong, PIXELS)
    assert str(refusal.value).startswith(f"{last.name} computes otherwise than its kind does on the device: ")


def test_numbers_of_rows_are_told_from_those_of_channels():
    from keras import layers

    made = stacks.model(
        layers.Input((8, 8, 3)), layers.Conv2D(6, 3, use_bias=False), layers.BatchNormalization(),
        layers.Activation(stacks.binary), layers.Flatten(), layers.Dense(4, use_bias=False), trained=True,
    )  # fmt: skip
    model = reader.understand(made)
    (norm,) = [step for step in model.steps if isinstance(step, Affine)]

    def trace(images: np.ndarray) -> Any:
        made = list(model.trace(images))
        made[1] = made[0] * norm.scale[:, None, None] + norm.offset[:, None, None]
        return made

    with pytest.raises(UnsupportedError, match=r"of .* numbers: its numbers belong to the rows, not to the channels$"):
        importer.understand(dataclasses.replace(model, trace=trace), PIXELS)


def turned(weight: np.ndarray) -> None:
    weight[:, 3] = -16 - weight[:, 3]


def moved(by: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.reshape(-1)[1] += by

    return change


# Of a layer's state: thresholds lie 64 apart for each whole sum; sums of as many signs are all even, or all odd.
STATES: dict[str, tuple[str, Callable[[np.ndarray], None]]] = {
    "weights of an output turned": ("weight", turned),
    "a threshold too high": ("mu", moved(2 * 64)),
    "a threshold too low": ("mu", moved(-2 * 64)),
    "means of other channels": ("mu", lambda mu: np.copyto(mu, np.roll(mu, 1))),
    "rows in another order": ("weight", lambda weight: np.copyto(weight, weight[::-1])),
}


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("name", STATES)
def test_wrong_states_are_noticed(model: Model, name: str, layer: int):
    array, change = STATES[name]
    if "threshold" in name and layer == 0:
        change = moved(64 * 300)  # one of 8-bit pixels' sums is thousands wide
    checkpoint = importer.understand(model, PIXELS).checkpoint
    change(getattr(checkpoint.state.layers[layer], array))
    with pytest.raises(UnsupportedError):
        checked(model, checkpoint)


def checked(model: Model, checkpoint: Any) -> list[str]:
    assembled, geometry = assemble(model, PIXELS), checkpoint.network.geometry
    last, _ = limited(assembled.layers[-1], geometry[-1], 1)
    return compare.check(model, assembled, last, checkpoint, PIXELS)


def test_right_states_pass(model: Model):
    assert checked(model, importer.understand(model, PIXELS).checkpoint) == []
