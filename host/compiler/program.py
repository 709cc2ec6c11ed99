"""From a network to instructions: the training program and the inference program."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bnnedge import formats, isa
from bnnedge.compiler.pack import sample_bytes, sample_words
from bnnedge.compiler.placement import LayerLayout, Layout, Tensor
from bnnedge.configuration import Configuration
from bnnedge.isa import Buffer, Head, Instruction, Opcode
from bnnedge.network import Network
from bnnedge.settings import Settings

REPORT_BYTES = 16
SCORES_PER_BEAT = 4

# Semaphores: who gives -> who takes.
SAMPLES = 1 << 0  # load -> execute: a batch is in the left buffer
INPUT_FREE = 1 << 1  # execute -> load: its rows are no longer needed
DONE = 1 << 2  # execute -> execute: what the next pass reads has been written
LOSS = 1 << 3  # execute -> store: loss and hits stand
REPORTED = 1 << 4  # store -> execute: they have been stored


@dataclasses.dataclass(frozen=True)
class Addresses:
    """DDR addresses of what a program touches (0: not used).

    latents: of each layer's weight words. records: parameter memory image. weights: image of the weights in the right
    buffer. samples: data set. order: index list, padded by one batch. reports: REPORT_BYTES for each step. scores:
    logits. probes: by name of tensor.
    """

    latents: tuple[int, ...] = ()
    records: int = 0
    weights: int = 0
    samples: int = 0
    order: int = 0
    reports: int = 0
    scores: int = 0
    probes: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Program:
    """Instructions, ready to be put at a multiple of 64 bytes in DDR."""

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
            lines.append(
                f"{number:4d}  {instruction.opcode.name:9s} ; {instruction.comment}\n" + " " * 16 + " ".join(fields)
            )
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
    """Makes programs for one network, one layout and given addresses."""

    def __init__(
        self, network: Network, settings: Settings, config: Configuration, layout: Layout, addresses: Addresses
    ) -> None:
        self.network, self.settings, self.config = network, settings, config
        self.layout, self.addresses = layout, addresses
        self.code: list[Instruction] = []
        self.rate = 0
        self.tiles = settings.batch // config.lanes

    def emit(self, opcode: Opcode, comment: str, **fields: int) -> None:
        """Append an instruction."""
        self.code.append(Instruction(opcode, {name: int(value) for name, value in fields.items()}, comment))

    def training(self, steps: int, rate: int, *, probe: bool = False) -> Program:
        """The program of `steps` training steps at a learning rate; with `probe`, of one step that stores every tensor.

        Units run side by side; the order in which the instructions stand is a legal serial one.
        """
        if not 0 <= rate < 1 << formats.RATE_BITS:
            raise ValueError(f"learning rate {rate} does not fit {formats.RATE_BITS} bits")
        self.code, self.rate = [], rate
        last = len(self.layout.layers) - 1
        self._load(DONE | REPORTED)
        self._gather("the first batch", wait=0, ahead=0)
        body = len(self.code)
        for i in range(last + 1):
            wait = (SAMPLES if i == 0 else 0) | (REPORTED if i == last else 0)
            self._forward(i, wait=wait | DONE, signal=DONE | (LOSS if i == last else 0))
            if i == 0:
                self._transpose()
                if not probe:
                    self._gather("the next batch, meanwhile", wait=INPUT_FREE, ahead=1)
            self._probe(probe, i, "active", "mask", "active_columns")
        self._store(Buffer.REPORT, "loss, hits, cycle", 0, 1, self.addresses.reports, REPORT_BYTES, LOSS, REPORTED)
        self._probe(probe, last, "code", "code_columns")
        for i in range(last, 0, -1):
            self._backward(i - 1)
            self._probe(probe, i - 1, "code", "code_columns")
            self._update(i)
        self._update(0, wait=DONE, signal=DONE)
        self.emit(Opcode.LOOP, f"{steps} steps", count=steps, target=body * isa.INSTRUCTION_BYTES)
        self.emit(Opcode.SYNC, "until all is done")
        self._store(Buffer.RIGHT, "binary weights", 0, self.layout.weight_words, self.addresses.weights)
        self._store(Buffer.PARAMETERS, "parameters", 0, self.layout.entries, self.addresses.records)
        self.emit(Opcode.HALT, "")
        return checked(self.code)

    def inference(self, batches: int) -> Program:
        """The program that stores the logits of `batches` batches."""
        self.code = []
        last = len(self.layout.layers) - 1
        self._load(INPUT_FREE)
        body = len(self.code)
        for i in range(last + 1):
            if i == 0:
                self._gather("a batch", wait=INPUT_FREE, ahead=0)
            wait = (SAMPLES if i == 0 else 0) | (DONE if i else 0)
            signal = (INPUT_FREE if i == 0 else 0) | (DONE if i < last else 0)
            self._forward(i, wait=wait, signal=signal, inference=1)
        beats = self.settings.batch * beats_of_scores(self.network)
        self._store(Buffer.SCORES, "logits", 0, beats, self.addresses.scores, 8 * beats)
        self.emit(Opcode.LOOP, f"{batches} batches", count=batches, target=body * isa.INSTRUCTION_BYTES)
        self.emit(Opcode.HALT, "")
        return checked(self.code)

    def _load(self, signal: int) -> None:
        weights, entries = self.layout.weight_words, self.layout.entries
        address = self.addresses.weights
        self.emit(Opcode.LOAD, "binary weights", buffer=Buffer.RIGHT, base=0, count=weights, address=address)
        address = self.addresses.records
        self.emit(
            Opcode.LOAD, "parameters", signal=signal, buffer=Buffer.PARAMETERS, base=0, count=entries, address=address
        )

    def _store(
        self,
        buffer: Buffer,
        what: str,
        base: int,
        count: int,
        address: int,
        stride: int = 0,
        wait: int = 0,
        signal: int = 0,
    ) -> None:
        fields = {"buffer": buffer, "base": base, "count": count, "address": address, "stride": stride}
        self.emit(Opcode.STORE, what, wait=wait, signal=signal, **fields)

    def _gather(self, what: str, *, wait: int, ahead: int) -> None:
        """Samples of the batch `ahead` iterations from now."""
        inputs, planes = self.network.sizes[0], self.settings.input_planes
        index_bytes = 4 * self.settings.batch
        self.emit(
            Opcode.GATHER,
            what,
            wait=wait,
            signal=SAMPLES,
            buffer=Buffer.LEFT,
            base=self.layout.input.base,
            count=self.settings.batch,
            address=self.addresses.order + ahead * index_bytes,
            stride=index_bytes,
            sample_address=self.addresses.samples,
            sample_bytes=sample_bytes(inputs, planes, self.config),
            sample_words=sample_words(inputs, planes, self.config),
        )

    def _transpose(self) -> None:
        source, target = self.layout.input, self.layout.input_columns
        assert target is not None
        self.emit(
            Opcode.TRANSPOSE,
            "input for the first weight gradient",
            signal=INPUT_FREE,
            groups=target.slots,
            tiles=self.tiles,
            words=source.plane_stride,
            left_planes=target.planes,
            left_base=source.top,
            left_tile_stride=source.slot_stride,
            left_plane_stride=_down(source),
            **_columns(target),
        )

    def _forward(self, i: int, *, wait: int, signal: int, inference: int = 0) -> None:
        layer = self.layout.layers[i]
        source = self.layout.layers[i - 1].active if i else self.layout.input
        assert source is not None
        is_last = i == len(self.layout.layers) - 1
        fields = self._operands(source, layer.weight_forward, layer.fan_in, self.tiles, layer.groups, layer.fan_out)
        if not is_last:
            assert layer.active is not None
            fields |= _rows(layer.active)
            fields["rows_planes"] = 1
            if layer.mask is not None and layer.active_columns is not None:
                fields["rows_planes"] = 2  # the mask is the plane behind the sign
                fields["rows_plane_stride"] = (layer.mask.base - layer.active.base) % (1 << 16)
                fields |= _columns(layer.active_columns)
        elif not inference:
            fields |= self._code_fields(layer)
        self.emit(
            Opcode.PASS,
            f"forward, layer {i + 1}",
            wait=wait,
            signal=signal,
            head=Head.LOSS if is_last else Head.FORWARD,
            inference=inference,
            **fields,
            **self._layer_fields(i),
        )

    def _backward(self, i: int) -> None:
        """Gradient of layer i's output, from the codes of the layer above."""
        layer, above = self.layout.layers[i], self.layout.layers[i + 1]
        assert above.code is not None
        assert above.weight_backward is not None
        assert layer.active is not None
        assert layer.mask is not None
        fields = self._operands(
            above.code, above.weight_backward, above.fan_out, self.tiles, layer.groups, layer.fan_out
        )
        self.emit(
            Opcode.PASS,
            f"data gradient, layer {i + 1}",
            wait=DONE,
            signal=DONE,
            head=Head.BACKWARD,
            side_active=layer.active.base,
            side_mask=layer.mask.base,
            side_stride=layer.active.slot_stride,
            **fields,
            **self._code_fields(layer),
            **self._layer_fields(i),
        )

    def _update(self, i: int, *, wait: int = 0, signal: int = 0) -> None:
        """Weight gradient of layer i, and its update."""
        layer = self.layout.layers[i]
        source = self.layout.layers[i - 1].active_columns if i else self.layout.input_columns
        assert source is not None
        assert layer.code_columns is not None
        fields = self._operands(
            source, layer.code_columns, self.settings.batch, source.slots, layer.groups, layer.fan_out
        )
        fields |= _columns(layer.weight_forward)
        if layer.weight_backward is not None:
            fields |= _rows(layer.weight_backward, isa.Buffer.RIGHT)
        self.emit(
            Opcode.PASS,
            f"weight gradient and update, layer {i + 1}",
            wait=wait,
            signal=signal,
            head=Head.UPDATE,
            address=self.addresses.latents[i],
            **fields,
            **self._layer_fields(i),
        )

    def _probe(self, wanted: bool, i: int, *names: str) -> None:
        """Store tensors of layer i while they live."""
        tensors = [t for name in names if (t := getattr(self.layout.layers[i], name)) is not None]
        if wanted and tensors:
            self.emit(Opcode.SYNC, "")
            for tensor in tensors:
                buffer = Buffer[tensor.buffer.upper()]
                self._store(buffer, tensor.name, tensor.base, tensor.words, self.addresses.probes[tensor.name])
            self.emit(Opcode.SYNC, "")

    def _operands(
        self, left: Tensor, right: Tensor, contraction: int, tiles: int, groups: int, columns: int
    ) -> dict[str, int]:
        word, lanes = self.config.word, self.config.lanes
        words = -(-contraction // word)
        return {
            "groups": groups,
            "tiles": tiles,
            "words": words,
            "tail": contraction - (words - 1) * word,
            "columns": columns - (groups - 1) * lanes,
            "left_planes": left.planes,
            "left_base": left.top,
            "left_tile_stride": left.slot_stride,
            "left_plane_stride": _down(left),
            "right_planes": right.planes,
            "right_base": right.top,
            "right_group_stride": right.slot_stride,
            "right_plane_stride": _down(right),
        }

    def _layer_fields(self, i: int) -> dict[str, int]:
        layer = self.layout.layers[i]
        return {
            "channel": layer.channel,
            "exponent": layer.exponent,
            "batch_log2": self.settings.batch_log2,
            "count": self.settings.batch * layer.fan_out,
            "layer": i,
            "headroom": formats.headroom(self.settings.gradient_planes),
            "rate": self.rate,
            "sign_sgd": int(self.settings.optimiser == "sign-sgd"),
        }

    def _code_fields(self, layer: LayerLayout) -> dict[str, int]:
        """Where the gradient codes go. The first layer has no layer below: its codes are needed as columns only."""
        assert layer.code_columns is not None
        fields = _columns(layer.code_columns)
        if layer.code is not None:
            fields |= _rows(layer.code)
        return fields


def _down(tensor: Tensor) -> int:
    """Address step to the next less significant plane, modulo 2**16."""
    return -tensor.plane_stride % (1 << 16)


def _rows(tensor: Tensor, buffer: Buffer = Buffer.LEFT) -> dict[str, int]:
    return {
        "rows_planes": tensor.planes,
        "rows_buffer": buffer,
        "rows_base": tensor.base,
        "rows_tile_stride": tensor.slot_stride,
        "rows_plane_stride": tensor.plane_stride,
    }


def _columns(tensor: Tensor) -> dict[str, int]:
    return {
        "columns_planes": tensor.planes,
        "columns_buffer": Buffer[tensor.buffer.upper()],
        "columns_base": tensor.base,
        "columns_group_stride": tensor.slot_stride,
        "columns_plane_stride": tensor.plane_stride,
    }
