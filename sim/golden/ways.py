"""Which code computes a network's steps: the plain one, which is the definition, or a faster one that is installed.

    what              plain                      faster, with the same bits
    products          float BLAS (`products`)    PyTorch's of bytes (`int8`)
    all else          arrays (`plain`)           loops that Numba compiles (`compiled`)

Each is taken where its library is there; a board has NumPy alone, which does. Before that they must give, once in a process, what
the plain way gives for a small network: another processor, another version or a compiled file out of date shows there.
"""

from __future__ import annotations

import functools
import time
import warnings
from typing import TYPE_CHECKING, NamedTuple, Protocol

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
    threads, multiply = Threads(usable()), _multiplier()
    elementwise = loops = Plain(random, latent_top)
    try:
        from bnnedge.sim.golden.compiled import Compiled
    except ImportError:  # Numba is not there, or another NumPy than it knows
        pass
    else:
        loops = Compiled(random, latent_top, threads)
        if type(random) is Random:  # an ablation draws other numbers than the loops do
            elementwise = loops
    if multiply is None:
        return Ways(elementwise, products)
    from bnnedge.sim.golden.int8 import Int8

    return Ways(elementwise, Int8(multiply, threads, loops))


def fitting(random: Random, latent_top: int, network: Network, batch: int) -> Ways:
    """The fastest for steps that are worth it."""
    work = 3 * batch * sum(layer.outputs * layer.fan_in * layer.fan_out for layer in network.geometry)
    small = random.library is not NUMPY or work < _WORTH
    return plain(random, latent_top) if small or not _agree() else fastest(random, latent_top)


@functools.cache
def _multiplier() -> Multiplier | None:
    """PyTorch's products of bytes, where they are faster than those of float32: not every processor has them."""
    from bnnedge.sim.golden.int8 import Torch

    try:
        multiply = Torch()
    except (ImportError, OSError):  # PyTorch is not there, or a library that it needs
        return None
    single = np.ones((64, 64), np.float32)  # so small that BLAS, too, computes it in one thread
    narrow, out = single.astype(np.int8), np.empty(single.shape, np.int32)

    def seconds(number: int) -> float:
        started = time.perf_counter()
        if number % 2:
            np.matmul(single, single)
        else:
            multiply(narrow, narrow, out)
        return time.perf_counter() - started

    with multiply.session():
        taken = [seconds(number) for number in range(40)]
    return multiply if min(taken[::2]) < min(taken[1::2]) else None


@functools.cache
def _agree() -> bool:
    """Whether the fastest way gives the plain one's bits, as far as two steps of a small network tell."""
    from bnnedge.sim.golden.model import Golden

    network = Network((7, 6, 2), [Conv2D(3, padding="same"), MaxPool2D(), Conv2D(5, 1), MaxPool2D("sums"), Dense(9), Dense(3)])
    settings, configuration = Settings(batch=64, slope_planes=8, seed=5), Configuration("probe", lanes=8, word=32)
    random = np.random.RandomState(1)
    pixels = random.randint(0, 256, (64, *network.input_shape)).astype(np.uint8)
    labels, found = random.randint(0, network.classes, 64), []
    try:
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
