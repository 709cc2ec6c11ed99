"""The driver on a bus that is no accelerator: what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest

from bnnedge import Settings, configuration, isa, mlp, registers
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.device import DeviceError
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

    def read(self, offset: int) -> int:
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.on_write.append((offset, value))
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
