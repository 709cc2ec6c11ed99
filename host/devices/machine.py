"""An accelerator behind its registers: that it is the one expected, runs of programs, and what stopped them."""

from __future__ import annotations

from bnnedge import isa, registers
from bnnedge.configuration import Configuration
from bnnedge.devices.bus import Bus
from bnnedge.devices.device import DeviceError
from bnnedge.registers import COUNTER_BITS, REGISTERS, Cause, Counter

RESET_CYCLES = 20_000  # in which all that is on the bus must end
PATIENCE = 1_000_000  # cycles without any progress after which a run counts as stuck
PROGRESS = (Counter.ENGINE, Counter.READ_0, Counter.WRITE_0, Counter.READ_1, Counter.WRITE_1)
CONTROL, STATUS, ERROR = (REGISTERS[name] for name in ("CONTROL", "STATUS", "ERROR"))
ANEW = "save the trainer, open the device anew, and load the checkpoint"


class Machine:
    """The accelerator of `configuration` behind a bus; DeviceError if there is another one, or none."""

    def __init__(self, bus: Bus, configuration: Configuration) -> None:
        self.bus, self.configuration = bus, configuration
        found = self._foreign()
        if found:
            raise DeviceError(found)

    def run(self, program: int, step: int, seed: int) -> None:
        """Run the program at this address to its end; DeviceError says what stopped it, or what is there instead.

        step: training steps taken before. seed: of the random numbers, 64 bits.
        """
        self.identify()
        if STATUS.get(self._read("STATUS"), "busy"):
            raise DeviceError(
                "the accelerator is busy with a program of someone else: let one process at a time use it, "
                f"and if there is none, {ANEW}"
            )
        try:
            for register, value in (
                ("PROGRAM", program),
                ("STEP", step),
                ("SEED_LOW", seed & 0xFFFFFFFF),
                ("SEED_HIGH", seed >> 32),
                ("CONTROL", CONTROL.put(start=1)),
            ):
                self.bus.write(REGISTERS[register].offset, value)
            halted = self._wait()
            self.identify()
            status, ran = self._read("STATUS"), self._read("PROGRAM")
            if STATUS.get(status, "error"):
                self.fail()
            if not halted:
                raise DeviceError(
                    f"no progress for {PATIENCE} cycles: memory does not answer (the accelerator has been reset; "
                    "load the state again)"
                )
            if ran != program:
                raise DeviceError(
                    f"the accelerator has run a program at {ran:#x}, not the one at {program:#x}: let one process at a time "
                    "use it"
                )
            if status != STATUS.put(done=1):
                raise DeviceError(f"register STATUS is {status:#x} at the end of a run, not {STATUS.put(done=1):#x}: {ANEW}")
        except BaseException:
            self.reset()  # nothing may go on writing memory that others will use
            raise

    def identify(self) -> None:
        """DeviceError if the accelerator is no longer the one that was opened."""
        found = self._foreign()
        if found:
            raise DeviceError(
                f"{found}. It was there when the device was opened: another bitstream was loaded since, or the logic lost its "
                f"clock or its power; {ANEW}"
            )

    def fail(self) -> None:
        """Reset the accelerator, which has stopped with an error, and raise the DeviceError that says with which."""
        error, address = self._read("ERROR"), self._read("ERROR_ADDRESS")
        cause, port = ERROR.get(error, "cause"), ERROR.get(error, "port")
        self.reset()
        if cause == Cause.ILLEGAL_INSTRUCTION:
            raise DeviceError(
                f"illegal instruction at {address:#x}: the program is of another instruction set, or was overwritten"
            )
        if cause in (Cause.READ_ERROR, Cause.WRITE_ERROR):
            kind = "read" if cause == Cause.READ_ERROR else "write"
            raise DeviceError(f"bus error: memory port {port} failed to {kind} at {address:#x}")
        raise DeviceError(
            f"the accelerator stopped with an error of unknown cause {cause} (register ERROR is {error:#x}, ERROR_ADDRESS "
            f"{address:#x}): {ANEW}"
        )

    def reset(self) -> None:
        """Soft reset: the accelerator ends what is on the bus and forgets the rest. Other hardware is left alone."""
        if self._foreign():
            return
        self.bus.write(CONTROL.offset, CONTROL.put(reset=1))
        for _ in range(RESET_CYCLES // 100):
            if not CONTROL.get(self.bus.read(CONTROL.offset), "reset"):
                return
            self.bus.run(100)
        raise DeviceError(
            "memory does not answer: the accelerator can't end what it began, and so can't be reset. Open the device again "
            "(on a board: load the bitstream again)"
        )

    def counters(self, cycles: int) -> dict[Counter, int]:
        """The performance counters of the last run, of which it is known that it took `cycles` or more."""
        found = {c: self._read(f"{c.name}_HIGH") << 32 | self._read(f"{c.name}_LOW") for c in Counter}
        if found[Counter.CYCLES] < cycles or max(found.values()) >> COUNTER_BITS:
            raise DeviceError(
                f"the counters can't be true ({found[Counter.CYCLES]:#x} cycles, of which the reports say {cycles:#x}): "
                f"someone else uses the accelerator; {ANEW}"
            )
        return found

    def _foreign(self) -> str:
        """What is there instead of the accelerator, in words; empty if it is the right one."""
        for register, expected, what in (
            ("MAGIC", registers.MAGIC, "there is no bnnedge accelerator behind this bus"),
            ("VERSION", isa.VERSION, "the accelerator has another instruction set; build or load one of this version"),
            (
                "CONFIGURATION",
                self.configuration.digest,
                f"the accelerator was not generated from {self.configuration.name!r}",
            ),
        ):
            found = self._read(register)
            if found != expected:
                return f"register {register} is {found:#x}, not {expected:#x}: {what}"
        return ""

    def _wait(self) -> bool:
        """Wait for the end of a run; False if nothing moves any more."""
        before: tuple[int, ...] = ()
        while not self.bus.run(PATIENCE):
            now = tuple(self._read(f"{counter.name}_LOW") for counter in PROGRESS)
            if now == before:
                return False
            before = now
        return True

    def _read(self, register: str) -> int:
        return self.bus.read(REGISTERS[register].offset)
