"""What a study consists of: a grid of runs, described by a YAML file."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bnnedge import formats
from bnnedge.configuration import Configuration, configuration
from bnnedge.data.augment import Augment
from bnnedge.parsing import parse_yaml, read_text
from bnnedge.rates import RATE, SCHEDULE, SCHEDULES
from bnnedge.settings import AUTO, Settings, parsed_planes, whole
from bnnedge.terminal import nearest, printable

INDEPENDENT = ("pytorch", "pytorch-method")
MODELS = ("integer", "method", "standard", "ablation", "tanh", *INDEPENDENT)
PROGRAM = "tests/benchmarks/standard.py"
"""Of the repository: trains the runs that are `independent`."""
ROUNDINGS = ("random", "nearest")
MOST_RUNS = 10_000  # of a study
LONGEST = 255  # characters of a text
_KINDS: dict[type, str] = {str: "text; put it in quotes", dict: "a table", list: "a list"}
STUDIES = {path.stem: path for path in sorted((Path(__file__).parent / "grids").glob("*.yaml"))}


def _number(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= LONGEST and printable(value) == value else None


def _whole_or_text(value: Any) -> int | str | None:
    return _text(value) if isinstance(value, str) else whole(value)


# By types of fields: what makes a value one, or None of it; and what that is called.
_CONVERTED: dict[str, Callable[[Any], Any]] = {"int": whole, "float": _number, "str": _text, "int | str": _whole_or_text}
_WANTED = {"int": "a whole number", "float": "a number", "str": f"text of up to {LONGEST} printable characters, in quotes"}
_WANTED["int | str"] = f"{_WANTED['int']}, or {_WANTED['str']}"
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("epochs", "batch"), (1, 1 << 31)),
    **dict.fromkeys(("samples", "holdout"), (0, 1 << 31)),
    **dict.fromkeys(("gradient_planes", "slope_planes", "input_planes"), (1, formats.MAX_PLANES)),
    "rate": (0, 1e6),
    "momentum": (0, 1),
    "seed": (0, (1 << 64) - 1),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training; ValueError for what none can be.

    Parameters
    ----------
    label: the line of the table that it belongs to, with the runs of other seeds.
    model: "integer" (the golden model), or in float32 "method" (the paper's), "standard", "ablation", or "tanh" (no binary
        network: see `bnnedge.sim.study.chaos`); or "pytorch" and "pytorch-method", standard and method by `PROGRAM`, which
        shares no layer with this package.
    steps: of an ablation, with spaces between: see `bnnedge.sim.reference.Ablation`.
    data, network: names or files, as `bnnedge train` takes them; of a tanh network the name is not looked at.
    epochs, batch, rate, seed: as `bnnedge train` has them; all but the golden model take batches of any size.
    augment: how the images vary, as `bnnedge train --augment` takes it; not of a tanh network.
    samples: train on the first so many images; 0 for all.
    holdout: leave out the last so many training images, and measure the accuracy with them instead of the test set. For
        choosing settings: a test set that has chosen them says nothing any more.
    optimiser: of the integer form one of its own, sign-momentum unless told otherwise; in float32 one of
        `bnnedge.sim.reference`, Adam unless told otherwise.
    schedule, gradient_planes, slope_planes, input_planes: of the integer form; planes of each layer are text, "6,6,8".
    config: accelerator that the golden model is of.
    latent: bits of its latent weights, 4..12; 0 for as many as the configuration has.
    momentum: of a tanh network's gradient descent, 0..1.
    rounding: "random", as the accelerator does, or "nearest", for comparison.
    """

    label: str
    model: str
    data: str
    network: str
    epochs: int
    batch: int = Settings.batch
    rate: float = RATE
    seed: int = 1
    augment: str = ""
    samples: int = 0
    holdout: int = 0
    schedule: str = SCHEDULE
    gradient_planes: int | str = AUTO
    slope_planes: int = Settings.slope_planes
    input_planes: int = Settings.input_planes
    optimiser: str = ""
    config: str = "pynq-z2"
    latent: int = 0
    momentum: float = 0.0
    rounding: str = "random"
    steps: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _CONVERTED[str(field.type)](getattr(self, field.name))
            if value is None:
                raise ValueError(f"{field.name} is {getattr(self, field.name)!r:.80}, and must be {_WANTED[str(field.type)]}")
            low, high = _RANGES.get(field.name, (-math.inf, math.inf))
            if not isinstance(value, str) and not low <= value <= high:
                raise ValueError(f"{field.name} must be in {low:g}..{high:g}, not {value}")
            object.__setattr__(self, field.name, value)
        for name, known in (("model", MODELS), ("rounding", ROUNDINGS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r:.80}")
        if self.rate <= 0 or self.momentum >= 1:
            raise ValueError(f"rate must be above 0 and momentum below 1, not {self.rate} and {self.momentum}")
        self.configuration()
        if self.augment and self.model == "tanh":
            raise ValueError("augment is of binary networks, not of model 'tanh'")
        if self.optimiser and self.independent:
            raise ValueError(f"optimiser is not for model {self.model!r}, which trains with Adam")
        if self.augment:
            Augment.parse(self.augment)
        if self.model == "integer":
            self.settings()

    def settings(self) -> Settings:
        """Those of the integer form; ValueError if they are none."""
        optimiser = self.optimiser or Settings.optimiser
        planes = parsed_planes(str(self.gradient_planes))
        return Settings(self.batch, planes, self.input_planes, self.slope_planes, optimiser, self.seed)

    def configuration(self) -> Configuration:
        """That of the golden model; ValueError if there is none."""
        found = configuration(self.config)
        return dataclasses.replace(found, latent=self.latent) if self.latent else found

    @property
    def independent(self) -> bool:
        """Whether another program trains it, `PROGRAM`, and no study."""
        return self.model in INDEPENDENT

    @property
    def key(self) -> str:
        """12 hexadecimal digits that tell a run from all others: its fields but the label, and the integer arithmetic."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name != "label"}
        if self.model == "integer":
            fields["arithmetic"] = formats.VERSION
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of runs.

    name, title, text: for the document. paper: accuracies, in %, that the paper gives for a label. runs: all, labels in
    the order of the table, seeds within.
    """

    name: str
    title: str
    text: str
    runs: tuple[Run, ...]
    paper: Mapping[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        """Lines of the table, in order."""
        return tuple(dict.fromkeys(run.label for run in self.runs))


def load_study(name: str | Path) -> Study:
    """The study of that name, or of a YAML file; ValueError says what is wrong with it.

    ``{title, text, common: {...}, seeds: [...], runs: [{label, ...}, ...], paper: {label: accuracy}}``: a run has the
    fields of `Run`, those in common with all others added. A list stands for each of its values, the seeds too, if a run has
    some of its own: ``seed: [1, 2]``. The label may name fields in braces, nothing else: ``{batch}``.
    """
    path = STUDIES.get(str(name), Path(name))
    if not path.is_file():
        meant = nearest(str(name), STUDIES)
        raise ValueError(f"there is no study {str(name)!r}: neither a built-in one ({', '.join(STUDIES)}) nor a file{meant}")
    try:
        data = parse_yaml(read_text(path))
    except ValueError as error:
        raise ValueError(f"study {path} is not YAML of a study: {error}") from None
    try:
        return _study(path.stem, data)
    except ValueError as error:
        raise ValueError(f"study {path}: {error}") from None


def _study(name: str, data: Any) -> Study:
    known: dict[str, tuple[type, Any]] = {
        "title": (str, None),
        "text": (str, ""),
        "common": (dict, {}),
        "seeds": (list, [1]),
        "runs": (list, None),
        "paper": (dict, {}),
    }
    if not isinstance(data, dict) or not {"title", "runs"} <= set(data) <= set(known):
        raise ValueError(f"needs a title and a list of runs, and may have {', '.join(sorted(known))}")
    found = {key: data.get(key, usual) for key, (_, usual) in known.items()}
    for key, (kind, _) in known.items():
        if not isinstance(found[key], kind):
            raise ValueError(f"{key} is {found[key]!r:.80}, and must be {_KINDS[kind]}")
    seeds = found["seeds"]
    if not seeds or not all(whole(seed) is not None for seed in seeds):
        raise ValueError(f"seeds must be a list of whole numbers, not {seeds!r:.80}")
    runs: list[Run] = []
    for place, given in enumerate(found["runs"]):
        try:
            if not isinstance(given, dict):
                raise ValueError(f"must be a table, as {{label: ..., model: ...}}, not {given!r:.80}")
            fields = {**found["common"], **given}
            own = fields.pop("seed", seeds)
            runs += _expanded({**fields, "seed": own}, MOST_RUNS - len(runs))  # last, so that the seeds of a label come together
        except ValueError as error:
            raise ValueError(f"entry {place + 1} of runs: {error}") from None
    if not runs:
        raise ValueError("runs is empty: give one at least")
    study = Study(name, found["title"], found["text"], tuple(runs), found["paper"])
    for label, accuracy in study.paper.items():
        if _number(accuracy) is None or not 0 <= accuracy <= 100:
            raise ValueError(f"paper: {label!r:.80} must have an accuracy in %, 0..100, not {accuracy!r:.80}")
    return study


def _expanded(given: Mapping[str, Any], most: int) -> list[Run]:
    fields = {field.name: field for field in dataclasses.fields(Run)}
    unknown = set(given) - set(fields)
    if unknown:
        raise ValueError(f"there is no {', '.join(sorted(unknown)):.80}; there are {', '.join(fields)}")
    required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if not required <= set(given):
        raise ValueError(f"it needs {', '.join(name for name in fields if name in required - set(given))}")
    if given["seed"] == []:
        raise ValueError("seed is an empty list: give one at least, or leave it out")
    values = [value if isinstance(value, list) else [value] for value in given.values()]
    if math.prod(map(len, values)) > most:
        raise ValueError(f"with it, the study has more than {MOST_RUNS:,} runs: split it")
    runs = []
    for chosen in itertools.product(*values):
        run = Run(**dict(zip(given, chosen, strict=True)))
        runs.append(dataclasses.replace(run, label=_filled(run.label, dataclasses.asdict(run))))
    return runs


def _filled(label: str, fields: Mapping[str, Any]) -> str:
    """The label with values of fields for their names in braces; for these alone, as formats of Python can do anything."""

    def value(found: re.Match[str]) -> str:
        name = found[0][1:-1]
        if found[0] in "{}" or name not in fields or name == "label":
            raise ValueError(
                f"label {label!r:.80}: {found[0]!r:.40} is no name of a field in braces, as {{batch}}; "
                f"there are {', '.join(other for other in fields if other != 'label')}"
            )
        return str(fields[name])

    return re.sub(r"\{[^{}]*\}|[{}]", value, label)
