"""The accelerator's parameters: one frozen description that generator, compiler, golden model and drivers use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from bnnedge import formats
from bnnedge.keywords import explained_class
from bnnedge.parsing import read_description
from bnnedge.settings import whole
from bnnedge.terminal import nearest

# Of each parameter: kind of number, lowest, highest, and why it ends there.
_RANGES: dict[str, tuple[str, int, int, str]] = {
    "lanes": ("power of two", 4, 16, "a random number has bits for 16 lanes, and a tile of weights fills whole 64-bit beats"),
    "word": ("power of two", 16, 64, "a word holds a bit of each lane, and fits a 64-bit beat"),
    "left_depth": ("multiple of 64", 64, 1 << 16, "addresses of an instruction have 16 bits"),
    "right_depth": ("multiple of 64", 64, 1 << 16, "addresses of an instruction have 16 bits"),
    "tile_rows": ("power of two", 64, 1 << 12, "a batch of one word takes up to 64 rows"),
    "channels": ("power of two", 64, 1 << 12, "a channel's number has 12 bits in an instruction"),
    "latent": ("whole number", 4, 10, "with a moment of 6 bits it fills a word of 16"),
    "accumulator": ("whole number", 16, 22, "statistics of a batch have room for sums of 22 bits"),
    "clock_hz": ("whole number", 10**6, 10**10, "it is in Hz"),
}
_NAME = r"\w[\w.-]{0,99}"


def _allowed(kind: str, low: int, high: int, value: int) -> bool:
    return low <= value <= high and not {"power of two": value & (value - 1), "multiple of 64": value % 64}.get(kind)


def _nearest(kind: str, low: int, high: int, value: Any) -> str:
    """What could stand there instead of a number, in words; "" if it is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e18:
        return ""
    allowed = [n for n in range(low, min(high, 1 << 17) + 1) if _allowed(kind, low, high, n)] if kind != "whole number" else []
    if not allowed:
        return str(min(max(round(value), low), high))
    below, above = ([n for n in allowed if n <= value][-1:], [n for n in allowed if n >= value][:1])
    return " or ".join(map(str, dict.fromkeys(below + above)))


@explained_class
@dataclasses.dataclass(frozen=True)
class Configuration:
    """Parameters of one generated accelerator.

    Parameters
    ----------
    name: what reports and folders call it: letters, digits, dots and hyphens.
    lanes: rows P and columns Q of the engine (P = Q: the tile register writes the same square in both orientations);
        a power of two, 4..16.
    word: S, bits that each lane multiplies in a cycle, and width of the buffers' words; 16, 32 or 64, at least `lanes`.
    left_depth, right_depth: words in each of the P (Q) banks of the left and the right buffer; a multiple of 64.
    tile_rows: rows (of Q sums) of the tile buffer; a power of two. A batch and a last layer must fit.
    channels: output channels of all layers that the parameter memory holds; a power of two.
    latent: bits of a latent weight, 4..10; with a 6-bit moment it takes a word of 16 bits, up to 6 bits one of 12.
    accumulator: bits of a signed sum, 16..22 (statistics of the batch have room for no more); the compiler proves that
        no sum of a network leaves that range.
    clock_hz: clock on the board, in Hz: scales reported rates, changes nothing in the hardware.
    """

    name: str
    lanes: int = 16
    word: int = 32
    left_depth: int = 4096
    right_depth: int = 3072
    tile_rows: int = 512
    channels: int = 2048
    latent: int = 10
    accumulator: int = 22
    clock_hz: int = 100_000_000

    def __post_init__(self) -> None:
        # It becomes part of the names of folders and files.
        if not isinstance(self.name, str) or not re.fullmatch(_NAME, self.name, re.ASCII):
            raise ValueError(f"name of a configuration must be letters, digits, dots and hyphens, not {self.name!r:.80}")
        for field, (kind, low, high, why) in _RANGES.items():
            value = getattr(self, field)
            number = whole(value)  # NumPy's, too
            if number is not None and _allowed(kind, low, high, number):
                object.__setattr__(self, field, number)
            else:
                would = _nearest(kind, low, high, value)
                raise ValueError(
                    f"{field} of configuration {self.name!r} must be a {kind} in {low}..{high} ({why}), not {value!r:.80}"
                    f"{f'; {would} would do' if would else ''}"
                )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Configuration:
        """Read a description, JSON if its name says so (.json), else YAML; ValueError names the file and what is wrong.

        A table of the parameters above, those that are not given as above. The name is by default the file's; that of a
        built-in configuration is refused, unless all else is the same, too.
        """
        source = f"configuration file {path}"
        data = read_description(path, source)
        try:
            return _described(data, Path(path).stem)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    @property
    def layer_channels(self) -> int:
        """Channels of one layer whose sums can be collected over several passes."""
        return self.channels // 4

    @property
    def granules(self) -> int:
        """Groups of `lanes` bits in a word: what the tile register writes at a time."""
        return self.word // self.lanes

    @property
    def largest_sum(self) -> int:
        """Bound on |sum| that keeps every sum and every threshold between sums within `accumulator` bits, and every mean,
        whose reciprocal may be too large by 2**-17 of it, within `formats.MU_BITS`.
        """
        return (1 << self.accumulator - 1) - 32

    @property
    def latent_top(self) -> int:
        """Weights lie in -latent_top .. latent_top - 1, standing for -1 .. 1."""
        return 1 << self.latent - 1

    @property
    def weight_word(self) -> int:
        """Bits that a latent weight and its moment take in DDR, where a tile of them fills whole beats."""
        return 12 if self.latent + formats.MOMENT <= 12 else formats.WEIGHT_WORD

    @property
    def tile_beats(self) -> int:
        """64-bit beats that hold the weight words of a tile."""
        return self.lanes**2 * self.weight_word // 64

    @property
    def digest(self) -> int:
        """32 bits that tell one accelerator from another: the hardware shows them, drivers check them."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("name", "clock_hz")}
        return int.from_bytes(hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()[:4], "big")


CONFIGURATIONS: dict[str, Configuration] = {
    c.name: c
    for c in (
        Configuration(name="sim-small", lanes=8, word=32, left_depth=1024, right_depth=2048, tile_rows=256, channels=1024),
        Configuration(name="pynq-z2"),
        Configuration(name="pynq-z2-x64", word=64, left_depth=2048, right_depth=1536, tile_rows=1024),
        Configuration(name="pynq-z2-lean", latent=6),
    )
}


def configuration(name: str | os.PathLike[str]) -> Configuration:
    """Return the built-in configuration of that name, or the one that a file describes; ValueError if there is neither."""
    if not isinstance(name, (str, os.PathLike)):
        raise ValueError(f"configuration must be a Configuration, a name or a file, not {name!r:.80}")
    if str(name) in CONFIGURATIONS:
        return CONFIGURATIONS[str(name)]
    if not Path(name).exists() or Path(name).is_dir():
        raise ValueError(
            f"there is no configuration {str(name)!r}: neither a built-in one ({', '.join(CONFIGURATIONS)}) nor a file"
            f"{nearest(str(name), CONFIGURATIONS)}"
        )
    return Configuration.from_file(name)


def _described(data: Any, name: str) -> Configuration:
    """The configuration that a table describes; `name` unless it has one."""
    if not isinstance(data, dict) or not data:
        raise ValueError("it must be a table of parameters, such as lanes: 8")
    fields = [field.name for field in dataclasses.fields(Configuration)]
    for key in data:
        if key not in fields:
            raise ValueError(f"there is no parameter {key!r:.80}; there are {', '.join(fields)}{nearest(key, fields)}")
    # A clock is often written as 100e6.
    values: dict[str, Any] = {"name": name}
    for key, value in data.items():
        values[key] = int(value) if isinstance(value, float) and value.is_integer() else value
    if "name" not in data and not re.fullmatch(_NAME, name, re.ASCII):
        raise ValueError("its name must be letters, digits, dots and hyphens: give one in the file, as name: NAME")
    found = Configuration(**values)
    if CONFIGURATIONS.get(found.name, found) != found:
        raise ValueError(f"its name is that of the built-in configuration {found.name!r}, which is another: choose another name")
    return found
