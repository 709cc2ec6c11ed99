"""How many cycles a training step takes: the accelerator's schedule without its data.

The model follows a program's instructions in their order through the units that work side by side: sequencer, engine,
drain, head, loads, stores and memory. Its constants are latencies of the hardware's pipelines; tests hold it within 5 %
of the simulated RTL.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bnnedge.compiler.emitter import RECORD_BYTES
from bnnedge.compiler.layout import Layout, layout
from bnnedge.compiler.memory import memory_of, tensors_of
from bnnedge.compiler.program import unplaced
from bnnedge.compiler.tiling import BEAT, MEMORY_BYTES
from bnnedge.configuration import Configuration
from bnnedge.devices.device import Memory
from bnnedge.formats import HASH_ROUNDS, WEIGHTS_PER_CYCLE
from bnnedge.isa import INSTRUCTION_BYTES, SEMAPHORES, UNITS, Buffer, Head, Instruction, Opcode, Pool, Unit
from bnnedge.isa import layout as layout_of
from bnnedge.network import Network
from bnnedge.settings import Settings

MEMORY_LATENCY = 40  # of the pinned memory model: cycles from an address to its first data
PASS = layout_of(Opcode.PASS)
STEPS = 2  # modelled; the last one counts
FETCH = MEMORY_LATENCY + 16 + 12  # cycles of the sequencer for an instruction
QUEUED = {Unit.EXECUTE: 2, Unit.LOAD: 4, Unit.STORE: 4}  # instructions that a queue holds
HEAD_QUEUE = 2  # passes that wait for the head
PREPARE = 8  # cycles from a pass to its first tile
TILE = 9  # cycles of a tile in the emitter, besides one for each row and each plane that is written
PARAMETERS = 27  # cycles for a group's parameters, besides one for each column
DIVISION = 28  # cycles for the reciprocal of a class
IMAGE = 14  # cycles of an image in the softmax, besides two for each class
AVERAGES = 25  # cycles for a group's moving averages, besides one for each column
READS, WRITES, WEIGHTS = "memory port 0 (reads)", "memory port 0 (writes)", "memory port 1"  # on port 1: latent weights
RESOURCES = "engine", "drain", "head", READS, WRITES, WEIGHTS  # each may be busy beside the others


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What to expect of a network on a configuration.

    cycles_per_image, images_per_second: of training, at the pinned memory model and the configuration's clock.
    layers: for each operation its name, passes, cycles (from the end of the one before), those in which the engine
        multiplies, bytes moved on both memory ports, and what bounds it: the resource that it holds longest.
    tensors: name, bytes and place of each. memory: bytes. fits, reasons: whether it can be compiled, and why not.
    shares: of each resource (engine, drain, head, memory ports), the part of a step, 0..1, for which it is busy.
    """

    cycles_per_image: float
    images_per_second: float
    layers: list[dict[str, Any]]
    tensors: list[dict[str, Any]]
    memory: Memory
    fits: bool
    reasons: list[str]
    shares: dict[str, float]

    @property
    def bottleneck(self) -> tuple[str, float] | None:
        """The resource that is busy for the largest part of a step, and that part, 0..1; None if the network does not fit."""
        return max(self.shares.items(), key=lambda item: item[1], default=None)


def estimate(network: Network, settings: Settings, config: Configuration) -> Estimate:
    """Predict cycles and memory of training; a network that does not fit gives `fits` False and the reason."""
    try:
        there = layout(network, settings, config)
    except ValueError as error:
        return Estimate(float("nan"), 0.0, [], [], Memory({}, {}), False, [str(error)], {})
    model = _Schedule(there)
    operations = model.run()
    cycles = model.period / settings.batch
    memory = memory_of(network, settings, config)
    shares = {name: held / model.period for name, held in model.held.items()}
    return Estimate(cycles, config.clock_hz / cycles, operations, tensors_of(there), memory, True, [], shares)


def _popcount_latency(word: int) -> int:
    """Register stages of the engine's popcount: counters of three bits and of six in one, then sums of two, the last with the
    accumulators' register.
    """
    triples = -(-word // 3)
    return 2 + (-(-triples // 6) - 1).bit_length()


def tile_words(f: Mapping[str, int]) -> np.ndarray:
    """Words that the engine multiplies for the tiles of a group, (height, width) int64: those of taps on the map."""
    counts = {}
    for axis, outputs in (("y", f["height"]), ("x", f["width"])):
        bits = PASS[f"{axis}_origin"].bits
        first = f[f"{axis}_origin"]
        first -= (first >> bits - 1) << bits
        at = first + np.arange(outputs) * f.get(f"{axis}_step", 0)
        pitch, taps, limit = f.get(f"{axis}_pitch", 0), f[f"taps_{axis}"], f[f"{axis}_limit"]
        low = np.maximum(0, -(at >> pitch))
        high = np.minimum(taps - 1, (limit - 1 - at) >> pitch)
        counts[axis] = np.maximum(0, high - low + 1)
    if f.get("window", 0):
        counts["x"] = np.minimum(1, counts["x"])
    taps_here = np.maximum(1, counts["y"][:, None] * counts["x"])
    return taps_here * (f["words"] * f["left_planes"] * f["right_planes"])


class _Schedule:
    """The times at which the units get to the instructions of a program."""

    def __init__(self, there: Layout) -> None:
        self.layout, self.config, self.batch = there, there.config, there.settings.batch
        self.lanes = self.config.lanes
        self.engine_latency = 2 + 3 + _popcount_latency(self.config.word)  # from the last operands' address to the sums
        self.period = 0.0
        self.engine = self.head = self.drain = 0.0  # when each is free
        self.averages = 0.0  # when the last moving averages are written
        self.credit = 0.0  # when the next tile may end in the engine
        self.consumed: list[float] = []  # when the head has taken a tile out of the tile buffer
        self.passed: collections.deque[float] = collections.deque([0.0] * (HEAD_QUEUE + 1), HEAD_QUEUE + 1)
        self.tokens: list[collections.deque[float]] = [collections.deque() for _ in range(SEMAPHORES)]
        self.queues = {unit: collections.deque([0.0] * depth, depth) for unit, depth in QUEUED.items()}
        self.sequencer = self.loading = self.storing = 0.0
        self.lent = 0.0  # cycles of the buffers' reading ports that stores take from the passes to come
        self.updates: tuple[float, float] = (0.0, 0.0)  # when port 1 was busy last
        self.held = dict.fromkeys(RESOURCES, 0.0)  # cycles for which each was busy in this step
        self.moved = 0.0  # bytes, in this step

    def run(self) -> list[dict[str, Any]]:
        """Go through the loop's body STEPS times; set `period`; return the operations of the last step."""
        program = unplaced(self.layout).instructions
        loop = next(n for n, instruction in enumerate(program) if instruction.opcode == Opcode.LOOP)
        body = program[loop].fields["target"] // INSTRUCTION_BYTES
        for instruction in program[:body]:
            self._instruction(instruction)
        operations: list[dict[str, Any]] = []
        for _ in range(STEPS):
            begin = self.sequencer
            self.held, self.moved = dict.fromkeys(RESOURCES, 0.0), 0.0
            operations = self._summary(program[body:loop])
            self.period = self.sequencer - begin
        return operations

    def _summary(self, body: tuple[Instruction, ...]) -> list[dict[str, Any]]:
        """Follow the loop's body; sum up neighbouring passes of one name."""
        operations: list[dict[str, Any]] = []
        holds: list[dict[str, float]] = []  # cycles for which each operation holds each resource
        held, moved, before = dict(self.held), self.moved, self.sequencer
        for instruction in body:
            self._instruction(instruction)
            if instruction.opcode != Opcode.PASS:
                continue
            if not operations or operations[-1]["pass"] != instruction.comment:
                operations.append({"pass": instruction.comment, "passes": 0, "cycles": 0.0, "engine": 0.0, "bytes": 0.0})
                holds.append(dict.fromkeys(RESOURCES, 0.0))
            end = max(self.head, self.engine)
            operations[-1]["passes"] += 1
            operations[-1]["cycles"] += end - before
            operations[-1]["bytes"] += self.moved - moved
            for name, cycles in self.held.items():
                holds[-1][name] += cycles - held[name]
            held, moved, before = dict(self.held), self.moved, end
        for operation, hold in zip(operations, holds, strict=True):
            operation["cycles"], operation["bytes"] = round(operation["cycles"]), round(operation["bytes"])
            operation["engine"] = round(hold["engine"])
            operation["bound by"] = max(hold, key=lambda name: hold[name])
        return operations

    def _beats(self, f: Mapping[str, int]) -> int:
        return f["count"] * f["repeats"] * self.lanes * self.config.word // 64

    def _instruction(self, instruction: Instruction) -> None:
        """Follow one instruction."""
        f, unit = instruction.fields, UNITS[instruction.opcode]
        self.sequencer += FETCH
        if unit == Unit.SEQUENCER:
            idle = max(self.engine, self.head, self.loading, self.storing)
            self.sequencer = max(self.sequencer, idle + 2)
            return
        self.sequencer = max(self.sequencer, self.queues[unit][0])  # a place in the queue
        start = self.sequencer + 2
        for bit in _bits(f.get("wait", 0)):
            start = max(start, self.tokens[bit].popleft() + 2)
        free, done = 0.0, 0.0
        if unit == Unit.EXECUTE:
            self.engine = max(self.engine, start)
            if instruction.opcode == Opcode.TRANSPOSE:
                pixels = f["height"] * f["width"] * f["tiles"]
                self.engine += pixels * (f["left_planes"] * f["words"] * self.config.granules + 6) + 8
                done = self.engine
            else:
                self.engine = max(self.engine, self.passed[0])  # a place for it before the head
                self._pass(f)
                self.passed.append(self.head)
                done = self.head
            free = self.engine
        elif unit == Unit.LOAD:
            overhead, moving = self._load_time(instruction)
            self.held[READS] += moving
            self.loading = max(self.loading, start) + overhead + moving
            free = done = self.loading
        else:
            moving = self._moving(max(self.storing, start), self._store_beats(f), self.loading)
            self.held[WRITES] += moving
            if f["buffer"] < Buffer.PARAMETERS:
                self.lent += f["count"] * f["repeats"]
            self.storing = max(self.storing, start) + MEMORY_LATENCY + 12 + moving
            free = done = self.storing
        self.queues[unit].append(free)
        for bit in _bits(f.get("signal", 0)):
            self.tokens[bit].append(done)

    def _store_beats(self, f: Mapping[str, int]) -> int:
        if f["buffer"] >= Buffer.PARAMETERS:
            beats = f["count"] * {Buffer.PARAMETERS: RECORD_BYTES // BEAT, Buffer.REPORT: 2}.get(Buffer(f["buffer"]), 1)
            self.moved += beats * BEAT
            return beats
        self.moved += self._beats(f) * BEAT
        return max(self._beats(f), 6 * f["repeats"])

    def _load_time(self, instruction: Instruction) -> tuple[float, float]:
        """Cycles before a load's data, and those in which data comes."""
        f = instruction.fields
        if instruction.opcode == Opcode.GATHER:
            words = f["sample_words"]
            beats = 1 + -(-words * self.config.word // 64)
            self.moved += f["count"] * beats * BEAT
            return 2 * MEMORY_LATENCY + 30, f["count"] * max(words + 2, beats + 1, 7)
        beats = f["count"] * RECORD_BYTES // BEAT if f["buffer"] == Buffer.PARAMETERS else self._beats(f)
        self.moved += beats * BEAT
        least = 0 if f["buffer"] == Buffer.PARAMETERS else 6 * f["repeats"]
        return MEMORY_LATENCY + 12, self._moving(self.loading, max(beats, least), self.storing)

    def _moving(self, time: float, beats: float, other: float) -> float:
        """Cycles for beats on port 0: a beat a cycle, unless weights stream through port 1 both ways, or port 0 is busy the
        other way, until `other`.
        """
        streams = 3 if self.updates[0] <= time < self.updates[1] else 2 if time < other else 1
        return beats * max(1.0, BEAT * streams / MEMORY_BYTES)

    def _tiles(self, f: Mapping[str, int]) -> np.ndarray:
        """Cycles of the engine for each tile of a group."""
        head, pool = Head(f["head"]), Pool(f["pool"])
        words = tile_words(f)
        places = 4 if head == Head.FORWARD and pool != Pool.NONE else 1
        if head == Head.BACKWARD:
            words = words + (1 if pool == Pool.NONE else 3)
        return np.repeat(words.ravel(), f["tiles"] * places)

    def _pass(self, f: Mapping[str, int]) -> None:
        lanes, head, pool = self.lanes, Head(f["head"]), Pool(f["pool"])
        tiles = self._tiles(f)
        # The engine gives way to stores of what the passes before have made, as long as these last.
        self.lent = min(self.lent, max(0.0, self.storing - self.engine))
        lent = min(self.lent, float(tiles.sum()) * f["groups"])
        self.lent -= lent
        self.engine += PREPARE + lent
        planes = f.get("rows_planes", 0), f.get("columns_planes", 0)
        beside = f.get("rows_buffer", 0) != f.get("columns_buffer", 0)  # rows and columns leave at once
        writes = max(planes) if beside else sum(planes)
        sweeps = 4 if head == Head.BACKWARD and pool != Pool.NONE else 1
        merged = 4 if head == Head.FORWARD and pool == Pool.SUMS else 1  # tiles whose maximum is one
        # A tile register round: rows in, pipeline, writes; two tiles are on their way. Of pooled signs four come as one.
        coding = head in (Head.BACKWARD, Head.LOSS)
        gathered = 4 if head == Head.FORWARD and pool == Pool.SIGNS else 1
        tile_rows = sweeps * max(lanes, (lanes + TILE + writes) / 2 / gathered, HASH_ROUNDS + 2 if coding else 0)
        self.held["engine"] += float(tiles.sum()) * f["groups"]
        self.held["drain"] += len(tiles) * f["groups"] * lanes
        unfinished = f.get("unfinished", 0)
        if head == Head.UPDATE and not unfinished:
            self.head = max(self.head, self.engine) + MEMORY_LATENCY
        if head in (Head.FORWARD, Head.BACKWARD) or unfinished:
            self._stream(f, tiles, tile_rows / merged)
        else:
            self._wait(f, tiles)
        if head == Head.LOSS:
            self._softmax(f, tile_rows)
        ending = {Head.FORWARD: 8, Head.BACKWARD: 30, Head.LOSS: 30, Head.UPDATE: MEMORY_LATENCY + 6}[head]
        self.head = max(self.head + (30 if unfinished else ending) + writes, self.averages)

    def _stream(self, f: Mapping[str, int], tiles: np.ndarray, tile_rows: float) -> None:
        """A pass whose rows wait for no other group: engine, drain and head go at the slowest one's pace."""
        lanes, unfinished = self.lanes, f.get("unfinished", 0)
        prepared = max(self.head, self.engine) + lanes + PARAMETERS  # the next group's parameters, beside rows of the one before
        for _ in range(f["groups"]):
            start = self.engine
            self.engine = start + float(np.maximum(tiles, lanes).sum())
            self.drain = self.engine + self.engine_latency + lanes
            if unfinished:
                self.head = max(self.head, self.drain + lanes + 8)
                continue
            self.held["head"] += len(tiles) * tile_rows
            if f.get("own_centre", 0):  # the group's averages come first, from all of its sums, then its centres, then its rows
                self.averages = max(self.averages, self.drain) + lanes + AVERAGES
                prepared = self.averages + lanes + PARAMETERS
            began = max(self.head, start + lanes + self.engine_latency, prepared)
            self.head = max(began + len(tiles) * tile_rows, self.drain + tile_rows)
            # Behind sums and thresholds, which rest on the averages as they were.
            if f.get("commit", 0) and not f.get("own_centre", 0):
                self.averages = max(self.averages, self.drain, prepared) + lanes + AVERAGES
            prepared = began + lanes + PARAMETERS
            # The tile buffer holds the engine's lead over the head.
            self.engine = max(self.engine, self.head - self.config.tile_rows // lanes * tile_rows)
        self.credit = max(self.credit, self.engine)

    def _wait(self, f: Mapping[str, int], tiles: np.ndarray) -> None:
        """Tile by tile through engine and drain into the tile buffer, where they wait: for the softmax, or for weights."""
        lanes, update = self.lanes, f["head"] == Head.UPDATE
        capacity, beats = self.config.tile_rows // lanes, self.config.tile_beats
        began_update = self.head
        for _ in range(f["groups"]):
            self.engine += 1
            for multiply in tiles.tolist():
                self.engine = max(self.engine + multiply, self.credit)
                n = len(self.consumed)
                room = self.consumed[n - capacity] if n >= capacity else 0.0
                start = max(self.engine + self.engine_latency, self.drain, room)
                self.credit = start + max(0, lanes - 1 - self.engine_latency) + 2
                self.drain = start + lanes
                if update:
                    streaming = max(lanes**2 / WEIGHTS_PER_CYCLE, 2 * beats * BEAT / MEMORY_BYTES)
                    self.held[WEIGHTS] += streaming
                    self.moved += 2 * beats * BEAT
                    self.head = max(self.head, self.drain + 6) + streaming
                self.consumed.append(self.head if update else float("inf"))
        if update:
            self.updates = (began_update, self.head)

    def _softmax(self, f: Mapping[str, int], tile_rows: float) -> None:
        """Statistics and averages of the batch first; then images one by one; then codes, and the gradient's averages."""
        lanes, groups = self.lanes, f["groups"]
        classes = (groups - 1) * lanes + f["columns"]
        softmax = classes * DIVISION + self.batch * (2 * classes + IMAGE) + classes
        first = len(self.consumed) - groups * f["tiles"]
        self.held["head"] += groups * (2 * (lanes + AVERAGES) + f["tiles"] * tile_rows) + softmax
        self.head = max(self.head, self.drain + 6) + 2 * groups * (lanes + AVERAGES) + softmax + lanes + PARAMETERS
        for n in range(groups * f["tiles"]):
            self.head += tile_rows
            self.consumed[first + n] = self.head


def _bits(mask: int) -> Iterator[int]:
    return (bit for bit in range(SEMAPHORES) if mask >> bit & 1)
