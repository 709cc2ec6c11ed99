"""Which code computes a network's steps: the plain one, which is the definition, or a faster one that is installed.

    what              plain                      faster, with the same bits
    products          float BLAS (`products`)    PyTorch's of bytes (`int8`)
    - of signs        the same                   loops over bits, compiled by Numba (`bits`)
    all else          arrays (`plain`)           loops that Numba compiles (`compiled`)

Each is taken where its library is there; a board has NumPy alone, which does. Before that they must give, once in a process, what
the plain way gives for a small network: another processor, another version or a compiled file out of date shows there.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from bnnedge.configuration import Configuration
from bnnedge.layers import Conv2D, Dense, Geometry, MaxPool2D
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.sim.arrays import NUMPY, Array
from bnnedge.sim.golden import products
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.random import Random
from bnnedge.sim.golden.threads import Threads, usable
from bnnedge.state import TrainingState
from bnnedge.underway import underway

if TYPE_CHECKING:
    from bnnedge.sim.golden.int8 import Multiplier

_WORTH = 1 << 24
"""Multiplications of a step that are worth a second, which Numba and PyTorch take to be imported."""


class Products(Protocol):
    """The three products of training, of the arguments that those of `products` have."""

    def forward(self, x: Array, weight: Array, layer: Geometry, planes: int) -> Array: ...
    def data_gradient(self, code: Array, weight: Array, layer: Geometry, planes: int) -> Array: ...
    def weight_gradient(self, x: Array, code: Array, layer: Geometry, x_planes: int, planes: int) -> Array: ...


class Ways(NamedTuple):
    """What a golden model computes with."""

    elementwise: Plain
    products: Products


def plain(random: Random, latent_top: int) -> Ways:
    """The definition, in any array library."""
    return Ways(Plain(random, latent_top), products)


def fastest(random: Random, latent_top: int) -> Ways:
    """What is installed; for NumPy's arrays."""
    elementwise, threads = Plain(random, latent_top), Threads(usable())
    try:
        from bnnedge.sim.golden.bits import Bits
        from bnnedge.sim.golden.compiled import Compiled
    except ImportError:  # Numba is not there, or another NumPy than it knows
        return Ways(elementwise, _without_bits(threads, elementwise))
    loops = Compiled(random, latent_top, threads)
    without = _without_bits(threads, loops)
    # An ablation draws other numbers than the loops do.
    return Ways(loops if type(random) is Random else elementwise, Bits(without, threads) if _bits() else without)


def _without_bits(threads: Threads, elementwise: Plain) -> Products:
    """The products on bytes where these are faster, or else on floats."""
    multiply = _multiplier()
    if multiply is None:
        return products
    from bnnedge.sim.golden.int8 import Int8

    return Int8(multiply, threads, elementwise)


def fitting(random: Random, latent_top: int, network: Network, batch: int) -> Ways:
    """The fastest for steps that are worth it."""
    work = 3 * batch * sum(layer.outputs * layer.fan_in * layer.fan_out for layer in network.geometry)
    small = random.library is not NUMPY or work < _WORTH
    return plain(random, latent_top) if small or not _agree() else fastest(random, latent_top)


def summary() -> str:
    """What computes large steps here, in words."""
    if not _agree():
        return "NumPy alone, for the others don't agree with it"
    elementwise, multiplying = fastest(Random(0, 16), 128)
    found = [
        "Numba's loops" if type(elementwise) is not Plain else "",
        "counted bits" if type(multiplying).__name__ == "Bits" else "",
        "PyTorch's products of bytes" if _multiplier() else "",
    ]
    return ", ".join(filter(None, found)) or "NumPy alone"


@functools.cache
def _multiplier() -> Multiplier | None:
    """PyTorch's products of bytes, where they are faster than those of float32: not every processor has them."""
    from bnnedge.sim.golden.int8 import Torch

    try:
        multiply = Torch()
    except (ImportError, OSError):  # PyTorch is not there, or a library that it needs
        return None
    # Of many rows, beside which a call takes no time; BLAS computes 64 at a time, in one thread.
    single, weight = np.ones((32, 64, 64), np.float32), np.ones((64, 64), np.float32)
    narrow, signs, out = np.ones((2048, 64), np.int8), np.ones((64, 64), np.int8), np.empty((2048, 64), np.int32)
    with multiply.session():
        faster = _faster(lambda: multiply(narrow, signs, out), lambda: np.matmul(single, weight))
    return multiply if faster else None


@functools.cache
def _bits() -> bool:
    """Whether sums of signs are faster by counting bits, as on a processor that counts those of a whole vector at once."""
    from bnnedge.sim.golden.bits import Bits
    from bnnedge.sim.golden.compiled import Compiled

    layer, alone = Network((10, 10, 1), [Conv2D(64), Conv2D(64), Dense(2)]).geometry[1], Threads(1)
    x, weight = np.ones((32, 8, 8, 64), np.int8), np.ones((layer.fan_in, layer.fan_out), np.int8)
    without = _without_bits(alone, Compiled(Random(0, 16), 128, alone))
    counted = Bits(without, alone)
    return _faster(lambda: counted.forward(x, weight, layer, 0), lambda: without.forward(x, weight, layer, 0))


def _faster(one: Callable[[], Any], other: Callable[[], Any]) -> bool:
    """Whether one function takes less time than another, by the shortest of 20 runs of each by turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(20):
        for function, times in zip((one, other), taken, strict=True):
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
    return min(taken[0]) < min(taken[1])


@functools.cache
def _agree() -> bool:
    """Whether the fastest way gives the plain one's bits, as far as two steps of a small network tell."""
    from bnnedge.sim.golden.model import Golden

    wide, narrow = Conv2D(35, padding="same"), Conv2D(5, 2, padding="same")
    network = Network((7, 6, 2), [wide, MaxPool2D(), narrow, MaxPool2D("sums"), Dense(9), Dense(3)])
    settings, configuration = Settings(batch=64, slope_planes=8, seed=5), Configuration("probe", lanes=8, word=32)
    random = np.random.RandomState(1)
    pixels = random.randint(0, 256, (64, *network.input_shape)).astype(np.uint8)
    labels, found = random.randint(0, network.classes, 64), []
    try:
        _multiplier()  # PyTorch is imported, which takes time, too
        with underway("compiling the golden model's loops", "10 seconds, once", after=2):
            for ways in (plain, fastest):
                state = TrainingState.initial(network, configuration.latent, settings.gradient_planes, 1)
                golden = Golden(network, settings, configuration, state, ways=ways)
                results = [golden.train(pixels, labels, 900) for _ in range(2)]
                found.append((results, golden.infer(pixels).tolist(), state))
        (*one, state), (*other, its_state) = found
        wrong = "gives other bits than the plain way" if one != other or state.differences(its_state) else ""
    except Exception as error:  # whatever such libraries raise where they don't get on with each other or with the processor
        wrong = " ".join(str(error).split()) or type(error).__name__
    if wrong:
        warnings.warn(f"the golden model computes with NumPy alone, since with Numba or PyTorch it {wrong}", stacklevel=4)
    return not wrong
