"""Which addresses of the buffers a PASS or TRANSPOSE touches: lowest and highest, in closed form."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from bnnedge import isa
from bnnedge.compiler.proof.regions import Fields, require
from bnnedge.configuration import Configuration
from bnnedge.isa import Buffer, Head, Opcode, Pool

_FIELDS = isa.layout(Opcode.PASS)
_ADDRESSES = 1 << _FIELDS["left_base"].bits


def signed(value: int, field: str) -> int:
    """A field of an instruction as a signed number."""
    bits = _FIELDS[field].bits
    return value - (value >> bits - 1 << bits)


@dataclasses.dataclass(frozen=True)
class Span:
    """Lowest and highest of a set of numbers. Sums of independent numbers have the sums of their spans."""

    low: int
    high: int

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    @classmethod
    def steps(cls, count: int, stride: int) -> Span:
        """0, stride, .. (count - 1) * stride."""
        last = (max(count, 1) - 1) * stride
        return cls(min(0, last), max(0, last))


@dataclasses.dataclass(frozen=True)
class Axis:
    """Loops and taps of one direction: what a pass reads under them. taps: most that count, of any output."""

    left: Span
    right: Span
    taps: int


@functools.lru_cache(maxsize=1 << 14)
def axis(
    outputs: int,
    places: int,
    origin: int,
    step: int,
    pitch: int,
    taps: int,
    limit: int,
    left: int,
    left_tap: int,
    right_tap: int,
) -> Axis | None:
    """Over `outputs` outputs in steps of `left`, `places` of each half a step apart, and the taps that lie on the map.

    None if no tap of any output counts.
    """
    lefts, rights, most = [], [], 0
    for output in range(outputs):
        for place in range(places):
            at = origin + output * step + place * (step >> 1)
            valid = [tap for tap in range(taps) if 0 <= at + (tap << pitch) < limit]
            most = max(most, len(valid))
            base = output * left + place * (left >> 1)
            lefts += [base + tap * left_tap for tap in valid[:1] + valid[-1:]]
            rights += [tap * right_tap for tap in valid[:1] + valid[-1:]]
    if not lefts:
        return None
    return Axis(Span(min(lefts), max(lefts)), Span(min(rights), max(rights)), most)


class Extents:
    """Extents of the passes of one configuration."""

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.depth = {Buffer.LEFT: config.left_depth, Buffer.RIGHT: config.right_depth}

    def check(self, opcode: Opcode, f: Fields) -> tuple[Axis, Axis] | None:
        """ProofError if it leaves a buffer. Return rows and columns of what it multiplies, None if there is nothing."""
        if opcode == Opcode.TRANSPOSE:
            self._transpose(f)
            return None
        for what, buffer, at in self._walks(f):
            self._require(what, buffer, at)
        axes = self._axes(f)
        if axes is not None:
            self._operands(f, *axes)
        return axes

    def _require(self, what: str, buffer: Buffer, at: Span) -> None:
        wrapped = at.low // _ADDRESSES * _ADDRESSES  # addresses are modulo 2**16
        low, high, depth = at.low - wrapped, at.high - wrapped, self.depth[buffer]
        require(high < depth, f"{what} at {low}..{high} of the {buffer.name.lower()} buffer, which has {depth} words")

    def _axes(self, f: Fields) -> tuple[Axis, Axis] | None:
        """Rows and columns of the products."""
        pooled = f["head"] == Head.FORWARD and f["pool"] != Pool.NONE
        found = []
        for name, outputs in (("y", f["height"]), ("x", f["width"])):
            window = name == "x" and f["window"] > 0  # columns of taps lie side by side in a word
            made = axis(
                outputs,
                2 if pooled else 1,
                signed(f[f"{name}_origin"], f"{name}_origin"),
                f[f"{name}_step"],
                f[f"{name}_pitch"],
                f[f"taps_{name}"],
                f[f"{name}_limit"],
                signed(f[f"left_{name}"], f"left_{name}"),
                0 if window else signed(f[f"left_tap_{name}"], f"left_tap_{name}"),
                0 if window else signed(f[f"right_tap_{name}"], f"right_tap_{name}"),
            )
            if made is None:
                return None
            found.append(dataclasses.replace(made, left=self._words_of(f, outputs)) if window else made)
        return found[0], found[1]

    def _words_of(self, f: Fields, outputs: int) -> Span:
        """Words of strips of outputs."""
        return Span.steps(-(-outputs // f["strip"]), signed(f["left_x"], "left_x"))

    def _operands(self, f: Fields, rows: Axis, columns: Axis) -> None:
        words = Span.steps(f["words"], 1)
        left = _at(f, "left_base") + rows.left + columns.left + words
        left += _steps(f, f["tiles"], "left_tile") + _steps(f, f["left_planes"], "left_plane")
        self._require("reads its left operand", Buffer.LEFT, left)
        right = _at(f, "right_base") + rows.right + columns.right + words
        right += _steps(f, f["groups"], "right_group") + _steps(f, f["right_planes"], "right_plane")
        self._require("reads its right operand", Buffer.RIGHT, right)

    def _walks(self, f: Fields) -> Iterator[tuple[str, Buffer, Span]]:
        """What a pass reads beside the operands, and writes."""
        head, pool, granules = f["head"], f["pool"], self.config.granules
        rows_buffer, columns_buffer = Buffer(f["rows_buffer"]), Buffer(f["columns_buffer"])
        group_words = Span.steps((f["first_group"] % granules + f["groups"] - 1) // granules + 1, 1)
        tile_words = Span.steps((f["first_tile"] % granules + f["tiles"] - 1) // granules + 1, 1)
        if head == Head.BACKWARD:
            sides = _steps(f, 1 if pool == Pool.NONE else 3, "side_plane")
            yield "reads masks and routes", Buffer.LEFT, _walk(f, "side", 1) + sides + group_words
        if f["unfinished"] or (f["inference"] and head == Head.LOSS):
            return
        spread = 2 if pool != Pool.NONE and head == Head.BACKWARD else 1
        if f["rows_planes"]:
            planes = _steps(f, f["rows_planes"], "rows_plane")
            yield "writes rows", rows_buffer, _walk(f, "rows", spread) + planes + group_words
        if f["columns_planes"]:
            planes, groups = _steps(f, f["columns_planes"], "columns_plane"), _steps(f, f["groups"], "columns_group")
            yield "writes columns", columns_buffer, _walk(f, "columns", spread, tiles=False) + planes + groups + tile_words

    def _transpose(self, f: Fields) -> None:
        left = _at(f, "left_base") + _steps(f, f["height"], "left_y") + self._words_of(f, f["width"])
        left += _steps(f, f["tiles"], "left_tile") + _steps(f, f["left_planes"], "left_plane") + Span.steps(f["words"], 1)
        self._require("reads rows", Buffer.LEFT, left)
        granules = self.config.granules
        tile_words = Span.steps((f["first_tile"] % granules + f["tiles"] - 1) // granules + 1, 1)
        columns = _walk(f, "columns", 1, tiles=False) + tile_words
        columns += _steps(f, f["columns_planes"], "columns_plane") + _steps(f, f["groups"], "columns_group")
        self._require("writes columns", Buffer(f["columns_buffer"]), columns)


def _at(f: Fields, name: str) -> Span:
    return Span(f[name], f[name])


def _steps(f: Fields, count: int, stride: str) -> Span:
    return Span.steps(count, signed(f[stride], stride))


def _walk(f: Fields, prefix: str, places: int, *, tiles: bool = True) -> Span:
    """An address that follows y, x and tile; `places` 2: half a step of y and x further, too."""
    found = _at(f, f"{prefix}_base")
    for name, count in (("y", f["height"]), ("x", f["width"])):
        stride = signed(f[f"{prefix}_{name}"], f"{prefix}_{name}")
        found += Span.steps(count, stride) + Span.steps(places, stride >> 1)
    return found + _steps(f, f["tiles"], f"{prefix}_tile") if tiles else found
