"""What goes wrong is said clearly, and the accelerator can be used again afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from exact import RATE, Pair

from bnnedge import Dense, MismatchError, Network, Settings, Trainer, configuration
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.device import DeviceError
from bnnedge.devices.region import Region
from bnnedge.registers import REGISTERS
from bnnedge.sim.verilated import MemoryModel, VerilatedBus

SIZES = [20, 24, 10]


@pytest.fixture
def bus(small: AcceleratorDevice) -> VerilatedBus:
    """The bus behind `small`."""
    assert isinstance(small.bus, VerilatedBus)
    return small.bus


def trains_again(small: AcceleratorDevice, bus: VerilatedBus) -> None:
    """A fresh start trains exactly, without a reset of the chip."""
    bus.set_memory(MemoryModel())
    pair = Pair.of(small, SIZES, Settings(batch=64))
    pair.train(2)


@pytest.mark.parametrize("region", ["records", "2.weight", "latents 1"])
@pytest.mark.parametrize("kind", ["read", "write"])
def test_bus_error_names_port_and_address_and_a_reset_recovers(
    small: AcceleratorDevice, bus: VerilatedBus, region: str, kind: str
) -> None:
    pair = Pair.of(small, SIZES, Settings(batch=64))
    place = small._regions[region]
    bus.set_memory(MemoryModel(error=(place.address, place.address + place.nbytes), error_on=kind))
    port = 1 if region.startswith("latents") else 0
    with pytest.raises(DeviceError, match=f"memory port {port} failed to {kind} at {place.address:#x}"[:30]):
        small.train(pair.images, pair.labels, pair.order(2), RATE)
    trains_again(small, bus)


def test_memory_that_stops_answering_is_noticed(
    small: AcceleratorDevice, bus: VerilatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnedge.devices.machine.PATIENCE", 50_000)
    pair = Pair.of(small, SIZES, Settings(batch=64))
    bus.set_memory(MemoryModel(hang_after=40))
    with pytest.raises(DeviceError, match="memory does not answer"):
        small.train(pair.images, pair.labels, pair.order(2), RATE)
    bus.set_memory(MemoryModel())
    bus.reset()  # what was on the bus can never end: only the chip's reset helps
    trains_again(small, bus)


def test_slow_memory_is_not_taken_for_a_dead_one(
    small: AcceleratorDevice, bus: VerilatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnedge.devices.machine.PATIENCE", 5_000)
    bus.set_memory(MemoryModel(bytes_per_cycle=0.5, latency=1000))
    Pair.of(small, SIZES, Settings(batch=64)).train(2)


def test_illegal_instruction_stops_with_its_address(small: AcceleratorDevice, bus: VerilatedBus) -> None:
    address, view = bus.allocate(64)
    view[:] = 0xFF
    bus.write(REGISTERS["PROGRAM"].offset, address)
    bus.write(REGISTERS["CONTROL"].offset, 1)
    assert bus.run(1000)
    with pytest.raises(DeviceError, match=f"illegal instruction at {address:#x}"):
        small.machine.fail()
    bus.release(address)
    trains_again(small, bus)


def test_other_hardware_is_refused(bus: VerilatedBus) -> None:
    with pytest.raises(DeviceError, match="not generated from 'pynq-z2'"):
        AcceleratorDevice(bus, configuration("pynq-z2"), "rtl")


def test_interrupted_run_leaves_the_accelerator_at_rest(
    small: AcceleratorDevice, bus: VerilatedBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair.of(small, SIZES, Settings(batch=64))
    run = bus.run

    def interrupted(max_cycles: int) -> bool:
        run(3000)
        monkeypatch.setattr(bus, "run", run)
        raise KeyboardInterrupt

    monkeypatch.setattr(bus, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small.train(pair.images, pair.labels, pair.order(2), RATE)
    assert bus.read(REGISTERS["STATUS"].offset) == 0
    trains_again(small, bus)


@pytest.mark.parametrize("what", ["weight", "tensor"])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("check", ["first", "none"])
def test_a_wrong_bit_is_found_in_the_first_steps(
    small: AcceleratorDevice, bus: VerilatedBus, monkeypatch: pytest.MonkeyPatch, what: str, step: int, check: str
) -> None:
    random = np.random.RandomState(1)
    x, y = random.randint(0, 256, (256, 20)).astype(np.uint8), random.randint(0, 10, 256)
    trainer = Trainer(Network((20,), [Dense(24), Dense(10)]), small, settings=Settings(batch=64), check=check)
    run, fetch = small.machine.run, Region.fetch

    def wrong_weight(program: int, before: int, seed: int) -> None:
        run(program, before, seed)
        if before == step - 1:
            bus.memory[small._regions["latents 1"].address + 8 - bus.base] ^= 0x40

    def wrong_tensor(self: Region, dtype: str) -> np.ndarray:
        found = fetch(self, dtype)
        if dtype == "u1" and self not in small._regions.values() and small._step == step:
            found[small.layout.arena(shared=False)[0]["1.mask"]] ^= 1  # of all that a probe has stored
        return found

    if what == "weight":
        monkeypatch.setattr(small.machine, "run", wrong_weight)
    else:
        monkeypatch.setattr(Region, "fetch", wrong_tensor)
    if check == "none":
        trainer.fit(x, y)
        assert trainer.bit_exact is None
        return
    found = "layer 2 weight: 1 of 240 values" if what == "weight" else "1.mask: 1 of 1536 values"
    with pytest.raises(MismatchError, match=f"step {step}: device 'rtl' and the golden model differ in {found}$"):
        trainer.fit(x, y)
