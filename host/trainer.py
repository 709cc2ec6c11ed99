"""Training, evaluation and prediction on any device, in the manner of Keras."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

import numpy as np

from bnnedge import checkpoint, formats
from bnnedge.callbacks import Callback, History
from bnnedge.checker import Checker, MismatchError, check_memory, level, step_seconds
from bnnedge.compiler import fitting
from bnnedge.configuration import Configuration
from bnnedge.configuration import configuration as configuration_called
from bnnedge.data.augment import Augment, Epochs
from bnnedge.data.dataset import Dataset
from bnnedge.data.scale import Scale
from bnnedge.devices import Device, DeviceError, Memory, open_device, own_configuration
from bnnedge.devices.tenancy import Tenant, alone
from bnnedge.network import Network
from bnnedge.runner import Measurement, Runner
from bnnedge.samples import Unchanged, digest, images_for, samples_for, training_samples
from bnnedge.schedule import RATE, SCHEDULE, SCHEDULES, Plan, check_rate, rate_unit, round_rate
from bnnedge.settings import Settings, count
from bnnedge.state import TrainingState


class Trainer:
    """Trains one network on one device.

    The same arguments give the same bits, on every device, whatever the number of calls and checkpoints in between.
    Several trainers may use one open device by turns: each finds its own network and state there. One thread at a time: a
    call from a second one is a DeviceError as long as the first is inside.

    Parameters
    ----------
    network: what to train.
    device: "golden", "rtl", "pynq" (a board), or a device that is open already; the trainer closes what it opened.
    configuration: of the accelerator, or its name or file; by default that of the device or of the board's bitstream, else
        the smallest built-in one that holds the network.
    settings: batch, planes, optimiser, seed; see `Settings`.
    rate: learning rate at the start; weights lie in [-1, 1], and a step moves them by at most this.
    schedule: of the rate over the epochs of a run: "cosine" (towards 0), "step" (a tenth from the middle on, a hundredth in the
        last quarter), "plateau" (half of it whenever the training loss stays for three epochs) or "constant".
    check: which steps to compare with the golden model, which trains alongside; the golden model itself is not compared.
        "first": two of each call of `fit`, with every tensor, on "pynq" with loss, hits, weights and statistics. "all" or
        True: each step and each inference, with every tensor. "none" or False: nothing.

    Raises
    ------
    ValueError: an argument is out of range, or the network does not fit the configuration
    DeviceError: the device cannot be opened
    """

    def __init__(
        self,
        network: Network,
        device: str | Device = "golden",
        *,
        configuration: str | os.PathLike[str] | Configuration | None = None,
        settings: Settings | None = None,
        rate: float = RATE,
        schedule: str = SCHEDULE,
        check: bool | str = "first",
    ) -> None:
        check = level(check)
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
        if isinstance(configuration, (str, os.PathLike)):
            configuration = configuration_called(configuration)
        if not isinstance(device, str) and configuration not in (None, device.configuration):
            raise ValueError(f"the device has configuration {device.configuration.name!r}, not the one given")
        self.network, self.settings, self.schedule = network, settings or Settings(), schedule
        self._opened: list[Device] = []
        self._closed = self._fitting = False
        self._lock = threading.RLock()
        try:
            if isinstance(device, str):
                configuration = configuration or own_configuration(device) or fitting(network, self.settings)
                device = self._open(device, configuration)
            self.device = device
            if device.name == "golden":
                if check == "all":
                    raise ValueError("check: the golden model is what other devices are checked against")
                check = "none"
            latent = self.device.configuration.latent
            self.rate = check_rate(rate, latent)
            tenant = Tenant(self.device, network, self.settings)
            tenant.prepare()
            golden = None if check == "none" else self._open("golden", self.device.configuration)
        except BaseException:
            self.close()
            raise
        self._unit = rate_unit(latent)
        self._checker = Checker(None if golden is None else Tenant(golden, network, self.settings), check)
        self._runner = Runner(tenant, self._checker, self.settings.batch)
        state = TrainingState.initial(network, latent, self.settings.gradient_planes, self.settings.seed)
        # One tuple, so that an interrupt never parts a state from its place in the run.
        self._now: tuple[TrainingState, Plan | None] = (state, None)
        self._scale: Scale | None = None  # of the images that it was trained on

    def _open(self, name: str, configuration: Configuration) -> Device:
        opened = open_device(name, configuration)
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        """Close the devices that the trainer opened.

        Then nothing can be trained, evaluated, predicted or measured any more (DeviceError), but `state`, `plan`, `counters`
        and `save` still have what was trained.
        """
        with alone(self._lock, "this trainer"):
            while self._opened:
                self._opened[-1].close()
                self._opened.pop()
            self._closed = True

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def state(self) -> TrainingState:
        """The training state after the last finished step (a copy)."""
        return self._now[0].copy()

    @property
    def plan(self) -> Plan | None:
        """The last run of `fit` and how far it is; None before the first."""
        return self._now[1]

    @property
    def bit_exact(self) -> bool | None:
        """True if all steps compared with the golden model were equal, False after a difference, None if none was compared."""
        return self._checker.exact

    @property
    def checked_steps(self) -> int:
        """Steps that were compared with the golden model and equal to it."""
        return self._checker.steps

    @property
    def check_seconds(self) -> float:
        """Time that the golden model and the comparison took."""
        return self._checker.seconds

    @property
    def counters(self) -> Mapping[str, int]:
        """What the device's counters say of the steps that were not checked, see `Device.counters`, and "images" of these."""
        return self._runner.counted.copy()

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        validation_data: tuple[np.ndarray, np.ndarray] | Dataset | None = None,
        shuffle: bool = True,
        augment: Augment | None = None,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        steps_per_call: int | None = None,
    ) -> History:
        """Train, and return the course of the run.

        The images of an epoch beyond its last whole batch (others in each epoch, if `shuffle`) are left out. After an
        interrupt or a failure of the device the trainer holds the state of the last finished call, and can save it.

        Parameters
        ----------
        x: (N, *input_shape) images, N at least a batch; integers 0..255 (that reach 128) or floats in [0, 1] (0.5). They must
            not change while `fit` runs.
        y: (N,) or (N, 1) labels, whole numbers 0..classes-1.
        epochs: passes over the data, 1 unless told otherwise.
        steps: instead of epochs: batches to train in all.
        validation_data: (x, y) to evaluate after each epoch, or a `Dataset`, of which the test images are meant.
        shuffle: draw a new order for each epoch.
        augment: shift or mirror the images of x anew for each epoch, on the host, by the seed of the settings. A run that
            is resumed keeps the one that it began with.
        resume: go on with the last run, interrupted here or loaded from a checkpoint, with the same data and order.
            `epochs` or `steps`, if given, are then those of the whole run, so that it can also be made longer.
        callbacks: called after each call of the device and each epoch, and as the run ends, however it does.
        steps_per_call: steps that the device takes before it reports and can be interrupted; a whole epoch by default.
            Changes no result. With all steps checked the device takes single ones.

        Raises
        ------
        ValueError: data or arguments that cannot be used, before anything was trained
        DeviceError: the device failed, is closed, or is in use by another thread
        MismatchError: the device computed something else than the golden model, see `check`
        """
        with self._using(), self._once():
            (images, labels), validation, scale = training_samples(self.network, x, y, validation_data)
            epochs, steps = count("epochs", epochs), count("steps", steps)
            steps_per_call = count("steps_per_call", steps_per_call)
            if epochs is not None and steps is not None:
                raise ValueError("give epochs or steps, not both")
            if resume:
                plan = self._resumed(images, labels, epochs, steps, augment)
            else:
                plan = self._planned(images, labels, epochs, steps, shuffle, augment)
            countable = (1 << formats.STEP_BITS) - 1 - plan.start
            if plan.steps > countable:
                raise ValueError(f"a run of {plan.steps} steps is too long to count; {countable} fit: give fewer epochs or steps")
            shown = Epochs(images, plan.augment)
            if steps_per_call is None:
                steps_per_call = 1 if self._checker.level == "all" else plan.epoch_steps
            self._checker.begin()
            due = min(self._checker.due, plan.steps - plan.step)
            if due:
                check_memory(self.network, plan.batch)
            self._now, self._scale = (self._now[0], plan), scale
            same = Unchanged(images, labels, plan.digest)
            try:
                if due:
                    seconds = due * step_seconds(self.network, plan.batch)
                    for callback in callbacks:
                        callback.on_check_begin(int(due), seconds)
                plan = self._run(plan, shown, labels, validation, (*callbacks, same), steps_per_call)
                same.check()
            except MismatchError:
                same.check()
                raise
            finally:
                for callback in callbacks:
                    callback.on_train_end()
            return History(list(range(plan.closed)), {name: list(plan.history[name]) for name in plan.history})

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Mean cross-entropy "loss" (nats) and "accuracy" (0..1) on images and labels as `fit` takes them."""
        with self._using():
            return self._evaluate(*samples_for(self.network, x, y, scale=self._scale))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (N, classes) float32, each row summing to 1, of images as `fit` takes them."""
        with self._using():
            return np.exp(self._log_probabilities(images_for(self.network, x, "x", self._scale))).astype(np.float32)

    def memory(self) -> Memory:
        """Bytes that the network takes on the device, by kind."""
        with self._using():
            return self._runner.memory()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint from which `load` goes on bit for bit; an earlier one at `path` is replaced in the end."""
        state, plan = self._now
        configuration = self.device.configuration
        about = self.rate, self.schedule, plan, self._scale
        content = checkpoint.Checkpoint(self.network, self.settings, configuration, state, *about)
        checkpoint.save(path, content)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | checkpoint.Checkpoint,
        device: str | Device = "golden",
        *,
        configuration: str | os.PathLike[str] | Configuration | None = None,
        settings: Settings | None = None,
        rate: float | None = None,
        schedule: str | None = None,
        check: bool | str = "first",
    ) -> Trainer:
        """Make a trainer of a checkpoint (a file or its content), by default for the configuration that it was saved with.

        settings, rate, schedule: others, for new runs from there on; a run that was interrupted is then forgotten. On another
        configuration training goes on, but draws other random numbers if its lanes differ. Raises `CheckpointError` if the
        file is damaged or foreign, ValueError if the device's weights have other bits.
        """
        saved = source if isinstance(source, checkpoint.Checkpoint) else checkpoint.load(source)
        if configuration is None and isinstance(device, str):
            configuration = saved.configuration
        trainer = cls(
            saved.network,
            device,
            configuration=configuration,
            settings=settings or saved.settings,
            rate=saved.rate if rate is None else rate,
            schedule=schedule or saved.schedule,
            check=check,
        )
        used = trainer.device.configuration
        if used.latent != saved.configuration.latent:
            trainer.close()
            raise ValueError(
                f"{'the' if source is saved else source} checkpoint has latent weights of {saved.configuration.latent} bits, "
                f"configuration {used.name!r} of {used.latent}"
            )
        trainer._scale = saved.scale
        trainer._now = (saved.state.copy(), saved.plan if (settings, rate, schedule) == (None,) * 3 else None)
        return trainer

    def measure(self, x: np.ndarray, y: np.ndarray, steps: int = 8) -> Measurement | None:
        """Measure what training costs; None for a device without a clock.

        From the steps of `fit` that were not checked, which would disturb the clock. If there are none, but steps are checked,
        from up to `steps` extra ones, at least two, on the first images of x, after which the training state is as before.
        """
        with self._using():
            known = self._runner.measurement()
            if known is not None or self._checker.level == "none":
                return known
            images, labels = samples_for(self.network, x, y)
            batch = self.settings.batch
            order = np.arange(batch * max(2, min(steps, len(images) // batch)), dtype=np.int64) % len(images)
            return self._runner.measure(self._now[0], images, labels, order, round_rate(self.rate, self._unit))

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Keep other threads out; DeviceError if one is inside, or trainer or device are closed."""
        if self._closed:
            raise DeviceError(
                "this trainer is closed: save it, which still works, and go on with Trainer.load, which opens a device anew"
            )
        with alone(self._lock, "this trainer"), self.device.claim():
            yield

    @contextlib.contextmanager
    def _once(self) -> Iterator[None]:
        """Keep callbacks of `fit` from calling it again."""
        if self._fitting:
            raise DeviceError("this trainer is within fit already: a callback cannot call it again")
        self._fitting = True
        try:
            yield
        finally:
            self._fitting = False

    def _planned(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        epochs: int | None,
        steps: int | None,
        shuffle: bool,
        augment: Augment | None,
    ) -> Plan:
        batch = self.settings.batch
        if len(images) < batch:
            raise ValueError(
                f"x has {len(images)} images, less than a batch of {batch}: give more images, or use a smaller batch"
            )
        steps = steps or (epochs or 1) * (len(images) // batch)
        return Plan(
            samples=len(images),
            batch=batch,
            digest=digest(images, labels),
            epochs=-(-steps // (len(images) // batch)),
            steps=steps,
            start=self._now[0].step,
            seed=self.settings.seed,
            shuffle=bool(shuffle),
            rate=self.rate,
            schedule=self.schedule,
            augment=augment,
        )

    def _resumed(
        self, images: np.ndarray, labels: np.ndarray, epochs: int | None, steps: int | None, augment: Augment | None
    ) -> Plan:
        plan = self.plan
        if plan is None:
            raise ValueError("there is no run to resume: call fit without resume first")
        if (plan.samples, plan.digest) != (len(images), digest(images, labels)):
            raise ValueError(
                f"the run to resume began with other data ({plan.samples} images; these are {len(images)}): "
                "give the same, in the same order, or begin a new run"
            )
        if augment not in (None, plan.augment):
            raise ValueError(f"the run to resume began with augment {plan.augment!r}: give the same, or none")
        if epochs is not None:
            steps = epochs * plan.epoch_steps
        return plan if steps in (None, plan.steps) else plan.extended(steps)

    def _run(
        self,
        plan: Plan,
        shown: Epochs,
        labels: np.ndarray,
        validation: tuple[np.ndarray, np.ndarray] | None,
        callbacks: Sequence[Callback],
        steps_per_call: int,
    ) -> Plan:
        """Take all steps that are left of the plan, and tell the callbacks."""
        while plan.entry_due or not plan.finished:
            if plan.entry_due:
                entry = {**plan.running(), "rate": plan.scheduled_rate(plan.closed)}
                if validation:
                    entry.update({f"val_{name}": value for name, value in self._evaluate(*validation).items()})
                plan = plan.with_entry(entry)
                self._now = (self._now[0], plan)
                for callback in callbacks:
                    callback.on_epoch_end(plan.closed - 1, entry)
            else:
                plan = self._advance(plan, shown, labels, steps_per_call)
                logs = {"steps": plan.steps, "epochs": plan.epochs, "epoch": (plan.step - 1) // plan.epoch_steps}
                for callback in callbacks:
                    callback.on_batch_end(plan.step, {**plan.running(), **logs})
        return plan

    def _advance(self, plan: Plan, shown: Epochs, labels: np.ndarray, steps_per_call: int) -> Plan:
        """Take the next steps of the running epoch."""
        first = plan.step % plan.epoch_steps
        count = min(plan.epoch_steps - first, plan.steps - plan.step, steps_per_call)
        order = plan.order()[first * plan.batch : (first + count) * plan.batch]
        rate = round_rate(plan.scheduled_rate(plan.epoch), self._unit)
        images = shown.show(plan.epoch, plan.variation())
        results, state = self._runner.train(self._now[0], images, labels, order, rate)
        plan = plan.after(results)
        self._now = (state, plan)
        return plan

    def _evaluate(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        logs = self._log_probabilities(images)
        loss = -logs[np.arange(len(labels)), labels].mean()
        return {"loss": float(loss), "accuracy": float(np.mean(logs.argmax(1) == labels))}

    def _log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Natural logarithms of the classes' probabilities: (N, classes) float64."""
        logits = self._runner.infer(self._now[0], images)
        z = logits.astype(np.float64) * (math.log(2) / (1 << formats.LOGIT))
        z -= z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))
