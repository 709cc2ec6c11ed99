"""What tests of trainings share: an interrupt at a chosen step, and a device that has a clock."""

from __future__ import annotations

from bnnedge import Callback
from bnnedge.devices import StepResult
from bnnedge.devices.golden import GoldenDevice


class Stop(Callback):
    """Interrupts after a number of steps."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, step, logs):
        if step >= self.step:
            raise KeyboardInterrupt


class Clocked(GoldenDevice):
    """A device with a clock: 640 cycles a step, in a quarter of which the engine works."""

    name = "clocked"
    cycles = 0

    def train(self, images, labels, order, rate):
        results = super().train(images, labels, order, rate)
        self.cycles += 640 * len(results)
        return [StepResult(r.loss, r.hits, 640 * (i + 1)) for i, r in enumerate(results)]

    def counters(self):
        return {"cycles": self.cycles, "engine": self.cycles // 4}
