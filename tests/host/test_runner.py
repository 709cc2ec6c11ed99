"""How many steps a call of the device takes."""

import numpy as np
import pytest

from bnnedge import Augment, Callback, Dense, Network, Settings, Trainer, cnv
from bnnedge.devices.golden import GoldenDevice
from bnnedge.runner import Pace, call_steps


@pytest.mark.parametrize(
    ("seconds", "first", "last"),
    [(0.001, 2, 1000), (0.1, 4, 10), (0.4, 4, 2), (3.0, 4, 2), (29.0, 64, 2), (31.0, 4, 1), (0.0, 4, 4 << 20)],
)
def test_calls_come_to_take_about_a_second(seconds, first, last):
    pace = Pace(first, fixed=False)
    for _ in range(20):
        before = pace.steps
        pace.took(before, before * seconds)
        assert pace.steps <= 2 * before
    assert pace.steps == last


def test_a_pace_that_is_asked_for_stays():
    pace = Pace(7)
    pace.took(7, 1000.0)
    assert pace.steps == 7


def test_calls_of_large_networks_take_few_steps():
    assert call_steps(cnv(), 64) == 2
    assert call_steps(Network((100, 100), [Dense(1000), Dense(4)]), 64) == 4
    assert call_steps(Network((4, 4), [Dense(16), Dense(4)]), 64) > 1000


class Often(Callback):
    often = True

    def __init__(self):
        self.steps = []

    def on_batch_end(self, step, logs):
        self.steps.append(step)


def test_on_a_slow_device_calls_become_shorter_and_the_bits_stay(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("bnnedge.course.time.monotonic", lambda: now[0])

    class Slow(GoldenDevice):
        def train(self, images, labels, order, rate):
            now[0] += 0.3 * len(order) / 64
            return super().train(images, labels, order, rate)

    random = np.random.RandomState(1)
    x, y = random.randint(0, 256, (64 * 12, 4, 4)).astype(np.uint8), np.arange(64 * 12) % 4
    network, often, histories = Network((4, 4), [Dense(16), Dense(4)]), Often(), []
    monkeypatch.setattr("bnnedge.trainer.call_steps", lambda network, batch: 5)
    clocked = Often()

    class SlowClock(Slow):
        def counters(self):
            return {"cycles": 0}

    for device, callbacks in ((GoldenDevice, ()), (Slow, often), (SlowClock, clocked)):
        trainer = Trainer(network, device, settings=Settings(batch=64))
        histories.append(trainer.fit(x, y, epochs=2, augment=Augment(flip=True), callbacks=callbacks).history)
    assert often.steps == [5, 8, 11, 12, 15, 18, 21, 24]
    assert clocked.steps == [5, 10, 12, 17, 22, 24], "so that the cycles that are measured are the same every time"
    assert histories[0] == histories[1] == histories[2]
