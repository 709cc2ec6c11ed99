"""The trainer: habits of Keras, bit-for-bit continuation, checks, interrupts, and bad input."""

import dataclasses
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from trainings import Stop

from bnnedge import (
    Callback,
    Conv2D,
    DataError,
    Dense,
    DeviceError,
    MaxPool2D,
    MismatchError,
    Network,
    Settings,
    Trainer,
    binarynet,
    cnv,
)
from bnnedge.checker import step_seconds
from bnnedge.configuration import configuration
from bnnedge.data import DataWarning
from bnnedge.devices import StepResult
from bnnedge.devices.golden import GoldenDevice
from bnnedge.report import summary

NETWORK = Network((4, 4), [Dense(32), Dense(4)], "tiny")
SETTINGS = Settings(batch=64, seed=3)
SMALL = configuration("sim-small")


def make_data(count, seed=7):
    """Images of four classes: a bright quadrant each, in noise."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, 4, count)
    images = random.randint(0, 160, (count, 2, 2, 2, 2))
    images[np.arange(count), labels // 2, :, labels % 2, :] += 95
    return images.reshape(count, 4, 4).astype(np.uint8), labels


X, Y = make_data(300)
TEST = make_data(90, 8)


@pytest.fixture
def trainer():
    return Trainer(NETWORK, settings=SETTINGS)


class Faulty(GoldenDevice):
    """A device that computes something wrong."""

    name = "faulty"

    def __init__(self, fault, at=0):
        super().__init__(SMALL)
        self.fault, self.at = fault, at

    def probe(self, images, labels, order, rate):
        result, held = super().probe(images, labels, order, rate)
        return (result, held) if self.state().step <= self.at else self.fault(self, result, held)


class Other(GoldenDevice):
    """A device that can be checked: the golden model itself cannot."""

    name = "other"

    def __init__(self):
        super().__init__(SMALL)


class Clocked(GoldenDevice):
    """A device with a clock: 1000 cycles to begin with, and 500 a step, in half of which the engine works; reports after 200."""

    name = "clocked"

    def __init__(self):
        super().__init__(SMALL)
        self.steps, self.calls = 0, 0

    def train(self, images, labels, order, rate):
        results = super().train(images, labels, order, rate)
        self.steps, self.calls = self.steps + len(results), self.calls + 1
        return [StepResult(r.loss, r.hits, 1000 + 500 * i + 200) for i, r in enumerate(results)]

    def counters(self):
        total = 1000 * self.calls + 500 * self.steps
        return {"cycles": total, "engine": total // 2}


def assert_same(a, b):
    assert a.state.differences(b.state) == []


class TestFit:
    def test_learns(self, trainer):
        history = trainer.fit(X, Y, epochs=12, validation_data=TEST)
        assert history.epoch == list(range(12))
        assert {name: len(values) for name, values in history.history.items()} == dict.fromkeys(
            ("loss", "accuracy", "val_loss", "val_accuracy", "rate"), 12
        )
        assert history.history["loss"][-1] < history.history["loss"][0] < 3
        assert history.history["val_accuracy"][-1] > 0.9
        assert trainer.evaluate(*TEST) == {
            "loss": history.history["val_loss"][-1],
            "accuracy": history.history["val_accuracy"][-1],
        }
        assert trainer.state.step == 12 * (300 // 64)
        assert trainer.bit_exact is None

    @pytest.mark.parametrize("on", ["signs", "sums"])
    def test_convolutions_learn_and_continue(self, tmp_path, on):
        network = Network((4, 4), [Conv2D(8, 3, 1, "same"), Conv2D(16), MaxPool2D(on), Dense(4)])
        whole = Trainer(network, settings=SETTINGS, rate=0.03)
        history = whole.fit(X, Y, epochs=20, validation_data=TEST)
        assert history.history["val_accuracy"][-1] > 0.8
        part = Trainer(network, settings=SETTINGS, rate=0.03)
        with pytest.raises(KeyboardInterrupt):
            part.fit(X, Y, epochs=20, steps_per_call=1, callbacks=[Stop(9)])
        part.save(tmp_path / "checkpoint.npz")
        loaded = Trainer.load(tmp_path / "checkpoint.npz")
        loaded.fit(X, Y, resume=True)
        assert_same(loaded, whole)
        assert loaded.predict(TEST[0]).shape == (90, 4)

    def test_cosine_rate(self, trainer):
        rates = trainer.fit(X, Y, epochs=4).history["rate"]
        assert rates == pytest.approx([0.012 * (0.5 + 0.5 * np.cos(np.pi * e / 4)) for e in range(4)])

    def test_constant_rate(self):
        trainer = Trainer(NETWORK, settings=SETTINGS, schedule="constant", rate=0.02)
        assert trainer.fit(X, Y, epochs=3).history["rate"] == [0.02] * 3

    def test_step_rate(self):
        trainer = Trainer(NETWORK, settings=SETTINGS, schedule="step", rate=0.1)
        rates = trainer.fit(X, Y, epochs=8).history["rate"]
        assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)

    def test_plateau_rate_follows_the_loss(self):
        trainer = Trainer(NETWORK, settings=SETTINGS, schedule="plateau", rate=0.4)
        history = trainer.fit(X, Y, epochs=24).history
        rate, best, waited = 0.4, np.inf, 0
        for used, loss in zip(history["rate"], history["loss"], strict=True):
            assert used == rate
            waited = 0 if loss < best else waited + 1
            best = min(best, loss)
            if waited == 3:
                rate, waited = rate / 2, 0
        assert rate < 0.4, "the run has seen a plateau"

    def test_plateau_rate_is_the_same_after_an_interrupt(self, tmp_path):
        whole, part = (Trainer(NETWORK, settings=SETTINGS, schedule="plateau", rate=0.4) for _ in range(2))
        expected = whole.fit(X, Y, epochs=12)
        with pytest.raises(KeyboardInterrupt):
            part.fit(X, Y, epochs=12, steps_per_call=1, callbacks=[Stop(30)])
        part.save(tmp_path / "checkpoint.npz")
        loaded = Trainer.load(tmp_path / "checkpoint.npz")
        assert loaded.fit(X, Y, resume=True) == expected
        assert_same(loaded, whole)

    def test_history_without_validation(self, trainer):
        history = trainer.fit(X, Y).history
        assert {name: len(values) for name, values in history.items()} == {"loss": 1, "accuracy": 1, "rate": 1}

    def test_history_with_validation_of_some_epochs(self, trainer, tmp_path):
        def nans():
            return [math.isnan(value) for value in trainer.history.history["val_accuracy"]]

        trainer.fit(X, Y, epochs=2)
        trainer.fit(X, Y, epochs=3, validation_data=TEST, resume=True)
        assert nans() == [True, True, False]
        trainer.save(tmp_path / "c.npz")
        trainer = Trainer.load(tmp_path / "c.npz")
        trainer.fit(X, Y, epochs=4, resume=True)
        assert nans() == [True, True, False, True]
        assert {len(values) for values in trainer.history.history.values()} == {4}
        assert len(summary(trainer, "data", None)["test_accuracy_history"]) == 1

    def test_deterministic(self, trainer):
        other = Trainer(NETWORK, settings=SETTINGS)
        assert trainer.fit(X, Y, epochs=2) == other.fit(X, Y, epochs=2)
        assert_same(trainer, other)

    def test_seed_matters(self, trainer):
        other = Trainer(NETWORK, settings=Settings(batch=64, seed=4))
        assert trainer.state.differences(other.state)

    def test_calls_change_nothing(self, trainer):
        other = Trainer(NETWORK, settings=SETTINGS)
        trainer.fit(X, Y, epochs=2)
        other.fit(X, Y, epochs=2, steps_per_call=1)
        assert_same(trainer, other)

    def test_steps(self, trainer):
        history = trainer.fit(X, Y, steps=6, validation_data=TEST)
        assert trainer.state.step == 6
        assert history.epoch == [0, 1]
        assert len(history.history["val_loss"]) == 2
        assert (trainer.plan.epochs, trainer.plan.steps, trainer.plan.epoch_steps) == (2, 6, 4)

    def test_orders(self, trainer):
        trainer.fit(X, Y, epochs=2)
        plan = trainer.plan
        orders = []
        for step in (0, 4):
            order = type(plan)(**{**plan.__dict__, "step": step}).order()
            assert len(order) == len(set(order.tolist())) == 256
            orders.append(order.tolist())
        assert orders[0] != orders[1]

    def test_order_is_pinned(self, trainer):
        """Every NumPy version draws the same."""
        trainer.fit(X, Y, steps=1)
        first = type(trainer.plan)(**{**trainer.plan.__dict__, "step": 0}).order()
        assert first[:6].tolist() == [223, 213, 4, 203, 70, 46]  # NumPy 1.26.4

    def test_without_shuffle(self, trainer):
        other = Trainer(NETWORK, settings=SETTINGS)
        trainer.fit(X, Y, shuffle=False)
        other.fit(X[:256], Y[:256], shuffle=False)
        assert_same(trainer, other)

    def test_second_run_goes_on(self, trainer):
        trainer.fit(X, Y)
        first = trainer.plan.__dict__
        trainer.fit(X, Y)
        assert trainer.state.step == 8
        assert (first["start"], trainer.plan.start) == (0, 4)

    def test_callbacks(self, trainer):
        seen = []

        class Recorder(Callback):
            def on_batch_end(self, step, logs):
                assert set(logs) == {"loss", "accuracy", "steps", "epochs", "epoch"}
                seen.append((step, logs["epoch"], logs["steps"]))

            def on_epoch_end(self, epoch, logs):
                assert set(logs) == {"loss", "accuracy", "rate", "val_loss", "val_accuracy"}
                seen.append(epoch)

        trainer.fit(X, Y, epochs=2, callbacks=[Recorder()], steps_per_call=3, validation_data=TEST)
        assert seen == [(3, 0, 8), (4, 0, 8), 0, (7, 1, 8), (8, 1, 8), 1]

    def test_input_scales(self, trainer):
        others = [Trainer(NETWORK, settings=SETTINGS) for _ in range(2)]
        trainer.fit(X, Y)
        others[0].fit(X.astype(np.int32), Y.astype(np.uint8))
        others[1].fit((X / 255).astype(np.float32), Y)
        for other in others:
            assert_same(trainer, other)


class TestPredict:
    def test_probabilities(self, trainer):
        trainer.fit(X, Y, epochs=5)
        probabilities = trainer.predict(TEST[0])
        assert probabilities.shape == (90, 4)
        assert probabilities.dtype == np.float32
        assert probabilities.sum(1) == pytest.approx(np.ones(90), abs=1e-6)
        evaluated = trainer.evaluate(*TEST)
        assert evaluated["accuracy"] == np.mean(probabilities.argmax(1) == TEST[1])
        assert evaluated["loss"] == pytest.approx(-np.log(probabilities[np.arange(90), TEST[1]]).mean(), rel=1e-4)

    def test_untrained(self, trainer):
        assert np.isfinite(trainer.predict(X[:1])).all()


class TestContinuation:
    @pytest.mark.parametrize("step", range(1, 12))
    def test_interrupt_save_load_resume(self, trainer, tmp_path, step):
        whole = Trainer(NETWORK, settings=SETTINGS)
        expected = whole.fit(X, Y, epochs=3, validation_data=TEST)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(X, Y, epochs=3, validation_data=TEST, callbacks=[Stop(step)], steps_per_call=1)
        assert trainer.state.step == step
        trainer.save(tmp_path / "c.npz")
        loaded = Trainer.load(tmp_path / "c.npz")
        assert_same(loaded, trainer)
        assert loaded.fit(X, Y, resume=True, validation_data=TEST) == expected
        assert_same(loaded, whole)
        assert trainer.fit(X, Y, resume=True, validation_data=TEST) == expected
        assert_same(trainer, whole)

    def test_interrupt_within_the_device(self, trainer, monkeypatch):
        whole = Trainer(NETWORK, settings=SETTINGS)
        whole.fit(X, Y, epochs=2)
        train, calls = GoldenDevice.train, []

        def interrupted(self, images, labels, order, rate):
            calls.append(order)
            if len(calls) == 3:
                train(self, images, labels, order[:64], rate)
                raise KeyboardInterrupt
            return train(self, images, labels, order, rate)

        monkeypatch.setattr(GoldenDevice, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(X, Y, epochs=2, steps_per_call=2)
        assert trainer.state.step == 4
        trainer.fit(X, Y, resume=True)
        assert_same(trainer, whole)

    def test_device_error_keeps_the_last_state(self, trainer, monkeypatch):
        trainer.fit(X, Y)
        before = trainer.state

        def broken(*arguments):
            raise DeviceError("bus error")

        monkeypatch.setattr(trainer.device, "train", broken)
        with pytest.raises(DeviceError, match="bus error"):
            trainer.fit(X, Y)
        assert trainer.state.differences(before) == []

    def test_longer_run(self, trainer):
        trainer.fit(X, Y, epochs=1)
        history = trainer.fit(X, Y, epochs=3, resume=True)
        assert history.epoch == [0, 1, 2]
        assert trainer.state.step == 12

    def test_run_that_ended_within_an_epoch_goes_on(self):
        whole, parts = (Trainer(NETWORK, settings=SETTINGS, schedule="constant") for _ in range(2))
        expected = whole.fit(X, Y, epochs=3)
        parts.fit(X, Y, steps=6)
        assert parts.fit(X, Y, epochs=3, resume=True) == expected
        assert_same(whole, parts)

    def test_finished_run(self, trainer):
        history = trainer.fit(X, Y, epochs=2)
        assert trainer.fit(X, Y, resume=True) == history
        with pytest.raises(ValueError, match=r"already taken 8 steps \(2 epochs\) of the 4 asked for"):
            trainer.fit(X, Y, epochs=1, resume=True)

    def test_a_new_run_from_a_checkpoint(self, trainer, tmp_path):
        trainer.fit(X, Y, epochs=2)
        trainer.save(tmp_path / "checkpoint.npz")
        settings = dataclasses.replace(SETTINGS, gradient_planes=4)
        with Trainer.load(tmp_path / "checkpoint.npz", settings=settings, rate=0.001, schedule="constant") as other:
            assert_same(other, trainer)
            assert other.plan is None
            assert other.fit(X, Y, epochs=2).history["rate"] == [0.001] * 2
            assert other.settings.gradient_planes == 4

    def test_averages_that_begin_anew(self, trainer):
        trainer.fit(X, Y, epochs=2)
        with Trainer.load(trainer.snapshot(), fresh_averages=True) as anew, Trainer.load(trainer.snapshot(), rate=0.001) as kept:
            assert (anew.state.step, kept.state.step) == (0, trainer.state.step)
            assert anew.plan is None
            assert all(np.array_equal(a.weight, b.weight) for a, b in zip(anew.state.layers, kept.state.layers, strict=True))
            dark = (X * 0.6).astype(np.uint8)
            for other in (anew, kept):
                other.fit(dark, Y, steps=1)
            # The first average is the batch's own value, whatever there was before.
            moved = [np.abs(other.state.layers[0].mu - trainer.state.layers[0].mu).sum() for other in (anew, kept)]
            assert moved[0] > 2 * moved[1] > 0  # after 8 steps a quarter of the way
        assert trainer.state.step == 8
        with pytest.raises(ValueError, match="fresh_averages must be True or False"):
            Trainer.load(trainer.snapshot(), fresh_averages="no")

    def test_nothing_to_resume(self, trainer):
        with pytest.raises(ValueError, match="there is no run to resume"):
            trainer.fit(X, Y, resume=True)

    def test_other_data(self, trainer):
        trainer.fit(X, Y)
        with pytest.raises(ValueError, match="began with other data"):
            trainer.fit(X, (Y + 1) % 4, resume=True, epochs=2)
        with pytest.raises(ValueError, match=r"began with other data \(300 images; these are 299\)"):
            trainer.fit(X[1:], Y[1:], resume=True, epochs=2)

    def test_load_elsewhere(self, trainer, tmp_path):
        trainer.save(tmp_path / "c.npz")
        assert Trainer.load(tmp_path / "c.npz", configuration="pynq-z2").device.configuration.name == "pynq-z2"
        narrow = type(SMALL)(name="narrow", latent=8)
        with pytest.raises(ValueError, match="latent weights of 10 bits, configuration 'narrow' of 8"):
            Trainer.load(tmp_path / "c.npz", configuration=narrow)


class TestCheck:
    def test_exact(self):
        trainer = Trainer(NETWORK, Other(), settings=SETTINGS, check=True)
        plain = Trainer(NETWORK, settings=SETTINGS)
        assert trainer.bit_exact is None
        assert trainer.fit(X, Y, epochs=2, validation_data=TEST) == plain.fit(X, Y, epochs=2, validation_data=TEST)
        assert trainer.bit_exact is True
        assert_same(trainer, plain)

    def test_several_steps_a_call(self):
        trainer = Trainer(NETWORK, Other(), settings=SETTINGS, check=True)
        trainer.fit(X, Y, steps_per_call=4)
        assert trainer.bit_exact is True

    @pytest.mark.parametrize("device", ["golden", GoldenDevice(SMALL)])
    def test_golden_is_not_compared_with_itself(self, device):
        with pytest.raises(ValueError, match="the golden model is what other devices are checked against"):
            Trainer(NETWORK, device, settings=SETTINGS, check=True)

    @staticmethod
    def code(device, result, held):
        held["2.code"] = held["2.code"].copy()
        held["2.code"][0, ..., :3] += 2
        return result, held

    @staticmethod
    def missing(device, result, held):
        del held["1.mask"]
        return result, held

    @staticmethod
    def weight(device, result, held):
        state = device.state()
        state.layers[0].weight[5, 5] ^= 1
        device.load_state(state)
        return result, held

    @staticmethod
    def loss(device, result, held):
        return StepResult(result.loss + 1, result.hits - 1), held

    @staticmethod
    def columns(device, result, held):
        held["1.code_columns"], held["2.code_columns"] = held.pop("1.code"), ~held["2.code"]
        return result, held

    @staticmethod
    def shape(device, result, held):
        return result, {**held, "1.active": held["1.active"][..., :2]}

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("code", r"step 3: device 'faulty' and the golden model differ in 2\.code: 3 of 256 values"),
            ("missing", r"1\.mask: missing"),
            ("columns", r"differ in 2\.code_columns: 256 of 256 values$"),
            ("weight", "layer 1 weight: 1 of 512 values"),
            ("loss", r"loss: \d+, not \d+; hits: \d+, not \d+"),
            ("shape", r"1\.active: shape \(64, 1, 1, 2\), not \(64, 1, 1, 32\)"),
        ],
    )
    def test_mismatch(self, fault, message):
        trainer = Trainer(NETWORK, Faulty(getattr(self, fault), at=2), settings=SETTINGS, check=True)
        with pytest.raises(MismatchError, match=message):
            trainer.fit(X, Y)
        assert trainer.bit_exact is False
        assert trainer.state.step == 2

    def test_inference_is_compared(self, monkeypatch):
        device = Other()
        monkeypatch.setattr(device, "infer", lambda images: np.zeros((len(images), 4), np.int16))
        trainer = Trainer(NETWORK, device, settings=SETTINGS, check=True)
        with pytest.raises(MismatchError, match=r"inference after step 4: .* differ in logits: \d+ of 360 values"):
            trainer.fit(X, Y, validation_data=TEST)


class TestChangedData:
    """A device keeps a copy of the data, the golden model reads it anew: what changes it is found out, no device blamed."""

    @pytest.mark.parametrize("check", ["first", "all", "none"])
    @pytest.mark.parametrize("step", [1, 5])
    def test_is_refused(self, check, step):
        class Copying(Other):
            def probe(self, images, labels, *rest):
                self.kept = getattr(self, "kept", None) or (images.copy(), labels.copy())
                return super().probe(*self.kept, *rest)

        x = X.copy()

        class Changes(Callback):
            def on_batch_end(self, now, logs):
                if now == step:
                    x[:] = 255 - x

        trainer = Trainer(NETWORK, Copying(), settings=SETTINGS, check=check)
        with pytest.raises(DataError, match=r"x was changed while fit ran, .* vary images by `augment`"):
            trainer.fit(x, Y, epochs=2, steps_per_call=1, callbacks=[Changes()])
        assert trainer.state.step == (step if check == "all" or (check == "first" and step == 1) else 4 if step == 1 else 8)
        assert trainer.bit_exact is not True or check == "first"

    def test_between_two_runs_it_may_change(self):
        x = X.copy()
        trainer, plain = Trainer(NETWORK, Other(), settings=SETTINGS), Trainer(NETWORK, settings=SETTINGS)
        trainer.fit(x, Y)
        plain.fit(X, Y)
        x[:] = 255 - x
        trainer.fit(x, Y)
        plain.fit(255 - X, Y)
        assert_same(trainer, plain)


class TestFirstSteps:
    """Unless told otherwise, the first two steps of each `fit` are compared."""

    def test_default(self):
        trainer, plain = Trainer(NETWORK, Other(), settings=SETTINGS), Trainer(NETWORK, settings=SETTINGS)
        assert (trainer.checked_steps, trainer.bit_exact) == (0, None)
        assert trainer.evaluate(*TEST) == plain.evaluate(*TEST)
        assert (trainer.checked_steps, trainer.bit_exact) == (0, None), "an inference is no step"
        assert trainer.fit(X, Y, epochs=2, validation_data=TEST) == plain.fit(X, Y, epochs=2, validation_data=TEST)
        assert (trainer.checked_steps, trainer.bit_exact) == (2, True)
        assert trainer.check_seconds > 0
        assert trainer.fit(X, Y, epochs=3, resume=True) == plain.fit(X, Y, epochs=3, resume=True)
        assert trainer.checked_steps == 4, "one that goes on, too"
        trainer.fit(X, Y, epochs=3, resume=True)
        assert trainer.checked_steps == 4, "there was nothing to do"
        for one in (trainer, plain):
            one.fit(X, Y, steps=1)
        assert trainer.checked_steps == 5
        assert_same(trainer, plain)

    def test_the_golden_model_is_not_compared(self, trainer):
        trainer.fit(X, Y)
        assert (trainer.checked_steps, trainer.check_seconds, trainer.bit_exact) == (0, 0, None)

    @pytest.mark.parametrize(
        ("check", "checked"), [("first", 2), ("all", 8), (True, 8), ("none", 0), (False, 0), (np.str_("all"), 8)]
    )
    def test_levels(self, tmp_path, check, checked):
        trainer = Trainer(NETWORK, Other(), settings=SETTINGS, check=check)
        trainer.fit(X, Y, epochs=2)
        assert (trainer.checked_steps, trainer.bit_exact) == (checked, True if checked else None)
        trainer.save(tmp_path / "c.npz")
        loaded = Trainer.load(tmp_path / "c.npz", Other(), check=check)
        loaded.fit(X, Y, steps=16, resume=True)
        assert loaded.checked_steps == checked
        assert (Trainer.load(tmp_path / "c.npz", Other())._checker.level) == "first"

    @pytest.mark.parametrize("check", ["some", "", None, 2, 1.0, []])
    def test_other_levels_are_refused(self, check):
        with pytest.raises(ValueError, match=r"check must be one of 'none', 'first', 'all', True \(all\) or False \(none\), not"):
            Trainer(NETWORK, Other(), check=check)

    @pytest.mark.parametrize("calls", [None, 1, 2, 3, 4])
    def test_calls_and_what_they_tell_are_the_same(self, calls):
        class Recorder(Callback):
            def __init__(self):
                self.seen = []

            def on_check_begin(self, steps, seconds):
                assert seconds > 0
                self.seen.append(steps)

            def on_batch_end(self, step, logs):
                self.seen.append((step, dict(logs)))

            def on_epoch_end(self, epoch, logs):
                self.seen.append(dict(logs))

        told = []
        for trainer in (Trainer(NETWORK, Other(), settings=SETTINGS), Trainer(NETWORK, settings=SETTINGS)):
            recorder = Recorder()
            trainer.fit(X, Y, epochs=2, callbacks=[recorder], steps_per_call=calls, validation_data=TEST)
            told.append(recorder.seen)
        assert told[0] == [2, *told[1]], "what differs is the word about the comparison, before the first call"

    @pytest.mark.parametrize("where", ["device", "golden model"])
    @pytest.mark.parametrize("call", [1, 2])
    def test_interrupt_within_a_checked_step(self, monkeypatch, where, call):
        trainer, plain = Trainer(NETWORK, Other(), settings=SETTINGS), Trainer(NETWORK, settings=SETTINGS)
        for one in (trainer, plain):
            one.fit(X, Y, steps=3)
        device = trainer.device if where == "device" else trainer._checker.golden.device
        probe, calls = device.probe, []

        def interrupted(*arguments):
            result = probe(*arguments)
            calls.append(1)
            if len(calls) == call:
                raise KeyboardInterrupt
            return result

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(device, "probe", interrupted)
            trainer.fit(X, Y, epochs=2)
        assert trainer.plan.step == 0
        assert (trainer.checked_steps, trainer.bit_exact) == (2 + call - 1, True)
        assert trainer.fit(X, Y, resume=True) == plain.fit(X, Y, epochs=2)
        assert trainer.checked_steps == 2 + 2, "a step that was taken again counts once"
        assert trainer.evaluate(*TEST) == plain.evaluate(*TEST)
        assert_same(trainer, plain)

    @pytest.mark.parametrize("fault", ["code", "weight", "loss"])
    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_a_fault_is_caught_in_the_first_steps(self, fault, at):
        trainer = Trainer(NETWORK, Faulty(getattr(TestCheck, fault), at), settings=SETTINGS)
        if at == 2:  # behind them it is not, which is what "all" is for
            trainer.fit(X, Y)
            assert trainer.bit_exact is True
            return
        with pytest.raises(MismatchError, match=f"step {at + 1}: device 'faulty' and the golden model differ in"):
            trainer.fit(X, Y)
        assert (trainer.checked_steps, trainer.bit_exact) == (at, False)
        assert trainer.state.step == 0
        with pytest.raises(MismatchError, match=f"step {at + 1}: "):
            trainer.fit(X, Y, resume=True)

    @pytest.mark.parametrize("fault", ["code", "weight", "loss"])
    def test_a_fault_is_not_caught_if_nothing_is_compared(self, fault):
        trainer = Trainer(NETWORK, Faulty(getattr(TestCheck, fault)), settings=SETTINGS, check="none")
        trainer.fit(X, Y)
        assert (trainer.checked_steps, trainer.bit_exact) == (0, None)

    @pytest.mark.parametrize("check", ["first", "all"])
    def test_too_little_memory_to_compare(self, monkeypatch, check):
        trainer = Trainer(NETWORK, Other(), settings=SETTINGS, check=check)
        trainer.fit(X, Y, steps=1)
        plan = trainer.plan
        monkeypatch.setattr("bnnedge.checker.meminfo", lambda: {"MemAvailable": 70_000})
        with pytest.raises(ValueError, match=r"takes some 0 MiB of memory, and 0 MiB are free: train without \(--no-check, in"):
            trainer.fit(X, Y)
        assert (trainer.state.step, trainer.checked_steps) == (1, 1)
        assert trainer.plan is plan  # the run that was begun can be gone on with
        Trainer(NETWORK, Other(), settings=SETTINGS, check="none").fit(X, Y)
        Trainer(NETWORK, settings=SETTINGS).fit(X, Y)
        monkeypatch.setattr("bnnedge.checker.meminfo", dict)
        trainer.fit(X, Y, steps=3, resume=True)

    def test_an_estimate_of_the_time(self):
        assert 0 < step_seconds(NETWORK, 64) < step_seconds(cnv(), 64) < step_seconds(binarynet(), 512)


class TestMeasure:
    def test_checked_steps_are_left_out(self):
        trainer = Trainer(NETWORK, Clocked(), settings=SETTINGS)
        trainer.fit(X, Y, epochs=2)
        measured = trainer.measure(X, Y)
        assert (measured.images, measured.cycles, measured.utilisation) == ((1 + 3) * 64, (1 + 3) * 500, 0.5)
        assert trainer.counters == {"images": 6 * 64, "cycles": 2 * 1000 + 6 * 500, "engine": 1000 + 3 * 500}

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_a_run_of_checked_steps_is_measured_by_others(self, steps):
        trainer = Trainer(NETWORK, Clocked(), settings=SETTINGS)
        trainer.fit(X, Y, steps=steps)
        before = trainer.state
        measured = trainer.measure(X, Y, steps=2)
        assert (measured.images, measured.cycles) == (64, 500), "without what a run begins with"
        assert trainer.state.differences(before) == []

    @pytest.mark.parametrize("check", ["none", "first"])
    def test_calls_of_single_steps_count_whole(self, check):
        trainer = Trainer(NETWORK, Clocked(), settings=SETTINGS, check=check)
        trainer.fit(X[:64], Y[:64], epochs=4)
        measured = trainer.measure(X, Y)
        count = 4 if check == "none" else 2
        assert (measured.images, measured.cycles, measured.utilisation) == (count * 64, count * 1500, 0.5)
        trainer.fit(X, Y, steps=5)
        measured = trainer.measure(X, Y)
        assert measured.cycles / measured.images == 500 / 64, "calls of several steps tell more"

    def test_extra_steps_are_two_at_least(self):
        trainer = Trainer(NETWORK, Clocked(), settings=SETTINGS, check="all")
        trainer.fit(X[:64], Y[:64])
        measured = trainer.measure(X[:64], Y[:64], steps=1)
        assert (measured.images, measured.cycles) == (64, 500)

    def test_from_training(self):
        trainer = Trainer(NETWORK, Clocked(), settings=SETTINGS, check="none")
        trainer.fit(X, Y, epochs=2)
        measured = trainer.measure(X, Y)
        assert (measured.images, measured.cycles, measured.utilisation) == (2 * 3 * 64, 2 * 3 * 500, 0.5)

    def test_extra_steps_after_a_checked_run(self):
        trainer = Trainer(NETWORK, Clocked(), settings=SETTINGS, check=True)
        trainer.fit(X, Y)
        before = trainer.state
        measured = trainer.measure(X, Y, steps=3)
        assert (measured.images, measured.cycles) == (2 * 64, 2 * 500)
        assert trainer.state.differences(before) == []
        trainer.fit(X, Y)
        plain = Trainer(NETWORK, settings=SETTINGS)
        plain.fit(X, Y)
        plain.fit(X, Y)
        assert_same(trainer, plain)

    def test_no_clock(self, trainer):
        trainer.fit(X, Y)
        assert trainer.measure(X, Y) is None


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (X[:63], Y[:63], "x has 63 images, less than a batch of 64"),
            (X[:0], Y[:0], "x is empty"),
            (X.reshape(300, 16), Y, r"x holds images of shape \(16,\), but network 'tiny' takes \(4, 4\)"),
            (X, Y[:-1], "y has 299 labels for 300 images"),
            (X, Y + 1, "y holds the label 4; the 4 classes are 0..3"),
            (X, Y - 1, "y holds the negative label -1"),
            (X, Y + 0.5, "y must be integers, not float64 such as"),
            (X, np.eye(4)[Y], r"y must have shape \(N,\), .* not \(300, 4\): of one-hot labels give y.argmax\(1\)"),
            (X.astype(complex), Y, "x must be integers in 0..255 or floats"),
            (np.where(X == 3, np.nan, X / 255), Y, "x holds NaN"),
            (X // 16, Y, r"x holds integers up to 15 only, .*: scale them, .* or give floats in \[0, 1\]"),
            (X.astype(int) * 2, Y, r"x must lie in 0\.\.255"),
            (-X.astype(int), Y, r"x must lie in 0\.\.255"),
            (X.astype(float), Y, r"x holds floats up to 25\d: scale to \[0, 1\], or give integers"),
            (np.array(["a", "b"]), Y, "x must have shape"),
        ],
    )
    def test_data(self, trainer, x, y, message):
        before = trainer.state
        with pytest.raises(ValueError, match=message):
            trainer.fit(x, y)
        assert trainer.plan is None
        assert trainer.state.differences(before) == []

    def test_validation_data_is_named(self, trainer):
        with pytest.raises(DataError, match="validation y holds the label 9"):
            trainer.fit(X, Y, validation_data=(X, np.full(300, 9)))

    def test_evaluate_and_predict(self, trainer):
        with pytest.raises(DataError, match="y has 1 labels for 2 images"):
            trainer.evaluate(X[:2], Y[:1])
        with pytest.raises(DataError, match="x is empty"):
            trainer.predict(X[:0])

    @pytest.mark.parametrize("name", ["epochs", "steps", "steps_per_call"])
    @pytest.mark.parametrize("value", [0, -1, 1.5, True])
    def test_counts(self, trainer, name, value):
        with pytest.raises(ValueError, match=f"{name} must be a positive whole number, not {value}"):
            trainer.fit(X, Y, **{name: value})

    @pytest.mark.parametrize("length", [{"steps": 10**23}, {"steps": 2**32}, {"epochs": 2**31}])
    def test_runs_that_no_checkpoint_can_hold(self, trainer, length):
        trainer.fit(X, Y)
        plan = trainer.plan
        for resume in (False, True):
            with pytest.raises(ValueError, match=r"a run of \d+ steps is too long to count; \d+ fit: give fewer epochs or steps"):
                trainer.fit(X, Y, resume=resume, **length)
        assert trainer.plan is plan

    def test_numpy_counts(self, trainer):
        trainer.fit(X, Y, epochs=np.int64(2), steps_per_call=np.uint8(3))
        assert (type(trainer.plan.steps), trainer.plan.steps) == (int, 8)
        trainer.fit(X, Y, steps=np.int32(3))
        assert (type(trainer.plan.steps), trainer.plan.steps) == (int, 3)

    def test_images_of_another_scale(self, trainer, tmp_path):
        """To validate on, they are refused; evaluated and predicted they are with a warning, after a checkpoint, too."""
        with pytest.raises(DataError, match=r"^x lies in 0..254 \(uint8\), validation x in 0..15 \(uint8\): bring both to one"):
            trainer.fit(X, Y, validation_data=(X // 16, Y))
        assert trainer.evaluate(X // 16, Y)["accuracy"] >= 0
        trainer.fit(X, Y, validation_data=(X / 255, Y))
        trainer.save(tmp_path / "checkpoint.npz")
        for found in (trainer, Trainer.load(tmp_path / "checkpoint.npz")):
            text = r"^x lies in 0..0.0622549 \(float64\), the training images in 0..254 of 255: "
            with pytest.warns(DataWarning, match=text) as noted:
                assert found.evaluate(X / 255 / 16, Y)["accuracy"] >= 0
            assert noted[0].filename == __file__
            with pytest.warns(DataWarning, match=r"^x lies in 0..15 \(uint8\), "):
                assert found.predict(X // 16).shape == (300, 4)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found.predict(X[:1] // 16)  # of a single one there is no telling
                found.evaluate(X // 2 + 20, Y)

    def test_epochs_or_steps(self, trainer):
        with pytest.raises(ValueError, match="epochs or steps, not both"):
            trainer.fit(X, Y, epochs=1, steps=1)

    @pytest.mark.parametrize("rate", [0, -0.1, 2.0, float("nan"), float("inf"), "fast", True, 1e-6])
    def test_rate(self, rate):
        with pytest.raises(ValueError, match=r"rate must be a number in 3\.1e-05\.\.0\.499992, not"):
            Trainer(NETWORK, rate=rate)

    def test_arguments(self):
        with pytest.raises(ValueError, match="constant, or a function of the epoch, not 'linear'"):
            Trainer(NETWORK, schedule="linear")
        with pytest.raises(ValueError, match="there is no configuration 'huge'"):
            Trainer(NETWORK, configuration="huge")
        with pytest.raises(ValueError, match="there is no device 'gpu'"):
            Trainer(NETWORK, "gpu")
        with pytest.raises(ValueError, match="the device has configuration 'sim-small', not the one given"):
            Trainer(NETWORK, GoldenDevice(SMALL), configuration="pynq-z2")


def test_owned_devices_are_closed():
    with Trainer(NETWORK, settings=SETTINGS) as trainer:
        device = trainer.device
    with pytest.raises(DeviceError, match="closed"):
        device.state()
    given = GoldenDevice(SMALL)
    with Trainer(NETWORK, given, settings=SETTINGS) as trainer:
        trainer.fit(X, Y)
    assert given.state().step == 4


def test_import_is_light():
    """A board has NumPy alone."""
    others = ("amaranth", "yaml", "matplotlib", "tqdm", "pynq", "bnnedge.sim", "bnnedge.hw")
    code = f"import sys, bnnedge.devices.pynq; print([name for name in {others} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
