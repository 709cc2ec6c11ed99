"""What a chain of steps comes to: binary layers, each with what stands between its sums and the next layer's inputs."""

from __future__ import annotations

import math

import numpy as np

from bnnedge import formats
from bnnedge.importer.binary import Assembled, Binary
from bnnedge.importer.steps import Affine, Ending, Flattening, Function, Linear, Model, Pool, Step, UnsupportedError
from bnnedge.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D
from bnnedge.network import Network

# Steps of a pixel by which the model's may be off: half a step of rounding, and one of saturation at the end.
_ROUNDED = 1.25
# Where a function is tried: at zero, near it on both sides, and far from it.
_TRIED = np.array([-100, -3, -1.5, -1, -0.5, -0.3, -0.01, -1e-4, 0, 1e-4, 0.01, 0.3, 0.5, 1, 1.5, 3, 100], np.float32)
_ZERO = 8  # its place


def assemble(model: Model, pixels: tuple[float, float]) -> Assembled:
    """Understand a model whose input is `pixels[0]` for a black and `pixels[1]` for a white pixel, and linear between.

    UnsupportedError names the step that has no form on the device, and says why.
    """
    return _Assembly(model, pixels).result()


class _Assembly:
    """Goes through the steps once.

    table: what each of the 256 pixels has become; it counts until the first layer. planes, pixel: as in `Assembled`.
    unit: what an activation of +1 on the device is in the model.
    pending: functions since the last sums, applied one after another, and their names.
    """

    def __init__(self, model: Model, pixels: tuple[float, float]) -> None:
        low, high = pixels
        self.model = model
        self.shape = model.input_shape
        self.table = low + (high - low) * np.arange(256) / 255
        self.unit, self.planes, self.pixel = 1.0, formats.MAX_PLANES, (1.0, 0.0)
        self.layers: list[Binary] = []
        self.made: list[Layer] = []
        self.notes: list[str] = []
        self.pending: list[Function] = []
        self.ended = ""  # the name of a softmax
        self.active = True  # the numbers at hand are pixels or signs, not sums
        for step in model.steps:
            self.take(step)

    def result(self) -> Assembled:
        if not self.layers:
            raise UnsupportedError(f"model {self.model.name!r} has no layer of weights")
        if self.active or self.pending:
            last = self.pending[-1].name if self.pending else "a sign"
            raise UnsupportedError(
                f"the model ends with {last}: behind the last layer there can be a batch norm and a softmax only"
            )
        if self.layers[-1].conv:
            raise UnsupportedError(
                f"the model ends with {self.layers[-1].name}, a convolution: at the end there can be a dense layer only, which "
                "over a map flattened is what a convolution of the map's size is"
            )
        self.layers[-1].upright()
        shape = self.model.input_shape
        if len(shape) == 3 and shape[2] == 1:
            shape = shape[:2]
        network = Network(shape, self.made, self.model.name)
        return Assembled(network, self.planes, tuple(self.layers), tuple(self.notes), self.pixel)

    def take(self, step: Step) -> None:
        if self.ended and not isinstance(step, Ending):
            raise UnsupportedError(f"{self.ended} stands before {step.name}: it can stand at the end only")
        if not isinstance(step, (Function, Ending)) and self.pending:
            raise UnsupportedError(_no_sign(self.pending))
        numbers = (step.weight, step.latent) if isinstance(step, Linear) else ()
        numbers = (step.scale, step.offset) if isinstance(step, Affine) else numbers
        if not all(np.isfinite(values).all() for values in numbers):
            raise UnsupportedError(f"{step.name} has numbers that are infinite or none (NaN): the model cannot be taken over")
        if isinstance(step, Linear):
            self.linear(step)
        elif isinstance(step, Affine):
            self.affine(step)
        elif isinstance(step, Function):
            self.function(step)
        elif isinstance(step, Pool):
            self.pool(step)
        elif isinstance(step, Flattening):
            self.flatten(step)
        else:
            self.ended = step.name

    def linear(self, step: Linear) -> None:
        if not self.active:
            raise UnsupportedError(f"{step.name} gets sums, not signs: the device has a sign between two layers of weights")
        conv = step.weight.ndim == 4
        if conv and len(self.shape) != 3:
            raise UnsupportedError(f"{step.name} is a convolution of no map")
        inputs = self.shape[-1] if conv else math.prod(self.shape)
        if step.weight.shape[-2] != inputs:
            raise UnsupportedError(f"{step.name} takes {step.weight.shape[-2]} inputs, but gets {inputs}")
        outputs = step.weight.shape[-1]
        size = np.abs(step.weight).reshape(-1, outputs)
        if not np.allclose(size, size[:1], rtol=1e-4, atol=0) or not size[0].all():
            raise UnsupportedError(f"the weights of {step.name} are not binary: each output may have +c and -c alone")
        rows, latent = step.weight.reshape(-1, outputs), step.latent.reshape(-1, outputs)
        layer = Binary(step.name, rows > 0, latent, size[0] * self.unit, np.zeros(outputs))
        if not self.layers:
            self._pixels(step, layer)
        layer.conv = self._convolution(step) if conv else None
        self.made.append(layer.conv or Dense(outputs))
        self.layers.append(layer)
        self.active = False
        if layer.conv:
            height, width = (layer.conv.outputs(side) for side in self.shape[:2])
            self.shape = height, width, outputs
        else:
            self.shape = (outputs,)

    def _pixels(self, step: Linear, layer: Binary) -> None:
        """What the pixels have become, as codes of 1..8 planes: v = unit * code + middle."""
        values = self.table
        for planes in range(1, formats.MAX_PLANES + 1):
            codes = 2 * (np.arange(256) >> formats.MAX_PLANES - planes) - (2**planes - 1)
            unit, middle = np.polyfit(codes, values, 1)
            off = np.abs(values - unit * codes - middle).max() / max(abs(unit), 1e-30)
            if off < 1e-3 or (planes == formats.MAX_PLANES and off <= 2 * _ROUNDED):
                break
        else:
            raise UnsupportedError(f"what stands before {step.name} makes of pixels something else than evenly spaced steps")
        if off >= 1e-3:
            self.notes.append(f"the model rounds pixels otherwise than the device, by up to {off / 2:.2f} of their 256 steps")
        if step.pads != (0, 0, 0, 0) and abs(middle) > 1e-3 * abs(unit):
            raise UnsupportedError(
                f"{step.name} pads pixels with zeros, but the device with the middle between black and white, which here is "
                f"{middle:g}: train with pixels from -1 to 1"
            )
        signs = np.where(layer.sign, layer.scale, -layer.scale)
        layer.scale, layer.offset = layer.scale * unit, middle * signs.sum(0)
        self.planes, self.pixel = planes, (float(unit), float(middle))

    def _convolution(self, step: Linear) -> Conv2D:
        kernel_y, kernel_x, _, filters = step.weight.shape
        if kernel_y != kernel_x:
            raise UnsupportedError(f"{step.name} has a window of {kernel_y} x {kernel_x}: the device's are square")
        try:
            same = Conv2D(filters, kernel_y, step.stride, "same")
            if step.pads == (0, 0, 0, 0):
                return Conv2D(filters, kernel_y, step.stride, "valid")
        except ValueError as error:
            raise UnsupportedError(f"{step.name}: {error}") from None
        sides = self.shape[:2]
        before = [same.before(side) for side in sides]
        after = [max(0, (same.outputs(s) - 1) * step.stride + kernel_y - s - b) for s, b in zip(sides, before, strict=True)]
        if step.pads not in (None, (*before, *after)):
            raise UnsupportedError(f"{step.name} pads by {step.pads}: the device's padding is none, or {(*before, *after)} here")
        return same

    def affine(self, step: Affine) -> None:
        if self.layers and not self.active:
            self.layers[-1].follow(step)
        elif self.layers:
            if np.ptp(step.scale) or np.any(step.offset) or np.mean(step.scale) <= 0:
                raise UnsupportedError(f"{step.name} stands between a sign and a layer of weights: there only one scale can")
            self.unit *= float(np.mean(step.scale))
        elif np.ptp(step.scale) or np.ptp(step.offset):
            raise UnsupportedError(f"{step.name} treats the channels of pixels differently: binary weights cannot make up for it")
        else:
            self.table = np.mean(step.scale) * self.table + np.mean(step.offset)

    def function(self, step: Function) -> None:
        if not self.layers:
            self.table = np.asarray(step.apply(self.table.astype(np.float32)), np.float64)
            return
        self.pending.append(step)
        values = _apply(self.pending, _TRIED)
        if np.array_equal(values, _TRIED):
            self.pending = []
        elif values[-1] > 0 and np.array_equal(np.delete(values / values[-1], _ZERO), np.delete(np.sign(_TRIED), _ZERO)):
            self.pending = []
            self.unit = float(values[-1])
            if self.active:
                return  # a sign of signs
            self.layers[-1].at_zero = int(np.sign(values[_ZERO]))
            self.layers[-1].upright()
            self.active = True

    def pool(self, step: Pool) -> None:
        layer = self.layers[-1] if self.layers else None
        if layer is None or layer.conv is None or layer.pool:
            raise UnsupportedError(f"{step.name}: a pool of 2 x 2 must stand behind a convolution, before the next")
        height, width, channels = self.shape
        if height < 2 or width < 2:
            raise UnsupportedError(f"{step.name} pools a map of {height} x {width}: 2 x 2 are needed at the least")
        plain = not self.active and layer.mean is None and (layer.scale > 0).all()
        layer.pool = "sums" if plain else "signs"
        if not self.active and layer.pool == "signs":
            layer.upright()  # the largest of what a batch norm made: signs pooled, once weights are turned
        self.made.append(MaxPool2D(layer.pool))
        self.shape = height // 2, width // 2, channels

    def flatten(self, step: Flattening) -> None:
        if len(self.shape) == 3:
            if self.layers:
                self.made.append(Flatten())
            self.shape = (math.prod(self.shape),)


def _apply(functions: list[Function], values: np.ndarray) -> np.ndarray:
    for function in functions:
        values = np.asarray(function.apply(values))
    return values


def _no_sign(functions: list[Function]) -> str:
    tried = np.array([-2, -0.5, 0.5, 2], np.float32)
    made = _apply(functions, tried)
    if np.array_equal(made, np.abs(made[-1]) * np.sign(tried)):  # then it is others that tell
        made = _apply(functions, _TRIED)
        strange = np.delete(np.arange(_TRIED.size), _ZERO)[np.delete(made != made[-1] * np.sign(_TRIED), _ZERO)][:4]
        tried, made = _TRIED[strange], made[strange]
    names = " and ".join(function.name for function in functions)
    values, results = (", ".join(f"{v + 0:g}" for v in numbers) for numbers in (tried, made))
    return f"{names} is no sign: of {values} it makes {results}; the device has signs alone"
