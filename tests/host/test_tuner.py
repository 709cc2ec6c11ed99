"""The search for settings: its rounds, what it holds out, what it leaves out, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bnnedge import Conv2D, Dense, Network, Settings, Trainer, digits, load
from bnnedge.devices import DEVICES, open_device
from bnnedge.devices.golden import GoldenDevice
from bnnedge.rates import CONVOLUTIONAL_RATE, RATE
from bnnedge.report import spread
from bnnedge.tuner import BATCH_EXPONENT, BATCHES, FACTORS, Trial, Tuning, rescaled, tune

SETTINGS = Settings(batch=64, seed=3)
RATES = (0.003, 0.1, 0.03, 0.01, 0.3)


@pytest.fixture(scope="module")
def data():
    """Images and labels, 384 of them: 320 to train on, by default."""
    whole = load("digits")
    return whole.x_train[:384], whole.y_train[:384]


@pytest.fixture(scope="module")
def tuning(data):
    return search(data, rates=RATES)


def search(data, **options):
    options = {"configuration": "sim-small", "settings": SETTINGS, "epochs": 1} | options
    return tune(digits(), *data, **options)


def timeless(trials):
    return [dataclasses.replace(trial, seconds=0) for trial in trials]


def test_each_round_trains_the_better_half_twice_as_long(tuning):
    rounds = [[trial for trial in tuning.trials if trial.epochs == epochs] for epochs in (1, 2, 4)]
    assert [len(trials) for trials in rounds] == [5, 3, 2]
    assert tuning.trials == tuple(trial for trials in rounds for trial in trials)
    assert tuple(trial.rate for trial in rounds[0]) == RATES
    for trials, further in zip(rounds, [*rounds[1:], [tuning.best]], strict=True):
        ranked = sorted(trials, key=lambda trial: (-trial.accuracy, trial.loss))
        assert [trial.rate for trial in ranked[: len(further)]] == [trial.rate for trial in further]
    assert tuning.best in rounds[-1]


@pytest.mark.parametrize(("count", "rounds"), [(1, [1]), (2, [2]), (3, [3, 2]), (4, [4, 2])])
def test_the_rounds_end_when_one_is_left(data, count, rounds):
    trials = search(data, rates=RATES[:count]).trials
    assert [trial.epochs for trial in trials] == [2**place for place, size in enumerate(rounds) for _ in range(size)]


def test_a_trial_is_a_training_of_its_own(data, tuning):
    (x, y), best = data, tuning.best
    with Trainer(digits(), configuration="sim-small", settings=SETTINGS, rate=best.rate) as trainer:
        before = spread(trainer.state, 10)
        trainer.fit(x[:320], y[:320], epochs=best.epochs)
        assert trainer.evaluate(x[320:], y[320:]) == {"loss": best.loss, "accuracy": best.accuracy}
        assert best.spread == tuple(zip(before, spread(trainer.state, 10), strict=True))
    assert best.settings == SETTINGS
    assert best.seconds > 0


def test_ties_go_to_the_smaller_loss():
    trial = Trial(0.1, SETTINGS, 2, 0.9, 0.5, (), 1.0)
    winner, shorter = dataclasses.replace(trial, loss=0.4), dataclasses.replace(trial, accuracy=0.95, epochs=1)
    assert Tuning((shorter, trial, winner), {}, 64).best is winner


def test_images_held_out_are_not_trained_on(data, tuning):
    x, y = data
    poisoned = np.concatenate([x[:320], 255 - x[320:]]), np.concatenate([y[:320], (y[320:] + 1) % 10])
    (one,), (other,) = (search(each, rates=[0.03], epochs=2).trials for each in (data, poisoned))
    assert one.spread == other.spread
    assert one.accuracy > other.accuracy + 0.3
    assert tuning.held_out == 64


@pytest.mark.parametrize(
    ("images", "holdout", "expected"), [(384, 100, 100), (384, np.int64(50), 50), (383, None, 63), (70, None, 6)]
)
def test_how_many_are_held_out(data, images, holdout, expected):
    x, y = data
    assert search((x[:images], y[:images]), rates=[0.03], holdout=holdout).held_out == expected


def test_no_more_than_enough_is_held_out(data, monkeypatch):
    monkeypatch.setattr("bnnedge.tuner.MOST_HELD_OUT", 20)
    assert search(data, rates=[0.03]).held_out == 20


def test_batches(data):
    tuning = search(data, rates=[0.01, 0.03], batches=[64, 128])
    first = [(trial.rate, trial.settings.batch) for trial in tuning.trials[:4]]
    assert first == [(0.01, 64), (0.03, 64), (0.01, 128), (0.03, 128)]
    assert {trial.settings.seed for trial in tuning.trials} == {3}
    best = tuning.best
    assert tuple(tuning.proposals) == BATCHES
    assert tuning.proposals[best.settings.batch] == best.rate


def test_default_rates(data):
    trials = search(data).trials
    assert [trial.rate for trial in trials[:5]] == [factor * RATE for factor in FACTORS]


def test_default_rates_with_convolutions(data):
    network = Network((8, 8, 1), [Conv2D(16), Dense(10)])
    trials = tune(network, data[0][..., None], data[1], settings=SETTINGS, epochs=1).trials
    assert [trial.rate for trial in trials[:5]] == [factor * CONVOLUTIONAL_RATE for factor in FACTORS]


def test_repeated_candidates_are_tried_once(data):
    assert len(search(data, rates=[0.03, 0.03]).trials) == 1


def test_rescaled():
    assert rescaled(0.02, 128, 128) == 0.02
    assert rescaled(0.02, 64, 256) == pytest.approx(0.02 * 4**BATCH_EXPONENT)
    assert rescaled(rescaled(0.02, 64, 512), 512, 64) == pytest.approx(0.02)


def test_candidates_that_cannot_be_are_left_out(data):
    tuning = search(data, rates=[0.03, 1e9], batches=[64, 100, 512], holdout=50)
    assert [trial.rate for trial in tuning.trials] == [0.03]
    assert tuning.left_out["rate 1000000000.0, batch 64"].startswith("rate must be a number in")
    assert tuning.left_out["rate 0.03, batch 100"].startswith("batch must be a multiple of 16")
    assert "batch of 512 does not fit the tile buffer: 256 at most" in tuning.left_out["rate 0.03, batch 512"]
    assert len(tuning.left_out) == 5


def test_a_batch_needs_as_many_images(data):
    tuning = search(data, rates=[0.03], batches=[64, 128], holdout=300)
    assert tuning.left_out == {"rate 0.03, batch 128": "84 images remain to train on: less than a batch"}


def test_all_devices_find_the_same(data, tuning, monkeypatch):
    opened = []

    class Counted(GoldenDevice):
        name = "counted"

        def __init__(self, configuration):
            super().__init__(configuration)
            opened.append(self)

    monkeypatch.setitem(DEVICES, "rtl", Counted)
    found = search(data, rates=RATES, device="rtl")
    assert timeless(found.trials) == timeless(tuning.trials)
    (device,) = opened
    with pytest.raises(RuntimeError, match="closed"):
        device.state()


def test_a_device_that_is_open_stays_open(data, tuning):
    device = open_device("golden", Trainer(digits(), settings=SETTINGS).device.configuration)
    assert timeless(search(data, rates=RATES, device=device).trials) == timeless(tuning.trials)
    assert device.state().step == 4 * 5


def test_progress(data):
    seen = []
    tuning = search(data, rates=RATES[:2], progress=seen.append)
    assert tuple(seen) == tuning.trials
    trial = Trial(0.012, Settings(), 1, 0.9126, 0.46443, ((1.0, 1.2),), 1.26)
    assert str(trial) == "rate 0.012, batch 128, 1 epoch: held-out accuracy 91.26 %, loss 0.4644 (1.3 s)"
    assert "2 epochs" in str(dataclasses.replace(trial, epochs=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": []}, "give at least one rate and one batch to try"),
        ({"batches": []}, "give at least one rate and one batch to try"),
        ({"rates": [float("nan"), -1]}, "none of the rates and batches can be tried: rate must be a number in .*, not nan; rate"),
        ({"rates": [0.03], "device": "gpu"}, "none of the rates .*: there is no device 'gpu'; there are golden"),
        ({"configuration": "huge"}, "there is no configuration 'huge'"),
        ({"epochs": 0}, "epochs must be a positive whole number, not 0"),
        ({"holdout": 0}, r"holdout must be a whole number in 1\.\.320, which leaves a batch to train on, not 0"),
        ({"holdout": 321}, r"holdout must be a whole number in 1\.\.320, .*, not 321"),
        ({"holdout": 0.2}, r"holdout must be a whole number in 1\.\.320, .*, not 0\.2"),
        ({"holdout": 1}, "the last 1 images, which are held out, are all of one class"),
    ],
)
def test_errors(data, options, message):
    with pytest.raises(ValueError, match=message):
        search(data, **options)


def test_too_few_images(data):
    x, y = data
    with pytest.raises(ValueError, match="x has 64 images: give more than the batch of 64, so that some can be held out"):
        search((x[:64], y[:64]))


def test_labels_of_other_images(data):
    x, y = data
    with pytest.raises(ValueError, match="y has 383 labels for 384 images"):
        search((x, y[1:]))


@pytest.mark.parametrize("classes", [2, 10])
def test_images_in_order_of_their_classes(data, classes):
    x, y = data
    order = np.argsort(y % classes, kind="stable")
    with pytest.raises(ValueError, match=r"the last 64 images.*: bring images and labels into random order"):
        search((x[order], y[order] % classes), holdout=64)
