"""What a training step of the golden model takes, part by part, and beside a float32 product and PyTorch's own training.

    python tests/benchmarks/golden.py --threads 2
    python tests/benchmarks/golden.py --network mlp --batch 128 --plain

Prints a Markdown table with a column for each network. The golden model's step, as many multiplications in float32 products
`a @ b` of the same sizes, and a float32 step of PyTorch (`torch_step`) run by turns, and the least time of each counts: what
else the machine does only adds to it, so that ratios hold though it is busy. The parts are those of the fastest step. Random
numbers are drawn within the loops that round and update; what drawing them alone takes has a row of its own. Each network has a
process of its own, with as many threads as asked for, and another one for its peak of memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import draws
import numpy as np

from bnnedge import Settings, configuration, formats
from bnnedge.commands import options
from bnnedge.network import Network
from bnnedge.sim.arrays import library, to_numpy
from bnnedge.sim.golden import Golden, ways
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.threads import Threads, usable
from bnnedge.state import TrainingState

PARTS = {
    "products, forward": ("forward",),
    "products, data gradient": ("data_gradient",),
    "products, weight gradient": ("weight_gradient",),
    "statistics": ("statistics",),
    "signs, masks, pooling": ("signs", "normalise", "pool_sums", "pool_signs"),
    "gradients, rounding": ("masked", "codes"),
    "update": ("updated",),
}
"""Parts of a step, and the operations of `Golden.products` and `Golden.elementwise` that make them; all else is the rest."""
EPOCH = 60_000
PAUSE = 0.02
"""Seconds between turns: the threads of one library spin for a while after its work, and would slow the next one's down."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What the libraries read their numbers of threads from, when they are loaded."""


class Timers:
    """Seconds that operations take by their part of the step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watched(self, golden: Golden) -> Golden:
        """The golden model with its operations timed, as it calls them: not as they call each other."""
        parts = {name: part for part, names in PARTS.items() for name in names}
        for owner in ("products", "elementwise"):
            operations = getattr(golden, owner)
            own = {name: part for name, part in parts.items() if hasattr(operations, name)}
            timed = {name: self.timed(getattr(operations, name), part) for name, part in own.items()}
            setattr(golden, owner, SimpleNamespace(**timed))
        return golden

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, adding its time to a part's."""

        @functools.wraps(function)
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **keywords)
            self.seconds[part] = self.seconds.get(part, 0) + time.perf_counter() - start
            return result

        return wrapped


@dataclasses.dataclass
class Measured:
    """Seconds of a golden step and its parts, of its random numbers, of as many multiplications in float32, of PyTorch's step."""

    step: float
    parts: dict[str, float]
    random: float
    products: float
    torch_step: float | None


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured: a built-in network or a file, images a step, the golden model's arrays, and whether in its plain way."""

    name: str
    batch: int
    arrays: str = "numpy"
    plain: bool = False

    @property
    def network(self) -> Network:
        return options.network(self.name)

    @property
    def settings(self) -> Settings:
        return Settings(batch=self.batch)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and labels of a batch, at random."""
        rng, network = np.random.default_rng(1), self.network
        return rng.integers(0, 256, (self.batch, *network.input_shape), np.uint8), rng.integers(0, network.classes, self.batch)

    def golden(self) -> Golden:
        """The golden model at its start."""
        network, settings, config = self.network, self.settings, configuration("pynq-z2")
        state = TrainingState.initial(network, config.latent, settings.gradient_planes, settings.seed)
        put = library(self.arrays).put
        return Golden(network, settings, config, state.mapped(put), ways=ways.plain if self.plain else None)

    def step(self, golden: Golden) -> Callable[[], Any]:
        """A step of it."""
        pixels, labels = self.data()

        def step() -> None:
            golden.train(pixels, labels, 3 << formats.RATE)
            to_numpy(golden.state.layers[0].weight)  # a GPU computes on while Python goes on

        return step

    def random(self, golden: Golden) -> Callable[[], Any]:
        """The random numbers of a step, drawn as it draws them, and nothing else."""
        tensors = list(draws.tensors(self.network, self.batch))
        if type(golden.elementwise) is Plain:
            return lambda: [draws.plain(golden.random, tensor) for tensor in tensors]
        threads = Threads(usable())
        return lambda: [draws.compiled(golden.random, tensor, threads) for tensor in tensors]

    def torch(self) -> Callable[[], Any]:
        """A step of PyTorch in float32."""
        import torch
        import torch_step

        training, data = torch_step.Training(self.network), [torch.tensor(a) for a in self.data()]
        return lambda: training.step(*data)

    def shapes(self) -> Iterator[tuple[int, int, int]]:
        """Rows, terms and columns of each matrix product of a step: nothing propagates to the first layer's input."""
        for i, layer in enumerate(self.network.geometry):
            rows, terms, columns = self.batch * layer.outputs, layer.fan_in, layer.fan_out
            yield from [(rows, terms, columns), (terms, rows, columns), *[(rows, columns, terms)] * (i > 0)]

    @property
    def multiplications(self) -> int:
        return sum(rows * terms * columns for rows, terms, columns in self.shapes())


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def products(case: Case) -> float:
    """Seconds of all matrix products of a step, in float32 of the golden model's own library."""
    put, seconds = library(case.arrays).put, 0.0
    for rows, terms, columns in case.shapes():
        a, b = put(np.ones((rows, terms), np.float32)), put(np.ones((terms, columns), np.float32))
        to_numpy(a[0, :1] + b[0, :1])  # both are there
        start = time.perf_counter()
        to_numpy((a @ b)[0, :1])
        seconds += time.perf_counter() - start
    return seconds


def measure(case: Case, threads: int, least: float) -> Measured:
    """Time a network's steps and products by turns for so many seconds, in a process whose libraries have that many threads."""
    timers, golden = Timers(), case.golden()
    turns = {"random": _timed(case.random(golden)), "products": lambda: products(case)}
    turns["step"] = _timed(case.step(timers.watched(golden)))
    if has_torch():
        import torch

        torch.set_num_threads(threads)
        turns["torch step"] = _timed(case.torch())
    for turn in turns.values():  # loads and compiles
        turn()
    found, parts, end = dict.fromkeys(turns, float("inf")), dict[str, float](), time.monotonic() + least
    while True:
        for name, turn in turns.items():
            time.sleep(PAUSE)
            for _ in range(2):  # the first one finds the caches as another left them
                timers.seconds = {}
                seconds = turn()
                if seconds < found[name]:
                    found[name], parts = seconds, timers.seconds if name == "step" else parts
        if time.monotonic() >= end:
            return Measured(found["step"], parts, found["random"], found["products"], found.get("torch step"))


def _timed(step: Callable[[], Any]) -> Callable[[], float]:
    def seconds() -> float:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    return seconds


def peak(case: Case, of_torch: bool) -> float | None:
    """MB by which two steps raise a fresh process's memory at its peak; None where the system does not tell."""
    step = case.torch() if of_torch else case.step(case.golden())
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _memory("VmRSS")
        for _ in range(2):
            step()
        return _memory("VmHWM") - before
    except OSError:
        return None


def _memory(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def apart(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fresh process, whose libraries have that many threads."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def rows(case: Case, threads: int, least: float) -> dict[str, str]:
    """A network's column of the table."""
    m = apart(threads, measure, case, threads, least)
    found = {
        "a step, ms": f"{1e3 * m.step:.1f}",
        **{f"- {part}": f"{1e3 * seconds:.1f}" for part, seconds in m.parts.items()},
        "- rest": f"{1e3 * (m.step - sum(m.parts.values())):.1f}",
        "random numbers of these, ms": f"{1e3 * m.random:.1f}",
        "images/s": f"{case.batch / m.step:,.0f}",
        f"an epoch of {EPOCH:,} images, s": f"{EPOCH / case.batch * m.step:.1f}",
        "multiplications a step, 10^9": f"{case.multiplications / 1e9:.2f}",
    }
    found["as many in float32 products, ms"] = f"{1e3 * m.products:.1f}"
    found["step / float32 products"] = f"{m.step / m.products:.2f}"
    if m.torch_step is not None:
        found["PyTorch's float32 step, ms"] = f"{1e3 * m.torch_step:.1f}"
        found["PyTorch's step / step"] = f"{m.torch_step / m.step:.2f}"
    for of_torch in (False, True)[: 1 + has_torch()]:
        memory = apart(threads, peak, case, of_torch)
        found[f"memory of a step{', PyTorch' * of_torch}, MB"] = "" if memory is None else f"{memory:.1f}"
    return found


def table(columns: dict[str, dict[str, str]]) -> str:
    """Markdown of columns by their heads, of cells by the names of rows."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure the networks of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", default=["mlp", "cnv-0.5", "cnv"], help="built-in networks or YAML files")
    parser.add_argument("--batch", type=int, metavar="N", help="images a step (default: 128 for mlp, else 64)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each library (default: 1)")
    parser.add_argument("--seconds", type=float, default=10, metavar="S", help="of measuring, for each network (default: 10)")
    parser.add_argument("--arrays", default="numpy", help="the golden model's: numpy, torch, torch:cuda, cupy (default: numpy)")
    parser.add_argument("--plain", action="store_true", help="the golden model's plain way, though there is a faster one")
    a = parser.parse_args()
    if not has_torch():
        print("PyTorch is not installed: its rows are left out\n")
    columns = {}
    for name in a.network:
        case = Case(name, a.batch or (128 if name == "mlp" else 64), a.arrays, a.plain)
        columns[f"{name}, B = {case.batch}"] = rows(case, a.threads, a.seconds)
    print(f"{a.threads} thread{'s' * (a.threads > 1)}{', the plain way' * a.plain}\n\n{table(columns)}")


if __name__ == "__main__":
    main()
