"""cocotb tests: the driver trains a small network through the accelerator's ports; all bits are the golden model's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge

from bnnedge import Dense, Network, Settings
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.device import DeviceError
from bnnedge.registers import REGISTERS, Cause
from bnnedge.sim.benches import CocotbBus, configuration_of_bench
from bnnedge.sim.golden import Golden
from bnnedge.state import TrainingState

RATE = 400
UNMAPPED = 0x8000_0000


class Bench:
    """The driver and the golden model with the same network, state and data."""

    def __init__(self, bus: CocotbBus, sizes: tuple[int, ...], settings: Settings) -> None:
        config = configuration_of_bench()
        network = Network((sizes[0],), [Dense(n) for n in sizes[1:]])
        self.bus, self.settings = bus, settings
        self.device = AcceleratorDevice(bus, config, "cocotb")
        self.device.prepare(network, settings)
        self.initial = TrainingState.initial(network, config.latent, settings.gradient_planes, 1)
        self.golden = Golden(network, settings, config, self.initial.copy())
        random = np.random.RandomState(1)
        self.images = random.randint(0, 256, (100, sizes[0])).astype(np.uint8)
        self.labels = random.randint(0, sizes[-1], 100).astype(np.int64)
        self.random = random
        self.restart()

    def restart(self) -> None:
        """Load the initial state into both."""
        self.golden.state = self.initial.copy()
        self.device.load_state(self.initial)

    def order(self, steps: int) -> np.ndarray:
        """Indices of that many batches."""
        return self.random.randint(0, len(self.images), steps * self.settings.batch)

    def train(self, order: np.ndarray) -> list[int]:
        """Train on both and compare; return the cycles at which the steps had ended."""
        batches = order.reshape(-1, self.settings.batch)
        results = self.device.train(self.images, self.labels, order, RATE)
        expected = [self.golden.train(self.images[chosen], self.labels[chosen], RATE) for chosen in batches]
        found = [(result.loss, result.hits) for result in results]
        assert found == [(result.loss, result.hits) for result in expected]
        assert self.device.state().differences(self.golden.state) == []
        return [result.cycles for result in results]

    def infer(self) -> None:
        """Compare the logits of all images."""
        np.testing.assert_array_equal(self.device.infer(self.images), self.golden.infer(self.images))

    def register(self, name: str) -> int:
        """Read a register."""
        return self.bus.read(REGISTERS[name].offset)

    def fails(self, action: Callable[[], object], text: str) -> None:
        """The action must raise a DeviceError with this text, and leave the accelerator at rest."""
        message = "nothing was raised"
        try:
            action()
        except DeviceError as error:
            message = str(error)
        assert text in message, message
        for name in ("CONTROL", "STATUS", "ERROR", "ERROR_ADDRESS"):
            assert self.register(name) == 0, name
        assert not int(self.bus.dut.irq.value)


async def _play(dut: Any, play: Callable[[Bench], None]) -> None:
    """Reset, then let `play` drive; report the speed of the simulation."""
    bus = CocotbBus(dut)
    await bus.reset()
    begin = time.perf_counter()

    def whole() -> None:
        play(Bench(bus, (20, 24, 10), Settings(batch=64)))

    await bridge(whole)()
    seconds = time.perf_counter() - begin
    print(f"{bus.cycles} cycles in {seconds:.1f} s: {bus.cycles / seconds:.0f} cycles/s", flush=True)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def trains_without_stalls(dut: Any) -> None:
    """Two steps, and inference."""

    def play(bench: Bench) -> None:
        bench.train(bench.order(2))
        bench.infer()

    await _play(dut, play)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def trains_with_stalls(dut: Any) -> None:
    """Stalls on all channels change nothing but the time."""

    def play(bench: Bench) -> None:
        order = bench.order(2)
        (*_, fast) = bench.train(order)
        for seed, chance in enumerate((0.3, 0.8)):
            bench.bus.stall(chance, seed)
            bench.restart()
            (*_, slow) = bench.train(order)
            assert slow > fast
        bench.infer()

    await _play(dut, play)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def trains_again(dut: Any) -> None:
    """A run depends on nothing that the run before it left behind: bits, counters and time are the same."""

    def play(bench: Bench) -> None:
        order = bench.order(2)
        first = bench.train(order), bench.device.counters()
        bench.infer()
        bench.train(bench.order(1))
        before = bench.device.counters()
        bench.restart()
        cycles, counters = bench.train(order), bench.device.counters()
        assert (cycles, {name: counters[name] - before[name] for name in counters}) == first
        bench.train(bench.order(2))  # goes on from there, with no reload

    await _play(dut, play)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def recovers_from_errors(dut: Any) -> None:
    """Bus errors on either port, in either direction, and an illegal instruction: told, and gone after a soft reset."""

    def play(bench: Bench) -> None:
        device, ddr, order = bench.device, bench.bus.ddr, bench.order(2)
        latents, records = device._regions["latents 1"], device._regions["records"]

        def train() -> None:
            device.train(bench.images, bench.labels, order, RATE)

        def recovers() -> None:
            bench.restart()
            bench.train(order)

        for port, region in ((1, latents), (0, records)):
            place, region.address = region.address, UNMAPPED
            bench.fails(train, f"bus error: memory port {port} failed to read at {UNMAPPED:#x}")
            region.address = place
            recovers()
            ddr.protected = range(place, place + region.nbytes)
            bench.fails(train, f"bus error: memory port {port} failed to write at {place:#x}")
            ddr.protected = range(0)
            bench.bus.stall(0.4, 1)
            recovers()

        place, code = bench.bus.allocate(64)
        code[:] = 0xFF
        bench.bus.write(REGISTERS["PROGRAM"].offset, place)
        bench.bus.write(REGISTERS["CONTROL"].offset, 1)
        assert bench.bus.run(10_000)
        assert bench.register("STATUS") == 4
        assert bench.register("ERROR") == Cause.ILLEGAL_INSTRUCTION
        assert bench.register("ERROR_ADDRESS") == place
        bench.fails(device.machine.fail, f"illegal instruction at {place:#x}")
        recovers()

    await _play(dut, play)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def recovers_from_an_interruption(dut: Any) -> None:
    """The driver gives up in the middle of a run: a soft reset, and the next run is a fresh one."""

    def play(bench: Bench) -> None:
        order = bench.order(1)
        for chance, cycles in ((0, 300), (0.5, 1500), (0, 3000), (0.5, 4500), (0, 6000)):
            bench.bus.stall(chance, cycles)
            bench.bus.interrupt_after = cycles
            try:
                bench.device.train(bench.images, bench.labels, order, RATE)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("the run was over before the interruption")
            bench.restart()
            bench.train(order)

    await _play(dut, play)
