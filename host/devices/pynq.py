"""An accelerator on a PYNQ board as a device: through pynq on the board itself, or from afar through PYNQ.remote.

Works with pynq 3.0 to 4.0. Only functions import it, so that this module can be read anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bnnedge import isa
from bnnedge.boards.hwh import INSTANCE, IO_PLL
from bnnedge.configuration import Configuration
from bnnedge.devices import bitstream
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.bitstream import Bitstream
from bnnedge.devices.device import DeviceError
from bnnedge.meminfo import meminfo
from bnnedge.registers import REGISTERS

STATUS = REGISTERS["STATUS"]
ARCHITECTURE = "armv7l"  # of a Zynq-7000's processor
IDCODE = 0xF800_0530  # of the chip: the upper four bits are its revision
AFI = 0xF800_8000  # control of the high-performance ports, 4 KiB each
AFI_CONTROLS = (0x00, 0x14)  # of reads, of writes; bit 0: 32 bits wide
MANAGER_STATE = "/sys/class/fpga_manager/fpga0/state"
PAUSES = 20e-6, 1e-3  # seconds between two looks at STATUS: at first, at most
SMALLEST = 8192  # bytes: some versions of pynq's runtime place smaller buffers beyond 32-bit addresses


class PynqBus:
    """`Bus` through pynq: registers by MMIO, contiguous memory from `pynq.allocate`, halting seen by polling.

    device: the pynq.Device. registers: address and size in bytes of the window. clock_hz: of the accelerator.
    """

    def __init__(self, device: Any, registers: tuple[int, int], clock_hz: int) -> None:
        import pynq

        self._device, self._clock_hz = device, clock_hz
        self._mmio = pynq.MMIO(*registers, device=device)
        self._buffers: dict[int, Any] = {}

    def read(self, offset: int) -> int:
        """Return the 32-bit register at byte `offset`."""
        with _explained("the accelerator does not answer"):
            return int(self._mmio.read(offset)) & 0xFFFF_FFFF  # pynq 3.1 brings signed numbers from afar

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte `offset`."""
        with _explained("the accelerator does not answer"):
            self._mmio.write(offset, int(value))  # pynq takes nothing but int

    def allocate(self, nbytes: int) -> tuple[int, np.ndarray]:
        """A buffer of its own for each piece: some versions of pynq flush and invalidate buffers only as a whole."""
        import pynq

        with _explained("memory cannot be reserved"):
            try:
                buffer = pynq.allocate((max(SMALLEST, nbytes),), "u1", target=self._device)
                if getattr(buffer, "buffer_id", None) == "":  # how PYNQ.remote tells
                    raise MemoryError("the board has no more")
            except (MemoryError, RuntimeError) as error:
                raise MemoryError(self._shortage(nbytes, error)) from error
            address = int(buffer.device_address)
        self._buffers[address] = buffer
        return address, np.asarray(buffer)[:nbytes]

    def sync_to_device(self, address: int) -> None:
        """Flush the caches, or send the bytes to the board."""
        with _explained("a buffer cannot be written back"):
            self._buffers[address].sync_to_device()

    def sync_from_device(self, address: int) -> None:
        """Invalidate the caches, or fetch the bytes from the board."""
        with _explained("a buffer cannot be read"):
            self._buffers[address].sync_from_device()

    def release(self, address: int) -> None:
        """Give the buffer back."""
        with _explained("a buffer cannot be given back"):
            self._buffers.pop(address).freebuffer()

    def run(self, max_cycles: int) -> bool:
        """Wait until the accelerator halts or `max_cycles` of its clock have passed; tell whether it halted."""
        end = time.monotonic() + max_cycles / self._clock_hz
        pause, longest = PAUSES
        while True:
            status = self.read(STATUS.offset)
            if STATUS.get(status, "done") or STATUS.get(status, "error"):
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    def close(self) -> None:
        """Give all buffers back, if the board still answers."""
        while self._buffers:
            with contextlib.suppress(Exception):
                self._buffers.popitem()[1].freebuffer()

    def _shortage(self, nbytes: int, error: BaseException) -> str:
        held = sum(buffer.nbytes for buffer in self._buffers.values())
        enough = max(256, 64 * -(-(held + nbytes) // (56 << 20)))  # MiB; Linux itself takes some of it
        return (
            f"no {nbytes:,} bytes of contiguous memory beside the {held:,} in use ({_contiguous() or error}): "
            f"boot Linux with cma={enough}M, see docs/pynq.md"
        )


def _contiguous() -> str:
    """What Linux says of its contiguous memory, or "" where it says nothing, as on a PC."""
    total, free = (meminfo().get(name, 0) >> 10 for name in ("CmaTotal", "CmaFree"))
    return f"Linux has set {total:,} KiB apart, {free:,} KiB are free" if total else ""


def open_pynq(configuration: Configuration, folder: Path | None = None, device: Any = None) -> AcceleratorDevice:
    """Load a bitstream and open its accelerator.

    folder: of the bitstream; by default what `bitstream.find` finds. device: the pynq.Device; by default pynq's own choice.
    DeviceError says what is missing or does not fit: files, permissions, part, clock, memory ports, hardware.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of setuptools, which pynq imports, about the order of imports
        import pynq

    found = bitstream.check(folder, configuration) if folder else bitstream.find(configuration)
    with _explained("pynq finds no device: run this on a PYNQ board, or set PYNQ_REMOTE_DEVICES to a board's address"):
        device = device or pynq.Device.active_device
    _check_part(device, found)
    _load(device, found, configuration)
    with _explained("the processor's registers cannot be used"):
        _widen_ports(device, found.board.memory_ports)
        bus = PynqBus(device, found.board.registers, configuration.clock_hz)
    return AcceleratorDevice(bus, configuration, "pynq")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what pynq raises, too little memory aside, into a DeviceError that begins with `what`."""
    try:
        yield
    except (DeviceError, MemoryError):
        raise
    except Exception as error:  # pynq, XRT and gRPC have exceptions of their own, with nothing in common
        denied = isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES)
        if denied or "root permissions" in str(error).lower():
            what = "no access to the programmable logic: run as root, with sudo -E or in the board's notebooks"
        said = error.details() if hasattr(error, "details") else error  # gRPC's own text takes many lines
        raise DeviceError(f"{what} ({type(error).__name__}: {said})") from error


def _check_part(device: Any, found: Bitstream) -> None:
    """Refuse another chip before anything is done to it."""
    import pynq

    architecture = getattr(device, "arch", pynq.ps.CPU_ARCH)  # pynq 3.0 asks the machine, not the device
    if architecture != ARCHITECTURE:
        raise DeviceError(f"{found.path} is for {found.board.title}, and this device's processor is {architecture}")
    with _explained("the processor's registers cannot be read"):
        idcode = pynq.MMIO(IDCODE, 4, device=device).read() & 0x0FFF_FFFF
    if idcode != found.board.part.idcode:
        raise DeviceError(
            f"{found.path} is for {found.board.title} ({found.board.part.name}), and this chip is another "
            f"(it has the code {idcode:#010x}, not {found.board.part.idcode:#010x})"
        )


def _load(device: Any, found: Bitstream, configuration: Configuration) -> None:
    """Set the clock and load the bitstream."""
    import pynq

    with _explained(f"pynq cannot load {found.path}"):
        overlay = pynq.Overlay(str(found.path), download=False, device=device)
        _check_metadata(overlay, found, configuration)
        overlay.clock_dict = {}  # pynq would set the clock that the .hwh gives, not that of the configuration
        remote = device.has_capability("REMOTE")
        if remote:
            # A board keeps files by their name, and would load an older one.
            overlay.binfile_name = f"{INSTANCE}-{found.sha256[:16]}.bin"
        wanted = configuration.clock_hz / 1e6
        pynq.Clocks.fclk0_mhz = wanted
        clock = pynq.Clocks.fclk0_mhz
        if not 0.99 * wanted <= clock <= 1.001 * wanted:
            raise DeviceError(
                f"FCLK0 is {clock:g} MHz and {configuration.name!r} asks for {wanted:g} MHz: "
                f"choose a clock_hz by which the processor's PLL ({IO_PLL / 1e6:g} MHz) can be divided"
            )
        overlay.download()
        if remote:  # where a failure would not be told
            state = device.read_file(MANAGER_STATE).decode().strip()
            if state != "operating":
                raise DeviceError(f"the board refused {found.path}: its FPGA manager says {state!r}")


def _check_metadata(overlay: Any, found: Bitstream, configuration: Configuration) -> None:
    """Refuse metadata of another .hwh: pynq keeps what it once read for a .bit, whatever the .hwh beside it says now."""
    import pynq

    about = overlay.ip_dict.get(INSTANCE, {})
    values = about.get("parameters", {})
    seen = (about.get("phys_addr"), values.get("DIGEST"), values.get("INSTRUCTION_SET"))
    if seen != (found.board.registers[0], f"{configuration.digest:#010x}", str(isa.VERSION)):
        raise DeviceError(
            f"pynq's metadata of {found.path} is not that of the .hwh beside it: delete _current_metadata.pkl in "
            f"{Path(pynq.__file__).parent / 'pl_server'}"
        )


def _widen_ports(device: Any, ports: tuple[int, ...]) -> None:
    """Set high-performance ports to 64 bits: boot loaders may leave them at 32, and pynq looks at larger chips' only."""
    import pynq

    for port in ports:
        control = pynq.MMIO(AFI + 0x1000 * port, 0x1000, device=device)
        for offset in AFI_CONTROLS:
            value = int(control.read(offset))
            if value & 1:
                control.write(offset, value & ~1)
                if int(control.read(offset)) & 1:
                    register = AFI + 0x1000 * port + offset
                    raise DeviceError(f"high-performance port {port} stays 32 bits wide, whatever is written to {register:#x}")
