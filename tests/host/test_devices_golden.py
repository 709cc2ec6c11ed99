"""The golden device keeps the protocol, and adds nothing to the golden model."""

import numpy as np
import pytest

from bnnedge.configuration import configuration
from bnnedge.devices import Device, DeviceError, open_device
from bnnedge.network import Conv2D, Dense, MaxPool2D, Network
from bnnedge.settings import Settings
from bnnedge.sim.golden import Golden
from bnnedge.state import TrainingState

NETWORK = Network((4, 4), [Dense(32), Dense(24), Dense(4)])
SETTINGS = Settings(batch=64)
SMALL = configuration("sim-small")
RATE = 400


@pytest.fixture
def samples():
    random = np.random.RandomState(5)
    return random.randint(0, 256, (200, 4, 4)).astype(np.uint8), random.randint(0, 4, 200)


@pytest.fixture
def state():
    return TrainingState.initial(NETWORK, SMALL.latent, 8, 1)


@pytest.fixture
def device(state):
    device = open_device("golden", SMALL)
    device.prepare(NETWORK, SETTINGS)
    device.load_state(state)
    return device


def test_protocol(device):
    assert isinstance(device, Device)
    assert device.name == "golden"
    assert device.configuration is SMALL
    assert device.counters() == {}


def test_unknown_device():
    with pytest.raises(ValueError, match="there is no device 'gpu'; there are golden, rtl"):
        open_device("gpu", SMALL)


@pytest.mark.parametrize(("device", "module", "extra"), [("rtl", "amaranth", "sim"), ("pynq", "pynq", "board")])
def test_missing_module_is_named(monkeypatch, device, module, extra):
    def needs(configuration):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setitem(open_device.__globals__["DEVICES"], device, needs)
    text = rf"device {device!r} needs the Python module {module}: .* 'bnnedge\[{extra}\]'"
    with pytest.raises(DeviceError, match=text):
        open_device(device, SMALL)


@pytest.mark.parametrize(("device", "module"), [("golden", "scipy"), ("golden", "bnnedge.sim"), ("rtl", "bnnedge.hw")])
def test_missing_module_that_no_extra_brings(monkeypatch, device, module):
    def needs(configuration):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setitem(open_device.__globals__["DEVICES"], device, needs)
    with pytest.raises(DeviceError, match=f"device {device!r} needs the Python module {module}, which is not installed$"):
        open_device(device, SMALL)


def test_train_is_the_model(device, state, samples):
    images, labels = samples
    order = np.random.RandomState(1).permutation(192)
    results = device.train(images, labels, order, RATE)
    model = Golden(NETWORK, SETTINGS, SMALL, state.copy())
    for i, result in enumerate(results):
        chosen = order[64 * i : 64 * i + 64]
        expected = model.train(images[chosen], labels[chosen], RATE)
        assert (result.loss, result.hits, result.cycles) == (expected.loss, expected.hits, 0)
    assert len(results) == 3
    assert device.state().differences(model.state) == []


def test_states_are_copies(device, state):
    state.layers[0].weight[:] = 0
    taken = device.state()
    assert taken.layers[0].weight.any()
    taken.layers[0].weight[:] = 0
    assert device.state().layers[0].weight.any()


def test_probe(device, state, samples):
    images, labels = samples
    result, held = device.probe(images, labels, np.arange(64), RATE)
    assert set(held) == {"1.active", "1.mask", "2.active", "2.mask", "1.code", "2.code", "3.code"}
    for name, value in held.items():
        assert value.shape == (64, 1, 1, NETWORK.geometry[int(name[0]) - 1].filters), name
        assert value.dtype == (np.int16 if name.endswith("code") else bool), name
    other = open_device("golden", SMALL)
    other.prepare(NETWORK, SETTINGS)
    other.load_state(state)
    assert other.train(images, labels, np.arange(64), RATE) == [result]
    assert other.state().differences(device.state()) == []


def test_convolutions():
    network = Network((8, 8), [Conv2D(4, padding="same"), MaxPool2D(), Conv2D(4, 3), MaxPool2D("sums"), Dense(3)])
    random = np.random.RandomState(5)
    images, labels = random.randint(0, 256, (80, 8, 8)).astype(np.uint8), random.randint(0, 3, 80)
    device = open_device("golden", SMALL)
    device.prepare(network, SETTINGS)
    device.load_state(TrainingState.initial(network, SMALL.latent, 8, 1))
    _, held = device.probe(images, labels, np.arange(64), RATE)
    assert {name: value.shape[1:] for name, value in held.items()} == {
        "1.active": (4, 4, 4), "1.route": (4, 4, 4), "1.mask": (4, 4, 4), "1.code": (8, 8, 4),
        "2.active": (1, 1, 4), "2.route": (1, 1, 4), "2.mask": (1, 1, 4), "2.code": (2, 2, 4), "3.code": (1, 1, 3),
    }  # fmt: skip
    assert device.infer(images).shape == (80, 3)


def test_infer(device, samples):
    images, labels = samples
    device.train(images, labels, np.arange(64), RATE)
    logits = device.infer(images)
    assert logits.shape == (200, 4)
    assert logits.dtype == np.int16


def test_training_ends_where_its_counter_does(device, state, samples):
    state.step = 2**32 - 2
    device.load_state(state)
    with pytest.raises(ValueError, match="2 steps more than the 4294967294 taken are too many to count; 1 fit"):
        device.train(*samples, np.arange(128), RATE)
    assert device.state().differences(state) == []
    device.train(*samples, np.arange(64), RATE)
    device.load_state(device.state())  # the last state there is can be kept
    with pytest.raises(ValueError, match="0 fit: begin a new training"):
        device.train(*samples, np.arange(64), RATE)


@pytest.mark.parametrize(
    ("order", "rate", "message"),
    [
        (np.arange(63), RATE, "63 indices: not one or more whole batches of 64"),
        (np.arange(0), RATE, "0 indices"),
        (np.arange(64) - 1, RATE, "outside the 200 images"),
        (np.arange(64) + 137, RATE, "outside the 200 images"),
        (np.arange(64) + 0.5, RATE, r"order must be integers in one row, not float64 of shape \(64,\)"),
        (np.arange(64) > 3, RATE, "order must be integers in one row, not bool"),
        (np.zeros((64, 1), np.int64), RATE, r"order must be integers in one row, not int64 of shape \(64, 1\)"),
        (np.arange(64), 1 << 16, r"rate must be in 0\.\.65535, whole, not 65536"),
        (np.arange(64), 100.5, "whole, not 100.5"),
        (np.arange(64), None, "whole, not None"),
        (np.arange(64), -1, "rate must be in"),
    ],
)
def test_bad_calls(device, samples, order, rate, message):
    before = device.state()
    with pytest.raises(ValueError, match=message):
        device.train(*samples, order, rate)
    assert device.state().differences(before) == []


def test_probe_takes_one_batch(device, samples):
    with pytest.raises(ValueError, match="a probe takes one batch of 64 images, not 128"):
        device.probe(*samples, np.arange(128), RATE)


def test_state_of_another_network(device):
    other = Network((4, 4), [Dense(16), Dense(24), Dense(4)])
    with pytest.raises(ValueError, match=r"layer 1: weight must be int16 of shape \(16, 32\)"):
        device.load_state(TrainingState.initial(other, 10, 8, 1))


def test_calls_out_of_turn(device):
    fresh = open_device("golden", SMALL)
    with pytest.raises(DeviceError, match="call prepare first"):
        fresh.state()
    fresh.prepare(NETWORK, SETTINGS)
    with pytest.raises(DeviceError, match="call load_state first"):
        fresh.state()
    device.close()
    with pytest.raises(DeviceError, match="closed"):
        device.state()
