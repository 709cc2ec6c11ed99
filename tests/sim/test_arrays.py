"""The golden model gives the same bits in every array library: a strict one of the standard, and those that are installed."""

import sys
import types

import numpy as np
import pytest

from bnnedge import Conv2D, Dense, MaxPool2D, Network, Settings, Trainer
from bnnedge.configuration import configuration
from bnnedge.devices.golden import GoldenDevice
from bnnedge.sim.arrays import NUMPY, Library, library, library_of, to_numpy
from bnnedge.sim.golden.random import Nearest
from bnnedge.state import TrainingState

CONFIG = configuration("sim-small")
CASES = [
    (Network((5, 6), [Dense(12), Dense(9), Dense(5)]), Settings(batch=64, slope_planes=8)),
    (
        Network((9, 7, 3), [Conv2D(5, 2), MaxPool2D("sums"), Conv2D(6, 2, 1, "same"), Conv2D(2, 1, 2), Dense(4)]),
        Settings(batch=64, gradient_planes=5, optimiser="sign-sgd"),
    ),
    (Network((8, 8), [Conv2D(4, 3, padding="same"), MaxPool2D(), Conv2D(3), Dense(4)]), Settings(batch=128, gradient_planes=3)),
]


@pytest.fixture(params=["array_api_strict", "torch", "torch:cuda", "cupy"])
def other(request: pytest.FixtureRequest) -> Library:
    pytest.importorskip(request.param.partition(":")[0])
    try:
        return library(request.param)
    except ValueError as error:
        pytest.skip(str(error))


def device(network: Network, settings: Settings, of: Library) -> GoldenDevice:
    opened = GoldenDevice(CONFIG)
    opened.library = of  # PyTorch on a processor, too
    opened.prepare(network, settings)
    opened.load_state(TrainingState.initial(network, CONFIG.latent, settings.gradient_planes, 7))
    return opened


@pytest.mark.parametrize(("network", "settings"), CASES)
def test_every_bit_is_the_same(network: Network, settings: Settings, other: Library) -> None:
    numpy, there = device(network, settings, NUMPY), device(network, settings, other)
    random = np.random.RandomState(3)
    pixels = random.randint(0, 256, (300, *network.input_shape)).astype(np.uint8)
    labels, order = random.randint(0, network.classes, 300), random.randint(0, 300, 4 * settings.batch)
    assert there.train(pixels, labels, order, 900) == numpy.train(pixels, labels, order, 900)
    assert there.state().differences(numpy.state()) == []
    np.testing.assert_array_equal(there.infer(pixels), numpy.infer(pixels))
    result, tensors = numpy.probe(pixels, labels, order[: settings.batch], 900)
    its_result, its_tensors = there.probe(pixels, labels, order[: settings.batch], 900)
    assert its_result == result
    assert its_tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(its_tensors[name], tensor, name)


def test_trains_as_any_device(other: Library) -> None:
    network, settings = CASES[0]
    random = np.random.RandomState(1)
    x, y = random.randint(0, 256, (128, 5, 6)).astype(np.uint8), random.randint(0, 5, 128)
    histories = []
    for of in (NUMPY, other):
        with Trainer(network, GoldenDevice(CONFIG, of), settings=settings) as trainer:
            histories.append(trainer.fit(x, y, epochs=2, validation_data=(x, y)).history)
    assert histories[0] == histories[1]


def test_on_a_processor_numpy_computes(other: Library) -> None:
    there = other.put(np.zeros(3, np.int8))
    on_processor = type(there).__module__ == "torch" and there.device.type == "cpu"
    assert other.on_processor() == on_processor
    assert GoldenDevice(CONFIG, other).library == (NUMPY if on_processor else other)
    assert not NUMPY.on_processor()


def test_arrays_go_there_and_back(other: Library) -> None:
    for kind in (np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32):
        array = np.arange(6).reshape(2, 3).astype(kind)
        there = other.put(array)
        assert library_of(there).xp is other.xp
        back = to_numpy(there)
        assert back.dtype == kind
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", ["jax", "numpy:cuda", "", "torch-cuda"])
def test_unknown_libraries(name: str) -> None:
    with pytest.raises(ValueError, match="arrays must be one of numpy, torch, cupy"):
        library(name)


def test_libraries_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ValueError, match="arrays cupy: "):
        library("cupy")


def test_nearest_rounds_the_middle_up_alone() -> None:
    drawn = Nearest(5, 8).draw(3, 1, 0, (2, 9, 5))
    assert drawn.shape == (2, 9, 5)
    assert set(np.unique(drawn)) == {0x8004}
    # A moment 7/8 m + target/8 in eighths: to the nearest.
    moments, targets = np.arange(-8, 8), np.array([[7], [-8]])
    nearest = np.floor((7 * moments + targets) / 8 + 0.5)
    np.testing.assert_array_equal(moments + (targets - moments + (0x8004 & 7) >> 3), nearest)


def test_cupy_that_was_told_to_round(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = Library(types.SimpleNamespace(__name__="array_api_compat.cupy"))
    for harmless in ("", "0"):
        monkeypatch.setenv("CUPY_TF32", harmless)
        with cupy.exact():
            pass
    monkeypatch.setenv("CUPY_TF32", "1")
    with pytest.raises(ValueError, match="CUPY_TF32 lets CuPy round the factors of products: unset it"):
        cupy.exact()
