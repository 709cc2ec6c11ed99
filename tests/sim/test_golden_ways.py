"""Each fast way of the golden model against the plain one, bit for bit, at the limits; and which of them is taken."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from limits import EXTREMES, corner_state, description, images, work
from operands import Whole, pytorch

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings
from bnnedge.configuration import Configuration, configuration
from bnnedge.rates import representable
from bnnedge.sim.arrays import library
from bnnedge.sim.golden import Golden, Random, int8, products, threads, ways
from bnnedge.sim.golden.int8 import Blas, Int8
from bnnedge.sim.golden.plain import Plain
from bnnedge.sim.golden.random import Nearest
from bnnedge.sim.golden.threads import Threads
from bnnedge.sim.golden.ways import Ways
from bnnedge.state import TrainingState

Choice = Callable[[Random, int], Ways]


def compiled_loops(random: Random, latent_top: int, most: int = 2) -> Ways:
    compiled = pytest.importorskip("bnnedge.sim.golden.compiled", exc_type=ImportError)
    return Ways(compiled.Compiled(random, latent_top, Threads(most)), products)


def bytes_of_numpy(random: Random, latent_top: int) -> Ways:
    elementwise = Plain(random, latent_top)
    return Ways(elementwise, Int8(Whole(), Threads(2), elementwise))


def both(random: Random, latent_top: int, most: int = 2) -> Ways:
    loops = compiled_loops(random, latent_top, most).elementwise
    return Ways(loops, Int8(Whole(), Threads(most), loops))


def blocks_of_blas(random: Random, latent_top: int) -> Ways:
    loops = compiled_loops(random, latent_top).elementwise
    return Ways(loops, Int8(Blas(), Threads(1), loops))


def bytes_of_torch(random: Random, latent_top: int) -> Ways:
    loops = compiled_loops(random, latent_top).elementwise
    return Ways(loops, Int8(pytorch(), Threads(2), loops))


def bits_of_signs(random: Random, latent_top: int) -> Ways:
    elementwise, rest = both(random, latent_top)
    return Ways(elementwise, sys.modules["bnnedge.sim.golden.bits"].Bits(rest, Threads(2)))


WAYS = [compiled_loops, bytes_of_numpy, both, blocks_of_blas, bytes_of_torch, bits_of_signs]


@pytest.fixture(autouse=True)
def _all_for_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WORTH", 100)
    with contextlib.suppress(ImportError):  # Numba is not there
        monkeypatch.setattr("bnnedge.sim.golden.bits._FEWEST", 1)


def equal(network: Network, settings: Settings, config: Configuration, seed: int, way: Choice, state: TrainingState) -> None:
    """Every tensor of two steps, the state behind each, and an inference."""
    plain = Golden(network, settings, config, state.copy(), keep=True, ways=ways.plain)
    fast = Golden(network, settings, config, state.copy(), keep=True, ways=way)
    pixels, random = images(network, settings.batch, seed), np.random.RandomState(seed)
    labels = random.randint(0, network.classes, settings.batch)
    for _ in range(2):
        rate = int(random.choice([0, 1, 900, representable(network, config.latent)[-1]]))
        assert fast.train(pixels, labels, rate) == plain.train(pixels, labels, rate)
        assert fast.trace.keys() == plain.trace.keys()
        for name, expected in plain.trace.items():
            value = np.asarray(fast.trace[name])
            assert value.dtype == np.asarray(expected).dtype or name.endswith(".slope")
            np.testing.assert_array_equal(value, expected, f"seed {seed}, {config.name}: {name}")
        assert fast.state.differences(plain.state) == []
    np.testing.assert_array_equal(fast.infer(pixels), plain.infer(pixels))


def at_the_limits(seeds: range, most: int, largest: int, way: Choice) -> int:
    """Compare networks of these seeds whose steps take up to `largest` multiplications; return how many there were."""
    count = 0
    for seed in seeds:
        for config in EXTREMES.values():
            network, settings = description(seed, config, convolutions=seed % 3 > 0, most=most)
            if work(network, settings) <= largest:
                equal(network, settings, config, seed, way, corner_state(network, settings, config, seed))
                count += 1
    return count


@pytest.mark.parametrize("way", WAYS)
def test_networks_at_the_limits(way: Choice) -> None:
    assert at_the_limits(range(300, 314), 40, 3_000_000, way) > 20


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_many_networks_at_the_limits(way: Choice) -> None:
    assert at_the_limits(range(1000, 1300), 200, 100_000_000, way) > 500


@pytest.mark.parametrize("pool", ["signs", "sums", None])
@pytest.mark.parametrize("name", ["sim-small", "pynq-z2", "pynq-z2-x64", "pynq-z2-lean"])
def test_ready_made_accelerators(name: str, pool: str | None) -> None:
    """Lanes of 8 to 64, more and fewer than the 16 that a random state has numbers for."""
    pools = [MaxPool2D(pool)] if pool else []
    network = Network((9, 8, 3), [Conv2D(70, padding="same"), *pools, Conv2D(20, 2), Dense(33), Dense(10)])
    config, settings = configuration(name), Settings(batch=128, slope_planes=8, seed=2**63 + 5)
    equal(network, settings, config, 3, both, TrainingState.initial(network, config.latent, 8, 1))


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_any_number_of_threads(most: int) -> None:
    network = Network((10, 9, 2), [Conv2D(5), MaxPool2D(), Conv2D(17, padding="same"), MaxPool2D("sums"), Dense(20), Dense(4)])
    config = configuration("sim-small")
    state = TrainingState.initial(network, config.latent, 8, 1)
    equal(network, Settings(batch=64, seed=9), config, 4, functools.partial(both, most=most), state)


@pytest.mark.parametrize("order", ["F", "flipped", "strided", "read-only"])
def test_pixels_in_any_order(order: str) -> None:
    network, config = Network((6, 7, 3), [Conv2D(5), MaxPool2D(), Dense(4)]), configuration("sim-small")
    drawn = np.random.RandomState(2).randint(0, 256, (64, 6, 7, 6)).astype(np.uint8)
    whole = {
        "F": np.asfortranarray(drawn[..., :3]),
        "flipped": drawn[::-1, ::-1, ::-1, :3],
        "strided": drawn[..., ::2],
        "read-only": drawn[..., :3].copy(),
    }[order]
    whole.flags.writeable = False
    results = []
    for pixels, way in ((whole, both), (np.ascontiguousarray(whole), ways.plain)):
        golden = Golden(network, Settings(batch=64), config, TrainingState.initial(network, config.latent, 8, 1), ways=way)
        results.append((golden.train(pixels, np.arange(64) % 4, 900), golden.infer(pixels).tolist()))
    assert results[0] == results[1]


@pytest.fixture
def _anew() -> Iterator[None]:
    """What was found out once in this process is found out again."""
    found = (ways._numba, ways._pytorch, ways._bits)
    for each in found:
        each.cache_clear()
    yield
    for each in found:
        each.cache_clear()


def chosen(layers: list, batch: int = 64, random: type[Random] = Random) -> Ways:
    network, config = Network((28, 28), layers), configuration("sim-small")
    state = TrainingState.initial(network, config.latent, 8, 1)
    golden = Golden(network, Settings(batch=batch), config, state, random=random)
    return Ways(golden.elementwise, golden.products)


def test_steps_that_are_worth_it_take_the_fast_way() -> None:
    pytest.importorskip("numba")
    assert type(chosen([Dense(256), Dense(10)]).elementwise).__name__ == "Compiled"
    assert type(chosen([Dense(16), Dense(10)]).elementwise) is Plain
    ablation = chosen([Dense(256), Dense(10)], random=Nearest).elementwise
    assert type(ablation) is Plain
    assert type(ablation.random) is Nearest


def test_arrays_of_other_libraries_take_the_plain_way() -> None:
    pytest.importorskip("array_api_strict")
    network = Network((28, 28), [Dense(256), Dense(10)])
    way = ways.fitting(Random(1, 16, library("array_api_strict")), 128, network, 64)
    assert type(way.elementwise) is Plain
    assert way.products is products


@pytest.mark.usefixtures("_anew")
def test_numpy_alone_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "numba", None)
    for loaded in ("compiled", "loops", "rounding", "bits", "popcount", "jit"):
        monkeypatch.delitem(sys.modules, f"bnnedge.sim.golden.{loaded}", raising=False)
        monkeypatch.delattr(f"bnnedge.sim.golden.{loaded}", raising=False)
    way = chosen([Dense(256), Dense(10)])
    assert type(way.elementwise) is Plain
    assert way.products is products


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("faster", [True, False])
def test_bits_are_counted_where_that_is_faster(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    bits = pytest.importorskip("bnnedge.sim.golden.bits", exc_type=ImportError)
    monkeypatch.setattr(ways, "_faster", lambda one, other: faster)
    assert isinstance(chosen([Dense(256), Dense(10)]).products, bits.Bits) == faster


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize("count", [1, 2])
def test_bits_are_counted_without_pytorch(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(ways, "usable", lambda: count)
    bits = pytest.importorskip("bnnedge.sim.golden.bits", exc_type=ImportError)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(ways, "_faster", lambda one, other: True)
    way = chosen([Dense(256), Dense(10)]).products
    assert isinstance(way, bits.Bits)
    assert isinstance(way._rest, Int8) == (count == 1)  # BLAS shares blocks badly among its threads


def test_the_faster_of_two_is_told_by_its_shortest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now, spent = [0.0], itertools.cycle([9.0, 2.0, 1.0, 8.0])
    monkeypatch.setattr(ways.time, "perf_counter", lambda: now[0])

    def run() -> None:
        now[0] += next(spent)

    assert ways._faster(run, run)
    next(spent)
    assert not ways._faster(run, run)


@pytest.mark.usefixtures("_anew")
def test_loops_that_compute_otherwise_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pytest.importorskip("bnnedge.sim.golden.compiled", exc_type=ImportError)
    monkeypatch.setattr(compiled.Compiled, "statistics", lambda self, y, pivot: (np.zeros_like(pivot), np.zeros_like(pivot)))
    with pytest.warns(UserWarning, match=r"without Numba, which is slower, since it computes otherwise; delete .*\*.nbi and"):
        assert type(chosen([Dense(256), Dense(10)]).elementwise) is Plain


@pytest.mark.usefixtures("_anew")
def test_loops_that_fail_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pytest.importorskip("bnnedge.sim.golden.compiled", exc_type=ImportError)
    monkeypatch.setattr(compiled.Compiled, "signs", lambda self, bits: np.zeros(3) @ np.zeros(4))
    with pytest.warns(UserWarning, match="without Numba, which is slower, since it says: matmul: "):
        assert type(chosen([Dense(256), Dense(10)]).elementwise) is Plain


class Saturating(Whole):
    """Adds pairs of products in 16 bits, as processors do that have no instruction for products of bytes."""

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        unsigned, signed = a.astype(np.int32) + 128, b.astype(np.int32)
        if unsigned.shape[1] % 2:
            unsigned, signed = np.pad(unsigned, ((0, 0), (0, 1))), np.pad(signed, ((0, 1), (0, 0)))
        pairs = unsigned[:, 0::2, None] * signed[None, 0::2] + unsigned[:, 1::2, None] * signed[None, 1::2]
        out[...] = np.clip(pairs, -(1 << 15), (1 << 15) - 1).sum(1) - 128 * signed.sum(0)


class Failing(Whole):
    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        raise RuntimeError("Numpy is not available")


class Wrong(Whole):
    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        super().__call__(a, b, out)
        if len(a) == 5:
            out[...] += 1


@pytest.mark.usefixtures("_anew")
@pytest.mark.parametrize(("multiplier", "taken"), [(Whole, True), (Saturating, False), (Failing, False)])
def test_products_that_are_not_exact_are_not_taken(monkeypatch: pytest.MonkeyPatch, multiplier: type[Whole], taken: bool) -> None:
    monkeypatch.setattr(int8, "Torch", multiplier)
    monkeypatch.setattr(ways, "_faster", lambda one, other: True)
    assert (ways._pytorch() is not None) == taken


@pytest.mark.usefixtures("_anew")
def test_products_that_compute_otherwise_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "Torch", Wrong)
    monkeypatch.setattr(ways, "_faster", lambda one, other: True)
    with pytest.warns(UserWarning, match="without PyTorch, which is slower, since it computes otherwise; take another version"):
        assert ways._pytorch() is None


@pytest.mark.usefixtures("_anew")
def test_what_computes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    assert "Numba's loops" in ways.summary()
    monkeypatch.setattr(ways, "_pytorch", lambda: None)
    monkeypatch.setattr(ways, "_numba", lambda: False)
    ways._bits.cache_clear()
    assert ways.summary() == "NumPy alone"
