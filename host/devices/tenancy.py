"""Who uses a device, and whose network and state it holds: one caller at a time, several users by turns, none after `close`."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, TypeVar

from bnnedge.devices.device import Device, DeviceError
from bnnedge.network import Network
from bnnedge.settings import Settings
from bnnedge.state import TrainingState

D = TypeVar("D", bound="SharedDevice")
P = ParamSpec("P")
R = TypeVar("R")


@contextlib.contextmanager
def alone(lock: threading.RLock, what: str) -> Iterator[None]:
    """Hold the lock of `what`; DeviceError if another thread does."""
    if not lock.acquire(blocking=False):
        raise DeviceError(f"{what} is in use by another thread: wait until its call has ended, or open a device for each thread")
    try:
        yield
    finally:
        lock.release()


class SharedDevice:
    """What devices have in common: see `prepared`, `holds`, `claim` and `close` of `Device`."""

    name: str

    def __init__(self) -> None:
        self.prepared: tuple[Network, Settings] | None = None
        self.holds: object | None = None
        self._lock, self._closed = threading.RLock(), False

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Keep other threads out; DeviceError if one is inside, or the device is closed."""
        with self._alone():
            if self._closed:
                raise DeviceError(
                    f"device {self.name!r} is closed: open it again, and go on from a checkpoint with Trainer.load (a trainer "
                    "that used the device can still save one)"
                )
            yield

    def close(self) -> None:
        """Give back what the device holds, once; from then on every other call is a DeviceError."""
        with self._alone():
            if not self._closed:
                self._closed = True
                self.prepared = self.holds = None
                self._release()

    def _release(self) -> None:
        """Give everything back."""

    @contextlib.contextmanager
    def _running(self, changes: bool) -> Iterator[None]:
        """Around what uses the training state, or `changes` it: if that fails or is interrupted, the device holds none."""
        self._loaded()
        before, self.holds = self.holds, None
        yield
        self.holds = object() if changes else before

    def _ready(self) -> tuple[Network, Settings]:
        """The network and settings prepared."""
        if self.prepared is None:
            raise DeviceError(f"device {self.name!r} has no network: call prepare first")
        return self.prepared

    def _loaded(self) -> None:
        """DeviceError if there is no training state to go on from."""
        self._ready()
        if self.holds is None:
            raise DeviceError(
                f"device {self.name!r} has no training state, or one that a failed call left unfinished: call load_state first"
            )

    def _alone(self) -> AbstractContextManager[None]:
        return alone(self._lock, f"device {self.name!r}")


def exclusive(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """Let a method of a device run within `claim`."""

    @functools.wraps(method)
    def claimed(self: D, /, *arguments: P.args, **keywords: P.kwargs) -> R:
        with self.claim():
            return method(self, *arguments, **keywords)

    return claimed


class Tenant:
    """One of perhaps several users of a device: brings its own network and state there, if the device holds others.

    device: any. network, settings: what it is to be prepared for.
    """

    def __init__(self, device: Device, network: Network, settings: Settings) -> None:
        self.device, self.program = device, (network, settings)
        self._state: TrainingState | None = None
        self._held: object | None = None

    def prepare(self) -> None:
        """Prepare the device for this user, if it is not."""
        if self.device.prepared != self.program:
            self.device.prepare(*self.program)

    def bring(self, state: TrainingState) -> None:
        """Load a state, which must not change any more, unless it is sure that the device holds it."""
        self.prepare()
        if state is not self._state or self._held is None or self.device.holds is not self._held:
            self.device.load_state(state)
            self.keep(state)

    def keep(self, state: TrainingState) -> None:
        """Note that the device has come to `state`."""
        self._state, self._held = state, self.device.holds

    def forget(self) -> None:
        """Note that nobody knows what the device holds."""
        self._state = self._held = None
