"""The pieces of external memory that a program may touch, and what LOAD, STORE, GATHER and UPDATE touch of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bnnedge.compiler.emitter import RECORD_BYTES, REPORT_BYTES, Addresses
from bnnedge.compiler.layout import Layout
from bnnedge.compiler.plan import SAMPLE_HEADER
from bnnedge.isa import Buffer, Opcode

INDEX_BYTES = 4
BEAT_BYTES = 8
Fields = Mapping[str, int]


class ProofError(ValueError):
    """A program that could leave a memory or the width of a sum: a fault of the compiler, which runs no such program."""


def require(holds: bool, what: str) -> None:
    """ProofError unless it holds."""
    if not holds:
        raise ProofError(what)


@dataclasses.dataclass(frozen=True)
class Regions:
    """First address and bytes of what a program may touch in external memory, by kind. `tensors`: of each by its name."""

    tensors: Mapping[str, tuple[int, int]]
    latents: tuple[tuple[int, int], ...]
    records: tuple[int, int]
    order: tuple[int, int]
    reports: tuple[int, int]
    scores: tuple[int, int]

    @classmethod
    def of(cls, layout: Layout, addresses: Addresses, *, steps: int = 0, score_bytes: int = 0, batches: int = 0) -> Regions:
        """Those of `steps` steps of training, or of `batches` batches of inference with so many bytes of logits each."""
        plan, bank = layout.plan, layout.config.lanes * layout.config.word // 8
        # A training program gathers one batch ahead.
        indices = layout.settings.batch * (steps + 1 if steps else batches)
        return cls(
            tensors={name: (at, plan[name].size * bank) for name, at in addresses.tensors.items() if name in plan},
            latents=tuple((at, layout.latent_bytes(i)) for i, at in enumerate(addresses.latents)),
            records=(addresses.records, plan.entries * RECORD_BYTES),
            order=(addresses.order, indices * INDEX_BYTES),
            reports=(addresses.reports, steps * REPORT_BYTES),
            scores=(addresses.scores, batches * score_bytes),
        )


def _inside(first: int, after: int, region: tuple[int, int]) -> bool:
    return region[0] <= first and after <= region[0] + region[1]


class Transfers:
    """LOAD, STORE and GATHER of a layout; `iterations`: how often the program's loop is taken at most."""

    def __init__(self, layout: Layout, regions: Regions, iterations: int) -> None:
        self.layout, self.config, self.regions, self.iterations = layout, layout.config, regions, iterations
        self.bank = self.config.lanes * self.config.word // 8
        self.depth = {Buffer.LEFT: self.config.left_depth, Buffer.RIGHT: self.config.right_depth}

    def check(self, opcode: Opcode, f: Fields, looped: bool) -> None:
        """ProofError if the instruction, in the loop or not, leaves its buffer or its region."""
        later = f["stride"] * (self.iterations - 1) * looped
        if opcode == Opcode.GATHER:
            self._gather(f, later)
        elif f["buffer"] in self.depth:
            self._move(f, later)
        else:
            self._small(f, later)

    def _gather(self, f: Fields, later: int) -> None:
        tiles = -(-f["count"] // self.config.lanes)
        after = f["base"] + tiles * f["sample_words"]
        depth = self.config.left_depth
        require(after <= depth, f"writes the left buffer up to {after}, which has {depth} words")
        need = SAMPLE_HEADER + f["sample_words"] * self.config.word // 8
        require(need <= f["sample_bytes"], f"reads {need} bytes of a sample of {f['sample_bytes']}")
        last = f["address"] + later + f["count"] * INDEX_BYTES
        require(_inside(f["address"], last, self.regions.order), f"reads the order of samples up to address {last:#x}")

    def _move(self, f: Fields, later: int) -> None:
        buffer, repeats = Buffer(f["buffer"]), f["repeats"]
        after = f["base"] + (repeats - 1) * f["base_stride"] + f["count"]
        depth = self.depth[buffer]
        require(after <= depth, f"touches the {buffer.name.lower()} buffer up to {after}, which has {depth} words")
        first = f["address"]
        last = first + later + (repeats - 1) * f["address_stride"] + f["count"] * self.bank
        found = any(_inside(first, last, region) for region in self.regions.tensors.values())
        require(found, f"touches memory at {first:#x}..{last:#x}, where no tensor lies")

    def _small(self, f: Fields, later: int) -> None:
        buffer = Buffer(f["buffer"])
        size = {Buffer.PARAMETERS: RECORD_BYTES, Buffer.REPORT: REPORT_BYTES, Buffer.SCORES: BEAT_BYTES}[buffer]
        region = {
            Buffer.PARAMETERS: self.regions.records,
            Buffer.REPORT: self.regions.reports,
            Buffer.SCORES: self.regions.scores,
        }[buffer]
        last = f["address"] + later + f["count"] * size
        require(_inside(f["address"], last, region), f"touches {buffer.name.lower()} in memory up to address {last:#x}")
        if buffer == Buffer.PARAMETERS:
            after = f["base"] + f["count"]
            require(after <= self.config.channels, f"touches {after} entries of {self.config.channels} parameters")

    def latents(self, f: Fields) -> None:
        """ProofError if an UPDATE leaves its layer's weight words."""
        last = f["address"] + f["rows"] // self.config.lanes * self.config.tile_beats * BEAT_BYTES
        region = self.regions.latents[f["layer"]]
        require(_inside(f["address"], last, region), f"moves latent weights up to address {last:#x}")
