"""Checkpoints: all that training needs to go on bit for bit, in one .npz file.

The file holds `header`, JSON text as bytes, and the arrays of each layer (`1.weight`, `1.beta`, `1.mu`, ...). Its version is
that of the arithmetic: a state of another one cannot be trained on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import bounded, formats
from bnnedge.codes import codes
from bnnedge.configuration import Configuration
from bnnedge.data.scale import Scale
from bnnedge.files import atomic
from bnnedge.network import Network
from bnnedge.parsing import decoded, parse_json
from bnnedge.rates import FUNCTION, SCHEDULES, check_rate, representable
from bnnedge.schedule import Plan
from bnnedge.settings import Settings
from bnnedge.state import ARRAYS, LayerState, TrainingState

FORMAT = "bnnedge checkpoint"
VERSION = formats.VERSION

# Of the header: the losses of 80,000 epochs.
_HEADER_BYTES = 8 << 20
# A checkpoint is stored as it is; it may have been compressed since, but weights are far from all the same.
_RATIO, _FLOOR = 20, 16 << 20
_LARGEST_NUMBER = 8  # bytes, of a state's
_NUMBERS = {"exponents": "exponent", "units": "unit"}  # lists with a number of each layer, and their name in its state
_FIELDS = {"format", "version", "network", "settings", "configuration", *_NUMBERS, "step", "rate", "schedule", "plan", "scale"}


class CheckpointError(ValueError):
    """A file that is no valid checkpoint; the text names the file and says what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    rate, schedule: as in `bnnedge.Trainer`. plan: of the last run, if any. scale: of its images, if known.
    """

    network: Network
    settings: Settings
    configuration: Configuration
    state: TrainingState
    rate: float
    schedule: str
    plan: Plan | None = None
    scale: Scale | None = None


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; an earlier file at `path` stays valid until the new one is complete. OSError if it can't."""
    write(path, *packed(checkpoint))


def packed(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A checkpoint as its file has it: the header, which JSON can hold, and the arrays."""
    state = checkpoint.state
    header = {
        "format": FORMAT,
        "version": VERSION,
        "network": checkpoint.network.to_dict(),
        "settings": dataclasses.asdict(checkpoint.settings),
        "configuration": dataclasses.asdict(checkpoint.configuration),
        **{field: [int(getattr(layer, name)) for layer in state.layers] for field, name in _NUMBERS.items()},
        "step": int(state.step),
        "rate": checkpoint.rate,
        "schedule": checkpoint.schedule,
        "plan": None if checkpoint.plan is None else checkpoint.plan.to_dict(),
        "scale": None if checkpoint.scale is None else checkpoint.scale.to_dict(),
    }
    return header, {f"{i + 1}.{name}": getattr(layer, name) for i, layer in enumerate(state.layers) for name in ARRAYS}


def write(path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file of a header, which JSON can hold, and arrays of numbers; whole or not at all. OSError if it can't."""
    # In memory first: where a disk is full, an archive cut short would complain once more as it is thrown away.
    content, text = io.BytesIO(), json.dumps(header).encode()
    if len(text) > _HEADER_BYTES:
        wrong = "the history has too many epochs for a checkpoint: begin a new run, of fewer and longer epochs"
        raise OSError(errno.EFBIG, wrong, os.fspath(path))
    np.savez(content, **arrays, header=np.frombuffer(text, np.uint8))
    with atomic(path) as file:
        file.write(content.getbuffer())


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, executing nothing in it; CheckpointError if it is truncated, foreign or inconsistent.

    Of a run's folder that is the file checkpoint.npz in it.
    """
    path = Path(path)
    if path.is_dir():
        path /= "checkpoint.npz"
    with named(f"checkpoint {path}"), opened(path) as file:
        return unpacked(header_of(file), file)


def opened(path: str | os.PathLike[str]) -> bounded.Npz:
    """A file that `write` wrote, for reading, in a `with` statement and in `named`."""
    return bounded.Npz(path, _RATIO, _FLOOR)


def unpacked(header: Any, file: bounded.Npz) -> Checkpoint:
    """The checkpoint of a header and a file with its arrays; ValueError, and what `bounded.Npz` raises, if it is none."""
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("it is not a checkpoint of bnnedge")
    if header.get("version") != VERSION or type(header["version"]) is not int:
        found = header.get("version")
        if found == 1 and type(found) is int:
            raise ValueError(
                "bnnedge 0.1 trained it, in another arithmetic, and it can't be trained on here: train anew, or export it with "
                "version 0.1 (bnnedge export --format qonnx) and import that"
            )
        raise ValueError(f"its format is version {found!r:.40}; this bnnedge reads version {VERSION}")
    if set(header) != _FIELDS:
        raise ValueError(f"its header has wrong fields: {_shown(set(header) ^ _FIELDS)}")
    network = Network.from_dict(header["network"], "its network")
    settings = _made(Settings, header["settings"])
    configuration = _made(Configuration, header["configuration"])
    state = _state(header, file, network)
    state.check(network, configuration)
    codes(network, settings)  # refuses planes of another number of layers
    rates = representable(network, configuration.latent)
    rate = check_rate(header["rate"], rates)
    if header["schedule"] not in (*SCHEDULES, FUNCTION):
        raise ValueError(f"its schedule must be one of {', '.join(SCHEDULES)}, not {header['schedule']!r:.80}")
    plan = None if header["plan"] is None else Plan.from_dict(header["plan"])
    if plan:
        for used in (plan.rate, *plan.rates):
            check_rate(used, rates)
        if plan.batch != settings.batch:
            raise ValueError(f"its run takes batches of {plan.batch}, its settings of {settings.batch}")
    scale = None if header["scale"] is None else Scale.from_dict(header["scale"])
    return Checkpoint(network, settings, configuration, state, rate, header["schedule"], plan, scale)


@contextlib.contextmanager
def named(source: str) -> Iterator[None]:
    """Turn what goes wrong inside, as a file is read, into a CheckpointError that begins with `source`, its name."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{source}: there is no such file") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{source}: truncated, or no checkpoint at all ({error})") from error
    # RuntimeError: encrypted. ValueError: pickled objects, malformed arrays, and the checks of this module.
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, MemoryError, zlib.error) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or error
        raise CheckpointError(f"{source}: {said}") from error


def header_of(file: bounded.Npz) -> dict[str, Any]:
    """The header of a file that `write` wrote; ValueError if it has none."""
    if "header" not in file.names:
        raise ValueError("it is not a checkpoint of bnnedge: no header")
    text = file.read("header", _HEADER_BYTES).tobytes()
    try:
        header = parse_json(decoded(text))
    except ValueError as error:
        raise ValueError(f"its header is no JSON text: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header


def _shown(names: Iterable[str]) -> str:
    return bounded.listed([bounded.shown(name) for name in sorted(names)])


def _made(kind: type[Any], fields: Any) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(fields, dict) or set(fields) != names:
        wrong = _shown(set(fields) ^ names) if isinstance(fields, dict) else "it is no table"
        raise ValueError(f"its {kind.__name__.lower()} lacks fields, or has unknown ones: {wrong}")
    return kind(**fields)


def _state(header: dict[str, Any], file: bounded.Npz, network: Network) -> TrainingState:
    """The state, of which no array is unpacked that is larger than the network's."""
    layers = len(network.geometry)
    wanted = {f"{i + 1}.{name}" for i in range(layers) for name in ARRAYS}
    odd = sorted(set(file.names) - {"header"} ^ wanted)
    if odd:
        raise ValueError(f"its arrays are not those of {layers} layers: {_shown(odd)}")
    for field in _NUMBERS:
        numbers = header[field]
        if not isinstance(numbers, list) or len(numbers) != layers or not all(type(number) is int for number in numbers):
            raise ValueError(f"its {field} must be {layers} integers")
    if type(header["step"]) is not int:
        raise ValueError("its step is not an integer")
    states = []
    for i, geometry in enumerate(network.geometry):
        sizes = {name: geometry.fan_out * (geometry.fan_in if name == "weight" else 1) for name in ARRAYS}
        fields: dict[str, Any] = {name: header[field][i] for field, name in _NUMBERS.items()}
        fields |= {name: file.read(f"{i + 1}.{name}", sizes[name] * _LARGEST_NUMBER) for name in ARRAYS}
        states.append(LayerState(**fields))
    return TrainingState(states, header["step"])
