"""The device's whole numbers of an assembled network: latent weights, statistics and beta (docs/arithmetic.md)."""

from __future__ import annotations

import math

import numpy as np

from bnnedge import bounds, formats
from bnnedge.configuration import Configuration
from bnnedge.importer.assemble import Assembled, Binary
from bnnedge.layers import Geometry
from bnnedge.state import LayerState, TrainingState

_ONE = 1 << formats.STATISTICS
_PSI_LIMIT = (1 << formats.MU_BITS) - 1
# Mean absolute deviation of a normal distribution, in standard deviations.
_MEAN_DEVIATION = math.sqrt(2 / math.pi)
# Logits further than this from 0 are saturated: LOGIT_BITS in units of log2, in nats, with a bit to spare.
_LARGEST_LOGIT = 2 ** (formats.LOGIT_BITS - 1 - formats.LOGIT - 1) * math.log(2)


def state(assembled: Assembled, config: Configuration, gradient_planes: int, seed: int) -> TrainingState:
    """A training state with which the device decides as the model does, and from which it can go on to train.

    Hidden layers decide the same for every possible sum. The last layer's logits are the model's, rounded; where the model
    does not normalise them, or they would saturate, all are made smaller by one factor.
    """
    network = assembled.network
    made = TrainingState.initial(network, config.latent, gradient_planes, seed)
    top = config.latent_top
    for i, (layer, geometry) in enumerate(zip(assembled.layers, network.geometry, strict=True)):
        step = 2**assembled.input_planes - 1 if i == 0 else 1
        last = i == len(network.geometry) - 1
        limit = bounds.mean_sum(geometry, i, config)
        made.layers[i] = (_last if last else _hidden)(layer, geometry, step, top, limit, made.layers[i].exponent)
    return made


def _weights(layer: Binary, geometry: Geometry, top: int) -> np.ndarray:
    """Latent words. Weights of which the model keeps signs only get the mean size with which training begins."""
    values = np.abs(layer.latent)
    if np.ptp(values) <= 1e-4 * values.max():
        values = np.full_like(values, _MEAN_DEVIATION / math.sqrt(geometry.fan_in))
    size = np.clip(np.floor(values * top), 0, top - 1).astype(np.int16)
    return (np.where(layer.sign, size, -1 - size) << formats.MOMENT).astype(np.int16)


def _spread(layer: Binary, geometry: Geometry, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the sums: the model's, as far as sums reach, or those of random signs (or pixels, of
    uniform codes).
    """
    bound = geometry.fan_in * step
    guess = math.sqrt(geometry.fan_in) * (step if step == 1 else step / math.sqrt(3))
    mean = np.zeros(geometry.fan_out) if layer.mean is None else layer.mean
    deviation = np.full(geometry.fan_out, guess) if layer.deviation is None else layer.deviation
    known = np.isfinite(mean) & np.isfinite(deviation)
    return np.where(known, np.clip(mean, -bound, bound), 0.0), np.where(known, deviation, guess)


def _beta(values: np.ndarray, top: int) -> np.ndarray:
    return np.clip(np.rint(values * top), -top, top - 1).astype(np.int64)


def _hidden(layer: Binary, geometry: Geometry, step: int, top: int, limit: int, exponent: int) -> LayerState:
    """The sign of scale * y + offset: y >= threshold, of whole y. mu takes what beta, within -1..1, leaves."""
    bound = geometry.fan_in * step
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = np.where(layer.scale > 0, -layer.offset / layer.scale, np.where(layer.offset < 0, np.inf, -np.inf))
    threshold = np.clip(np.ceil(threshold), -bound, bound + 1)
    mean, deviation = _spread(layer, geometry, step)
    psi = np.clip(np.rint(_MEAN_DEVIATION * deviation * _ONE), _ONE, bound * _ONE).astype(np.int64)
    # tau = mu - (beta psi >> latent - 1), and y is compared with tau / 64: half a step below the threshold.
    tau = (threshold * _ONE - _ONE // 2).astype(np.int64)
    # mu would lie between the threshold and the mean, but a rounded beta may carry it beyond its limit.
    beta = _beta((mean - threshold) * _ONE / psi, top)
    beta = np.clip(beta, -((limit + tau) * top // psi), (limit - tau) * top // psi)
    return _layer(layer, geometry, top, exponent, tau + beta * psi // top, psi, beta)


def _last(layer: Binary, geometry: Geometry, step: int, top: int, limit: int, exponent: int) -> LayerState:
    """Logits scale * y + offset = (y - mu) / psi + beta, psi at least 1; an offset that no sum makes up for is cut down."""
    mean, _ = _spread(layer, geometry, step)
    largest = layer.scale.max()
    if layer.deviation is None:
        largest = max(largest, (layer.scale * geometry.fan_in * step + np.abs(layer.offset)).max() / _LARGEST_LOGIT)
    shrink = max(1.0, largest)
    scale, offset = layer.scale / shrink, layer.offset / shrink
    psi = np.clip(np.rint(_ONE / np.maximum(scale, 1e-30)), _ONE, _PSI_LIMIT).astype(np.int64)
    beta = _beta(offset + scale * mean, top)
    mu = np.clip(np.rint((beta / top - offset) * psi), -limit, limit).astype(np.int64)
    return _layer(layer, geometry, top, exponent, mu, psi, beta)


def _layer(
    layer: Binary, geometry: Geometry, top: int, exponent: int, mu: np.ndarray, psi: np.ndarray, beta: np.ndarray
) -> LayerState:
    return LayerState(
        weight=_weights(layer, geometry, top),
        beta=(beta << formats.MOMENT).astype(np.int16),
        mu=mu.astype(np.int32),
        psi=psi.astype(np.int32),
        exponent=exponent,
    )
