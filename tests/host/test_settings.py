"""Run-time settings: ranges and messages."""

import dataclasses
import json

import numpy as np
import pytest

from bnnedge.settings import Settings


def test_defaults():
    settings = Settings()
    assert (settings.batch, settings.gradient_planes) == (128, "auto")


@pytest.mark.parametrize("batch", [16, 48, 100 // 16 * 16, 512])
def test_batches(batch):
    assert Settings(batch=batch).batch == batch


def test_numpy_integers():
    settings = Settings(batch=np.int64(64), gradient_planes=np.uint8(4), seed=np.uint64(2**64 - 1))
    assert settings == Settings(batch=64, gradient_planes=4, seed=2**64 - 1)
    assert {type(settings.batch), type(settings.gradient_planes), type(settings.seed)} == {int}


@pytest.mark.parametrize("given", [[4, 8, 1], (4, 8, 1), np.array([4, 8, 1]), [np.int64(4), 8, 1]])
def test_planes_of_each_layer(given):
    settings = Settings(gradient_planes=given)
    assert settings.gradient_planes == (4, 8, 1)
    assert {type(number) for number in settings.gradient_planes} == {int}
    assert hash(settings) == hash(Settings(gradient_planes=(4, 8, 1)))
    assert Settings(**json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 15, r"batch must be a whole number in 16\.\.512, not 15"),
        ("batch", 1024, r"batch must be a whole number in 16\.\.512, not 1024"),
        ("batch", 100, "batch must be a multiple of 16, not 100; 96 and 112 fit"),
        ("batch", 64.0, r"not 64\.0"),
        ("gradient_planes", 0, r"must be 'auto', a whole number in 1\.\.8, or a list of such numbers, .* not 0"),
        ("gradient_planes", 9, "not 9"),
        ("gradient_planes", True, "not True"),
        ("gradient_planes", np.bool_(True), r"not (np\.)?True"),
        ("gradient_planes", np.float64(4), "gradient_planes must be 'auto', a whole number"),
        ("gradient_planes", "4", "not '4'"),
        ("gradient_planes", None, "not None"),
        ("gradient_planes", [], r"not \[\]"),
        ("gradient_planes", [4, 9], r"not \[4, 9\]"),
        ("gradient_planes", [4, [8]], r"not \[4, \[8\]\]"),
        ("gradient_planes", [4, "auto"], r"not \[4, 'auto'\]"),
        ("gradient_planes", np.ones((2, 2), int), "not array"),
        ("input_planes", 9, r"input_planes must be a whole number in 1\.\.8, not 9"),
        ("slope_planes", 0, r"slope_planes must be a whole number in 1\.\.8, not 0"),
        ("seed", -1, "seed must be a whole number in"),
        ("seed", 1 << 64, "seed must be a whole number in"),
        ("optimiser", "adam", "optimiser must be one of sign-momentum, sign-sgd, not 'adam'"),
    ],
)
def test_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        Settings(**{field: value})


def test_slope_planes_are_some_of_the_input_planes():
    with pytest.raises(ValueError, match=r"slope_planes must be a whole number in 1\.\.1, not 2"):
        Settings(input_planes=1, slope_planes=2)


def test_of_what_a_trainer_is_given():
    assert Settings.of(None) == Settings()
    assert Settings.of({"batch": 64, "seed": 3}) == Settings(64, seed=3)
    given = Settings(256)
    assert Settings.of(given) is given
    with pytest.raises(TypeError, match="Settings has no 'batch_size': did you mean `batch`"):
        Settings.of({"batch_size": 64})
    for wrong in (64, Settings, "batch=64", [64]):
        with pytest.raises(ValueError, match=r"settings must be Settings\(\.\.\.\), or a dict of them, not "):
            Settings.of(wrong)
