"""Training settings for a user's own data: a grid of rates and batches by successive halving, on images held out.

All candidates train from the same seed; the better half trains anew for twice as many epochs, and so on, so that a round costs
about as much as the one before: "Non-stochastic Best Arm Identification and Hyperparameter Optimization", Jamieson and
Talwalkar, arXiv 1502.07943.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from bnnedge.compiler import fitting
from bnnedge.configuration import Configuration
from bnnedge.configuration import configuration as configuration_called
from bnnedge.data.arrays import DataError
from bnnedge.data.images import check_images
from bnnedge.data.labels import check_labels
from bnnedge.devices import Device, open_device, own_configuration
from bnnedge.network import Network
from bnnedge.rates import usual
from bnnedge.report.spread import spread
from bnnedge.settings import Settings, whole
from bnnedge.trainer import Trainer

FACTORS = (1 / 4, 1 / 2, 1, 2, 4)  # of the usual rate: what is tried unless told otherwise
BATCHES = (64, 128, 256, 512)  # that rates are proposed for
MOST_HELD_OUT = 10_000  # images, unless told otherwise: an accuracy of 0.9 has a standard error of 0.003 on them
BATCH_EXPONENT = 0.7  # with rate ~ batch ** BATCH_EXPONENT J grows alike: the study `spread-of-signs` in docs/results


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training, and what came of it.

    Parameters
    ----------
    rate: learning rate at the start.
    settings: all others, the batch among them.
    epochs: passes over the images that were not held out.
    accuracy: 0..1, on the images held out.
    loss: mean cross-entropy there, in nats.
    spread: for each layer J = std(W) sqrt(K) of its latent weights (see `bnnedge.report.spread`), before and after.
    seconds: of wall time, for training and evaluation.
    """

    rate: float
    settings: Settings
    epochs: int
    accuracy: float
    loss: float
    spread: tuple[tuple[float, float], ...]
    seconds: float

    def __str__(self) -> str:
        return (
            f"rate {self.rate:g}, batch {self.settings.batch}, {self.epochs} epoch{'s' * (self.epochs > 1)}: held-out accuracy "
            f"{100 * self.accuracy:.2f} %, loss {self.loss:.4f} ({self.seconds:.1f} s)"
        )


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What a search found.

    Parameters
    ----------
    trials: all trainings, in their order: a round of the shortest ones, then fewer and longer ones.
    left_out: the candidates that could not be tried, and why.
    held_out: images, the last ones, on which accuracy and loss were measured.
    """

    trials: tuple[Trial, ...]
    left_out: Mapping[str, str]
    held_out: int

    @property
    def best(self) -> Trial:
        """The winner of the last round."""
        longest = max(trial.epochs for trial in self.trials)
        return min((trial for trial in self.trials if trial.epochs == longest), key=_rank)

    @property
    def proposals(self) -> dict[int, float]:
        """For each batch that there is, the rate that trains like the best trial: for who needs another speed or memory."""
        best = self.best
        return {batch: rescaled(best.rate, best.settings.batch, batch) for batch in BATCHES}


def rescaled(rate: float, batch: int, to: int) -> float:
    """The rate that trains with batches of `to` images as `rate` does with batches of `batch`: ~ batch ** BATCH_EXPONENT."""
    return rate * (to / batch) ** BATCH_EXPONENT


def tune(
    network: Network,
    x: np.ndarray,
    y: np.ndarray,
    *,
    device: str | Device = "golden",
    configuration: str | os.PathLike[str] | Configuration | None = None,
    settings: Settings | None = None,
    rates: Sequence[float] | None = None,
    batches: Sequence[int] | None = None,
    epochs: int = 2,
    holdout: int | None = None,
    progress: Callable[[Trial], object] | None = None,
) -> Tuning:
    """Find the rate and the batch that train a network best on these images.

    The same arguments and configuration give the same trials on every device, times aside. J is taken from the latent
    weights, which the host reads after each call of the device anyway: it costs no hardware.

    Parameters
    ----------
    network, device, configuration: as `Trainer` takes them; a device that is open already stays open.
    x, y: training images and labels as `Trainer.fit` takes them, in random order: the last ones are held out. Test images
        don't belong here, for a test set that has chosen settings says nothing any more.
    settings: all but rate and batch, and the batch if `batches` is not given; see `Settings`.
    rates: learning rates to try; by default that of `Trainer`, and a quarter, half, twice and four times of it.
    batches: to try with each rate; by default that of the settings alone.
    epochs: of each training of the first round, 1 or more.
    holdout: images to hold out; by default a sixth, 10,000 at most.
    progress: called with each trial as it ends; `print` will do.

    Raises
    ------
    ValueError: no candidate can be tried, nothing remains to train on, or the data cannot be used (`DataError`)
    DeviceError: a device cannot be opened, or failed
    """
    settings = settings or Settings()
    rates = [factor * usual(network) for factor in FACTORS] if rates is None else list(rates)
    batches = [settings.batch] if batches is None else list(batches)
    if not rates or not batches:
        raise ValueError("give at least one rate and one batch to try")
    if configuration is not None and not isinstance(configuration, Configuration):
        configuration = configuration_called(configuration)
    images = check_images("x", x)
    labels = check_labels("y", y, len(images))
    kept = len(images) - _held_out(holdout, len(images), min(batches))
    _check_order(labels[:kept], labels[kept:])

    with _devices(device, network, configuration) as device_for:

        def trainer(rate: float, batch: int) -> Trainer:
            chosen = dataclasses.replace(settings, batch=batch)
            return Trainer(network, device_for(chosen), configuration=configuration, settings=chosen, rate=rate)

        candidates, left_out = [], {}
        for batch, rate in dict.fromkeys(itertools.product(batches, rates)):
            try:
                trainer(rate, batch)
                if batch > kept:
                    raise ValueError(f"{kept} images remain to train on: less than a batch")
                candidates.append((rate, batch))
            except ValueError as error:
                left_out[f"rate {rate}, batch {batch}"] = str(error)
        if not candidates:
            raise ValueError(f"none of the rates and batches can be tried: {'; '.join(dict.fromkeys(left_out.values()))}")
        trials: list[Trial] = []
        while True:
            ended = []
            for candidate in candidates:
                ended.append(_trial(trainer(*candidate), images, labels, kept, epochs))
                if progress is not None:
                    progress(ended[-1])
            trials += ended
            if len(ended) <= 2:  # of these, one is left
                return Tuning(tuple(trials), left_out, len(images) - kept)
            better = sorted(ended, key=_rank)[: (len(ended) + 1) // 2]
            candidates = [(trial.rate, trial.settings.batch) for trial in better]
            epochs *= 2


def _held_out(holdout: int | None, images: int, batch: int) -> int:
    """How many images to hold out, of so many, a batch being left; ValueError if that cannot be."""
    most = images - batch
    if most < 1:
        raise ValueError(f"x has {images} images: give more than the batch of {batch}, so that some can be held out")
    count = min(images // 6, MOST_HELD_OUT, most) if holdout is None else whole(holdout)
    if count is None or not 1 <= count <= most:
        raise ValueError(f"holdout must be a whole number in 1..{most}, which leaves a batch to train on, not {holdout!r}")
    return count


def _check_order(kept: np.ndarray, held: np.ndarray) -> None:
    """DataError if labels show that the images are sorted by class: what is held out then says nothing about the others."""
    if len(np.unique(held)) < 2 or np.isin(held, kept).mean() < 0.5:
        raise DataError(
            f"the last {len(held)} images, which are held out, are all of one class, or mostly of classes that the others lack: "
            "bring images and labels into random order, or hold out more"
        )


def _rank(trial: Trial) -> tuple[float, float]:
    return -trial.accuracy, trial.loss


@contextlib.contextmanager
def _devices(
    device: str | Device, network: Network, configuration: Configuration | None
) -> Iterator[Callable[[Settings], Device]]:
    """What gives the device for settings: as a `Trainer` would choose it, but opened once only, which may take long."""
    if not isinstance(device, str):
        yield lambda settings: device
        return
    name = device
    with contextlib.ExitStack() as stack:

        @functools.cache
        def opened(chosen: Configuration) -> Device:
            return stack.enter_context(contextlib.closing(open_device(name, chosen)))

        yield lambda settings: opened(configuration or own_configuration(name) or fitting(network, settings))


def _trial(trainer: Trainer, images: np.ndarray, labels: np.ndarray, kept: int, epochs: int) -> Trial:
    """Train on the first `kept` images, anew because the schedule depends on the epochs, and evaluate on the others."""
    latent = trainer.device.configuration.latent
    started = time.monotonic()
    before = spread(trainer.state, latent)
    history = trainer.fit(images[:kept], labels[:kept], epochs=epochs, progress=False)
    found = trainer.evaluate(images[kept:], labels[kept:])
    return Trial(
        trainer.rate,
        trainer.settings,
        len(history.epoch),
        found["accuracy"],
        found["loss"],
        tuple(zip(before, spread(trainer.state, latent), strict=True)),
        time.monotonic() - started,
    )
