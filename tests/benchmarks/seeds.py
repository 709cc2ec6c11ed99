"""How much longer than one seed of a study several seeds take, side by side on the cores there are.

    python tests/benchmarks/seeds.py
    python tests/benchmarks/seeds.py --data digits --network digits --epochs 40 --batch 64

Runs `bnnedge study` with one seed and with all of them by turns, each a process of its own with all that it begins and ends
with, and prints the least time of each, its parts, and the ratio. With W workers and nothing in each other's way it would be
seeds / W, and less where start and end, which all of them share, take a good part. It says something on a machine that does
nothing else; on another one processor times, whose ratio is that of the work, come closer.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bnnedge.sim.study import Table
from bnnedge.terminal import printable

STUDY = """
title: Seeds
common: {{data: {data!r}, network: {network!r}, epochs: {epochs}, batch: {batch}}}
seeds: {seeds}
runs: [{{label: integer, model: integer, rate: 0.02}}]
"""


@dataclasses.dataclass(frozen=True)
class Time:
    """Of a study: seconds in all, of its runs on average, those in which no run went on, and of processor time in all."""

    whole: float
    run: float
    rest: float
    processor: float


def measure(folder: Path, arguments: argparse.Namespace, seeds: int) -> Time:
    """Carry out a study of so many seeds."""
    path, numbers = folder / f"seeds{seeds}.yaml", list(range(1, seeds + 1))
    fields = {name: getattr(arguments, name) for name in ("data", "network", "epochs", "batch")}
    path.write_text(STUDY.format(**fields, seeds=numbers))
    table = folder / f"{path.stem}.csv"
    table.unlink(missing_ok=True)
    workers = min(arguments.workers, seeds)
    command = [sys.executable, "-m", "bnnedge.cli", "study", str(path), "--out", str(folder), "--workers", str(workers)]
    began, before = time.monotonic(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole, after = time.monotonic() - began, os.times()
    processor = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    runs = [row.seconds for row in Table(table).rows.values()]
    return Time(whole, statistics.mean(runs), whole - sum(runs) / workers, processor)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist", help="data set (default: mnist)")
    parser.add_argument("--network", default="mlp", help="network (default: mlp)")
    parser.add_argument("--epochs", type=int, default=2, help="of each run (default: 2)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default: 128)")
    parser.add_argument("--seeds", type=int, default=8, help="to compare with one (default: 8)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="(default: one a core)")
    parser.add_argument("--turns", type=int, default=2, help="of which the fastest counts (default: 2)")
    arguments = parser.parse_args()
    found: dict[int, Time] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.turns):
            for seeds in (1, arguments.seeds):
                new = measure(Path(folder), arguments, seeds)
                found[seeds] = min(found.get(seeds, new), new, key=lambda t: t.whole)
    print(
        f"{printable(arguments.network)} on {printable(arguments.data)}, {arguments.epochs} epochs, B = {arguments.batch}, "
        f"{arguments.workers} workers of one thread; load {os.getloadavg()[0]:.1f}\n"
    )
    print("| seeds | s in all | a run | start, end, waiting | processor time |\n|---|---|---|---|---|")
    for seeds, each in found.items():
        print(f"| {seeds} | {each.whole:.1f} | {each.run:.1f} | {each.rest:.1f} | {each.processor:.1f} |")
    print(f"\nratio {found[arguments.seeds].whole / found[1].whole:.2f}")


if __name__ == "__main__":
    main()
