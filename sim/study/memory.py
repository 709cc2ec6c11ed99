"""Bytes of training: the float32 standard, the paper's method, and what the compiler allocates, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from bnnedge.compiler import memory_of
from bnnedge.configuration import configuration
from bnnedge.files import atomic
from bnnedge.network import Network, binarynet, cnv, mlp
from bnnedge.settings import Settings
from bnnedge.sim.reference import footprint
from bnnedge.sim.study.picture import save

NETWORKS: dict[str, Callable[[], Network]] = {"MLP": mlp, "CNV": cnv, "BinaryNet": binarynet}
BATCHES = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What an accelerator trains with: configuration, gradient planes g, input planes p."""

    configuration: str
    gradient_planes: int
    input_planes: int

    def __str__(self) -> str:
        return f"{self.configuration}, g = {self.gradient_planes}, p = {self.input_planes}"


VARIANTS = (
    Variant("pynq-z2", 8, 8),
    Variant("pynq-z2", 4, 8),
    Variant("pynq-z2-lean", 6, 4),
    Variant("pynq-z2-lean", 4, 4),
    Variant("pynq-z2-lean", 3, 4),
)
DRAWN = VARIANTS[3]  # in the bars

# What the bars are made of: kinds of the paper's model, and of the compiler's allocation.
_GROUPS = {
    "weights and moments": ("weights", "moments", "latent weights", "binary weights", "kept weights"),
    "weight gradients": ("weight gradients",),
    "activations and masks": ("activations", "masks", "pool masks", "routes"),
    "gradients and products": ("products", "product gradients", "gradient codes"),
}
_OTHER = "other"


@dataclasses.dataclass(frozen=True)
class Bill:
    """Bytes by kind of one network at one batch: `standard`, `method` by the paper's model, `ours` by variants, those with
    which it can be compiled.
    """

    network: str
    batch: int
    standard: dict[str, int]
    method: dict[str, int]
    ours: dict[Variant, dict[str, int]]

    def ratio(self, variant: Variant) -> float:
        """How many times less than the standard the compiler allocates."""
        return sum(self.standard.values()) / sum(self.ours[variant].values())


def bill(name: str, network: Network, batch: int) -> Bill:
    """Count; the standard with Adam, the method with Adam in 16 bits as in the paper."""
    ours = {}
    for variant in VARIANTS:
        settings = Settings(batch=batch, gradient_planes=variant.gradient_planes, input_planes=variant.input_planes)
        try:
            memory = memory_of(network, settings, configuration(variant.configuration))
        except ValueError:  # its sums would leave the accumulator
            continue
        kinds = dict(memory.on_chip)
        for kind, count in memory.ddr.items():
            kinds[kind] = kinds.get(kind, 0) + count
        ours[variant] = kinds
    schemes = [footprint(network.geometry, batch, "adam", scheme) for scheme in ("standard", "method")]
    return Bill(name, batch, schemes[0], schemes[1], ours)


def write(folder: Path) -> list[Path]:
    """Write memory.md and memory.svg into `folder`."""
    bills = [bill(name, make(), batch) for name, make in NETWORKS.items() for batch in BATCHES]
    document, picture = folder / "memory.md", folder / "memory.svg"
    with atomic(document) as file:
        file.write(_markdown(bills).encode())
    _bars(bills, picture)
    return [document, picture]


def _markdown(bills: list[Bill]) -> str:
    lines = [
        "# Memory of training",
        "",
        "MB (10^6 bytes) of training state, data sets left out. Standard and method: the paper's model "
        "(`bnnedge.sim.reference.footprint`), Adam. The others: what the compiler allocates on chip and in DDR for a "
        "configuration with g gradient planes and p input planes, sign-momentum, everything included. In brackets: times less "
        "than the standard.",
        "",
        "`bnnedge study memory`",
        "",
        "| network | batch | float32 standard | method | " + " | ".join(map(str, VARIANTS)) + " |",
        "|---|---|---|---|" + "---|" * len(VARIANTS),
    ]
    for b in bills:
        standard, method = sum(b.standard.values()), sum(b.method.values())
        ours = [f"{sum(b.ours[v].values()) / 1e6:.2f} ({b.ratio(v):.2f})" if v in b.ours else "sums too large" for v in VARIANTS]
        cells = [b.network, str(b.batch), f"{standard / 1e6:.2f}", f"{method / 1e6:.2f} ({standard / method:.2f})", *ours]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "![bars](memory.svg)", ""])


def _grouped(kinds: dict[str, int]) -> dict[str, int]:
    """Bytes by group; what DDR tensors share is taken from the groups of what shares it."""
    sums = dict.fromkeys([*_GROUPS, _OTHER], 0)
    for kind, count in kinds.items():
        sums[next((group for group, names in _GROUPS.items() if kind in names), _OTHER)] += count
    if sums[_OTHER] < 0:
        sums["gradients and products"] += sums.pop(_OTHER)
    return sums


def _bars(bills: list[Bill], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(NETWORKS)), NETWORKS, strict=True):
        places, labels = [], []
        for i, b in enumerate(b for b in bills if b.network == name):
            for k, (label, kinds) in enumerate(
                {"standard": b.standard, "method": b.method, "bnnedge": b.ours.get(DRAWN, {})}.items()
            ):
                base = 0.0
                for color, (_, count) in enumerate(_grouped(kinds).items()):
                    axes.bar(4 * i + k, count / 1e6, bottom=base, color=f"C{color}", width=0.9)
                    base += count / 1e6
                places.append(4 * i + k)
                labels.append(f"{label}{f', B = {b.batch}' if k == 1 else ''}")
        axes.set(title=name, ylabel="MB")
        axes.set_xticks(places, labels, rotation=90, fontsize=7)
    handles = [axes.bar(0, 0, color=f"C{color}") for color in range(len(_GROUPS) + 1)]
    figure.suptitle(f"bnnedge: {DRAWN}", fontsize=10)
    figure.legend(handles, [*_GROUPS, _OTHER], loc="outside lower center", ncols=5, fontsize=8)
    save(figure, path)
