"""Training, evaluation and prediction on any device, in the manner of Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from bnnedge import checkpoint, formats, overview
from bnnedge.callbacks import Callback, History
from bnnedge.callbacks.calling import Calls, listed
from bnnedge.checker import Checker, MismatchError, check_memory, level, step_seconds
from bnnedge.compiler import fitting
from bnnedge.compiler.layout import layout
from bnnedge.configuration import Configuration
from bnnedge.configuration import configuration as configuration_called
from bnnedge.course import Course
from bnnedge.data.augment import Augment, Epochs
from bnnedge.data.dataset import Dataset
from bnnedge.data.scale import Scale
from bnnedge.devices import Device, DeviceError, Memory, Opener, open_device, own_configuration
from bnnedge.devices.tenancy import Tenant, alone
from bnnedge.keywords import SAME, explained, unknown
from bnnedge.network import Network, check_network
from bnnedge.planning import Planner
from bnnedge.rates import FUNCTION, SCHEDULE, Schedule, check_rate, check_schedule, representable, round_rate, usual
from bnnedge.runner import Measurement, Pace, Runner, call_steps
from bnnedge.samples import Unchanged, images_for, samples_for, training_samples
from bnnedge.schedule import Plan
from bnnedge.settings import Settings, count, flag
from bnnedge.state import TrainingState
from bnnedge.validation import held_out


class Trainer:
    """Trains one network on one device.

    The same arguments give the same bits, on every device, whatever the number of calls and checkpoints in between.
    Several trainers may use one open device by turns: each finds its own network and state there. One thread at a time: a
    call from a second one is a DeviceError as long as the first is inside.

    Parameters
    ----------
    network: what to train.
    device: "golden", "rtl", "pynq" (a board), a device that is open already, or a function that opens one for a configuration;
        the trainer closes what it opened.
    configuration: of the accelerator, or its name or file; by default that of the device or of the board's bitstream, else
        the smallest built-in one that holds the network.
    settings: batch, planes, optimiser, seed; see `Settings`. A dict of them does, too.
    rate: learning rate at the start; weights lie in [-1, 1], and a step moves them by at most this. By default 0.012, and 0.004
        of a network with convolutions.
    schedule: of the rate over the epochs of a run: "cosine" (towards 0), "step" (a tenth from the middle on, a hundredth in the
        last quarter), "plateau" (half of it whenever the training loss stays for three epochs) or "constant"; or a function
        of the epoch, from 0, or of the epoch and the rate of the one before, that returns the epoch's rate. It is called for
        all epochs before a run begins; a checkpoint keeps these rates, and not the function.
    check: which steps to compare with the golden model, which trains alongside; the golden model itself is not compared.
        "first": two of each call of `fit`, with every tensor, on "pynq" with loss, hits, weights and statistics. "all" or
        True: each step and each inference, with every tensor. "none" or False: nothing.

    Members
    -------
    stop_training: set it to True in a callback, and the run ends after the running call of the device.

    Raises
    ------
    ValueError: an argument is out of range, or the network does not fit the configuration
    DeviceError: the device cannot be opened
    """

    @explained
    def __init__(
        self,
        network: Network,
        device: str | Device | Opener = "golden",
        *,
        configuration: str | os.PathLike[str] | Configuration | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
        rate: float | None = None,
        schedule: str | Schedule = SCHEDULE,
        check: bool | str = "first",
    ) -> None:
        check = level(check)
        self.network, self.settings = check_network(network), Settings.of(settings)
        self._schedule, self._function = check_schedule(schedule)
        if configuration is not None and not isinstance(configuration, Configuration):
            configuration = configuration_called(configuration)
        if not isinstance(device, (str, Device)) and not callable(device):
            raise ValueError(f"device must be a name, such as 'golden', or an open device, not {device!r:.80}")
        if isinstance(device, Device) and configuration not in (None, device.configuration):
            raise ValueError(f"the device has configuration {device.configuration.name!r}, not the one given")
        self.stop_training = False
        self._opened: list[Device] = []
        self._closed = self._fitting = False
        self._lock = threading.RLock()
        try:
            if not isinstance(device, Device):
                own = own_configuration(device) if isinstance(device, str) else None
                configuration = configuration or own or fitting(network, self.settings)
                device = self._open(device, configuration)
            self.device = device
            if device.name == "golden":
                if check == "all":
                    raise ValueError("check: the golden model is what other devices are checked against")
                check = "none"
            latent = self.device.configuration.latent
            self._rates = representable(network, latent)
            self._rate = check_rate(usual(network) if rate is None else rate, self._rates)
            tenant = Tenant(self.device, network, self.settings)
            tenant.prepare()
            golden = None if check == "none" else self._open("golden", self.device.configuration)
        except BaseException:
            self.close()
            raise
        self._checker = Checker(None if golden is None else Tenant(golden, network, self.settings), check)
        self._runner = Runner(tenant, self._checker, self.settings.batch)
        state = TrainingState.initial(network, latent, self.settings.gradient_planes, self.settings.seed)
        self._course = Course(self._runner, state)
        self._scale: Scale | None = None  # of the images that it was trained on

    def _open(self, opener: str | Opener, configuration: Configuration) -> Device:
        opened = open_device(opener, configuration) if isinstance(opener, str) else opener(configuration)
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
    def rate(self) -> float:
        """Learning rate at the start of a run; may be set between runs, not within one (ValueError)."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._check_between("rate")
        self._rate = check_rate(rate, self._rates)

    @property
    def schedule(self) -> str:
        """Name of the rate's schedule; may be set between runs, to a name or a function, not within one (ValueError)."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: str | Schedule) -> None:
        self._check_between("schedule")
        self._schedule, self._function = check_schedule(schedule)

    @property
    def state(self) -> TrainingState:
        """The training state after the last finished step (a copy)."""
        return self._course.state.copy()

    @property
    def plan(self) -> Plan | None:
        """The last run of `fit` and how far it is; None before the first."""
        return self._course.plan

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

    @property
    def measured(self) -> Measurement | None:
        """What the steps of `fit` that were not checked cost, see `measure`; None for none, or a device without a clock."""
        return self._runner.measurement()

    @property
    def history(self) -> History:
        """Course of the last run as far as it went, be it interrupted; without epochs before the first."""
        return self._course.history

    def summary(self) -> None:
        """Print a table of the layers: output, weights, and bytes of latent weights and momenta in the device's memory."""
        there = layout(self.network, self.settings, self.device.configuration)
        print(overview.table(self.network, [there.latent_bytes(i) for i in range(len(self.network.geometry))]))
        print(self)

    def __getattr__(self, name: str) -> Any:
        """An answer for methods that other libraries have."""
        raise unknown(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to set what nothing would look at."""
        if "_course" in self.__dict__:
            if name in ("network", "settings", "device"):
                raise AttributeError(f"{name} of a Trainer can't be set: make another Trainer, or load a checkpoint with it")
            if SAME.get(name) in ("rate", "schedule"):
                raise AttributeError(f"a Trainer has no {name!r}: did you mean `{SAME[name]}`?")
        super().__setattr__(name, value)

    def __getstate__(self) -> Any:
        raise TypeError("a Trainer holds a device, and can't be copied or pickled: save it, and make another with Trainer.load")

    def __repr__(self) -> str:
        """Network, device, settings and steps taken, in a line."""
        device = f"{self.device.name} ({self.device.configuration.name})" if hasattr(self, "device") else "none"
        steps = f", {self._course.state.step:,} steps taken" if hasattr(self, "_course") else ""
        return (
            f"Trainer({self.network.name!r} {overview.shape(self.network)}, device {device}, batch {self.settings.batch}, "
            f"rate {self.rate:g}, {self.schedule}{steps}{', closed' if self._closed else ''})"
        )

    @explained
    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        validation_data: tuple[np.ndarray, np.ndarray] | Dataset | None = None,
        validation_split: float = 0,
        shuffle: bool = True,
        augment: Augment | None = None,
        resume: bool = False,
        callbacks: Iterable[Callback] | Callback | None = (),
        steps_per_call: int | None = None,
        progress: bool | None = None,
    ) -> History:
        """Train, and return the course of the run.

        The images of an epoch beyond its last whole batch (others in each epoch, if `shuffle`) are left out. After an
        interrupt or a failure of the device the trainer holds the state of the last finished call, and can save it; `history`
        tells the epochs that were finished.

        Parameters
        ----------
        x: (N, *input_shape) images, N at least a batch; integers 0..255 (that reach 128) or floats in [0, 1] (0.5). They must
            not change while `fit` runs.
        y: (N,) or (N, 1) labels, whole numbers 0..classes-1.
        epochs: passes over the data, 1 unless told otherwise.
        steps: instead of epochs: batches to train in all.
        validation_data: (x, y) to evaluate after each epoch, or a `Dataset`, of which the test images are meant.
        validation_split: instead: the part of x and y, at their end, that is not trained on but evaluated.
        shuffle: draw a new order for each epoch.
        augment: shift or mirror the images of x anew for each epoch, on the host, by the seed of the settings. A run that
            is resumed keeps the one that it began with.
        resume: go on with the last run, interrupted here or loaded from a checkpoint, with the same data and order.
            `epochs` or `steps`, if given, are then those of the whole run, so that it can also be made longer.
        callbacks: `Callback`, or several; called after each call of the device and each epoch, and as the run ends, however
            it does.
        steps_per_call: steps that the device takes before it reports and can be interrupted; a whole epoch by default, or
            about a second's worth where progress is shown or a callback wants that. Changes no result. With all steps checked
            the device takes single ones.
        progress: show a bar; None: on a terminal or in a notebook, unless a callback shows something there.

        Raises
        ------
        ValueError: data or arguments that cannot be used, before anything was trained
        TypeError: a callback that cannot be called, likewise
        DeviceError: the device failed, is closed, or is in use by another thread
        MismatchError: the device computed something else than the golden model, see `check`
        """
        from bnnedge.report.progress import progress_for  # which knows this module

        with self._using(), self._once():
            resume, shuffle = flag("resume", resume), flag("shuffle", shuffle)
            x, y, validation_data = held_out(x, y, validation_data, validation_split)
            (images, labels), validation, scale = training_samples(self.network, x, y, validation_data)
            if resume and self.plan is None:
                raise ValueError("there is no run to resume: call fit without resume first")
            planner = Planner(self.settings, self.rate, self.schedule, self._function, self._rates)
            last = self.plan if resume else None
            plan = planner.plan(images, labels, epochs, steps, augment, self._course.state.step, shuffle, last)
            same = Unchanged(images, labels, plan.digest)
            own = listed(callbacks)
            bars = progress_for(own, progress)
            calls = Calls((*own, *bars, same), self)
            shown = Epochs(images, plan.augment)
            steps_per_call = count("steps_per_call", steps_per_call)
            often = bars or any(getattr(callback, "often", False) for callback in own)
            if steps_per_call is not None:
                pace = Pace(steps_per_call)
            elif self._checker.level == "all":
                pace = Pace(1)
            elif often:
                # Which steps begin a call is seen in the cycles that a clock counts: these shall be the same every time.
                pace = Pace(call_steps(self.network, plan.batch), fixed=bool(self.device.counters()))
            else:
                pace = Pace(plan.epoch_steps)
            self._checker.begin()
            due = min(self._checker.due, plan.steps - plan.step)
            if due:
                check_memory(self.network, plan.batch)
            self.stop_training = False
            with self._course.told(calls, plan, validation is not None):
                self._scale = scale
                if due:
                    calls.tell("on_check_begin", int(due), due * step_seconds(self.network, plan.batch))
                try:
                    validate = None if validation is None else functools.partial(self._evaluate, *validation)
                    self._course.run(shown, labels, validate, calls, pace)
                except MismatchError:
                    same.check()
                    raise
                same.check()
            return self.history

    @explained
    def evaluate(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Mean cross-entropy "loss" (nats) and "accuracy" (0..1) on images and labels as `fit` takes them."""
        with self._using():
            return self._evaluate(*samples_for(self.network, x, y, scale=self._scale))

    @explained
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
        checkpoint.save(path, self._content())

    def snapshot(self) -> checkpoint.Checkpoint:
        """What `save` would write, for `restore` and `load`."""
        content = self._content()
        return dataclasses.replace(content, state=content.state.copy())

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to a `snapshot` of this trainer, with its weights and its place in the run; ValueError if it is another's."""
        with alone(self._lock, "this trainer"):
            if (saved.network, saved.settings, saved.configuration) != (self.network, self.settings, self.device.configuration):
                raise ValueError("this is no snapshot of this trainer: Trainer.load makes one of any checkpoint")
            self._course.now = (saved.state.copy(), saved.plan)

    def _content(self) -> checkpoint.Checkpoint:
        state, plan = self._course.now
        configuration = self.device.configuration
        about = self.rate, self.schedule, plan, self._scale
        return checkpoint.Checkpoint(self.network, self.settings, configuration, state, *about)

    @classmethod
    @explained
    def load(
        cls,
        source: str | os.PathLike[str] | checkpoint.Checkpoint,
        device: str | Device | Opener = "golden",
        *,
        configuration: str | os.PathLike[str] | Configuration | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
        rate: float | None = None,
        schedule: str | Schedule | None = None,
        fresh_averages: bool = False,
        check: bool | str = "first",
    ) -> Trainer:
        """Make a trainer of a checkpoint (a file or its content), by default for the configuration that it was saved with.

        settings, rate, schedule: others, for new runs from there on; a run that was interrupted is then forgotten. On another
        configuration training goes on, but draws other random numbers if its lanes differ.
        fresh_averages: for a new run, too, with images that look otherwise: count steps from 0, as in a fresh network, so that
        the moving averages forget within a few steps what they were.

        Raises `CheckpointError` if the file is damaged or foreign, ValueError if the device's weights have other bits.
        """
        fresh_averages = flag("fresh_averages", fresh_averages)
        saved = source if isinstance(source, checkpoint.Checkpoint) else checkpoint.load(source)
        if configuration is None and not isinstance(device, Device):
            configuration = saved.configuration
        trainer = cls(
            saved.network,
            device,
            configuration=configuration,
            settings=settings or saved.settings,
            rate=saved.rate if rate is None else rate,
            schedule=schedule or (SCHEDULE if saved.schedule == FUNCTION else saved.schedule),
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
        if schedule is None:
            trainer._schedule = saved.schedule
        state, same = saved.state.copy(), (settings, rate, schedule) == (None,) * 3 and not fresh_averages
        if fresh_averages:
            state.step = 0
        trainer._course.now = (state, saved.plan if same else None)
        return trainer

    def measure(self, x: np.ndarray, y: np.ndarray, steps: int = 8) -> Measurement | None:
        """Measure what training costs; None for a device without a clock.

        From the steps of `fit` that were not checked, which would disturb the clock. If there are none, but steps are checked,
        from up to `steps` extra ones, at least two, on the first images of x, after which the training state is as before.
        """
        with self._using():
            known = self.measured
            if known is not None or self._checker.level == "none":
                return known
            images, labels = samples_for(self.network, x, y)
            batch = self.settings.batch
            order = np.arange(batch * max(2, min(steps, len(images) // batch)), dtype=np.int64) % len(images)
            return self._runner.measure(self._course.state, images, labels, order, round_rate(self.rate))

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

    def _check_between(self, name: str) -> None:
        """ValueError within `fit`, which would not look at it any more."""
        if self._fitting:
            raise ValueError(f"{name} can't be set within fit, whose rates are planned before: give a schedule, or fit again")

    def _evaluate(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        logs = self._log_probabilities(images)
        loss = -logs[np.arange(len(labels)), labels].mean()
        return {"loss": float(loss), "accuracy": float(np.mean(logs.argmax(1) == labels))}

    def _log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Natural logarithms of the classes' probabilities: (N, classes) float64."""
        logits = self._runner.infer(self._course.state, images)
        z = logits.astype(np.float64) * (math.log(2) / (1 << formats.LOGIT))
        z -= z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))
