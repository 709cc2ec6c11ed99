"""From a network to instructions: the training program and the inference program."""

from __future__ import annotations

import dataclasses
import functools

from bnnedge import formats, isa
from bnnedge.compiler.backward import backward
from bnnedge.compiler.buffers import Resident, Streamed
from bnnedge.compiler.emitter import Addresses, Emitter
from bnnedge.compiler.forward import forward
from bnnedge.compiler.layout import Layout
from bnnedge.compiler.operations import Operations
from bnnedge.compiler.proof import Regions, prove
from bnnedge.compiler.update import update
from bnnedge.isa import Instruction, Opcode
from bnnedge.network import Network
from bnnedge.rates import layer_rate

SCORES_PER_BEAT = 4


@dataclasses.dataclass(frozen=True)
class Program:
    """Instructions, ready to be put at a multiple of `isa.INSTRUCTION_BYTES` in DDR."""

    instructions: tuple[Instruction, ...]

    def encode(self) -> bytes:
        """Return the program's bytes."""
        return b"".join(instruction.encode() for instruction in self.instructions)

    def listing(self) -> str:
        """The program for people: one line an instruction, fields that are not 0."""
        lines = []
        for number, instruction in enumerate(self.instructions):
            fields = []
            for name, value in instruction.fields.items():
                if name in ("wait", "signal"):
                    names = "+".join(str(bit) for bit in range(isa.SEMAPHORES) if value >> bit & 1)
                    fields += [f"{name}={names}"] if value else []
                elif value:
                    fields.append(f"{name}={value:#x}" if "address" in name else f"{name}={value}")
            lines.append(f"{number:4d}  {instruction.opcode.name:9s} ; {instruction.comment}\n" + " " * 16 + " ".join(fields))
        return "\n".join(lines) + "\n"


def checked(code: list[Instruction]) -> Program:
    """Return the program; ValueError unless program order, one instruction after the other, is a legal execution.

    Then it runs to its end whatever the depths of the queues: the first instruction that is not done can always go on.
    """
    tokens = [0] * isa.SEMAPHORES
    takers: dict[int, isa.Unit] = {}  # the one unit that waits for a semaphore

    def run(part: list[Instruction], first: int) -> None:
        for place, instruction in enumerate(part, first):
            where, unit = f"instruction {place} ({instruction.comment})", isa.UNITS[instruction.opcode]
            for bit in range(isa.SEMAPHORES):
                if instruction.fields.get("wait", 0) >> bit & 1:
                    tokens[bit] -= 1
                    if takers.setdefault(bit, unit) != unit:
                        raise ValueError(f"{where} waits for semaphore {bit}, as unit {takers[bit].name.lower()} does")
                if tokens[bit] < 0:
                    raise ValueError(f"{where} waits for semaphore {bit} for ever")
                tokens[bit] += instruction.fields.get("signal", 0) >> bit & 1
                if tokens[bit] >= 1 << isa.TOKEN_BITS:
                    raise ValueError(f"{where} gives semaphore {bit} more tokens than it can count")

    run(code, 0)
    for place, instruction in enumerate(code):
        if instruction.opcode == Opcode.LOOP and instruction.fields["count"] > 1:
            body, before = instruction.fields["target"] // isa.INSTRUCTION_BYTES, list(tokens)
            run(code[body:place], body)
            if any(now > then for now, then in zip(tokens, before, strict=True)):
                raise ValueError(f"the loop that ends at instruction {place} leaves tokens behind in each iteration")
    return Program(tuple(code))


def beats_of_scores(network: Network) -> int:
    """64-bit words that the logits of an image take."""
    return -(-network.classes // SCORES_PER_BEAT)


class Compiler:
    """Makes programs for one layout and given addresses."""

    def __init__(self, layout: Layout, addresses: Addresses) -> None:
        self.layout, self.addresses = layout, addresses
        self.plan, self.settings, self.config = layout.plan, layout.settings, layout.config

    def training(self, steps: int, rate: int, *, probe: bool = False) -> Program:
        """The program of `steps` training steps at a learning rate; with `probe`, of one step that stores every tensor.

        Units run side by side; the order in which the instructions stand is a legal serial one.
        """
        for g in self.plan.geometry:
            if not 0 <= max(rate, layer_rate(rate, g.fan_in, self.config.latent)) < 1 << formats.RATE_BITS:
                raise ValueError(
                    f"{g.name}: learning rate {rate}, scaled as its weights are, does not fit {formats.RATE_BITS} bits"
                )
        emitter, operations = self._begin(rate)
        resident, last = self.layout.resident, self.plan.last
        if resident is not None:
            operations.gather(resident.homes["input"], 0, operations.tiles, labels=True)
            operations.transpose(resident.homes["input"], resident.homes["input_columns"], 0, operations.tiles)
            emitter.barrier()
        body = len(emitter.order)
        for i in range(last + 1):
            self._records(emitter, Opcode.LOAD, i)
            forward(operations, i)
            self._records(emitter, Opcode.STORE, i)
            if i == 0 and resident is not None and not probe:
                operations.gather(resident.homes["input"], 0, operations.tiles, labels=True, ahead=1)
            self._probe(probe, emitter, i, ("active", "mask", "active_columns"))
        emitter.report()
        self._probe(probe, emitter, last, ("code", "code_columns"))
        for i in range(last, 0, -1):
            if self.plan.streamed:
                update(operations, i)
            self._records(emitter, Opcode.LOAD, i - 1)
            backward(operations, i - 1)
            self._records(emitter, Opcode.STORE, i - 1)
            self._probe(probe, emitter, i - 1, ("code", "code_columns"))
            if not self.plan.streamed:
                update(operations, i)
        update(operations, 0)
        if resident is not None and not probe:  # the next batch, beside the last weights on their way to memory
            operations.transpose(resident.homes["input"], resident.homes["input_columns"], 0, operations.tiles)
        operations.buffers.finish()
        emitter.barrier()
        emitter.order.add(Opcode.LOOP, {"count": steps, "target": body * isa.INSTRUCTION_BYTES}, f"{steps} steps")
        if resident is not None:
            for tensor in self.layout.weights():
                emitter.store(resident.homes[tensor.name])
        self._all_records(emitter, Opcode.STORE)
        return self._end(emitter, steps=steps)

    def inference(self, batches: int) -> Program:
        """The program that stores the logits of `batches` batches. The layout is one without training."""
        emitter, operations = self._begin(0)
        resident = self.layout.resident
        emitter.barrier()
        body = len(emitter.order)
        for i in range(self.plan.last + 1):
            if i == 0 and resident is not None:
                operations.gather(resident.homes["input"], 0, operations.tiles, labels=True)
            self._records(emitter, Opcode.LOAD, i)
            forward(operations, i, inference=True)
        emitter.scores(self.settings.batch * beats_of_scores(self.layout.network))
        operations.buffers.finish()
        emitter.barrier()
        emitter.order.add(Opcode.LOOP, {"count": batches, "target": body * isa.INSTRUCTION_BYTES}, f"{batches} batches")
        return self._end(emitter, batches=batches)

    def _begin(self, rate: int) -> tuple[Emitter, Operations]:
        """What a program starts with: parameters, and resident weights."""
        emitter = Emitter(self.config, self.addresses)
        buffers = self.layout.resident or Streamed(emitter)
        if isinstance(buffers, Resident):
            for tensor in self.layout.weights():
                emitter.load(buffers.homes[tensor.name])
        self._all_records(emitter, Opcode.LOAD)
        return emitter, Operations(self.plan, self.layout.cutter, emitter, buffers, rate)

    def _end(self, emitter: Emitter, *, steps: int = 0, batches: int = 0) -> Program:
        """The program, proven to stay within its memories and widths."""
        emitter.order.add(Opcode.HALT, {}, "")
        program = checked(list(emitter.order.instructions()))
        score_bytes = 8 * self.settings.batch * beats_of_scores(self.layout.network)
        regions = Regions.of(self.layout, self.addresses, steps=steps, score_bytes=score_bytes, batches=batches)
        prove(program.instructions, self.layout, regions if self.addresses.records else None)
        return program

    def _all_records(self, emitter: Emitter, opcode: Opcode) -> None:
        """LOAD or STORE of the entries that stay throughout: all, or the exponents."""
        plan = self.plan
        if self.layout.parameters_stay:
            emitter.records(opcode, 0, plan.entries, 0)
        else:
            count = len(plan.geometry)
            emitter.records(opcode, plan.places[0].exponent, count, plan.entries - count)

    def _records(self, emitter: Emitter, opcode: Opcode, i: int) -> None:
        """LOAD or STORE of layer i's entries, if the parameter memory does not hold all layers."""
        if not self.layout.parameters_stay:
            emitter.records(opcode, self.plan.places[i].channel, self.layout.channels(i), self.layout.entry(i))

    def _probe(self, wanted: bool, emitter: Emitter, i: int, kinds: tuple[str, ...]) -> None:
        """Store resident tensors of layer i while they live; tensors in DDR are there anyway."""
        resident = self.layout.resident
        if not wanted or resident is None:
            return
        emitter.barrier()
        for name, home in resident.homes.items():
            layer, _, kind = name.partition(".")
            if layer == str(i + 1) and kind.split(".")[0] in kinds:
                emitter.store(home)
        emitter.barrier()


@functools.lru_cache(maxsize=4)
def unplaced(layout: Layout) -> Program:
    """The program of one training step with nothing in DDR placed: to be looked at, not to be run."""
    return Compiler(layout, Addresses(latents=(0,) * len(layout.plan.geometry))).training(1, 0)
