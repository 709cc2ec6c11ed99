"""Devices that train: the golden model, the verilated accelerator, a board. `Device` is what they have in common."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING

from bnnedge.configuration import Configuration
from bnnedge.devices.device import Device, DeviceError, Memory, StepResult, check_order

if TYPE_CHECKING:
    from bnnedge.devices.waves import Waves

__all__ = [
    "DEVICES",
    "Device",
    "DeviceError",
    "Memory",
    "Opener",
    "StepResult",
    "check_order",
    "choose_device",
    "open_device",
    "own_configuration",
]


# The imports stand inside: each device needs what only some machines have.
def _golden(configuration: Configuration) -> Device:
    from bnnedge.devices.golden import GoldenDevice

    return GoldenDevice(configuration)


def _rtl(configuration: Configuration, waves: Waves | None = None) -> Device:
    from bnnedge.devices.rtl import open_rtl

    return open_rtl(configuration, waves)


def _pynq(configuration: Configuration) -> Device:
    from bnnedge.devices.pynq import open_pynq

    return open_pynq(configuration)


Opener = Callable[[Configuration], Device]  # opens a device of a configuration

DEVICES: dict[str, Callable[..., Device]] = {"golden": _golden, "rtl": _rtl, "pynq": _pynq}
EXTRAS = {"rtl": "sim", "pynq": "board"}  # extras of the package with what a device needs


def own_configuration(name: str) -> Configuration | None:
    """The one configuration that a device has: for "pynq" that of its bitstream. None if it takes any, or is yet to be told."""
    if name != "pynq":
        return None
    from bnnedge.devices.bitstream import built

    return built()


def choose_device(otherwise: str = "golden") -> str:
    """Return "pynq" on a board, or where PYNQ.remote is told of one; elsewhere `otherwise`."""
    from bnnedge.devices.pynq import ARCHITECTURE

    board = platform.machine() == ARCHITECTURE or "PYNQ_REMOTE_DEVICES" in os.environ
    return "pynq" if board and importlib.util.find_spec("pynq") else otherwise


def open_device(name: str, configuration: Configuration, *, waves: Waves | None = None) -> Device:
    """Open a device by name: "golden" (NumPy), "rtl" (the verilated accelerator) or "pynq" (a board).

    waves: what "rtl" is to write of its signals. Raises ValueError for another name, or waves of another device, DeviceError if
    a module that the device needs is not installed, and OSError if the file of waves cannot be written.
    """
    if name not in DEVICES:
        raise ValueError(f"there is no device {name!r}; there are {', '.join(DEVICES)}")
    if waves and name != "rtl":
        raise ValueError(f"the device 'rtl' alone writes waveforms, not {name!r}")
    try:
        return DEVICES[name](configuration, waves) if waves else DEVICES[name](configuration)
    except ModuleNotFoundError as error:
        # An extra brings no module of this package's own, which a board may lack.
        extra = EXTRAS.get(name) if not (error.name or "").startswith("bnnedge") else None
        advice = f": install it with pip install 'bnnedge[{extra}]'" if extra else ", which is not installed"
        raise DeviceError(f"device {name!r} needs the Python module {error.name}{advice}") from error
