"""Whether the device computes what the model's own library does: layer by layer, and from pixels to classes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bnnedge import formats
from bnnedge.checkpoint import Checkpoint
from bnnedge.export import Folded, FoldedLayer, fold
from bnnedge.importer.binary import Assembled, Binary
from bnnedge.importer.forward import Passed, follow
from bnnedge.importer.states import tied, turning
from bnnedge.importer.steps import Model, UnsupportedError

# Random images: of a map each has many sums of a channel, without maps one.
_MAPS, _VECTORS = 16, 48
_PART = 1 << 22  # numbers of all maps that are looked at at a time
# Of a sum's bound: float32 sums, and a batch norm of them, are no further off; whole sums lie at least 1 apart.
_ROUNDING = 1e-5
# Of a sum of pixels, times the root of their number: products of 10 bits, as some accelerators round them.
_COARSE = 1e-3
_LEVELS = (1 << formats.LOGIT) / math.log(2)  # of a nat
# By how much logits may be off that are rounded twice, levels.
_ROUNDED = 3


@dataclasses.dataclass
class _Seen:
    """What all images came to. different: images without ties or rounding that are predicted otherwise; others: with them.

    zeros, decisions: signs of the model that are 0, and all.
    """

    different: int = 0
    others: int = 0
    zeros: int = 0
    decisions: int = 0


def check(model: Model, assembled: Assembled, last: Binary, checkpoint: Checkpoint, pixels: tuple[float, float]) -> list[str]:
    """Let library and device compute of some random images; return notes of what differs by design.

    last: the last layer as the device has it, with its logits made smaller.

    Each stage of the model is compared with the steps that it is understood as, each layer of the device with what the library
    has at that place, of the library's own input; then the predictions. Where a sum stands at its threshold, as far as
    float32 numbers tell, both decisions are right, and where logits are as good as equal, both classes. UnsupportedError
    names the first stage or layer that differs otherwise.
    """
    folded = fold(checkpoint)
    network, seen = checkpoint.network, _Seen()
    images = _images(_MAPS if network.geometry[0].pixels else _VECTORS, network.input_shape)
    inputs = (pixels[0] + (pixels[1] - pixels[0]) * images.astype(np.float32) / 255).astype(np.float32)
    size = sum(g.height * g.width * g.channels + 3 * g.outputs * g.fan_out for g in network.geometry)
    part = max(1, _PART // size)
    for start in range(0, len(images), part):
        some = slice(start, start + part)
        passed = follow(model, inputs[some].reshape(-1, *model.input_shape))
        _Device(assembled, last, folded, checkpoint).compare(images[some], passed, seen)
    if seen.different:
        raise UnsupportedError(
            f"model {model.name!r} predicts otherwise than its layers, for {seen.different} of {len(images)} random images"
        )
    notes = []
    if seen.others:
        notes.append(
            f"{seen.others} of {len(images)} random images are predicted otherwise than by the model: sums of theirs stand at a "
            "threshold, where rounding decides"
        )
    zero = [layer for layer in assembled.layers[:-1] if layer.at_zero == 0 and _stands(layer, folded, assembled)]
    if not zero:
        return notes
    names = ", ".join(layer.name for layer in zero[:3]) + (" and others" if len(zero) > 3 else "")
    return [
        *notes,
        f"the sign behind {names} makes 0 of 0, and the device +1: sums can be just that, and predictions differ then; of "
        f"{len(images)} random images {100 * seen.zeros / seen.decisions:.2g} % of all signs were 0",
    ]


def _images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random images (count, *shape) uint8: noise over the whole range, noise about some grey, and black and white spots."""
    random = np.random.RandomState(1)
    images = random.randint(0, 256, (count, *shape)).astype(np.float64)
    one = (1,) * len(shape)
    grey, contrast = random.uniform(0, 255, (count, *one)), random.uniform(0.05, 0.5, (count, *one))
    images[1::4] = (grey + contrast * (images - 128))[1::4]
    images[2::4] = (255 * (images > grey))[2::4]
    return np.clip(images, 0, 255).astype(np.uint8)


def _stands(layer: Binary, folded: Folded, assembled: Assembled) -> bool:
    """Whether any sum of a layer can stand at zero."""
    i = next(i for i, other in enumerate(assembled.layers) if other is layer)
    turn, geometry = turning(layer), folded.layers[i].geometry
    whole = np.isfinite(turn) & tied(turn) & (np.abs(turn) <= folded.bound(i))
    # All windows are full, and so all sums odd, or all even.
    if (geometry.pad_y, geometry.pad_x, *folded.layers[i].pad_after) == (0, 0, 0, 0):
        whole &= np.where(whole, np.rint(turn), 0).astype(np.int64) % 2 == geometry.fan_in % 2
    return bool((whole | ((layer.scale == 0) & (layer.offset == 0))).any())


@dataclasses.dataclass(frozen=True, eq=False)
class _Device:
    """The device's arithmetic, on what the library has at each place."""

    assembled: Assembled
    last: Binary
    folded: Folded
    checkpoint: Checkpoint

    def compare(self, images: np.ndarray, passed: Passed, seen: _Seen) -> None:
        """Compare all layers, and predictions; UnsupportedError."""
        sure = np.ones(len(images), bool)
        for i, layer in enumerate(self.folded.layers):
            given, off = self._inputs(i, passed.inputs[i], images)
            y = layer.sums(given)
            slack = FoldedLayer(layer.geometry, np.ones_like(layer.sign)).sums(off) if off.any() else np.zeros_like(y)
            sure &= ~off.reshape(len(off), -1).any(1)
            if i == len(self.folded.layers) - 1:
                self._check_logits(y, slack, passed.logits)
            else:
                sure &= self._check_signs(i, y, slack, passed.inputs[i + 1], seen)
        ours = np.concatenate([self.folded.infer(image[None]) for image in images])
        best = passed.logits.argmax(1)
        lost = ours.max(1) - ours[np.arange(len(ours)), best] > 2 * _ROUNDED + 0.02 * np.ptp(ours, axis=1)
        seen.different += int((lost & sure).sum())
        seen.others += int((lost & ~sure).sum())

    def _inputs(self, i: int, value: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What layer i gets on the device where the library has `value`, and by how much that is off; float32 maps."""
        geometry = self.folded.layers[i].geometry
        value = value.reshape(-1, geometry.height, geometry.width, geometry.channels)
        if i == 0:
            given = self.folded.codes(images)
            unit, middle = self.assembled.pixel
            off = np.abs((value - middle) / unit - given)
            return given, np.where(off < 1e-2, 0, off).astype(np.float32)
        given = np.where(value >= 0, np.float32(1), np.float32(-1))
        return given, np.abs(value / max(np.abs(value).max(), 1e-30) - given).astype(np.float32)

    def _check_signs(self, i: int, y: np.ndarray, slack: np.ndarray, theirs: np.ndarray, seen: _Seen) -> np.ndarray:
        """Compare the decisions of layer i with the inputs of the next; return for which images none was a tie."""
        layer, step = self.assembled.layers[i], self._step(i)
        theirs = np.sign(theirs.reshape(y.shape))
        wrong = np.where(y >= self.folded.thresholds[i], 1, -1) != theirs
        turn, fan_in = turning(layer), self.folded.layers[i].geometry.fan_in
        with np.errstate(invalid="ignore"):
            room = _ROUNDING * (fan_in * step + np.abs(turn)) + (_COARSE * step * math.sqrt(fan_in) if i == 0 else 0) + slack
            excused = np.isfinite(turn) & (np.abs(y - turn) <= room) | ((layer.scale == 0) & (np.abs(layer.offset) < 1e-6))
        seen.zeros, seen.decisions = seen.zeros + int((theirs == 0).sum()), seen.decisions + theirs.size
        bad = wrong & ~excused
        if bad.any():
            place = tuple(np.argwhere(bad)[0])
            raise UnsupportedError(
                f"{layer.name}: what stands behind makes {theirs[place]:g} of the sum {y[place]:g} in output {place[-1]}, where "
                f"the device decides at {self.folded.thresholds[i][place[-1]]}; {np.count_nonzero(bad):,} of {bad.size:,} "
                "numbers differ: it has no equal on the device"
            )
        return ~wrong.reshape(len(y), -1).any(1)

    def _check_logits(self, y: np.ndarray, slack: np.ndarray, theirs: np.ndarray) -> None:
        """Compare the last layer's logits with the library's, and what the device makes of them."""
        whole, ours = self.assembled.layers[-1], self.folded.logits(y)
        y, slack = y.reshape(ours.shape).astype(np.float64), slack.reshape(ours.shape)
        expected = whole.scale * y + whole.offset
        room = 1e-3 * np.abs(theirs).max() + whole.scale * (slack + _ROUNDING * self.folded.bound(len(self.folded.layers) - 1))
        held, psi = self.last, self.checkpoint.state.layers[-1].psi
        wanted = _LEVELS * (held.scale * y + held.offset)
        # mu and psi are whole numbers.
        coarse = _ROUNDED + _LEVELS * (0.5 + 0.6 * (np.abs(held.scale * y) + np.abs(held.offset))) / psi
        for found, right, by in ((theirs, expected, room), (ours, wanted, coarse)):
            differs = np.abs(found - right) > by
            if differs.any():
                place = tuple(np.argwhere(differs)[0])
                raise UnsupportedError(
                    f"{whole.name}: its logit of class {place[1]} is {found[place]:g}, and {right[place]:g} as it is understood "
                    "here: what stands behind this layer has no equal on the device"
                )

    def _step(self, i: int) -> int:
        return 2**self.folded.input_planes - 1 if i == 0 else 1
