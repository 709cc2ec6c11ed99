"""Schedules that are functions: evaluated before the run, kept by its checkpoint; and the range of rates."""

import functools

import numpy as np
import pytest
from trainings import Stop

from bnnedge import Conv2D, Dense, Network, Settings, Trainer, cnv, mlp
from bnnedge.commands import options
from bnnedge.rates import (
    CONVOLUTIONAL_RATE,
    FINE,
    MOST_EPOCHS,
    RATE,
    SMALL_DATA_RATE,
    check_rate,
    decay,
    fine,
    layer_rate,
    rates_of,
    representable,
    usual,
)

NETWORK = Network((4, 4), [Dense(16), Dense(4)])
RANDOM = np.random.RandomState(1)
X, Y = RANDOM.randint(0, 256, (192, 4, 4)).astype(np.uint8), np.arange(192) % 4


@pytest.mark.parametrize(("layers", "rate"), [([Dense(4)], RATE), ([Conv2D(16), Dense(4)], CONVOLUTIONAL_RATE)])
def test_the_usual_rate_is_smaller_with_convolutions(layers, rate):
    network = Network((6, 6, 1), layers)
    assert Trainer(network).rate == options.rate("mnist", network) == options.rate("cifar10", network) == rate
    assert options.rate("digits", network) == (rate if rate == CONVOLUTIONAL_RATE else SMALL_DATA_RATE)


def test_the_usual_rates_in_words():
    assert f"{RATE:g}, and {CONVOLUTIONAL_RATE:g} of a network with convolutions" in " ".join(str(Trainer.__doc__).split())


@pytest.mark.parametrize("latent", [4, 6, 10])
@pytest.mark.parametrize("network", [cnv(), mlp(), NETWORK, Network((6, 6, 1), [Conv2D(16, 1), Dense(4)])], ids=str)
def test_each_accelerator_has_the_rate_of_a_network_that_comes_trained(network, latent):
    rate, rates = fine(network, latent), representable(network, latent)
    assert check_rate(rate, rates) == rate
    assert rate == pytest.approx(usual(network) / FINE) or round(rate * 2**17) == rates[0]


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
        (lambda epoch, drop=0.4: drop, [0.4, 0.4, 0.4]),
        (functools.partial(lambda base, epoch: 0.1 * base**epoch, 0.1), [0.1, 0.01, 0.001]),
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
        rates_of(halved, 0.1, MOST_EPOCHS + 1, range(1, 1 << 16))


WIDTHS = [(5, 7), (784, 256), (63, 64), (9000, 2), (40_000, 300)]


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("latent", [4, 6, 10])
def test_the_range_that_is_told_is_taken(latent, widths):
    fitting = representable(Network(widths[:1], [Dense(widths[1]), Dense(2)]), latent)
    with pytest.raises(ValueError) as refusal:
        check_rate(1e6, fitting)
    low, high = map(float, str(refusal.value).split(" in ")[1].split(",")[0].split(".."))
    assert (check_rate(low, fitting), check_rate(high, fitting)) == (low, high)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("latent", range(4, 11))
def test_rates_of_layers_fit_their_bits_and_move_weights(latent, widths):
    fitting = representable(Network(widths[:1], [Dense(widths[1]), Dense(2)]), latent)

    def of_layers(rate):
        return [layer_rate(rate, inputs, latent) for inputs in widths]

    assert min(of_layers(fitting[0])) >= 1
    assert fitting[0] == 1 or min(of_layers(fitting[0] - 1)) == 0
    assert max(of_layers(fitting[-1])) < 1 << 16
    assert max(fitting[-1] + 1, *of_layers(fitting[-1] + 1)) >= 1 << 16


def test_a_rate_means_the_same_in_each_layer():
    """Weights move by (2 k + 1) / 64 of it, whatever their scale: 2**S times as far as latent ones of as many bits would."""
    rate = round(0.03 * 2**17)
    for inputs, scale in ((9, 0), (100, 1), (300, 2), (784, 2), (4608, 4), (1 << 16, 6)):
        assert layer_rate(rate, inputs, 10) == (rate << scale + 10) // 2**12
        moved = 63 * layer_rate(rate, inputs, 10) / 2**12 / 2**9  # of a latent weight, in -1..1
        assert moved == pytest.approx(2**scale * 63 / 64 * 0.03, rel=0.01)


def test_averages_become_slower_where_the_rate_is_low():
    found = [decay(rate) for rate in (65535, 128, 127, 64, 63, 32, 31, 1)]
    assert found == [3, 3, 4, 4, 5, 5, 6, 6]
