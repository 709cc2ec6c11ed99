"""What a board is: data that generator, build flows and drivers share."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from bnnedge.configuration import configuration
from bnnedge.parsing import read_description
from bnnedge.registers import WINDOW
from bnnedge.terminal import nearest, printable

DESCRIPTION = "board.yaml"  # in the folder of a board of one's own
PINS = ("led_busy", "led_error")  # ports of the top that `pins` may connect
GP0 = 0x4000_0000, 0x8000_0000  # the processor's window on the programmable logic, up to its end

# Zynq-7000: JTAG identification, LUTs, flip-flops, RAMB36, DSPs (AMD DS190).
_DEVICES = {
    "xc7z007s": (0x3723093, 14_400, 28_800, 50, 66),
    "xc7z010": (0x3722093, 17_600, 35_200, 60, 80),
    "xc7z012s": (0x373C093, 34_400, 68_800, 72, 120),
    "xc7z014s": (0x3728093, 40_600, 81_200, 107, 170),
    "xc7z015": (0x373B093, 46_200, 92_400, 95, 160),
    "xc7z020": (0x3727093, 53_200, 106_400, 140, 220),
    "xc7z030": (0x372C093, 78_600, 157_200, 265, 400),
    "xc7z035": (0x3732093, 171_900, 343_800, 500, 900),
    "xc7z045": (0x3731093, 218_600, 437_200, 545, 900),
    "xc7z100": (0x3736093, 277_400, 554_800, 755, 2_020),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """An FPGA.

    name: with package and speed grade, as vendor tools call it. idcode: its JTAG identification, revision (the upper four
    bits) aside. luts: 6-input lookup tables. ffs: flip-flops. bram36: block RAMs of 36 kbit. dsps: multiplier blocks.
    """

    name: str
    idcode: int
    luts: int
    ffs: int
    bram36: int
    dsps: int

    @property
    def pieces(self) -> tuple[str, str, str]:
        """Device, package and speed grade, such as 7z020, clg400, -1."""
        found = _pieces(self.name)
        assert found
        return found[1], found[2], found[3]

    @classmethod
    def called(cls, name: Any) -> Part:
        """The Zynq-7000 of this name, such as xc7z020clg400-1; ValueError if there is none."""
        found = _pieces(name) if isinstance(name, str) else None
        if not found or f"xc{found[1]}" not in _DEVICES:
            raise ValueError(
                f"part must be a Zynq-7000 with package and speed grade, such as xc7z020clg400-1, not {name!r:.80}; "
                f"there are {', '.join(_DEVICES)}"
            )
        return cls(name, *_DEVICES[f"xc{found[1]}"])


def _pieces(name: str) -> re.Match[str] | None:
    return re.fullmatch(r"xc(7z\d{3}s?)(i?[a-z]{3}\d{3,4})(-\d[A-Z]?)", name, re.ASCII)


@dataclasses.dataclass(frozen=True)
class Board:
    """A board with a processor and programmable logic; ValueError for what none can have.

    Parameters
    ----------
    name: what the command line and folders call it: letters, digits and hyphens.
    part: its Zynq-7000.
    title: what it says on it; by default the name.
    configuration: of the accelerator that it gets if none is chosen: a name, or a file.
    pins: package pin and I/O standard of each port of the top that leaves the chip: of none, or of some of `PINS`.
    registers: address and size in bytes of the register window, as the processor sees it, within its port GP0.
    memory_ports: numbers of the processor's high-performance ports (64 bits, AXI3) behind the accelerator's memory ports 0
        and 1.
    """

    name: str
    part: Part
    title: str = ""
    configuration: str = dataclasses.field(default="pynq-z2", compare=False)  # whatever it is, the board is the same
    pins: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    registers: tuple[int, int] = (0x43C0_0000, 0x1_0000)
    memory_ports: tuple[int, int] = (0, 2)

    def __post_init__(self) -> None:
        _check(isinstance(self.name, str) and re.fullmatch(_NAME, self.name, re.ASCII), "name", self.name, _LETTERS)
        object.__setattr__(self, "title", self.title or self.name)
        title = self.title
        _check(isinstance(title, str) and printable(title) == title and len(title) <= 100, "title", title, "a line of text")
        for port, place in self.pins.items():
            _check(port in PINS, "pins", port, f"a table of {' and '.join(PINS)}, or one of them")
            words = len(place) == 2 and all(isinstance(word, str) for word in place)
            pin = words and re.fullmatch(r"[A-Z]{1,2}\d{1,2} [A-Z][A-Z0-9_]{2,30}", " ".join(place), re.ASCII)
            _check(pin, f"pins: {port}", list(place), "package pin and I/O standard, such as [R14, LVCMOS33]")
        pins = [pin for pin, _ in self.pins.values()]
        _check(len(set(pins)) == len(pins), "pins", pins, "a pin of its own for each")
        base, size = self.registers
        sound = _whole(base) and _whole(size) and WINDOW <= size <= 1 << 30 and not size & (size - 1) and not base % size
        sound = sound and GP0[0] <= base and base + size <= GP0[1]
        within = f"address and size in {GP0[0]:#x}..{GP0[1] - 1:#x}"
        window = f"{within}, the size a power of two from {WINDOW} on that divides the address"
        _check(sound, "registers", f"[{_hex(base)}, {_hex(size)}]", window)
        ports = self.memory_ports
        sound = all(_whole(port) and 0 <= port <= 3 for port in ports) and len(set(ports)) == 2
        _check(sound, "memory_ports", list(ports), "two of 0, 1, 2 and 3")

    def to_dict(self) -> dict[str, Any]:
        """All that a driver wants to know, for JSON; `from_dict` makes a board of it again."""
        fields = dataclasses.asdict(self)
        del fields["configuration"]
        return fields | {"part": self.part.name}

    @classmethod
    def from_dict(cls, data: Any, name: str = "") -> Board:
        """The board that a table describes, called `name` unless it says otherwise; ValueError says what is wrong."""
        fields = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(data, dict) or "part" not in data:
            raise ValueError(f"it must be a table with a part, such as part: xc7z020clg400-1; there are {', '.join(fields)}")
        for key in data:
            if key not in fields:
                raise ValueError(f"there is no {key!r:.80} of a board; there are {', '.join(fields)}{nearest(key, fields)}")
        if "name" not in data and not re.fullmatch(_NAME, name, re.ASCII):
            raise ValueError(f"its name must be {_LETTERS}, not {name!r:.80}: give one in the file, as name: NAME")
        values = {"name": name, **data, "part": Part.called(data["part"])}
        if "pins" in values:
            sound = isinstance(values["pins"], dict) and all(isinstance(place, list) for place in values["pins"].values())
            _check(sound, "pins", values["pins"], "a table such as {led_busy: [R14, LVCMOS33]}")
            values["pins"] = {port: tuple(place) for port, place in values["pins"].items()}
        for key in ("registers", "memory_ports"):
            if key in values:
                _check(isinstance(values[key], list) and len(values[key]) == 2, key, values[key], "a list of two numbers")
                values[key] = tuple(values[key])
        if "configuration" in values:
            _check(isinstance(values["configuration"], str), "configuration", values["configuration"], "a name, or a file")
        return cls(**values)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Board:
        """The board that the board.yaml of a folder describes; a configuration's file is one of that folder.

        ValueError names the file and what is wrong.
        """
        path = Path(folder) / DESCRIPTION
        data = read_description(path, str(path))
        try:
            found = cls.from_dict(data, Path(folder).resolve().name)
            own = path.parent / found.configuration
            if own.is_file():
                return dataclasses.replace(found, configuration=str(own))
            configuration(found.configuration)  # there must be one
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return found


_NAME = r"\w[\w-]{0,99}"
_LETTERS = "letters, digits and hyphens"


def _check(sound: object, field: str, value: object, wanted: str) -> None:
    if not sound:
        raise ValueError(f"{field} of a board must be {wanted}, not {value!r:.80}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hex(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else repr(value)
