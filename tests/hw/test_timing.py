"""The cycle model restates latencies and depths of the hardware: they are the same."""

from __future__ import annotations

import pytest

from bnnedge import configuration
from bnnedge.compiler import cycles
from bnnedge.compiler.layout import layout
from bnnedge.configuration import CONFIGURATIONS
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.control.queue import DEPTHS
from bnnedge.hw.engine.array import finish_latency
from bnnedge.isa import Unit
from bnnedge.network import Dense, Network
from bnnedge.settings import Settings
from bnnedge.sim.verilated import MemoryModel


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_engine_latency_is_that_of_the_hardware(name: str) -> None:
    config = configuration(name)
    model = cycles._Schedule(layout(Network((8,), [Dense(4)]), Settings(batch=64), config))
    assert model.engine_latency == READ_LATENCY + finish_latency(config)


@pytest.mark.parametrize("unit", [Unit.EXECUTE, Unit.LOAD, Unit.STORE])
def test_queues_are_as_deep_as_those_of_the_hardware(unit: Unit) -> None:
    assert cycles.QUEUED[unit] == DEPTHS[unit]


def test_the_pinned_memory_model_is_the_simulated_memorys_default() -> None:
    default = MemoryModel()
    assert (default.bytes_per_cycle, default.latency) == (cycles.MEMORY_BYTES, cycles.MEMORY_LATENCY)
