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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnedge.checkpoint import Checkpoint
from bnnedge.configuration import Configuration
from bnnedge.importer import compare, keras, kerasfile, kinds, qonnx
from bnnedge.importer.assemble import assemble
from bnnedge.importer.choice import Choice
from bnnedge.importer.states import limited, state
from bnnedge.importer.steps import LARGEST_MAP, Model, UnsupportedError, first_line
from bnnedge.rates import SCHEDULE, fine

__all__ = ["Imported", "UnsupportedError", "load", "understand"]


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model that has been taken over: `checkpoint` as `Trainer.load` takes it, `notes` of what differs from the model."""

    checkpoint: Checkpoint
    notes: tuple[str, ...]


def load(
    path: str | os.PathLike[str],
    pixels: tuple[float, float],
    *,
    batch: int | None = None,
    gradient_planes: int | Sequence[int] | str | None = None,
    slope_planes: int | None = None,
    configuration: str | os.PathLike[str] | Configuration | None = None,
) -> Imported:
    """Read a model file: .keras, .h5 (Keras, Larq) or .onnx (ONNX, QONNX).

    Parameters
    ----------
    pixels: what the model's input is for a black and for a white pixel, such as (0, 1) or (-1, 1).
    batch, gradient_planes, slope_planes: with which training is to go on, as in `Settings`; of the batch by default 128, or the
        largest that fits, which a note then says.
    configuration: an accelerator or its name; by default the smallest that holds the network.

    Raises ValueError if the file is damaged, a library is missing that it needs, or an option is out of range;
    `UnsupportedError`, a ValueError, names the layer that the device has no form for.
    """
    path = Path(path)
    choice = Choice.of(batch, gradient_planes, slope_planes, configuration)
    try:
        kinds.check(path, (*kerasfile.SUFFIXES, *qonnx.SUFFIXES))
        if path.suffix.lower() in kerasfile.SUFFIXES:
            return _taken(keras.understand(kerasfile.read(path)), pixels, choice)
        return _taken(qonnx.understand(qonnx.read(path)), pixels, choice)
    except UnsupportedError as error:
        raise UnsupportedError(f"model file {path}: {error}") from error
    except Exception as error:  # of libraries, for whatever a strange model makes them stumble over
        raise ValueError(f"model file {path}: {first_line(error)}") from error


def understand(
    model: Any,
    pixels: tuple[float, float],
    *,
    batch: int | None = None,
    gradient_planes: int | Sequence[int] | str | None = None,
    slope_planes: int | None = None,
    configuration: str | os.PathLike[str] | Configuration | None = None,
) -> Imported:
    """As `load`, of a Keras or Larq model in memory, or of a `Model` of steps."""
    choice = Choice.of(batch, gradient_planes, slope_planes, configuration)
    return _taken(model if isinstance(model, Model) else keras.understand(model), pixels, choice)


def _taken(model: Model, pixels: tuple[float, float], choice: Choice) -> Imported:
    try:
        low, high = map(float, pixels)
    except (TypeError, ValueError):
        raise ValueError(f"pixels must be two numbers, for black and for white, such as (0, 1), not {pixels!r:.80}") from None
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"pixels: a white pixel must be more than a black one, and both finite, not {low:g} and {high:g}")
    assembled = assemble(model, (low, high))
    geometry = assembled.network.geometry
    for layer in geometry:
        if layer.out_height * layer.out_width * layer.filters > LARGEST_MAP:
            raise UnsupportedError(f"{layer.name} makes more than {LARGEST_MAP:,} numbers of an image")
    planes = assembled.input_planes
    settings, configuration, chosen = choice.fitted(assembled.network, planes)
    last, shrink = limited(assembled.layers[-1], geometry[-1], 1 if len(geometry) > 1 else 2**planes - 1)
    notes = [*assembled.notes, *chosen]
    if shrink > 1:
        notes.append(
            f"logits are {shrink:.3g} times smaller than the model's, lest the device's saturate: predictions stay, but "
            "probabilities are flatter"
        )
    held = dataclasses.replace(assembled, layers=(*assembled.layers[:-1], last))
    begun = state(held, configuration, settings.gradient_planes, settings.seed)
    rate = fine(assembled.network, configuration.latent)
    checkpoint = Checkpoint(assembled.network, settings, configuration, begun, rate, SCHEDULE)
    notes += compare.check(model, assembled, last, checkpoint, (low, high))
    return Imported(checkpoint, tuple(notes))
