"""Which code computes a network's steps: the plain one, which is the definition, or a faster one that is installed.

    what              plain                      faster, with the same bits
    products          float BLAS (`products`)    PyTorch's of bytes, or BLAS's of blocks that loops gather (`int8`)
    - of signs        the same                   loops over bits, compiled by Numba (`bits`)
    all else          arrays (`plain`)           loops that Numba compiles (`compiled`)

Each is taken where its library is there; a board has NumPy alone, which does. Before that, once in a process, each library must
give what the plain way gives for a small network, codes at the ends of their range included: another version or a compiled file
out of date shows there. Not every processor multiplies bytes exactly, or fast: there it is float BLAS again.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from bnnedge.configuration import Configuration
from bnnedge.formats import Code
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
    """The three products of training, of the arguments that those of `products` have; weight gradients are int32 or int64."""

    def forward(self, x: Array, weight: Array, layer: Geometry, planes: int) -> Array: ...
    def data_gradient(self, halves: Array, weight: Array, layer: Geometry, code: Code) -> Array: ...
    def weight_gradient(self, x: Array, halves: Array, layer: Geometry, planes: int, code: Code) -> Array: ...


class Ways(NamedTuple):
    """What a golden model computes with."""

    elementwise: Plain
    products: Products


def plain(random: Random, latent_top: int) -> Ways:
    """The definition, in any array library."""
    return Ways(Plain(random, latent_top), products)


def fastest(random: Random, latent_top: int) -> Ways:
    """What is installed, and computes as the plain way does; for NumPy's arrays."""
    threads = Threads(usable())
    elementwise = loops = Plain(random, latent_top)
    if _numba():
        from bnnedge.sim.golden.compiled import Compiled

        loops = Compiled(random, latent_top, threads)
        if type(random) is Random:  # an ablation draws other numbers than the loops do
            elementwise = loops
    multiplying = _without_bits(threads, loops)
    if _bits():
        from bnnedge.sim.golden.bits import Bits

        multiplying = Bits(multiplying, threads)
    return Ways(elementwise, multiplying)


def _without_bits(threads: Threads, elementwise: Plain) -> Products:
    """PyTorch's products, or else BLAS's: a block of windows at a time where loops gather them, and in one thread.

    BLAS has threads of its own, which take longer over a block than one does: 305 ms a step of CNV on two cores, 244 on one.
    """
    from bnnedge.sim.golden.int8 import Blas, Int8

    multiply = _pytorch()
    if multiply is not None:
        return Int8(multiply, threads, elementwise)
    blocks = threads.most == 1 and type(elementwise) is not Plain
    return Int8(Blas(), threads, elementwise) if blocks else products


def fitting(random: Random, latent_top: int, network: Network, batch: int) -> Ways:
    """The fastest for steps that are worth it."""
    work = 3 * batch * sum(layer.outputs * layer.fan_in * layer.fan_out for layer in network.geometry)
    small = random.library is not NUMPY or work < _WORTH
    return (plain if small else fastest)(random, latent_top)


def summary() -> str:
    """What computes large steps here, in words."""
    found = [
        "Numba's loops" if _numba() else "",
        "counted bits" if _bits() else "",
        "PyTorch's products of bytes" if _pytorch() else "",
    ]
    return ", ".join(filter(None, found)) or "NumPy alone"


@functools.cache
def _numba() -> bool:
    """Whether loops are there that compute as the plain way does."""
    try:
        from bnnedge.sim.golden.bits import Bits
        from bnnedge.sim.golden.compiled import Compiled
        from bnnedge.sim.golden.int8 import Blas, Int8
    except ImportError:  # Numba is not there, or another NumPy than it knows
        return False
    alone = Threads(1)

    def ways(random: Random, latent_top: int) -> Ways:
        loops = Compiled(random, latent_top, alone)
        return Ways(loops, Bits(Int8(Blas(), alone, loops), alone))

    with underway("compiling the golden model's loops", "10 seconds, once", after=2):
        kept = Path(__file__).with_name("__pycache__")
        remedy = f"delete what it has compiled (*.nbi and *.nbc in {kept}), or take another version of it"
        return _agrees("Numba", remedy, ways)


@functools.cache
def _pytorch() -> Multiplier | None:
    """PyTorch's products of bytes, where they are exact, faster than those of float32, and compute as the plain way does."""
    from bnnedge.sim.golden.int8 import Int8, Torch, exact

    try:
        multiply = Torch()
    except (ImportError, OSError):  # PyTorch is not there, or a library that it needs
        return None
    # Of many rows, beside which a call takes no time; BLAS computes 64 at a time, in one thread.
    single, weight = np.ones((32, 64, 64), np.float32), np.ones((64, 64), np.float32)
    narrow, signs, out = np.ones((2048, 64), np.int8), np.ones((64, 64), np.int8), np.empty((2048, 64), np.int32)

    def ways(random: Random, latent_top: int) -> Ways:
        elementwise = Plain(random, latent_top)
        return Ways(elementwise, Int8(multiply, Threads(1), elementwise))

    with multiply.session():
        try:
            worth = exact(multiply) and _faster(lambda: multiply(narrow, signs, out), lambda: np.matmul(single, weight))
        except (AttributeError, RuntimeError):  # a version without this product, or of another NumPy
            return None
    return multiply if worth and _agrees("PyTorch", "take another version of it", ways) else None


@functools.cache
def _bits() -> bool:
    """Whether sums of signs are faster by counting bits, as on a processor that counts those of a whole vector at once."""
    if not _numba():
        return False
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


def _agrees(name: str, remedy: str, ways: Callable[[Random, int], Ways]) -> bool:
    """Whether these ways give the plain one's bits, as far as steps of a small network tell; a warning, if not."""
    try:
        wrong = "it computes otherwise" if _outcome(ways) != _wanted() else ""
    except Exception as error:  # whatever a library raises that does not get on with another one or with the processor
        wrong = f"it says: {' '.join(str(error).split()) or type(error).__name__}"
    if wrong:
        warnings.warn(f"the golden model computes without {name}, which is slower, since {wrong}; {remedy}", stacklevel=2)
    return not wrong


@functools.cache
def _wanted() -> list[Any]:
    """The plain way's outcome, which each library is held against."""
    return _outcome(plain)


def _outcome(ways: Callable[[Random, int], Ways]) -> list[Any]:
    """Results, logits and weights of steps with codes of all sizes, and with codes at the ends of their range."""
    from bnnedge.sim.golden.model import Golden

    wide, small, narrow = Conv2D(35, padding="same"), Conv2D(6, padding="same"), Conv2D(5, 2, padding="same")
    network = Network((7, 6, 2), [wide, MaxPool2D(), small, narrow, MaxPool2D("sums"), Dense(9), Dense(3)])
    settings = Settings(batch=48, gradient_planes=[8, 8, 5, 8, 3], slope_planes=8, seed=5)
    configuration = Configuration("probe", lanes=8, word=32)
    random, found = np.random.RandomState(1), list[Any]()
    state = TrainingState.initial(network, configuration.latent, settings.gradient_planes, 1)
    golden = Golden(network, settings, configuration, state, ways=ways)
    for _ in range(2):
        for _ in range(3):
            pixels = random.randint(0, 256, (settings.batch, *network.input_shape)).astype(np.uint8)
            found.append(golden.train(pixels, random.randint(0, network.classes, settings.batch), 900))
            found += [layer.weight.tolist() for layer in state.layers]
        for layer in state.layers:
            layer.exponent = -100
    return [*found, golden.infer(pixels).tolist()]
