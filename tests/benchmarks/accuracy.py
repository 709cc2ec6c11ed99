"""Test accuracy of the integer form (golden model) beside the float references, equal in all else, for several seeds.

    python tests/benchmarks/accuracy.py fashion-mnist --epochs 10 --seeds 1 2 3
    python tests/benchmarks/accuracy.py cifar10 --network cnv-0.5 --samples 10000 --batch 64 --epochs 5 --rate 0.002 \
        --grad-planes 8 auto 4,4,4,4,4,8,8,8,8 --reference standard method --reference-rate 1e-3

Prints a line a run and a table at the end. The data is found as `bnnedge train` finds it.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from typing import Any

from bnnedge import data
from bnnedge.commands import options
from bnnedge.sim.study import Run
from bnnedge.sim.study.training import carry_out


def main() -> None:
    """Run the grid of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="digits, mnist, fashion-mnist, cifar10, svhn, or a file as for bnnedge train")
    parser.add_argument("--network", help="a built-in network or a YAML file (default: digits for digits, else mlp)")
    parser.add_argument("--samples", type=int, help="train on the first so many images (default: all)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--grad-planes", nargs="*", default=["auto"], help="each a number, auto, or a list by layer: 6,6,8")
    parser.add_argument("--slope-planes", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.012)
    parser.add_argument("--reference", nargs="*", choices=["standard", "method"], default=["standard"])
    parser.add_argument("--reference-rate", type=float, nargs="*", default=[1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--config", default="pynq-z2")
    a = parser.parse_args()

    common: dict[str, Any] = {
        "data": a.data,
        "network": a.network or ("digits" if a.data == "digits" else "mlp"),
        "samples": a.samples or 0,
        "epochs": a.epochs,
        "batch": a.batch,
    }
    integer = [
        Run(
            label=f"integer, gradient planes {planes}",
            model="integer",
            rate=a.rate,
            gradient_planes=int(planes) if planes.isdecimal() else planes,
            slope_planes=a.slope_planes,
            config=a.config,
            **common,
        )
        for planes in a.grad_planes
    ]
    floating = [
        Run(label=f"float32 {kind}, rate {rate:g}", model=kind, rate=rate, **common)
        for kind in a.reference
        for rate in a.reference_rate
    ]
    rows: dict[str, list[float]] = {}
    for seed in a.seeds:
        for run in (*integer, *floating):
            row = carry_out(dataclasses.replace(run, seed=seed))
            print(f"{run.label}, seed {seed}: {row.accuracy:.2%}, {row.seconds / a.epochs:.1f} s an epoch", flush=True)
            rows.setdefault(run.label, []).append(row.accuracy)

    found = data.load(a.data)
    images = len(found.x_train[: a.samples])
    network = options.network(common["network"], found.x_train.shape[1:], found.classes)
    print(f"\n{a.data}, {images:,} images, {network.name}, {a.epochs} epochs, batch {a.batch}: last epoch's test accuracy")
    for what, values in rows.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{what:32s} mean {statistics.mean(values):.2%}  +- {spread:.2%}  of {len(values)} seeds")


if __name__ == "__main__":
    main()
