"""Learning rates: how they fall over the epochs of a run, and which of them a device can represent."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnnedge import formats
from bnnedge.network import Conv2D, Network

SCHEDULES = ("cosine", "step", "plateau", "constant")
FUNCTION = "function"  # the name of a schedule that is the user's own
PATIENCE = 3  # epochs without a smaller training loss before "plateau" halves the rate
# At the start of a fresh network: of dense layers, and with convolutions (chosen by the study `cifar10-tuning`).
RATE, CONVOLUTIONAL_RATE = 0.012, 0.004
# Of dense layers, with some hundreds of images: of digits, a fifth held out, 5 seeds, 0.012 gave 96.2 %, 0.02 to 0.06 97 %.
SMALL_DATA_RATE = 0.03
FINE = 10  # times smaller is the rate of a network that comes trained
SCHEDULE = "cosine"  # how the rate falls, unless told otherwise
MOST_EPOCHS = 1 << 16  # whose rates, each a number of a checkpoint, a function may give

_LAYER_RATE = formats.RATE_UNIT + formats.MOMENT + 1 - formats.RATE  # fraction bits of a layer's rate that are cut off

Schedule = Callable[[int], float] | Callable[[int, float], float]


def usual(network: Network, dense: float = RATE) -> float:
    """The rate at which training of a fresh network begins, unless told otherwise; `dense` if it has dense layers alone."""
    return CONVOLUTIONAL_RATE if isinstance(network.layers[0], Conv2D) else dense


def fine(network: Network, latent: int) -> float:
    """The rate for a network that comes trained, with latent weights of so many bits: a FINE-th, or the least there is."""
    return max(usual(network) / FINE, math.ldexp(representable(network, latent)[0], -formats.RATE_UNIT))


def scale(fan_in: int) -> int:
    """S of a layer of so many inputs: its latent weights are 2**S times the weights, and begin near 1/4."""
    return max(0, (fan_in.bit_length() - 1) // 2 - 2)


def layer_rate(rate: int, fan_in: int, latent: int) -> int:
    """The device's rate in a layer of so many inputs, for latent weights of so many bits."""
    return rate << scale(fan_in) + latent >> _LAYER_RATE


def decay(rate: int) -> int:
    """Decay of the moving mu and psi at the device's rate: DECAY, and one more each time the rate halves below 2**SLOW_RATE.

    Weights that move slowly leave sums as they are for longer, so that more of them can be averaged.
    """
    return min(formats.DECAY + max(0, formats.SLOW_RATE + 1 - rate.bit_length()), formats.SLOWEST_DECAY)


def representable(network: Network, latent: int) -> range:
    """The device's rates with which the weights of each layer move, and no layer's rate is too large; see `formats.RATE_UNIT`."""
    shifts = [scale(layer.fan_in) + latent - _LAYER_RATE for layer in network.geometry]
    most = (1 << formats.RATE_BITS) - 1
    return range(1 << max(0, -min(shifts)), (most >> max(0, *shifts)) + 1)


def check_rate(rate: float, rates: range) -> float:
    """Return `rate` as a float; ValueError if it is none of `rates`, as `representable` gives them."""
    unit = 1 << formats.RATE_UNIT
    number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if getattr(rate, "shape", None) == () and not number:  # of JAX or PyTorch
        number = np.asarray(rate).dtype.kind in "iuf"
    if not number or round_rate(rate) not in rates:
        raise ValueError(f"rate must be a number in {rates[0] / unit:.2g}..{rates[-1] / unit:.6g}, not {rate!r:.80}")
    return float(rate)


def round_rate(rate: float) -> int:
    """A learning rate as the device takes it, to the nearest; -1 for NaN and infinity."""
    return round(math.ldexp(rate, formats.RATE_UNIT)) if math.isfinite(rate) else -1


def scheduled(schedule: str, rate: float, epoch: int, epochs: int, losses: Sequence[float]) -> float:
    """Learning rate of an epoch, before which the training had these losses.

    cosine: half a cosine from `rate` down towards 0. step: a tenth from the middle of the run on, a hundredth in its last
    quarter. plateau: half of it whenever the training loss has not become smaller for PATIENCE epochs. constant.
    """
    if schedule == "cosine":
        return rate * (0.5 + 0.5 * math.cos(math.pi * epoch / epochs))
    if schedule == "step":
        return rate * 0.1 ** ((2 * epoch >= epochs) + (4 * epoch >= 3 * epochs))
    return rate * 0.5 ** _plateaus(losses[:epoch]) if schedule == "plateau" else rate


def _plateaus(losses: Sequence[float]) -> int:
    """How often PATIENCE epochs have passed in vain."""
    best, waited, found = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == PATIENCE:
            waited, found = 0, found + 1
    return found


def check_schedule(schedule: Any) -> tuple[str, Schedule | None]:
    """Name of a schedule, and the function if it is one; ValueError if it is neither."""
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return schedule, None
    if callable(schedule) and not isinstance(schedule, type):
        if type(schedule).__module__.split(".")[0] in ("keras", "tf_keras", "tensorflow", "torch"):
            raise ValueError(f"schedule {type(schedule).__name__} counts steps: give a function of the epoch, from 0")
        return FUNCTION, schedule
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, or a function of the epoch, not {schedule!r:.80}")


def rates_of(function: Schedule, rate: float, epochs: int, fitting: range) -> tuple[float, ...]:
    """Learning rates of all epochs, as a function gives them; ValueError if one cannot be.

    function: of the epoch, from 0, or, as Keras's, of the epoch and the rate of the one before, at first `rate`. fitting: what
        the device represents, see `representable`.
    """
    if epochs > MOST_EPOCHS:
        raise ValueError(f"a schedule that is a function gives rates for {MOST_EPOCHS:,} epochs at most, not {epochs:,}")
    both, rates = _takes_rate(function), []
    for epoch in range(epochs):
        try:
            given = function(epoch, rate) if both else function(epoch)  # type: ignore[call-arg]
        except Exception as error:
            raise ValueError(f"schedule for epoch {epoch} of {epochs}: {type(error).__name__}: {error}") from error
        try:
            rate = check_rate(given, fitting)
        except ValueError as error:
            raise ValueError(f"schedule for epoch {epoch} of {epochs}: {error}") from None
        rates.append(rate)
    return tuple(rates)


def _takes_rate(function: Schedule) -> bool:
    """Whether it takes epoch and rate, and not the epoch alone."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a builtin
        return False
    for taken in (1, 2):
        try:
            signature.bind(*range(taken))
        except TypeError:
            continue
        return taken == 2
    raise ValueError(f"schedule must be a function of the epoch, or of epoch and rate, not of {signature}")
