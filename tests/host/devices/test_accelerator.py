"""The driver on a bus that is no accelerator: what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnnedge import Dense, Device, Network, Settings, configuration, isa, mlp, open_device, registers
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.device import DeviceError
from bnnedge.devices.region import Region
from bnnedge.registers import REGISTERS
from bnnedge.state import TrainingState

CONFIG = configuration("pynq-z2")


class FakeBus:
    """Registers that hold what is written, and a memory of so many bytes."""

    def __init__(self, size: int = 64 << 20, **values: int) -> None:
        known = {"MAGIC": registers.MAGIC, "VERSION": isa.VERSION, "CONFIGURATION": CONFIG.digest, **values}
        self.values = {REGISTERS[name].offset: value for name, value in known.items()}
        self.memory, self.places = np.zeros(size, np.uint8), dict[int, int]()
        self.on_write: list[tuple[int, int]] = []
        self.failing: type[BaseException] | None = None
        self.then: dict[str, int] = {}  # registers as a start leaves them

    def read(self, offset: int) -> int:
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.on_write.append((offset, value))
        if offset != REGISTERS["CONTROL"].offset:  # whose bits read as 0 once they have taken effect
            self.values[offset] = value
        elif value == 1:
            self.values |= {REGISTERS[name].offset: register for name, register in self.then.items()}
        if self.failing and value == 1:
            raise self.failing

    def allocate(self, nbytes: int, align: int = 4096) -> tuple[int, np.ndarray]:
        address = max((start + size for start, size in self.places.items()), default=0)
        if address + nbytes > len(self.memory):
            raise MemoryError(f"no room for {nbytes} bytes")
        self.places[address] = -(-nbytes // align) * align
        return address, self.memory[address : address + nbytes]

    def sync_to_device(self, address: int) -> None:
        assert address in self.places

    def sync_from_device(self, address: int) -> None:
        assert address in self.places

    def release(self, address: int) -> None:
        del self.places[address]

    def run(self, max_cycles: int) -> bool:
        return True

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAGIC", "there is no bnnedge accelerator behind this bus"),
        ("VERSION", "another instruction set"),
        ("CONFIGURATION", "not generated from 'pynq-z2'"),
    ],
)
def test_other_hardware_is_refused(name: str, text: str) -> None:
    with pytest.raises(DeviceError, match=text):
        AcceleratorDevice(FakeBus(**{name: 12345}), CONFIG, "fake")


def test_too_little_memory_is_said_and_nothing_stays_reserved() -> None:
    bus = FakeBus(size=1 << 18)
    device = AcceleratorDevice(bus, CONFIG, "fake")
    for _ in range(2):  # a second attempt finds the same
        with pytest.raises(DeviceError, match=r"no room for .* use fewer images"):
            device.prepare(mlp(), Settings())
        assert bus.places == {}


def test_an_interrupt_while_the_bell_is_rung_resets_the_accelerator() -> None:
    bus = FakeBus()
    device = AcceleratorDevice(bus, CONFIG, "fake")
    device.prepare(mlp(), Settings())
    state = TrainingState.initial(mlp(), CONFIG.latent, 8, 1)
    device.load_state(state)
    held = dict(bus.places)
    images, labels = np.zeros((128, 28, 28), np.uint8), np.zeros(128, np.int64)
    bus.failing = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        device.train(images, labels, np.arange(128), 100)
    assert bus.on_write[-1] == (REGISTERS["CONTROL"].offset, 2)
    assert len(bus.places) == len(held) + 1  # the data set stays
    with pytest.raises(DeviceError, match="a failed call left unfinished: call load_state first"):
        device.state()  # nobody knows how far the run came
    device.load_state(state)
    assert device.state().differences(state) == []


def test_no_step_is_taken_that_its_counter_cannot_count() -> None:
    bus = FakeBus()
    device = AcceleratorDevice(bus, CONFIG, "fake")
    device.prepare(mlp(), Settings())
    state = TrainingState.initial(mlp(), CONFIG.latent, 8, 1)
    state.step = 2**32 - 1
    device.load_state(state)
    images, labels = np.zeros((128, 28, 28), np.uint8), np.zeros(128, np.int64)
    for call in (device.train, device.probe):
        bus.on_write.clear()
        with pytest.raises(ValueError, match="1 steps more than the 4294967295 taken are too many to count; 0 fit"):
            call(images, labels, np.arange(128), 100)
        assert bus.on_write == []


def test_using_an_unprepared_device_is_refused() -> None:
    with pytest.raises(DeviceError, match="call prepare"):
        AcceleratorDevice(FakeBus(), CONFIG, "fake").state()


SMALL, SETTINGS = Network((4,), [Dense(8), Dense(3)]), Settings(batch=64)
IMAGES, LABELS, ORDER = np.zeros((64, 4), np.uint8), np.zeros(64, np.int64), np.arange(64)


@pytest.fixture
def bus() -> FakeBus:
    """One whose runs end at once, as STATUS says."""
    bus = FakeBus()
    bus.then = {"STATUS": 2}
    return bus


@pytest.fixture
def device(bus: FakeBus) -> AcceleratorDevice:
    """One with a network and a state."""
    device = AcceleratorDevice(bus, CONFIG, "fake")
    device.prepare(SMALL, SETTINGS)
    device.load_state(TrainingState.initial(SMALL, CONFIG.latent, 8, 1))
    return device


CALLS: dict[str, Callable[[AcceleratorDevice], object]] = {
    "train": lambda device: device.train(IMAGES, LABELS, ORDER, 100),
    "probe": lambda device: device.probe(IMAGES, LABELS, ORDER, 100),
    "infer": lambda device: device.infer(IMAGES),
}
STATE_CALLS: dict[str, Callable[[AcceleratorDevice], object]] = {
    "prepare": lambda device: device.prepare(SMALL, SETTINGS),
    "load_state": lambda device: device.load_state(TrainingState.initial(SMALL, CONFIG.latent, 8, 1)),
    "state": AcceleratorDevice.state,
}


@pytest.mark.parametrize("name", [*CALLS, *STATE_CALLS])
@pytest.mark.parametrize("value", [0, 2, 0x5555_5555, 0xFFFF_FFFF])
def test_registers_that_all_read_the_same(bus: FakeBus, device: AcceleratorDevice, name: str, value: int) -> None:
    bus.values = {register.offset: value for register in REGISTERS.values()}
    written = len(bus.on_write)
    text = f"register MAGIC is {value:#x}, not 0x424e4e45: there is no bnnedge accelerator .* another bitstream was loaded since"
    with pytest.raises(DeviceError, match=f"{text}.* save the trainer, open the device anew"):
        (CALLS | STATE_CALLS)[name](device)
    assert bus.on_write[written:] == [], "other hardware is left alone"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("value", [0, 2, 0x5555_5555, 0xFFFF_FFFF])
def test_registers_that_all_read_the_same_in_the_middle_of_a_run(
    bus: FakeBus, device: AcceleratorDevice, name: str, value: int
) -> None:
    bus.then = dict.fromkeys(REGISTERS, value)
    with pytest.raises(DeviceError, match=f"register MAGIC is {value:#x}, not 0x424e4e45: there is no bnnedge accelerator"):
        CALLS[name](device)
    assert bus.on_write[-1] == (REGISTERS["CONTROL"].offset, 1), "other hardware is left alone"
    bus.values.update(FakeBus().values)
    with pytest.raises(DeviceError, match="has no training state, or one that a failed call left unfinished"):
        device.state()


@pytest.mark.parametrize(
    ("registers", "text"),
    [
        ({"VERSION": isa.VERSION + 1}, r"register VERSION is 0x\w+, .* another instruction set; .* another bitstream was loaded"),
        ({"CONFIGURATION": 1}, "register CONFIGURATION is 0x1, .* not generated from 'pynq-z2'.* another bitstream was loaded"),
        ({"STATUS": 4, "ERROR": 15}, "stopped with an error of unknown cause 15 .register ERROR is 0xf, ERROR_ADDRESS 0x0."),
        ({"STATUS": 4, "ERROR": 0}, "stopped with an error of unknown cause 0"),
        ({"STATUS": 6, "ERROR": 7}, "stopped with an error of unknown cause 7"),
        ({"STATUS": 4, "ERROR": 18, "ERROR_ADDRESS": 64}, "bus error: memory port 1 failed to read at 0x40"),
        ({"STATUS": 0}, "register STATUS is 0x0 at the end of a run, not 0x2"),
        ({"STATUS": 3}, "register STATUS is 0x3 at the end of a run"),
        ({"STATUS": 0xFFFF_FFFA}, "register STATUS is 0xfffffffa at the end of a run"),
        ({"PROGRAM": 64}, "has run a program at 0x40, not the one at 0x[0-9a-f]+: let one process at a time use it"),
    ],
)
@pytest.mark.parametrize("name", CALLS)
def test_what_a_run_can_end_with(
    bus: FakeBus, device: AcceleratorDevice, name: str, registers: dict[str, int], text: str
) -> None:
    bus.then |= registers
    held = set(bus.places)
    with pytest.raises(DeviceError, match=text):
        CALLS[name](device)
    assert len(bus.places) <= len(held) + 1, "nothing but the data set stays reserved"
    with pytest.raises(DeviceError, match="load_state first"):
        device.infer(IMAGES)


@pytest.mark.parametrize("name", CALLS)
def test_an_accelerator_that_is_busy_is_not_started(bus: FakeBus, device: AcceleratorDevice, name: str) -> None:
    bus.values[REGISTERS["STATUS"].offset] = 1
    with pytest.raises(DeviceError, match="busy with a program of someone else: let one process at a time use it"):
        CALLS[name](device)
    assert (REGISTERS["CONTROL"].offset, 1) not in bus.on_write


def test_results_that_nobody_wrote_are_not_taken_from_an_earlier_run(bus: FakeBus, device: AcceleratorDevice) -> None:
    bus.memory[max(start + size for start, size in bus.places.items()) :] = 1  # plausible ones
    for name in ("train", "probe"):
        with pytest.raises(DeviceError, match="the report of step 1 of 1 was not written: the accelerator and the host"):
            CALLS[name](device)
        device.load_state(TrainingState.initial(SMALL, CONFIG.latent, 8, 1))
    with pytest.raises(DeviceError, match="the logits of 64 of 64 images were not written, or can't be true"):
        device.infer(IMAGES)


@pytest.mark.parametrize(
    ("reports", "text"),
    [
        ([[5, 64, 100, 0], [0xFFFF_FFFF] * 4], "the report of step 2 of 2 was not written"),
        ([[5, 65, 100, 0], [5, 5, 200, 0]], r"the report of step 1 of 2 can't be true \(65 hits of 64"),
        ([[64 << 15, 6, 100, 0], [5, 5, 200, 0]], "the report of step 1 of 2 can't be true"),
        ([[5, 6, 0, 0], [5, 5, 200, 0]], "the report of step 1 of 2 can't be true"),
        ([[5, 6, 200, 0], [5, 5, 200, 0]], "the report of step 2 of 2 can't be true"),
        ([[5, 6, 200, 0], [5, 5, 100, 1 << 31]], "the report of step 2 of 2 can't be true"),
        ([[5, 6, 200, 0], [5, 5, 300, 0]], r"the counters can't be true \(0x10a cycles, of which the reports say 0x12c\)"),
    ],
)
def test_reports_that_cannot_be_true(
    bus: FakeBus, device: AcceleratorDevice, reports: list[list[int]], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.then["CYCLES_LOW"] = 0x10A
    fetch = Region.fetch
    monkeypatch.setattr(Region, "fetch", lambda self, dtype: np.array(reports, "<u4") if dtype == "<u4" else fetch(self, dtype))
    with pytest.raises(DeviceError, match=text):
        device.train(IMAGES, LABELS, np.arange(128) % 64, 100)
    with pytest.raises(DeviceError, match="load_state first"):
        device.state()


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (np.zeros((64, 3), np.uint8), LABELS, r"must be uint8 of shape \(N, 4\), N at least 1, not uint8 of shape \(64, 3\)"),
        (np.zeros((64, 2, 2), np.uint8), LABELS, r"of shape \(64, 2, 2\)"),
        (np.zeros((64, 4)), LABELS, "not float64"),
        (np.zeros((0, 4), np.uint8), LABELS, "N at least 1"),
        (IMAGES, LABELS[:63], r"labels must be 64 integers in 0\.\.2"),
        (IMAGES, LABELS + 3, "labels must be"),
        (IMAGES, LABELS - 1, "labels must be"),
        (IMAGES, LABELS * 1.0, "labels must be"),
    ],
)
@pytest.mark.parametrize("kind", ["accelerator", "golden"])
def test_samples_of_another_kind_are_refused_and_nothing_is_done(
    bus: FakeBus, device: AcceleratorDevice, images: np.ndarray, labels: np.ndarray, text: str, kind: str
) -> None:
    tried: Device = device
    if kind == "golden":
        tried = open_device("golden", CONFIG)
        tried.prepare(SMALL, SETTINGS)
        tried.load_state(TrainingState.initial(SMALL, CONFIG.latent, 8, 1))
    held, state = dict(bus.places), tried.state()
    for call in (tried.train, tried.probe):
        with pytest.raises(ValueError, match=text):
            call(images, labels, ORDER, 100)
    if images is not IMAGES:
        with pytest.raises(ValueError, match=text):
            tried.infer(images)
    assert bus.places == held
    assert tried.state().differences(state) == []
