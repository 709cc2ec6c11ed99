"""The accelerator's parameters: one frozen description that generator, compiler, golden model and drivers use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

from bnnedge import formats


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Parameters of one generated accelerator.

    Parameters
    ----------
    name: what the command line calls it: letters, digits, dots and hyphens.
    lanes: rows P and columns Q of the engine (P = Q: the tile register writes the same square in both orientations);
        a power of two, 4..16.
    word: S, bits that each lane multiplies in a cycle, and width of the buffers' words; 16, 32 or 64, at least `lanes`.
    left_depth, right_depth: words in each of the P (Q) banks of the left and the right buffer; a multiple of 64.
    tile_rows: rows (of Q sums) of the tile buffer; a power of two. A batch and a last layer must fit.
    channels: output channels of all layers that the parameter memory holds; a power of two.
    latent: bits of a latent weight, 4..12; with a 4-bit moment it takes a word of 16 bits, up to 8 bits one of 12.
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
    latent: int = 12
    accumulator: int = 22
    clock_hz: int = 100_000_000

    def __post_init__(self) -> None:
        # It becomes part of the names of folders and files.
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.-]{0,99}", self.name, re.ASCII):
            raise ValueError(f"name of a configuration must be letters, digits, dots and hyphens, not {self.name!r:.80}")

        def check(field: str, kind: str, low: int, high: int) -> None:
            value = getattr(self, field)
            whole = isinstance(value, int) and not isinstance(value, bool)
            odd = {"power of two": value & (value - 1), "multiple of 64": value % 64} if whole else {}
            if not whole or not low <= value <= high or odd.get(kind):
                raise ValueError(f"{field} of configuration {self.name!r} must be a {kind} in {low}..{high}, not {value!r:.80}")

        def power(field: str, low: int, high: int) -> None:
            check(field, "power of two", low, high)

        power("lanes", 4, 16)
        power("word", 16, 64)
        check("left_depth", "multiple of 64", 64, 1 << 16)
        check("right_depth", "multiple of 64", 64, 1 << 16)
        power("tile_rows", 64, 1 << 12)
        power("channels", 64, 1 << 12)
        check("latent", "whole number", 4, 12)
        check("accumulator", "whole number", 16, 22)
        check("clock_hz", "whole number", 1, 10**10)

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
        Configuration(name="pynq-z2-lean", latent=8),
    )
}


def configuration(name: str) -> Configuration:
    """Return the configuration called `name`; ValueError lists the names there are."""
    try:
        return CONFIGURATIONS[name]
    except KeyError:
        raise ValueError(f"there is no configuration {name!r}; there are {', '.join(CONFIGURATIONS)}") from None
