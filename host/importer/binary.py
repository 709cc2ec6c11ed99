"""Binary layers as they are understood: signs of weights, and what stands between sums and the next layer's signs."""

from __future__ import annotations

import dataclasses

import numpy as np

from bnnedge.importer.steps import Affine, Step, UnsupportedError
from bnnedge.layers import Conv2D
from bnnedge.network import Network


@dataclasses.dataclass
class Binary:
    """A layer of K inputs and M outputs: of its whole sums y, as the device has them, the model makes scale * y + offset.

    name: the model's. sign: (K, M) bool. latent: (K, M) float64, rows as the device orders them.
    scale, offset: (M,) float64. Signs of weights are turned where scale came out negative: here it never is.
    mean, deviation: of y in training, (M,), None if the model does not tell.
    at_zero: what the sign behind it makes of zero: +1 or -1 as of other numbers, or 0.
    conv, pool: as the user describes them; conv None for a dense layer.
    """

    name: str
    sign: np.ndarray
    latent: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None
    at_zero: int = 1
    conv: Conv2D | None = None
    pool: str | None = None

    def follow(self, step: Affine) -> None:
        """Let an affine step come behind."""
        step_scale, step_offset = _channels(step, step.scale, self.scale), _channels(step, step.offset, self.scale)
        if self.pool and (step_scale < 0).any():
            raise UnsupportedError(
                f"{step.name} has negative scales behind a maximum: the device pools signs and sums upwards only"
            )
        if step.mean is not None and step.deviation is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                self.mean, self.deviation = (step.mean - self.offset) / self.scale, np.abs(step.deviation / self.scale)
        self.scale, self.offset = self.scale * step_scale, self.offset * step_scale + step_offset

    def upright(self) -> None:
        """Turn the weights where the scale is negative."""
        down = self.scale < 0
        self.sign, self.scale = self.sign ^ down, np.abs(self.scale)
        self.latent = np.where(down, -self.latent, self.latent)
        self.mean = None if self.mean is None else np.where(down, -self.mean, self.mean)


@dataclasses.dataclass(frozen=True, eq=False)
class Assembled:
    """A network, the planes of its pixels and its layers, the last one included; notes for the user.

    pixel: unit and middle of the model's pixels, which are unit * code + middle.
    """

    network: Network
    input_planes: int
    layers: tuple[Binary, ...]
    notes: tuple[str, ...]
    pixel: tuple[float, float] = (1.0, 0.0)


def _channels(step: Step, values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Numbers of a step, one for each channel."""
    values = np.asarray(values, np.float64)
    if values.size not in (1, like.size):
        raise UnsupportedError(f"{step.name} has {values.size} numbers for {like.size} channels")
    return np.broadcast_to(values.reshape(-1), like.shape)
