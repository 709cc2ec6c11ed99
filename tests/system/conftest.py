"""The verilated accelerators, built once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bnnedge import configuration
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl
from bnnedge.sim.verilated import MemoryModel, VerilatedBus


def opened(name: str) -> Iterator[AcceleratorDevice]:
    """A device for the tests of a session, closed at its end."""
    device = open_rtl(configuration(name))
    bus = device.bus
    assert isinstance(bus, VerilatedBus)
    yield device
    assert bus.races == 0, "a burst was in flight while another one wrote the same bytes"
    device.close()


@pytest.fixture(scope="session")
def small_session() -> Iterator[AcceleratorDevice]:
    """The accelerator that tests share; use `small`."""
    yield from opened("sim-small")


@pytest.fixture
def small(small_session: AcceleratorDevice) -> Iterator[AcceleratorDevice]:
    """The `sim-small` accelerator with the pinned memory model."""
    bus = small_session.bus
    assert isinstance(bus, VerilatedBus)
    yield small_session
    bus.set_memory(MemoryModel())


@pytest.fixture(scope="session")
def board_size() -> Iterator[AcceleratorDevice]:
    """The `pynq-z2` accelerator."""
    yield from opened("pynq-z2")
