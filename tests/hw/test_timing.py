"""The cycle model restates latencies of the hardware: they are the same."""

from __future__ import annotations

import pytest

from bnnedge import configuration
from bnnedge.compiler import cycles
from bnnedge.configuration import CONFIGURATIONS
from bnnedge.hw.buffers.banked import READ_LATENCY
from bnnedge.hw.engine.array import finish_latency
from bnnedge.settings import Settings
from bnnedge.sim.verilated import MemoryModel


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_engine_latency_is_that_of_the_hardware(name: str) -> None:
    config = configuration(name)
    assert cycles._Schedule(Settings(), config).engine_latency == READ_LATENCY + finish_latency(config)


def test_the_pinned_memory_model_is_the_simulated_memorys_default() -> None:
    default = MemoryModel()
    assert (default.bytes_per_cycle, default.latency) == (cycles.MEMORY_BYTES, cycles.MEMORY_LATENCY)
