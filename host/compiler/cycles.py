"""How many cycles a training step takes: the accelerator's schedule, tile by tile, without its data.

The model follows a program's instructions in their order through four resources that work side by side: engine, drain,
head and memory. Its constants are latencies of the hardware's pipelines; tests hold it within 5 % of the simulated RTL.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from bnnedge.compiler.memory import memory_of
from bnnedge.compiler.placement import Layout, layout
from bnnedge.compiler.program import DONE, SAMPLES, Addresses, Compiler
from bnnedge.configuration import Configuration
from bnnedge.devices.device import Memory
from bnnedge.formats import HASH_ROUNDS
from bnnedge.isa import INSTRUCTION_BYTES, Head, Instruction, Opcode
from bnnedge.network import Network
from bnnedge.settings import Settings

# The pinned memory model: all ports together, bytes a cycle; cycles from an address to its first data.
MEMORY_BYTES = 14.0
MEMORY_LATENCY = 40

BEAT = 8  # bytes
STEPS = 3  # modelled; the last one counts


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What to expect of a network on a configuration.

    cycles_per_image, images_per_second: of training, at the pinned memory model and the configuration's clock.
    layers: for each pass its name, cycles (from the end of the pass before) and what bounds it.
    memory: bytes. fits, reasons: whether it can be compiled, and why not.
    """

    cycles_per_image: float
    images_per_second: float
    layers: list[dict[str, Any]]
    memory: Memory
    fits: bool
    reasons: list[str]


def estimate(network: Network, settings: Settings, config: Configuration) -> Estimate:
    """Predict cycles and memory of training; a network that does not fit gives `fits` False and the reason."""
    try:
        plan = layout(network, settings, config)
    except ValueError as error:
        return Estimate(float("nan"), 0.0, [], Memory({}, {}), False, [str(error)])
    model = _Schedule(settings, config)
    passes = model.run(_program(network, settings, config, plan))
    cycles = model.period / settings.batch
    return Estimate(cycles, config.clock_hz / cycles, passes, memory_of(network, settings, config), True, [])


def _program(network: Network, settings: Settings, config: Configuration, plan: Layout) -> tuple[Instruction, ...]:
    addresses = Addresses(latents=(0,) * len(plan.layers))
    return Compiler(network, settings, config, plan, addresses).training(STEPS, 0).instructions


def _popcount_latency(word: int) -> int:
    """Register stages of the engine's popcount: a third of the word, halved level by level, two levels a stage."""
    terms, levels = -(-word // 3), 0
    while terms > 1:
        terms, levels = -(-terms // 2), levels + 1
    return 1 + -(-levels // 2)


class _Schedule:
    """The times at which the units get to the tiles of a program."""

    def __init__(self, settings: Settings, config: Configuration) -> None:
        self.batch, self.config = settings.batch, config
        self.lanes = config.lanes
        self.engine_latency = 2 + 3 + _popcount_latency(config.word)  # from the last operands' address to the sums
        self.period = 0.0
        self.engine = self.head = self.drain = 0.0  # when each is free
        self.credit = 0.0  # when the next tile may end in the engine
        self.consumed: list[float] = []  # when the head has taken a tile out of the tile buffer
        self.done = 0.0  # when the last pass that others wait for has written its results
        self.samples = self.input_free = 0.0
        self.gathering = (0.0, 0.0, 0.0)  # from, to, bytes a cycle

    def run(self, program: tuple[Instruction, ...]) -> list[dict[str, Any]]:
        """Go through the loop's body STEPS times; set `period`; return the passes of the last step."""
        loop = next(n for n, instruction in enumerate(program) if instruction.opcode == Opcode.LOOP)
        body = program[loop].fields["target"] // INSTRUCTION_BYTES
        for instruction in program[:body]:
            if instruction.opcode == Opcode.GATHER:
                self._gather(instruction)
        end = 0.0
        passes: list[dict[str, Any]] = []
        for _ in range(STEPS):
            begin, passes = end, []
            for instruction in program[body:loop]:
                if instruction.opcode == Opcode.GATHER:
                    self._gather(instruction)
                elif instruction.opcode == Opcode.TRANSPOSE:
                    f = instruction.fields
                    self.engine += f["tiles"] * (f["left_planes"] * f["words"] * self.config.granules + 1) + 3
                    self.input_free = self.engine
                elif instruction.opcode == Opcode.PASS:
                    before, bound = self.head, self._pass(instruction)
                    passes.append({"pass": instruction.comment, "cycles": round(self.head - before), "bound by": bound})
            end = self.head
            self.period = end - begin
        return passes

    def _gather(self, instruction: Instruction) -> None:
        f = instruction.fields
        beats = 1 + -(-f["sample_words"] * self.config.word // 64)
        first = MEMORY_LATENCY + 5  # look-up of the index, request, first data
        # A word is written a cycle; memory brings at most a beat a cycle.
        each = first + max(f["sample_words"], beats) + 2
        time = f["count"] * each + f["count"] / 32 * (MEMORY_LATENCY + 24)
        start = max(self.input_free, self.samples)
        self.gathering = (start, start + time, f["count"] * beats * BEAT / time)
        self.samples = start + time

    def _pass(self, instruction: Instruction) -> str:
        f, lanes = instruction.fields, self.lanes
        head = Head(f["head"])
        multiply = f["words"] * f["left_planes"] * f["right_planes"] + 1 + (2 if head == Head.BACKWARD else 0)
        if f.get("wait", 0) & SAMPLES:
            self.engine = max(self.engine, self.samples + 3)
        if f.get("wait", 0) & DONE:
            self.engine = max(self.engine, self.done + 3)
        self.engine += 1
        writes = f.get("rows_planes", 0) + f.get("columns_planes", 0)
        # A tile register round: rows in, pipeline, writes; two tiles are on their way at a time.
        tile_rows = max(lanes, (lanes + 7 + writes) / 2, HASH_ROUNDS + 2 if head in (Head.BACKWARD, Head.LOSS) else 0)
        capacity = self.config.tile_rows // lanes
        parameters = lanes + 14
        beats = lanes * self.config.beats_per_row  # a tile's weight words, each way
        started, busy = self.engine, 0.0
        tiles_ready: list[float] = []
        pending: list[int] = []
        if head == Head.UPDATE:
            self.head = max(self.head, self.engine) + MEMORY_LATENCY
        for _ in range(f["groups"]):
            self.engine += 1
            for _ in range(f["tiles"]):
                self.engine = max(self.engine + multiply, self.credit)
                busy += multiply
                n = len(self.consumed)
                room = self.consumed[n - capacity] if n >= capacity else 0.0
                start = max(self.engine + self.engine_latency, self.drain, room)
                self.credit = start + max(0, lanes - 1 - self.engine_latency) + 2
                self.drain = start + lanes
                tiles_ready.append(self.drain + 4)
                pending.append(n)
                self.consumed.append(float("inf"))
                if head == Head.UPDATE:
                    began = max(self.head, self.drain + 4)
                    self.head = began + max(beats, 2 * beats * BEAT / self._bandwidth(began))
                    self.consumed[n] = self.head
            if head in (Head.FORWARD, Head.BACKWARD):
                self.head = max(self.head, self.drain + 5) + parameters
                for n in pending:
                    self.head += tile_rows
                    self.consumed[n] = self.head
                pending = []
        if head == Head.LOSS:
            classes = (f["groups"] - 1) * lanes + f["columns"]
            softmax = classes * 37 + self.batch * (3 * classes + 22)
            self.head = max(self.head, self.drain + 5) + f["groups"] * parameters + softmax
            for group in range(f["groups"]):
                self.head += parameters
                for n in pending[group * f["tiles"] : (group + 1) * f["tiles"]]:
                    self.head += tile_rows
                    self.consumed[n] = self.head
        self.head += {Head.FORWARD: 8, Head.BACKWARD: 30, Head.LOSS: 30, Head.UPDATE: MEMORY_LATENCY + 6}[head] + writes
        if f.get("signal", 0) & DONE:
            self.done = self.head
        if head == Head.UPDATE and 2 * beats * BEAT / MEMORY_BYTES > max(multiply, lanes):
            return "memory"
        return "engine" if multiply > lanes and busy > 0.8 * (self.engine - started) else "head"

    def _bandwidth(self, time: float) -> float:
        """Bytes a cycle that memory has left for the update."""
        first, last, rate = self.gathering
        return MEMORY_BYTES - (rate if first <= time < last else 0.0)
