"""The device's whole numbers of an assembled network: latent weights, statistics and beta (docs/arithmetic.md)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from bnnedge import bounds, formats
from bnnedge.configuration import Configuration
from bnnedge.importer.binary import Assembled, Binary
from bnnedge.layers import Geometry
from bnnedge.rates import scale
from bnnedge.state import TrainingState

_ONE, _BETA_ONE = 1 << formats.STATISTICS, 1 << formats.BETA_FRACTION
_PSI_LIMIT = (1 << formats.MU_BITS) - 1
# Mean absolute deviation of a normal distribution, in standard deviations.
_MEAN_DEVIATION = math.sqrt(2 / math.pi)
# Of a threshold: what float64 leaves of a whole number, and what float32 does.
_WHOLE, _TIE = 1e-12, 4e-7
# Of a sum of a trained network, in standard deviations; a layer of 256 inputs or fewer has no larger sums at all.
_FAR = 16
# Nats within which all logits stay: of what LOGIT_BITS hold in units of log2, without beta, which is 1 at most.
_LARGEST_LOGIT = ((1 << formats.LOGIT_BITS - 1) - 1) / (1 << formats.LOGIT) * math.log(2) - 1.1
_NEVER = 1.0  # nats by which a class loses that no sums let win


def limited(layer: Binary, geometry: Geometry, step: int) -> tuple[Binary, float]:
    """A last layer whose logits the device can hold, and the factor by which all of them were made smaller, 1 or more.

    What all classes share is taken off; a class that no sums let win is brought near to those that can.

    step: largest magnitude of an input.
    """
    bound = geometry.fan_in * step
    surely = (layer.offset - layer.scale * bound).max()  # the winning class has that at least
    offset = np.maximum(layer.offset, surely - layer.scale * bound - _NEVER)
    mean, deviation = _spread(layer, geometry, step)
    middle = offset + layer.scale * mean
    centre = (middle.max() + middle.min()) / 2
    middle, offset = middle - centre, offset - centre
    far = 2 * bound if layer.deviation is None else _FAR * np.maximum(deviation, _guess(geometry, step))
    lowest = offset + layer.scale * np.maximum(mean - far, -bound)
    highest = offset + layer.scale * np.minimum(mean + far, bound)
    # What the logits reach; that a psi is 1 or more; and beta, 1 at most, must do where mu cannot make up for an offset.
    reach = np.maximum(-lowest, highest) / _LARGEST_LOGIT
    needed = np.maximum(layer.scale, np.minimum(np.abs(middle), np.abs(offset) - layer.scale * bound))
    shrink = max(1.0, reach.max(), needed.max())
    return dataclasses.replace(layer, scale=layer.scale / shrink, offset=offset / shrink), float(shrink)


def turning(layer: Binary) -> np.ndarray:
    """The real sum of each output, (M,) float64, at which a hidden layer's decision turns; infinite where it never does."""
    below = (layer.offset < 0) | ((layer.offset == 0) & (layer.at_zero < 0))  # always, where the scale is 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(layer.scale > 0, -layer.offset / layer.scale, np.where(below, np.inf, -np.inf)))


def tied(turn: np.ndarray, within: float = _TIE) -> np.ndarray:
    """Where a whole sum stands at the turn itself, as far as float32 numbers tell."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(turn - np.rint(turn)) <= within * np.maximum(1, np.abs(turn)))


def state(assembled: Assembled, config: Configuration, gradient_planes: int | Sequence[int] | str, seed: int) -> TrainingState:
    """A training state with which the device decides as the model does, and from which it can go on to train.

    Hidden layers decide the same for every possible sum. The last layer must be `limited`; its logits are rounded. Training
    begins as a fresh one does, at step 0, where averages soon forget what they began with: a model's may be poor.
    """
    network = assembled.network
    made = TrainingState.initial(network, config.latent, gradient_planes, seed)
    for i, (layer, geometry) in enumerate(zip(assembled.layers, network.geometry, strict=True)):
        step = 2**assembled.input_planes - 1 if i == 0 else 1
        last = i == len(network.geometry) - 1
        limit = bounds.mean_sum(geometry, i, config)
        mu, psi, beta = (_last if last else _hidden)(layer, geometry, step, limit)
        begun = made.layers[i]
        begun.weight = _weights(layer, geometry, config.latent_top)
        begun.mu, begun.psi = mu.astype(np.int32), psi.astype(np.int32)
        begun.beta = (beta << formats.BETA_BITS - formats.BETA_USED).astype(np.int32)
    return made


def _weights(layer: Binary, geometry: Geometry, top: int) -> np.ndarray:
    """Latent words. Weights of which the model keeps signs only get the mean size with which training begins."""
    values = np.abs(layer.latent)
    if np.ptp(values) <= 1e-4 * values.max():
        values = np.full_like(values, _MEAN_DEVIATION / math.sqrt(geometry.fan_in))
    size = np.clip(np.floor(np.ldexp(values * top, scale(geometry.fan_in))), 0, top - 1).astype(np.int16)
    return (np.where(layer.sign, size, -1 - size) << formats.MOMENT).astype(np.int16)


def _spread(layer: Binary, geometry: Geometry, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the sums: the model's, as far as sums reach, or those of random signs (or pixels, of
    uniform codes).
    """
    bound, guess = geometry.fan_in * step, _guess(geometry, step)
    mean = np.zeros(geometry.fan_out) if layer.mean is None else layer.mean
    deviation = np.full(geometry.fan_out, guess) if layer.deviation is None else layer.deviation
    known = np.isfinite(mean) & np.isfinite(deviation)
    return np.where(known, np.clip(mean, -bound, bound), 0.0), np.where(known, deviation, guess)


def _guess(geometry: Geometry, step: int) -> float:
    return math.sqrt(geometry.fan_in) * (step if step == 1 else step / math.sqrt(3))


def _beta(values: np.ndarray) -> np.ndarray:
    """beta, as thresholds and logits use it: BETA_USED bits."""
    most = 1 << formats.BETA_USED - 1
    return np.clip(np.rint(values * _BETA_ONE), -most, most - 1).astype(np.int64)


def _hidden(layer: Binary, geometry: Geometry, step: int, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu, psi, beta for the sign of scale * y + offset: y >= threshold, of whole y. mu takes what beta, within -4..4, leaves."""
    bound = geometry.fan_in * step
    turn = turning(layer)
    threshold = np.where(tied(turn, _WHOLE), np.rint(turn) + (layer.at_zero < 0), np.ceil(turn))
    threshold = np.clip(threshold, -bound, bound + 1)
    mean, deviation = _spread(layer, geometry, step)
    psi = np.clip(np.rint(_MEAN_DEVIATION * deviation * _ONE), _ONE, bound * _ONE).astype(np.int64)
    # tau = mu - (beta psi >> BETA_FRACTION), and y is compared with tau / 64: half a step below the threshold.
    tau = (threshold * _ONE - _ONE // 2).astype(np.int64)
    # mu would lie between the threshold and the mean, but a rounded beta may carry it beyond its limit.
    beta = _beta((mean - threshold) * _ONE / psi)
    beta = np.clip(beta, -((limit + tau) * _BETA_ONE // psi), (limit - tau) * _BETA_ONE // psi)
    return tau + beta * psi // _BETA_ONE, psi, beta


def _last(layer: Binary, geometry: Geometry, step: int, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu, psi, beta for logits scale * y + offset = (y - mu) / psi + beta.

    psi is 1 at least; an offset that no sum makes up for is cut down.
    """
    mean, _ = _spread(layer, geometry, step)
    scale, offset = layer.scale, layer.offset
    psi = np.clip(np.rint(_ONE / np.maximum(scale, 1e-30)), _ONE, _PSI_LIMIT).astype(np.int64)
    beta = _beta(offset + scale * mean)
    mu = np.clip(np.rint((beta / _BETA_ONE - offset) * psi), -limit, limit).astype(np.int64)
    return mu, psi, beta
