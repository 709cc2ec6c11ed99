"""The tanh network of the growth law: its gradients, its measure, and what is made of courses."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge.sim.study import chaos
from bnnedge.sim.study.chaos import Course, Setting, Training, collapse, spread_of_slopes, train


def test_x():
    assert Setting(0.1, 0.9, 50).x == pytest.approx(0.02)


def test_gradients_are_the_derivatives():
    random = np.random.default_rng(1)
    weights = [random.normal(0, 0.3, shape) for shape in ((6, 6), (6, 3))]
    x, labels = random.normal(0, 1, (5, 6)), np.array([0, 1, 2, 1, 0])

    def loss():
        z = np.tanh(x @ weights[0]) @ weights[1]
        return np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(5), labels])

    _, _, *found = chaos._gradients(weights, x, labels)
    for weight, gradient in zip(weights, found, strict=True):
        for place in ((0, 0), (3, 2), (5, 1)):
            kept, step = weight[place], 1e-6
            weight[place] = kept + step
            above = loss()
            weight[place] = kept - step
            below = loss()
            weight[place] = kept
            assert gradient[place] == pytest.approx((above - below) / (2 * step), abs=1e-7)


def samples() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 300)
    images = random.integers(0, 100, (300, 5, 5)).astype(np.uint8)
    images[np.arange(300), labels] += 150  # a row that tells the class
    return images, labels


def test_course_of_a_training():
    images, labels = samples()
    course = train(Setting(0.1, 0.5, 20), images, labels, (images, labels), epochs=5, seed=1)
    assert len(course.spread) == 6
    assert course.spread[0] == pytest.approx(chaos.INITIAL, rel=0.1)
    assert course.spread[-1] > course.spread[0]
    assert course.accuracy[-1] > 0.8


def test_goes_on_bit_for_bit():
    def begun() -> Training:
        return Training(Setting(0.1, 0.5, 70), *samples(), samples(), epochs=3, seed=1)

    states, shares = [], []
    whole = begun().run(lambda training: (states.append(training.state()), shares.append(training.share)))
    assert shares == [(epoch + step / 4) / 3 for epoch in range(3) for step in (1, 2, 3, 4, 4)]
    for place, state in enumerate(states):
        later, again = [state], begun()
        again.restore(state)
        assert again.run(lambda training, to=later: to.append(training.state())) == whole
        assert len(later) == len(states) - place
        for one, other in zip(states[place:], later, strict=True):
            assert all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"moves.1": np.zeros((25, 4), np.float32)}, "its weights are of another"), ({"spread": np.zeros(1)}, "its epochs are not")],
)
def test_refuses_another_state(change, said):
    states = []
    training = Training(Setting(0.1, 0.5, 70), *samples(), samples(), epochs=1, seed=1)
    training.run(lambda training: states.append(training.state()))
    with pytest.raises(ValueError, match=said):
        training.restore({**states[-1], **change})


def test_refuses_less_than_a_batch():
    with pytest.raises(ValueError, match="batch must be at most 300, the number of training images, not 301"):
        train(Setting(0.1, 0.5, 301), *samples(), samples(), epochs=1, seed=1)


def test_slope_and_comparisons():
    one, two = Setting(0.01, 0.9, 100), Setting(0.02, 0.9, 100)
    straight = [tuple(np.sqrt(0.25 + 8 * setting.x * np.arange(5))) for setting in (one, two)]
    courses = [Course(setting, spread, ()) for setting, spread in zip((one, two), straight, strict=True)]
    assert [course.slope for course in courses] == pytest.approx([8 * one.x, 8 * two.x])
    assert spread_of_slopes(courses) == pytest.approx(0)
    assert collapse(courses[:1] * 2) == 0
    assert collapse(courses) == pytest.approx((0.25 + 64 * one.x) / (0.25 + 48 * one.x) - 1)
