"""What a trainer asks of a device: the same for a board, the verilated accelerator and the golden model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import numpy as np

from bnnedge import formats
from bnnedge.configuration import Configuration
from bnnedge.network import Network
from bnnedge.rates import representable
from bnnedge.settings import Settings, whole
from bnnedge.state import TrainingState


class DeviceWarning(UserWarning):
    """What was asked of a device has not come about, and nothing else is wrong."""


class DeviceError(RuntimeError):
    """A device stopped (bus error, illegal instruction, time-out, wrong hardware), is closed, or in use by another thread.

    The text says what to do.
    """


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What one training step (or one batch of inference) reports.

    loss: sum over the batch of -log2 p, with `formats.LOGIT` fraction bits. hits: images classified correctly.
    cycles: device clock cycles from the begin of the call to this report, which comes behind the forward pass; 0 for a device
        without a clock.
    """

    loss: int
    hits: int
    cycles: int = 0


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes by kind: `on_chip` in the accelerator's buffers, `ddr` in external memory; both without the data set."""

    on_chip: Mapping[str, int]
    ddr: Mapping[str, int]


@runtime_checkable
class Device(Protocol):
    """Trains and runs one network. Methods raise ValueError for what can't be done, DeviceError for what failed.

    `bnnedge.devices.tenancy.SharedDevice` has what does not differ among devices.

    Members
    -------
    prepared: network and settings of the last `prepare`; None if there was none, or it failed.
    holds: identifies the training state that the device holds, and is another object after each call that changed it, whoever
        called; None if there is none to go on from, as after a call that failed.
    """

    name: str
    configuration: Configuration
    prepared: tuple[Network, Settings] | None
    holds: object | None

    def claim(self) -> AbstractContextManager[None]:
        """Keep other threads out of several calls in a row; DeviceError if one is inside, or the device is closed.

        Each call does so by itself, too.
        """

    def prepare(self, network: Network, settings: Settings) -> None:
        """Compile for this network; ValueError names the layer and the limit if it does not fit."""

    def load_state(self, state: TrainingState) -> None:
        """Take over a training state (a copy)."""

    def state(self) -> TrainingState:
        """Return the present training state (a copy)."""

    def train(self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int) -> list[StepResult]:
        """Take ``len(order) / batch`` steps on ``images[order]``; one result for each step.

        images: (N, *input_shape) uint8, labels: (N,) int64, order: (steps * batch,) indices. rate: see `formats.RATE`.
        The device keeps `images` as long as it gets the same array again.
        """

    def probe(
        self, images: np.ndarray, labels: np.ndarray, order: np.ndarray, rate: int
    ) -> tuple[StepResult, dict[str, np.ndarray]]:
        """Take one step like `train`, and also return what the chip held, by name.

        "1.active", "1.mask" (hidden layers), "1.code": bools and int16 codes of layer 1, (B, height, width, M). Where outputs
        are pooled, "1.active" and "1.mask" are of the pooled map, and "1.route" has the places 0..3 of the maxima. A tensor
        that the chip holds as columns, beside its rows or instead, is there as "1.code_columns", of the same shape.
        """

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Logits with the moving statistics: (N, classes) int16, base 2, `formats.LOGIT` fraction bits."""

    def counters(self) -> dict[str, int]:
        """Performance counters (`registers.Counter`, lower case) summed over `train` calls since `prepare`, or {}."""

    def memory(self) -> Memory:
        """Bytes that the prepared network takes."""

    def close(self) -> None:
        """Give back what the device holds, once; from then on every other call is a DeviceError."""


def check_order(order: np.ndarray, batch: int, images: Sequence[object] | np.ndarray, step: int) -> int:
    """Return the number of steps in `order`, of a training that has taken `step` of them.

    ValueError if these are no integers, no whole batches, lie outside `images`, or are more than can be counted.
    """
    if order.ndim != 1 or not np.issubdtype(order.dtype, np.integer):
        raise ValueError(f"order must be integers in one row, not {order.dtype} of shape {order.shape}")
    if len(order) == 0 or len(order) % batch:
        raise ValueError(f"order has {len(order)} indices: not one or more whole batches of {batch}")
    if order.min() < 0 or order.max() >= len(images):
        raise ValueError(f"order points outside the {len(images)} images")
    steps = len(order) // batch
    left = (1 << formats.STEP_BITS) - 1 - step
    if steps > left:
        raise ValueError(f"{steps} steps more than the {step} taken are too many to count; {left} fit: begin a new training")
    return steps


def check_samples(images: np.ndarray, network: Network, labels: np.ndarray | None = None) -> None:
    """ValueError if images or labels are not what `Device.train` takes, or `Device.infer`, without labels."""
    if images.shape[1:] != network.input_shape or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images must be uint8 of shape (N, {', '.join(map(str, network.input_shape))}), N at least 1, not {images.dtype} "
            f"of shape {images.shape}"
        )
    if labels is not None:
        whole = labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer)
        if not whole or labels.min() < 0 or labels.max() >= network.classes:
            raise ValueError(f"labels must be {len(images)} integers in 0..{network.classes - 1}")


def check_rate(rate: int, network: Network, latent: int) -> None:
    """ValueError for a rate that is no integer, or that is too large for a layer of the network."""
    number, most = whole(rate), representable(network, latent)[-1]
    if number is None or not 0 <= number <= most:
        raise ValueError(f"rate must be in 0..{most}, whole, not {rate!r:.80}")
