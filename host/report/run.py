"""A training run's folder, read back and checked."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnnedge.configuration import Configuration
from bnnedge.network import MAX_NAME, Network
from bnnedge.parsing import parse_json, read_text
from bnnedge.settings import Settings
from bnnedge.terminal import counted

LARGEST = 1 << 24  # bytes of a report: two hundred for each epoch that a checkpoint can hold
_AGAIN = "copy the folder again, or train again"


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
    def wall_time(self) -> str | None:
        """How long the training took, in words, and of how many steps, if it was resumed; None if that is not known."""
        seconds, steps = self.report["wall_seconds"], self.report.get("wall_steps", self.report["steps"])
        if seconds is None:
            return None
        return f"{seconds:,.0f} s" + (f" for the last {counted(steps, 'step')}" if steps < self.report["steps"] else "")

    @property
    def unfinished(self) -> str | None:
        """How far the run went that has not come to its end, in words; None of one that has."""
        if self.report.get("finished", True):
            return None
        planned = self.report.get("planned_steps")
        of = f" of {planned:,}" if planned else ""
        return f"unfinished, after {self.report['steps']:,}{of} steps: `bnnedge train --resume` goes on"

    @property
    def checkpoint(self) -> Path:
        """Where the trained network lies."""
        return self.folder / "checkpoint.npz"


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run's folder, or that of the report given; ValueError if there is none, or no whole report.json in it."""
    folder = Path(folder)
    if folder.name == "report.json" and folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        wrong = "it is no folder" if folder.exists() else "there is no such folder"
        raise ValueError(f"{folder}: {wrong}; give one that `bnnedge train` wrote")
    path = folder / "report.json"
    try:
        text = read_text(path, LARGEST, regular=True)
    except IsADirectoryError:
        raise ValueError(f"{path}: it is a folder; {_AGAIN}") from None
    except FileNotFoundError:
        raise ValueError(f"{folder}: there is no report.json in it; `bnnedge train` leaves one, and its checkpoint") from None
    except ValueError as error:
        raise ValueError(f"{path}: damaged: {error}; {_AGAIN}") from None
    try:
        report = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: damaged: it is no JSON text ({error}); {_AGAIN}") from None
    wrong = _wrong(report, _REPORT) or _wrong(report, {key: check for key, check in _LATER.items() if key in report})
    if wrong:
        raise ValueError(f"{path}: damaged, or of another version of bnnedge: {wrong}; {_AGAIN}")
    try:
        # What else is set, such as the rate, is the trainer's.
        fields = {field.name for field in dataclasses.fields(Settings)}
        chosen = {key: value for key, value in report["settings"].items() if key in fields}
        network = Network.from_dict(report["network_description"])
        return Run(folder, report, network, Settings(**chosen), Configuration(**report["configuration"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged: {error}; {_AGAIN}") from None


def _layer(item: Any) -> str:
    """An entry of a network's description in short."""
    if not isinstance(item, dict):
        return str(item)
    ((kind, value),) = item.items()
    listed = " ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
    return f"{kind} {listed}"


Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _number(low: float = 0, high: float = 2**64, *kinds: type) -> Check:
    """Whether it is a number in that range, which a page can show and a curve can hold."""
    return lambda value: type(value) in (kinds or (int, float)) and low <= value <= high


def _list(of: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _table(of: Check) -> Check:
    return lambda value: isinstance(value, dict) and len(value) <= 100 and all(map(_text, value)) and all(map(of, value.values()))


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


_COUNT, _SHARE, _SIZE = _number(0, 2**64, int), _number(0, 1), _number()
_MEMORY: dict[str, Check] = {
    **dict.fromkeys(("on_chip", "ddr"), _table(_number(-(2**60), 2**60, int))),
    **dict.fromkeys(("total", "float32_standard", "ratio"), _optional(_SIZE)),
}
_REFERENCE: dict[str, Check] = {
    **dict.fromkeys(("accuracy", "test_accuracy"), _list(_SHARE)),
    "rate": _SIZE,
    "loss": _list(_optional(_SIZE)),  # null where it diverged
}
_REPORT: dict[str, Check] = {
    **dict.fromkeys(("network", "data", "device", "config"), _text),
    **dict.fromkeys(("seed", "steps", "samples", "checked_steps"), _COUNT),
    "epochs": _SIZE,
    **dict.fromkeys(("train_loss", "test_loss_history", "rate_history"), _list(_SIZE)),
    **dict.fromkeys(("train_accuracy", "test_accuracy_history"), _list(_SHARE)),
    **dict.fromkeys(("test_accuracy", "reference_accuracy"), _optional(_SHARE)),
    **dict.fromkeys(("cycles_per_image", "images_per_second"), _optional(_SIZE)),
    **dict.fromkeys(("clock_hz", "engine_utilisation", "wall_seconds"), _optional(_SIZE)),
    "bit_exact": _optional(lambda value: isinstance(value, bool)),
    "check_seconds": _SIZE,
    "memory_bytes": lambda value: not _wrong(value, _MEMORY),
    "reference": _optional(lambda value: not _wrong(value, _REFERENCE)),
    "network_description": lambda value: isinstance(value, dict),
    "settings": lambda value: not _wrong(value, {"rate": _SIZE, "schedule": _text}) and _table(_plain)(value),
    "configuration": lambda value: isinstance(value, dict),
    "versions": _table(_text),
}


# What reports of earlier versions lack.
_LATER: dict[str, Check] = {
    "wall_steps": _COUNT,
    "planned_steps": _COUNT,
    "finished": lambda value: isinstance(value, bool),
    "asked": lambda value: _table(_plain)(value),
    "data_path": _optional(lambda value: isinstance(value, str) and len(value) < 1 << 12 and "\0" not in value),
    "data_sha256": lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)),
}


def _plain(value: Any) -> bool:
    return _text(value) or _SIZE(value) or value is None or isinstance(value, bool)


def _wrong(value: Any, checks: dict[str, Check]) -> str:
    """What keeps a table from being what the checks want, in words; empty if nothing."""
    if not isinstance(value, dict):
        return "it is no table"
    missing = [key for key in checks if key not in value]
    if missing:
        return f"it lacks {', '.join(missing)}"
    return ", ".join(f"{key} is {value[key]!r:.40}" for key, check in checks.items() if not check(value[key]))
