"""What a study consists of: a grid of runs, described by a YAML file."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnedge.schedule import RATE, SCHEDULE
from bnnedge.settings import Settings

MODELS = ("integer", "method", "standard", "ablation", "tanh")
ROUNDINGS = ("random", "nearest")
STUDIES = {path.stem: path for path in sorted((Path(__file__).parent / "grids").glob("*.yaml"))}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Parameters
    ----------
    label: the line of the table that it belongs to, with the runs of other seeds.
    model: "integer" (the golden model), or in float32 "method" (the paper's), "standard", "ablation", or "tanh" (no binary
        network: see `bnnedge.sim.study.chaos`).
    steps: of an ablation, with spaces between: see `bnnedge.sim.reference.Ablation`.
    data, network: names or files, as `bnnedge train` takes them; of a tanh network the name is not looked at.
    epochs, batch, rate, seed: as `bnnedge train` has them; all but the golden model take batches of any size.
    augment: how the images vary, as `bnnedge train --augment` takes it; of the integer form.
    samples: train on the first so many images; 0 for all.
    holdout: leave out the last so many training images, and measure the accuracy with them instead of the test set. For
        choosing settings: a test set that has chosen them says nothing any more.
    optimiser: of the integer form one of its own, sign-momentum unless told otherwise; in float32 one of
        `bnnedge.sim.reference`, Adam unless told otherwise.
    schedule, gradient_planes, slope_planes, input_planes: of the integer form.
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
    gradient_planes: int = Settings.gradient_planes
    slope_planes: int = Settings.slope_planes
    input_planes: int = Settings.input_planes
    optimiser: str = ""
    config: str = "pynq-z2"
    latent: int = 0
    momentum: float = 0.0
    rounding: str = "random"
    steps: str = ""

    @property
    def key(self) -> str:
        """12 hexadecimal digits that tell a run from all others: its fields but the label."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name != "label"}
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
    fields of `Run`, those in common with all others added. A list stands for each of its values; the label may name
    fields in braces.
    """
    import yaml

    path = STUDIES.get(str(name), Path(name))
    if not path.is_file():
        raise ValueError(f"there is no study {str(name)!r}: neither a built-in one ({', '.join(STUDIES)}) nor a file")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"study {path} is not YAML: {' '.join(str(error).split())}") from None
    known = {"title", "text", "common", "seeds", "runs", "paper"}
    if not isinstance(data, dict) or not {"title", "runs"} <= set(data) <= known or not isinstance(data["runs"], list):
        raise ValueError(f"study {path}: needs a title and a list of runs, and may have {', '.join(sorted(known))}")
    common, seeds = data.get("common", {}), data.get("seeds", [1])
    runs: list[Run] = []
    for place, given in enumerate(data["runs"]):
        try:
            runs += _expanded({**common, **given}, seeds)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"study {path}: entry {place + 1} of runs: {error}") from None
    return Study(path.stem, data["title"], data.get("text", ""), tuple(runs), data.get("paper", {}))


def _expanded(given: Mapping[str, Any], seeds: list[int]) -> list[Run]:
    fields = {field.name: field for field in dataclasses.fields(Run)}
    unknown = set(given) - set(fields)
    if unknown:
        raise ValueError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(fields)}")
    values = [value if isinstance(value, list) else [value] for value in given.values()]
    runs = []
    for chosen, seed in itertools.product(itertools.product(*values), seeds):
        run = Run(**{**dict(zip(given, chosen, strict=True)), "seed": seed})
        if run.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, not {run.model!r}")
        if run.rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {run.rounding!r}")
        if run.augment and run.model != "integer":
            raise ValueError(f"augment is of the integer form, not of model {run.model!r}")
        runs.append(dataclasses.replace(run, rate=float(run.rate), label=run.label.format(**dataclasses.asdict(run))))
    return runs
