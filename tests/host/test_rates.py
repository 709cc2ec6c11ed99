"""Schedules that are functions: evaluated before the run, kept by its checkpoint; and the range of rates."""

import functools

import numpy as np
import pytest
from trainings import Stop

from bnnedge import Dense, Network, Settings, Trainer
from bnnedge.rates import MOST_EPOCHS, check_rate, rates_of

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (192, 4, 4)).astype(np.uint8), np.arange(192) % 4


def make(schedule, rate=0.1):
    return Trainer(NETWORK, settings=Settings(batch=64), rate=rate, schedule=schedule)


def halved(epoch):
    return 0.1 * 0.5**epoch


class Warm:
    def __call__(self, epoch):
        return np.float32(0.01 * (epoch + 1))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (halved, [0.1, 0.05, 0.025]),
        (lambda epoch, rate: rate * 0.9, [0.09, 0.081, 0.0729]),
        (lambda epoch, drop=0.5: drop, [0.5, 0.5, 0.5]),
        (functools.partial(pow, 0.1), [1.0, 0.1, 0.01]),
        ([0.3, 0.2, 0.1].__getitem__, [0.3, 0.2, 0.1]),
        (Warm(), [0.01, 0.02, 0.03]),
    ],
)
def test_functions(schedule, rates):
    trainer = make(schedule)
    assert trainer.fit(X, Y, epochs=3).history["rate"] == pytest.approx(rates)
    assert trainer.schedule == "function"


def test_the_rates_are_those_that_count():
    one, other = make(lambda epoch: 0.1), make("constant")
    one.fit(X, Y, epochs=2)
    other.fit(X, Y, epochs=2)
    assert one.state.differences(other.state) == []


def test_a_checkpoint_keeps_the_rates(tmp_path):
    whole, part = make(halved), make(halved)
    expected = whole.fit(X, Y, epochs=6)
    with pytest.raises(KeyboardInterrupt):
        part.fit(X, Y, epochs=6, callbacks=Stop(7), steps_per_call=1)
    part.save(tmp_path / "c.npz")
    loaded = Trainer.load(tmp_path / "c.npz")
    assert loaded.schedule == "function"
    assert loaded.fit(X, Y, epochs=5, resume=True).history["rate"] == [halved(epoch) for epoch in range(5)]
    loaded = Trainer.load(tmp_path / "c.npz")
    assert loaded.fit(X, Y, resume=True) == expected
    assert loaded.state.differences(whole.state) == []
    with pytest.raises(ValueError, match="was a function, of which the checkpoint keeps 6 epochs: ask for no more, or"):
        loaded.fit(X, Y, epochs=7, resume=True)
    with pytest.raises(ValueError, match="the checkpoint's schedule was a function, which no file keeps"):
        loaded.fit(X, Y)
    assert loaded.plan.finished
    anew = Trainer.load(tmp_path / "c.npz", schedule=halved)
    assert anew.fit(X, Y, epochs=2).history["rate"] == [0.1, 0.05]
    assert Trainer.load(tmp_path / "c.npz", schedule="step").schedule == "step"


def test_a_longer_run_asks_the_function_again():
    trainer = make(halved)
    trainer.fit(X, Y, epochs=2)
    assert trainer.fit(X, Y, epochs=4, resume=True).history["rate"] == [halved(epoch) for epoch in range(4)]


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (lambda epoch: 2.5 if epoch == 2 else 0.1, r"schedule for epoch 2 of 3: rate must be a number in .*, not 2\.5"),
        ([0.1, 0.01].__getitem__, "schedule for epoch 2 of 3: IndexError: list index out of range"),
        (lambda epoch: None, "schedule for epoch 0 of 3: rate must be a number in .*, not None"),
        (lambda epoch: 0, "schedule for epoch 0 of 3: rate must be"),
        (lambda: 0.1, r"schedule must be a function of the epoch, or of epoch and rate, not of \(\)"),
    ],
)
def test_is_refused_before_the_run(schedule, text):
    trainer = make(schedule)
    with pytest.raises(ValueError, match=text):
        trainer.fit(X, Y, epochs=3)
    assert (trainer.plan, trainer.state.step) == (None, 0)


@pytest.mark.parametrize("schedule", ["linear", 0.1, None, [0.1], Warm])
def test_no_schedule(schedule):
    with pytest.raises(ValueError, match="schedule must be one of cosine, step, plateau, constant, or a function of the epoch"):
        make(schedule)


def test_schedules_of_steps():
    cosine = type("CosineDecay", (), {"__module__": "keras.src.optimizers", "__call__": lambda self, step: 0.1})
    with pytest.raises(ValueError, match="schedule CosineDecay counts steps: give a function of the epoch"):
        make(cosine())


def test_very_long_runs():
    with pytest.raises(ValueError, match="gives rates for 65,536 epochs at most, not 65,537"):
        rates_of(halved, 0.1, MOST_EPOCHS + 1, 12)


@pytest.mark.parametrize("latent", [8, 12])
def test_the_range_that_is_told_is_taken(latent):
    with pytest.raises(ValueError) as refusal:
        check_rate(1e6, latent)
    low, high = map(float, str(refusal.value).split(" in ")[1].split(",")[0].split(".."))
    assert (check_rate(low, latent), check_rate(high, latent)) == (low, high)
