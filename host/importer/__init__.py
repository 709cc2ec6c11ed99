"""Models of other libraries, with their weights and batch norms: Keras, Larq, and QONNX as Brevitas exports it.

    from bnnedge import Trainer, importer

    imported = importer.load("model.keras", pixels=(-1, 1))
    with Trainer.load(imported.checkpoint) as trainer:
        trainer.fit(x, y, epochs=3)

docs/import.md says what there can be in a model.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge.checkpoint import Checkpoint
from bnnedge.compiler import fitting
from bnnedge.export import fold
from bnnedge.importer import keras, qonnx
from bnnedge.importer.assemble import assemble
from bnnedge.importer.states import state
from bnnedge.importer.steps import LARGEST_MAP, Model, UnsupportedError, first_line
from bnnedge.schedule import RATE, SCHEDULE
from bnnedge.settings import Settings

__all__ = ["Imported", "UnsupportedError", "load", "understand"]

# Random images on which the library and the device's arithmetic must agree.
_COMPARED = 16
# Of the best logit (or logarithm of a probability) before the second best: less may be lost in rounding.
_MARGIN = 0.05


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model that has been taken over: `checkpoint` as `Trainer.load` takes it, `notes` of what differs from the model."""

    checkpoint: Checkpoint
    notes: tuple[str, ...]


def load(path: str | os.PathLike[str], pixels: tuple[float, float]) -> Imported:
    """Read a model file: .keras, .h5 (Keras, Larq) or .onnx (QONNX).

    pixels: what the model's input is for a black and for a white pixel, such as (0, 1) or (-1, 1).

    Raises ValueError if the file is damaged, or a library is missing that it needs; `UnsupportedError`, a ValueError, names
    the layer that the device has no form for.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"model file {path}: there is no such file")
    for reader in (keras, qonnx):
        if path.suffix in reader.SUFFIXES:
            try:
                return understand(reader.understand(reader.read(path)), pixels)
            except UnsupportedError as error:
                raise UnsupportedError(f"model file {path}: {error}") from error
            except Exception as error:  # of libraries, for whatever a strange model makes them stumble over
                raise ValueError(f"model file {path}: {first_line(error)}") from error
    raise ValueError(f"model file {path}: its name must end in {', '.join((*keras.SUFFIXES, *qonnx.SUFFIXES))}")


def understand(model: Any, pixels: tuple[float, float]) -> Imported:
    """As `load`, of a Keras or Larq model in memory, or of a `Model` of steps."""
    if not isinstance(model, Model):
        model = keras.understand(model)
    low, high = map(float, pixels)
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"pixels: a white pixel must be more than a black one, and both finite, not {low:g} and {high:g}")
    assembled = assemble(model, (low, high))
    for layer in assembled.network.geometry:
        if layer.out_height * layer.out_width * layer.filters > LARGEST_MAP:
            raise UnsupportedError(f"{layer.name} makes more than {LARGEST_MAP:,} numbers of an image")
    planes = assembled.input_planes
    settings = Settings(input_planes=planes, slope_planes=min(planes, Settings().slope_planes))
    configuration = fitting(assembled.network, settings)
    begun = state(assembled, configuration, settings.gradient_planes, settings.seed)
    checkpoint = Checkpoint(assembled.network, settings, configuration, begun, RATE, SCHEDULE)
    _compare(model, checkpoint, (low, high), exact=not assembled.notes)
    return Imported(checkpoint, assembled.notes)


def _compare(model: Model, checkpoint: Checkpoint, pixels: tuple[float, float], exact: bool) -> None:
    """Let both predict; UnsupportedError if they disagree where the model is sure: unless `exact`, for most images."""
    shape = _COMPARED, *checkpoint.network.input_shape
    images = np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)
    inputs = (pixels[0] + (pixels[1] - pixels[0]) * images.astype(np.float32) / 255).astype(np.float32)
    theirs = np.asarray(model.logits(inputs.reshape(_COMPARED, *model.input_shape)), np.float64)
    folded = fold(checkpoint)
    # One by one, as the libraries do: maps may be large.
    ours = np.concatenate([folded.infer(images[i : i + 1]) for i in range(_COMPARED)])
    if theirs.shape != ours.shape:
        return  # the model tells classes, not logits
    ordered = np.sort(theirs, 1)
    sure = ordered[:, -1] - ordered[:, -2] > _MARGIN * np.abs(ordered).max()
    wrong = np.flatnonzero(sure & (theirs.argmax(1) != ours.argmax(1)))
    if len(wrong) > (0 if exact else _COMPARED // 2):
        raise UnsupportedError(
            f"model {model.name!r} predicts otherwise than its layers say, for {len(wrong)} of {_COMPARED} random images: "
            "its layers may form no chain"
        )
