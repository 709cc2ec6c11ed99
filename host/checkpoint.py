"""Checkpoints: all that training needs to go on bit for bit, in one .npz file.

The file holds `header`, JSON text as bytes, and the arrays of each layer (`1.weight`, `1.beta`, `1.mu`, `1.psi`, ...).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge.configuration import Configuration
from bnnedge.files import atomic
from bnnedge.network import Network
from bnnedge.schedule import Plan
from bnnedge.settings import Settings
from bnnedge.state import LayerState, TrainingState

FORMAT = "bnnedge checkpoint"
VERSION = 1

_ARRAYS = ("weight", "beta", "mu", "psi")
_FIELDS = {"format", "version", "network", "settings", "configuration", "exponents", "step", "rate", "schedule", "plan"}


class CheckpointError(ValueError):
    """A file that is no valid checkpoint; the text names the file and says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds; `rate` and `schedule` as in `bnnedge.Trainer`, `plan` of the last run, if any."""

    network: Network
    settings: Settings
    configuration: Configuration
    state: TrainingState
    rate: float
    schedule: str
    plan: Plan | None = None


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; an earlier file at `path` stays valid until the new one is complete. OSError if it can't."""
    state = checkpoint.state
    header = {
        "format": FORMAT,
        "version": VERSION,
        "network": checkpoint.network.to_dict(),
        "settings": dataclasses.asdict(checkpoint.settings),
        "configuration": dataclasses.asdict(checkpoint.configuration),
        "exponents": [int(layer.exponent) for layer in state.layers],
        "step": int(state.step),
        "rate": checkpoint.rate,
        "schedule": checkpoint.schedule,
        "plan": None if checkpoint.plan is None else checkpoint.plan.to_dict(),
    }
    arrays = {f"{i + 1}.{name}": getattr(layer, name) for i, layer in enumerate(state.layers) for name in _ARRAYS}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    # In memory first: where a disk is full, an archive cut short would complain once more as it is thrown away.
    content = io.BytesIO()
    np.savez(content, **arrays)
    with atomic(path) as file:
        file.write(content.getbuffer())


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, executing nothing in it; CheckpointError if it is truncated, foreign or inconsistent."""
    path = Path(path)
    with _named(path):
        header, arrays = _read(path)
        if header.get("format") != FORMAT:
            raise ValueError("it is not a checkpoint of bnnedge")
        if header.get("version") != VERSION:
            raise ValueError(f"its format is version {header.get('version')}; this bnnedge reads version {VERSION}")
        if set(header) != _FIELDS:
            raise ValueError(f"its header has wrong fields: {', '.join(sorted(set(header) ^ _FIELDS))}")
        network = Network.from_dict(header["network"], "its network")
        settings = _made(Settings, header["settings"])
        configuration = _made(Configuration, header["configuration"])
        state = _state(header, arrays, len(network.geometry))
        state.check(network, configuration.latent)
        plan = None if header["plan"] is None else Plan.from_dict(header["plan"])
        if not isinstance(header["rate"], (int, float)) or not isinstance(header["schedule"], str):
            raise ValueError("its rate or schedule is damaged")
        return Checkpoint(network, settings, configuration, state, header["rate"], header["schedule"], plan)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what goes wrong inside into a CheckpointError with the file's name."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path}: there is no such file") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"checkpoint {path}: truncated, or no checkpoint at all ({error})") from error
    # RuntimeError: encrypted. ValueError: pickled objects, malformed arrays, and the checks of this module.
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, MemoryError, zlib.error) as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    # NumPy would parse a damaged header before it comes to the checksum.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"damaged: {damaged} fails its checksum")
    with np.load(path, allow_pickle=False) as file:
        if "header" not in file.files:
            raise ValueError("it is not a checkpoint of bnnedge: no header")
        arrays = {name: file[name] for name in file.files}
    foreign = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if foreign:
        raise ValueError(f"it holds {', '.join(foreign)}, which are no arrays")
    try:
        header = json.loads(arrays.pop("header").tobytes().decode())
    except ValueError as error:
        raise ValueError(f"its header is no JSON text: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header, arrays


def _made(kind: type[Any], fields: Any) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(fields, dict) or set(fields) != names:
        raise ValueError(f"its {kind.__name__.lower()} lacks fields, or has unknown ones")
    return kind(**fields)


def _state(header: dict[str, Any], arrays: dict[str, np.ndarray], layers: int) -> TrainingState:
    wanted = {f"{i + 1}.{name}" for i in range(layers) for name in _ARRAYS}
    if set(arrays) != wanted:
        raise ValueError(f"its arrays are not those of {layers} layers: {', '.join(sorted(set(arrays) ^ wanted))}")
    exponents = header["exponents"]
    if not isinstance(exponents, list) or len(exponents) != layers or not all(type(e) is int for e in exponents):
        raise ValueError(f"its exponents must be {layers} integers")
    if type(header["step"]) is not int:
        raise ValueError("its step is not an integer")
    return TrainingState(
        [LayerState(**{name: arrays[f"{i + 1}.{name}"] for name in _ARRAYS}, exponent=exponents[i]) for i in range(layers)],
        header["step"],
    )
