"""Run-time settings: ranges and messages."""

import numpy as np
import pytest

from bnnedge.settings import Settings


def test_defaults_are_valid():
    settings = Settings()
    assert settings.batch == 1 << settings.batch_log2


@pytest.mark.parametrize("batch", [64, 128, 256, 512])
def test_batches(batch):
    assert 1 << Settings(batch=batch).batch_log2 == batch


def test_numpy_integers():
    settings = Settings(batch=np.int64(64), gradient_planes=np.uint8(4), seed=np.uint64(2**64 - 1))
    assert settings == Settings(batch=64, gradient_planes=4, seed=2**64 - 1)
    assert {type(settings.batch), type(settings.gradient_planes), type(settings.seed)} == {int}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 32, r"batch must be a whole number in 64\.\.512, not 32"),
        ("batch", 1024, r"batch must be a whole number in 64\.\.512, not 1024"),
        ("batch", 100, "batch must be a power of two .* 64, 128, 256 or 512, not 100"),
        ("batch", 64.0, r"not 64\.0"),
        ("gradient_planes", 0, r"gradient_planes must be a whole number in 1\.\.8, not 0"),
        ("gradient_planes", 9, r"in 1\.\.8, not 9"),
        ("gradient_planes", True, "not True"),
        ("gradient_planes", np.bool_(True), r"not (np\.)?True"),
        ("gradient_planes", np.float64(4), "gradient_planes must be a whole number"),
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
