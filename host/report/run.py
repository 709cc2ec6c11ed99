"""A training run's folder, read back and checked."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bnnedge.configuration import Configuration
from bnnedge.network import Network
from bnnedge.settings import Settings


@dataclasses.dataclass(frozen=True)
class Run:
    """What `bnnedge train` left in a folder.

    report: the content of its report.json, as `bnnedge.report.summary` makes it. network, settings, configuration: made
    of what stands there.
    """

    folder: Path
    report: dict[str, Any]
    network: Network
    settings: Settings
    configuration: Configuration

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def layers(self) -> str:
        """Input shape and layers in words, such as 8x8: dense 128, dense 10."""
        return f"{'x'.join(map(str, self.network.input_shape))}: {', '.join(map(_layer, self.network.to_dict()['layers']))}"

    @property
    def checkpoint(self) -> Path:
        """Where the trained network lies."""
        return self.folder / "checkpoint.npz"


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run's folder; ValueError if there is none, or no whole report.json in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give one that `bnnedge train` wrote")
    path = folder / "report.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{folder}: there is no report.json in it; it is no folder of a finished `bnnedge train`") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    try:
        report = json.loads(text, parse_constant=_no_number)
    # RecursionError: brackets within brackets without end.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: it is no JSON text ({error})") from None
    wrong = _wrong(report, _REPORT)
    if wrong:
        raise ValueError(f"{path}: damaged, or of another version of bnnedge: {wrong}")
    try:
        # What else is set, such as the rate, is the trainer's.
        fields = {field.name for field in dataclasses.fields(Settings)}
        chosen = {key: value for key, value in report["settings"].items() if key in fields}
        network = Network.from_dict(report["network_description"])
        return Run(folder, report, network, Settings(**chosen), Configuration(**report["configuration"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from None


def _layer(item: Any) -> str:
    """An entry of a network's description in short."""
    if not isinstance(item, dict):
        return str(item)
    ((kind, value),) = item.items()
    listed = " ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
    return f"{kind} {listed}"


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


Check = Callable[[Any], bool]


def _is(*kinds: type) -> Check:
    return lambda value: isinstance(value, kinds)


def _list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_NUMBER, value))


def _table(of: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


_NUMBER = _is(int, float)
_MEMORY: dict[str, Check] = {
    "on_chip": _table(_is(int)),
    "ddr": _table(_is(int)),
    **dict.fromkeys(("total", "float32_standard", "ratio"), _optional(_NUMBER)),
}
_REFERENCE: dict[str, Check] = {"rate": _NUMBER, "loss": _list, "accuracy": _list, "test_accuracy": _list}
_REPORT: dict[str, Check] = {
    **dict.fromkeys(("network", "data", "device", "config"), _is(str)),
    **dict.fromkeys(("seed", "steps", "samples"), _is(int)),
    "epochs": _NUMBER,
    **dict.fromkeys(("train_loss", "train_accuracy", "test_loss_history", "test_accuracy_history", "rate_history"), _list),
    **dict.fromkeys(("test_accuracy", "reference_accuracy", "cycles_per_image", "images_per_second"), _optional(_NUMBER)),
    **dict.fromkeys(("clock_hz", "engine_utilisation", "wall_seconds"), _optional(_NUMBER)),
    "bit_exact": _optional(_is(bool)),
    "memory_bytes": lambda value: not _wrong(value, _MEMORY),
    "reference": _optional(lambda value: not _wrong(value, _REFERENCE)),
    "network_description": _is(dict),
    "settings": lambda value: not _wrong(value, {"rate": _NUMBER, "schedule": _is(str)}),
    "configuration": _is(dict),
    "versions": _table(_is(str)),
}


def _wrong(value: Any, checks: dict[str, Check]) -> str:
    """What keeps a table from being what the checks want, in words; empty if nothing."""
    if not isinstance(value, dict):
        return "it is no table"
    missing = [key for key in checks if key not in value]
    if missing:
        return f"it lacks {', '.join(missing)}"
    return ", ".join(f"{key} is {value[key]!r:.40}" for key, check in checks.items() if not check(value[key]))
