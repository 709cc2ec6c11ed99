"""Carries programs out on tags: every address an instruction touches must hold what its place in the product asks for.

The machine below knows the instruction set (docs/instruction-set.md) and the equations (docs/arithmetic.md), nothing of how
the compiler cuts and places. Each granule of each buffer word and of memory holds a tag: which part of which tensor it is,
and of which step. Nothing is computed but who a result belongs to.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from bnnedge import formats, isa
from bnnedge.codes import codes
from bnnedge.compiler import pack
from bnnedge.compiler.emitter import Addresses
from bnnedge.compiler.layout import Layout
from bnnedge.configuration import Configuration
from bnnedge.formats import Code
from bnnedge.isa import Buffer, Head, Instruction, Opcode, Pool
from bnnedge.layers import Geometry

# Tensor, step, group of vectors, y, x, plane, word, granule. Weights of step n have been updated n times.
Tag = tuple[str, int, int, int, int, int, int, int]
Fields = dict[str, int]

REGION = 1 << 24  # bytes of memory set aside for each of these
ORDER, SAMPLES, RECORDS, LATENTS, TENSORS = (n * REGION for n in range(1, 6))
ADDRESS = 1 << 16  # buffer addresses are counted modulo this


class Mismatch(AssertionError):
    """An instruction that touches something else than it should."""


def expect(found: object, wanted: object, what: str) -> None:
    """Raise Mismatch unless both are equal."""
    if found != wanted:
        raise Mismatch(f"{what}: {found}, not {wanted}")


@dataclasses.dataclass
class Touch:
    """What an instruction touched, (space, place): by its unit, or at the end of a pass (`late`) by the head."""

    instruction: Instruction
    reads: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    writes: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    late_reads: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    late_writes: set[tuple[str, int]] = dataclasses.field(default_factory=set)


class Machine:
    """Memories full of tags, and the instructions that move them."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.config, self.settings = layout, layout.config, layout.settings
        self.geometry, self.batch = layout.network.geometry, layout.settings.batch
        self.codes = codes(layout.network, layout.settings)
        self.lanes, self.granules = self.config.lanes, self.config.granules
        self.bank = self.lanes * self.config.word // 8  # bytes of an address of all banks
        depth = {"left": self.config.left_depth, "right": self.config.right_depth}
        self.buffers: dict[str, list[list[Tag | None]]] = {
            name: [[None] * self.granules for _ in range(words)] for name, words in depth.items()
        }
        self.ddr: dict[int, list[Tag | None]] = {}  # by address, in words of all banks
        self.addresses_of_weights: dict[str, int] = {}
        self.step = 0  # times that LOOP has been taken
        # Of the parameter memory and of its image: layer, channel (-1: exponent), times that it was changed.
        self.parameters: dict[int, tuple[int, int, int]] = {}
        self.records: dict[int, tuple[int, int, int]] = {}
        self.totals: dict[int, tuple[int, int, set[tuple[int, ...]]]] = {}  # layer, group, samples that were added
        self.unfinished: dict[tuple[int, int, int, int], set[tuple[int, ...]]] = {}  # weight gradients in the tile buffer
        self.latents: dict[int, dict[int, tuple[int, int, int]]] = collections.defaultdict(dict)
        self.marks: dict[int, list[str]] = collections.defaultdict(list)
        self.labels: collections.deque[tuple[int, int]] = collections.deque()
        self.touch = Touch(Instruction(Opcode.HALT, {}))
        self.pixel_of = self._pixels()

    def addresses(self) -> Addresses:
        """Addresses for the compiler, with weights and parameters of step 0 in memory."""
        at, tensors = TENSORS, self.addresses_of_weights
        for tensor in self.layout.weights():
            tensors[tensor.name] = at
            shape = (tensor.groups, tensor.height, tensor.width, tensor.words)
            for n, (group, y, x, word) in enumerate(np.ndindex(shape)):
                self.ddr[at // self.bank + n] = [(tensor.name, 0, group, y, x, 0, word, k) for k in range(self.granules)]
            at += -(-tensor.size * self.bank // 4096) * 4096
        arena = {name: at + offset for name, offset in self.layout.arena()[0].items()}
        channels = [(i, c, 0) for i, g in enumerate(self.geometry) for c in range(self._groups(g) * self.lanes)]
        self.records = dict(enumerate(channels + [(i, -1, 0) for i in range(len(self.geometry))]))
        return Addresses(
            tensors={**tensors, **arena},
            latents=tuple(LATENTS + (i << 20) for i in range(len(self.geometry))),
            records=RECORDS,
            samples=SAMPLES,
            order=ORDER,
        )

    def run(self, code: tuple[Instruction, ...]) -> list[Touch]:
        """Carry out a program; return what each instruction touched, in the order in which they came."""
        touched: list[Touch] = []
        place = 0
        while code[place].opcode != Opcode.HALT:
            instruction = code[place]
            f = collections.defaultdict(int, instruction.fields)
            self.touch = Touch(instruction)
            touched.append(self.touch)
            place += 1
            try:
                if instruction.opcode == Opcode.LOOP:
                    self.step += 1
                    place = f["target"] // isa.INSTRUCTION_BYTES if self.step < f["count"] else place
                else:
                    getattr(self, f"do_{instruction.opcode.name.lower()}")(f)
            except Mismatch as error:
                raise Mismatch(f"instruction {place - 1} ({instruction.comment}), step {self.step}: {error}") from None
        return touched

    # Moves

    def do_sync(self, f: Fields) -> None:
        """Nothing moves."""

    def do_load(self, f: Fields) -> None:
        """From memory to the chip."""
        if f["buffer"] == Buffer.PARAMETERS:
            for here, there in self._entries(f):
                self.parameters[here] = self.records[there]
                self._note(reads=("records", there), writes=("parameters", here))
            return
        side = Buffer(f["buffer"]).name.lower()
        for here, there in self._addresses(f):
            self.buffers[side][here] = list(self.ddr.get(there) or [None] * self.granules)
            self._note(reads=("ddr", there), writes=(side, here))

    def do_store(self, f: Fields) -> None:
        """From the chip to memory."""
        if f["buffer"] == Buffer.PARAMETERS:
            for here, there in self._entries(f):
                self.records[there] = self.parameters[here]
                self._note(reads=("parameters", here), writes=("records", there))
        elif f["buffer"] == Buffer.REPORT:
            self.touch.reads.add(("report", 0))
        elif f["buffer"] != Buffer.SCORES:
            side = Buffer(f["buffer"]).name.lower()
            for here, there in self._addresses(f):
                self.ddr[there] = list(self.buffers[side][here])
                self._note(reads=(side, here), writes=("ddr", there))

    def do_gather(self, f: Fields) -> None:
        """Samples to the left buffer."""
        step, first = divmod((f["address"] + self.step * f["stride"] - ORDER) // 4, self.batch)
        if f["labels"]:
            self.labels.extend((step, first + n) for n in range(f["count"]))
        tensor = self.layout.plan["input"]
        row_words = tensor.width * tensor.words
        for tile in range(f["count"] // self.lanes):
            for n in range(f["sample_words"]):
                plane, place = divmod(n, tensor.height * row_words)
                key = ("input", step, first // self.lanes + tile, place // row_words, 0)
                word = (self.settings.input_planes - 1 - plane, place % row_words)
                here = f["base"] + tile * f["sample_words"] + n
                self.buffers["left"][here] = [(*key, *word, k) for k in range(self.granules)]
                self.touch.writes.add(("left", here))

    def _note(self, reads: tuple[str, int], writes: tuple[str, int]) -> None:
        self.touch.reads.add(reads)
        self.touch.writes.add(writes)

    def _entries(self, f: Fields) -> Iterator[tuple[int, int]]:
        for n in range(f["count"]):
            yield f["base"] + n, (f["address"] - RECORDS) // 24 + n

    def _addresses(self, f: Fields) -> Iterator[tuple[int, int]]:
        for n in range(f["repeats"]):
            address = f["address"] + self.step * f["stride"] + n * f["address_stride"]
            expect(address % self.bank, 0, "address behind a multiple of the banks' words")
            for k in range(f["count"]):
                yield f["base"] + n * f["base_stride"] + k, address // self.bank + k

    # Passes

    def do_pass(self, f: Fields) -> None:
        """One of the three products."""
        head, i, lanes = Head(f["head"]), f["layer"], self.lanes
        g = self.geometry[i]
        last = f["first_group"] + f["groups"] == self._groups(g)
        expect(f["columns"], g.filters - (self._groups(g) - 1) * lanes if last else lanes, "columns of the last group")
        self.touch.reads.add(("tile buffer", 0))
        if head == Head.UPDATE:
            self._update(f, i, g)
            return
        n = self.batch * g.samples
        expect(f["mean_log2"], (n - 1).bit_length(), "log2 of the samples")
        expect(f["reciprocal"], ((1 << formats.MEAN + f["mean_log2"]) + n // 2) // n, "reciprocal of the samples")
        for n in range(f["groups"]):
            group = f["first_group"] + n
            self._begin_group(f, i, n, group)
            if head == Head.BACKWARD:
                self._backward(f, i, g, n, group)
            else:
                self._forward(f, i, g, n, group)
            self._end_group(f, i, g, group)
        if head == Head.LOSS:
            self._loss(f)
        elif head == Head.BACKWARD:
            self.marks[i].append("opens" * f["opens"] + "closes" * f["closes"])
            self._exponent(f, i)

    def _loss(self, f: Fields) -> None:
        expect((f["images"], f["own_centre"]), (self.batch, 1), "images of a LOSS, and whether gradients wait for their mean")
        expect([self.labels.popleft() for _ in range(self.batch)], [(self.step, n) for n in range(self.batch)], "labels")
        if not f["inference"]:
            self.touch.late_writes |= {("report", 0), ("tile buffer", 0)}
            self._exponent(f, f["layer"])

    def _exponent(self, f: Fields, i: int) -> None:
        expect(self.parameters.get(f["exponent"], (0, 0))[:2], (i, -1), f"parameters at {f['exponent']}")
        self.touch.late_writes.add(("parameters", f["exponent"]))

    def _begin_group(self, f: Fields, i: int, n: int, group: int) -> None:
        """Parameters must be the channels', and as often changed as there were passes before that change them."""
        for c in range(self.lanes):
            entry = f["channel"] + n * self.lanes + c
            layer, channel, changes = self.parameters.get(entry, (-1, 0, 0))
            expect((layer, channel), (i, group * self.lanes + c), f"parameters at {entry}")
            per_step = 1 if i == len(self.geometry) - 1 else 2
            before = self.step * per_step + (f["head"] == Head.BACKWARD)
            if not f["inference"]:
                expect(changes, before, f"changes of the parameters at {entry}")
            self.touch.reads.add(("parameters", entry))
            if f["commit"]:
                self.parameters[entry] = (layer, channel, changes + 1)
                self.touch.late_writes.add(("parameters", entry))
        if f["inference"]:
            expect((f["fresh"], f["commit"]), (0, 0), "sums in inference")
            return
        place = group % (self.config.layer_channels // self.lanes)
        self.touch.writes.add(("totals", place))
        if f["fresh"]:
            self.totals[place] = (i, group, set())
        if f["commit"]:
            self.touch.late_reads.add(("totals", place))

    def _add(self, f: Fields, i: int, group: int, sample: tuple[int, int, int]) -> None:
        """A tile's sums of a pixel go to the totals."""
        if not f["inference"]:
            *owner, samples = self.totals.get(group % (self.config.layer_channels // self.lanes), (-1, -1, set()))
            expect(owner, [i, group], "owner of the totals")
            if sample in samples:
                raise Mismatch(f"{sample} is added to the totals twice")
            samples.add(sample)

    def _end_group(self, f: Fields, i: int, g: Geometry, group: int) -> None:
        """Averages move when all samples are in the totals, which then are another's."""
        if f["inference"]:
            return
        place = group % (self.config.layer_channels // self.lanes)
        *_, samples = self.totals[place]
        pixels = g.outputs if g.pool == "signs" and f["head"] == Head.FORWARD else g.pooled_height * g.pooled_width
        complete = len(samples) == pixels * self.batch // self.lanes
        expect(f["commit"], complete, f"commit of group {group} with {len(samples)} tiles in the totals")
        if complete:
            del self.totals[place]

    def _forward(self, f: Fields, i: int, g: Geometry, n: int, group: int) -> None:
        source, planes = ("input", self.settings.input_planes) if i == 0 else (f"{i}.active", 1)
        self._planes(f, Code(planes), Code(1))
        expect(f["pool"], Pool[g.pool.upper()], "pool")
        if f["head"] == Head.FORWARD:
            kept = 1 if f["inference"] else 2 if g.pool == "none" else 4
            expect((f["rows_planes"], f["columns_planes"]), (kept, 1 - f["inference"]), "planes that are kept")
        for y, x, t in np.ndindex(f["height"], f["width"], f["tiles"]):
            for place in range(1 if g.pool == "none" else 4):
                down, right = place >> 1, place & 1
                rows, columns = self._taps(f, "y", y, down), self._taps(f, "x", x, right)
                out_y = (self._origin(f, "y", y, down) + g.pad_y) // g.stride
                out_x = (self._origin(f, "x", x, right) + g.pad_x) // g.stride
                for taps, out, pad, kernel, side in (
                    (rows, out_y, g.pad_y, g.kernel_y, g.height),
                    (columns, out_x, g.pad_x, g.kernel_x, g.width),
                ):
                    wanted = [(k, out * g.stride + k - pad) for k in range(kernel)]
                    expect(taps, [(k, at) for k, at in wanted if 0 <= at < side], f"taps of output {out_y}, {out_x}")
                left = self._walk(f, "left", y, x // f["strip"], t, down, right * (not g.pixels))
                w = f["right_base"] + n * f["right_group"]
                tile = f["first_tile"] + t
                for p in range(planes):
                    key = (source, self.step, tile)
                    if g.pixels:
                        shift = x % f["strip"] * f["strip_shift"] + right * (f["strip_shift"] // 2)
                        self._windows(f, g, left + p * f["left_plane"], key, planes - 1 - p, rows, columns, shift)
                    else:
                        self._channels(f, "left", left + p * f["left_plane"], key, planes - 1 - p, rows, columns, g.channels)
                key = (f"{i + 1}.weight", self.step * (not f["inference"]), group)
                if g.pixels:
                    for k, _ in rows:
                        bits = g.kernel_x * g.channels
                        self._word("right", w + k * f["right_tap_y"], (*key, k, 0, 0, 0), bits)
                else:
                    taps = [[(k, k) for k, _ in line] for line in (rows, columns)]
                    self._channels(f, "right", w, key, 0, *taps, g.channels)
                sample = (tile, out_y, out_x) if g.pool != "sums" else (tile, out_y // 2, out_x // 2)
                if g.pool != "sums" or place == 3:
                    self._add(f, i, group, sample)
                if f["head"] == Head.FORWARD:
                    if place == (0 if g.pool == "none" else 3):
                        self._signs(f, i, (n, group), (y, x, t), (out_y, out_x) if not place else (out_y // 2, out_x // 2))
                elif not f["inference"]:
                    self._codes(f, i, g, (n, group), (y, x, t), (0, 0), 0)

    def _signs(self, f: Fields, i: int, groups: tuple[int, int], loops: tuple[int, int, int], out: tuple[int, int]) -> None:
        """What a FORWARD pass writes for a tile, or for four places."""
        n, group = groups
        y, x, t = loops
        for p, kind in enumerate(("active", "mask", "route_low", "route_high")[: f["rows_planes"]]):
            address = self._walk(f, "rows", y, x, t) + p * f["rows_plane"]
            self._put_rows(f, address, f"{i + 1}.{kind}", self.step, groups, t, *out, 0)
        if f["columns_planes"]:
            address = self._walk(f, "columns", y, x, 0) + n * f["columns_group"]
            self._put_columns(f, address, (f"{i + 1}.active_columns", self.step, group, *out, 0), t)

    def _planes(self, f: Fields, left: Code, right: Code) -> None:
        """The operands must be these codes."""
        found = [(f[f"{side}_planes"], f[f"{side}_twin"]) for side in ("left", "right")]
        expect(found, [(code.planes, int(code.twin)) for code in (left, right)], "planes, and whether they are twins")

    def _backward(self, f: Fields, i: int, g: Geometry, n: int, group: int) -> None:
        above, planes = self.geometry[i + 1], self.codes[i + 1].planes
        self._planes(f, self.codes[i + 1], Code(1))
        expect(f["own_centre"], g.out_height * g.out_width == 1, "whether gradients wait for their mean")
        if f["own_centre"]:
            expect((f["fresh"], f["commit"], f["tiles"] * self.lanes), (1, 1, self.batch), "gradients that wait for their mean")
        expect(f["pool"], Pool[g.pool.upper()], "pool")
        granule = group % self.granules
        for y, x, t in np.ndindex(f["height"], f["width"], f["tiles"]):
            tile = f["first_tile"] + t
            word = (f["first_group"] % self.granules + n) // self.granules
            kinds = ("mask",) if g.pool == "none" else ("mask", "route_low", "route_high")
            sides = [self._walk(f, "side", y, x, t) + word + p * f["side_plane"] for p in range(len(kinds))]
            # The loops do not say which pixel they begin at, the masks do.
            at_y, at_x = self._read("left", sides[0], granule)[3:5]
            for address, kind in zip(sides, kinds, strict=True):
                wanted = (f"{i + 1}.{kind}", self.step, tile, at_y, at_x, 0, group // self.granules, granule)
                expect(self._read("left", address, granule), wanted, f"side at {address}")
            rows, columns = self._taps(f, "y", y), self._taps(f, "x", x)
            left, right = self._walk(f, "left", y, x, t), f["right_base"] + n * f["right_group"]
            for p in range(planes):
                key = (f"{i + 2}.code", self.step, tile)
                self._channels(f, "left", left + p * f["left_plane"], key, planes - 1 - p, rows, columns, above.filters)
            reached = [
                [(k, out) for out in range(outputs) for k in range(kernel) if out * above.stride + k - pad == at]
                for at, outputs, kernel, pad in (
                    (at_y, above.out_height, above.kernel_y, above.pad_y),
                    (at_x, above.out_width, above.kernel_x, above.pad_x),
                )
            ]
            taps = []
            for found, wanted_taps in zip((rows, columns), reached, strict=True):
                expect([out for _, out in found], [out for _, out in wanted_taps], f"outputs above pixel {at_y}, {at_x}")
                taps.append([(k, tap) for (k, _), (tap, _) in zip(found, wanted_taps, strict=True)])
            if all(taps):
                key = (f"{i + 2}.weight_backward", self.step, group)
                self._channels(f, "right", right, key, 0, *taps, above.filters)
            self._add(f, i, group, (tile, at_y, at_x))
            for place in range(1 if g.pool == "none" else 4):
                pixel = (at_y, at_x) if g.pool == "none" else (2 * at_y + (place >> 1), 2 * at_x + (place & 1))
                self._codes(f, i, g, (n, group), (y, x, t), pixel, place)

    def _codes(
        self,
        f: Fields,
        i: int,
        g: Geometry,
        groups: tuple[int, int],
        loops: tuple[int, int, int],
        out: tuple[int, int],
        place: int,
    ) -> None:
        """What a LOSS or BACKWARD pass writes for a tile."""
        n, group = groups
        y, x, t = loops
        down, right = place >> 1, place & 1
        random = f["random_base"] + y * f["random_y"] + x * f["random_x"]
        random += down * (f["random_y"] // 2) + right * (f["random_x"] // 2)
        expect(random % (1 << formats.PLACE_BITS), out[0] * g.out_width + out[1], "place for random numbers")
        code = self.codes[i]
        gradients = self.batch * g.pooled_height * g.pooled_width * g.filters
        expect(f["clips"], gradients // 2 ** max(code.planes - code.twin + 2, 4), "codes that may be clipped")
        expect(f["columns_planes"], code.planes, "planes of the codes")
        expect(f["rows_planes"], code.planes if i else 0, "planes of the codes as rows")
        expect(f["twin"], code.twin, "twin planes")
        for p in range(f["rows_planes"]):
            address = self._walk(f, "rows", y, x, t, down, right) + p * f["rows_plane"]
            self._put_rows(f, address, f"{i + 1}.code", self.step, groups, t, *out, p)
        for p in range(f["columns_planes"]):
            address = self._walk(f, "columns", y, x, 0, down, right) + n * f["columns_group"] + p * f["columns_plane"]
            self._put_columns(f, address, (f"{i + 1}.code_columns", self.step, group, *out, p), t)

    def _update(self, f: Fields, i: int, g: Geometry) -> None:
        sums: dict[tuple[int, int, int, int], set[tuple[int, ...]]] = {}
        for n, y, x, t in np.ndindex(f["groups"], f["height"], f["width"], f["tiles"]):
            place = f["random_base"] + y * f["random_y"] + x * f["random_x"]
            key = (i, f["first_group"] + n, place, f["first_tile"] + t)
            sums[key] = set(self._slopes(f, i, g, key, (n, y, x, t)))
        if f["continues"]:
            expect(list(sums), list(self.unfinished), "weights whose sums go on")
            for key, before in self.unfinished.items():
                if before & sums[key]:
                    raise Mismatch(f"sums of weights {key} have samples twice: {sorted(before & sums[key])[:4]}")
                sums[key] |= before
        else:
            expect(self.unfinished, {}, "sums left unfinished")
        if f["continues"] or f["unfinished"]:
            rows = len(sums) * self.lanes
            expect(rows <= self.config.tile_rows, True, f"{rows} unfinished rows in the tile buffer")
        self.unfinished = sums if f["unfinished"] else {}
        if f["unfinished"]:
            return
        expect(f["rows"], len(sums) * self.lanes, "rows")
        expect((f["columns_planes"], f["rows_planes"]), (1, int(i > 0)), "planes of weights, forward and backward")
        loops = np.ndindex(f["groups"], f["height"], f["width"], f["tiles"])
        for number, ((n, y, x, t), key) in enumerate(zip(loops, sums, strict=True)):
            _, group, place, _ = key
            tap_y, tap_x = (place, 0) if g.pixels else divmod(place, g.kernel_x)
            expect(len(sums[key]), self._all_slopes(g, tap_y, tap_x), f"samples in the gradients of weights {key}")
            before, part = divmod(f["address"] - LATENTS - (i << 20), 8 * self.config.tile_beats)
            expect(part, 0, "bytes of latent words before the first whole tile")
            if self.latents[i].setdefault(before + number, key[1:]) != key[1:]:
                raise Mismatch(f"weights {key} take the latent words of {self.latents[i][before + number]}")
            address = self._walk(f, "columns", y, x, 0) + n * f["columns_group"]
            self._put_columns(f, address, (f"{i + 1}.weight", self.step + 1, group, tap_y, tap_x, 0), t)
            for _ in range(f["rows_planes"]):
                address = self._walk(f, "rows", y, x, t)
                self._put_rows(f, address, f"{i + 1}.weight_backward", self.step + 1, (n, group), t, tap_y, tap_x, 0)

    def _all_slopes(self, g: Geometry, tap_y: int, tap_x: int) -> int:
        """How many pairs of a pixel of the output and a word of images a weight's gradient sums up."""
        rows = sum(0 <= y * g.stride + tap_y - g.pad_y < g.height for y in range(g.out_height))
        columns = sum(0 <= x * g.stride + tap_x - g.pad_x < g.width for x in range(g.out_width))
        return rows * (g.out_width if g.pixels else columns) * self.batch // self.config.word

    def _slopes(
        self, f: Fields, i: int, g: Geometry, key: tuple[int, int, int, int], loops: tuple[int, int, int, int]
    ) -> Iterator[tuple[int, ...]]:
        """Go through a tile's samples: (y, x, word of images) of each."""
        n, y, x, t = loops
        _, group, place, tile = key
        tap_y, tap_x = (place, 0) if g.pixels else divmod(place, g.kernel_x)
        name = f"{i}.active_columns" if i else "input_columns"
        planes = self.settings.slope_planes if i == 0 else 1
        self._planes(f, Code(planes), self.codes[i])
        expect(f["tail"], self.config.word, "valid bits of the last word of images")
        left, right = self._walk(f, "left", y, x, t), f["right_base"] + n * f["right_group"]
        for (row, in_y), (column, in_x) in ((a, b) for a in self._taps(f, "y", y) for b in self._taps(f, "x", x)):
            for w in range(f["words"]):
                a = left + row * f["left_tap_y"] + column * f["left_tap_x"] + w
                b = right + row * f["right_tap_y"] + column * f["right_tap_x"] + w
                _, _, _, out_y, out_x, _, word, _ = self._read("right", b, 0)
                expect(in_y, out_y * g.stride + tap_y - g.pad_y, f"row of the input under {out_y}")
                if g.pixels:
                    self._rows_that_count(f, g, tile, t, out_x)
                    in_x = out_x
                else:
                    expect(in_x, out_x * g.stride + tap_x - g.pad_x, f"column of the input under {out_x}")
                for p in range(planes):
                    wanted = (name, self.step, tile, in_y, in_x, planes - 1 - p, word)
                    self._word("left", a + p * f["left_plane"], wanted, self.config.word)
                for p in range(f["right_planes"]):
                    top = f["right_planes"] - 1 - p
                    code = (f"{i + 1}.code_columns", self.step, group, out_y, out_x, top, word)
                    self._word("right", b + p * f["right_plane"], code, self.config.word)
                yield out_y, out_x, word

    def _rows_that_count(self, f: Fields, g: Geometry, tile: int, t: int, out_x: int) -> None:
        """In a convolution of pixels, rows of sums are (column of the window, channel): those off the map must not count."""
        for row in range(self.lanes):
            tap, number = (tile * self.lanes + row) // g.channels, (t * self.lanes + row) % formats.WINDOW_BITS
            if tap < g.kernel_x:
                on_map = 0 <= out_x * g.stride + tap - g.pad_x < g.width
                expect(f["row_first"] <= number <= f["row_last"], on_map, f"whether tap {tap} of output {out_x} counts")

    def do_transpose(self, f: Fields) -> None:
        """The input as columns."""
        g, planes = self.geometry[0], self.settings.slope_planes
        for y, x, t, p, w in np.ndindex(f["height"], f["width"], f["tiles"], f["left_planes"], f["words"]):
            address = self._walk(f, "left", y, x // f["strip"], t) + (f["left_planes"] - 1 - p) * f["left_plane"] + w
            name, step, tile, row, _, plane, word, _ = self._read("left", address)
            # Of this batch or of the next one: the weight gradient asks for its own.
            wanted = ("input", f["first_tile"] + t, self.settings.input_planes - planes + p)
            expect((name, tile, plane), wanted, f"source at {address}")
            groups = range(f["groups"]) if g.pixels else range(w * self.granules, min((w + 1) * self.granules, f["groups"]))
            if g.pixels:
                shift = x % f["strip"] * f["strip_shift"]
                for bit in range(g.kernel_x * g.channels):
                    column, channel = x * g.stride - g.pad_x + bit // g.channels, bit % g.channels
                    if 0 <= column < g.width:
                        expect(self.pixel_of.get((row, word, shift + bit)), (row, column, channel), f"bit {bit} at {address}")
            else:
                expect(word, w, f"word at {address}")
            for group in groups:
                target = self._walk(f, "columns", y, x, 0) + group * f["columns_group"] + p * f["columns_plane"]
                column_word = (f["first_tile"] % self.granules + t) // self.granules
                granule = (f["first_tile"] + t) % self.granules
                tag = ("input_columns", step, group, row, x, p, (f["first_tile"] + t) // self.granules, granule)
                here = (target + column_word) % ADDRESS
                self.buffers["left"][here][granule] = tag
                self.touch.writes.add(("left", here))

    # Addresses

    def _groups(self, g: Geometry) -> int:
        return -(-g.filters // self.lanes)

    def _origin(self, f: Fields, axis: str, output: int, second: int = 0) -> int:
        bits = isa.layout(Opcode.PASS)[f"{axis}_origin"].bits
        origin = f[f"{axis}_origin"]
        origin -= origin >> bits - 1 << bits
        return origin + output * f[f"{axis}_step"] + second * (f[f"{axis}_step"] // 2)

    def _taps(self, f: Fields, axis: str, output: int, second: int = 0) -> list[tuple[int, int]]:
        """(tap, row of the input) of those that count."""
        origin = self._origin(f, axis, output, second)
        rows = [(tap, origin + (tap << f[f"{axis}_pitch"])) for tap in range(f[f"taps_{axis}"])]
        return [(tap, row) for tap, row in rows if 0 <= row < f[f"{axis}_limit"]]

    def _walk(self, f: Fields, prefix: str, y: int, x: int, t: int, down: int = 0, right: int = 0) -> int:
        """An address that follows y, x and tile; a neighbouring place is half a stride away."""

        def half(stride: int) -> int:
            return (stride - (stride >> 15 << 16)) >> 1

        address = f[f"{prefix}_base"] + y * f[f"{prefix}_y"] + x * f[f"{prefix}_x"] + t * f[f"{prefix}_tile"]
        return address + down * half(f[f"{prefix}_y"]) + right * half(f[f"{prefix}_x"])

    def _read(self, side: str, address: int, granule: int = 0) -> Tag:
        address %= ADDRESS
        self.touch.reads.add((side, address))
        tag = self.buffers[side][address][granule] if address < len(self.buffers[side]) else None
        if tag is None:
            raise Mismatch(f"nothing stands in the {side} buffer at {address}, granule {granule}")
        return tag

    def _word(self, side: str, address: int, wanted: tuple[str, int, int, int, int, int, int], bits: int) -> None:
        """A word must be this one, as far as it has valid bits."""
        for k in range(-(-min(bits, self.config.word) // self.lanes)):
            if self._read(side, address, k) != (*wanted, k):
                expect(self._read(side, address, k), (*wanted, k), f"{side} buffer at {address % ADDRESS}")

    def _channels(
        self,
        f: Fields,
        side: str,
        base: int,
        key: tuple[str, int, int],
        plane: int,
        rows: list[tuple[int, int]],
        columns: list[tuple[int, int]],
        bits: int,
    ) -> None:
        """All words of all channels, at the taps (number, row or column of the tensor)."""
        word = self.config.word
        expect((f["words"] - 1) * word + f["tail"], bits, "bits of the contraction")
        for (row, y), (column, x) in ((a, b) for a in rows for b in columns):
            address = base + row * f[f"{side}_tap_y"] + column * f[f"{side}_tap_x"]
            for w in range(f["words"]):
                self._word(side, address + w, (*key, y, x, plane, w), bits - w * word)

    def _windows(
        self,
        f: Fields,
        g: Geometry,
        base: int,
        key: tuple[str, int, int],
        plane: int,
        rows: list[tuple[int, int]],
        columns: list[tuple[int, int]],
        shift: int,
    ) -> None:
        """Pixels side by side in a word, from bit `shift` on, at the rows of taps."""
        expect((f["words"], f["window"]), (1, g.channels), "words, bits of a pixel")
        for row, y in rows:
            address = base + row * f["left_tap_y"]
            *found, at_plane, word, _ = self._read("left", address)
            expect((*found, at_plane), (*key, y, 0, plane), f"left buffer at {address % ADDRESS}")
            for tap, x in columns:
                for c in range(g.channels):
                    bit = tap * f["window"] + c
                    expect(bit < formats.WINDOW_BITS, True, f"bit {bit} of the window")
                    expect(self.pixel_of.get((y, word, shift + bit)), (y, x, c), f"bit {shift + bit} of the word at {address}")

    def _put_rows(
        self, f: Fields, address: int, name: str, step: int, groups: tuple[int, int], t: int, y: int, x: int, plane: int
    ) -> None:
        n, group = groups
        address += (f["first_group"] % self.granules + n) // self.granules
        key = (name, step, f["first_tile"] + t, y, x, plane, group // self.granules, group % self.granules)
        self._put(f["rows_buffer"], address, key)

    def _put_columns(self, f: Fields, address: int, key: tuple[str, int, int, int, int, int], t: int) -> None:
        address += (f["first_tile"] % self.granules + t) // self.granules
        tile = f["first_tile"] + t
        self._put(f["columns_buffer"], address, (*key, tile // self.granules, tile % self.granules))

    def _put(self, buffer: int, address: int, tag: Tag) -> None:
        side, address = Buffer(buffer).name.lower(), address % ADDRESS
        if address >= len(self.buffers[side]):
            raise Mismatch(f"{tag} goes to {address} of the {side} buffer, which ends at {len(self.buffers[side])}")
        self.buffers[side][address][tag[-1]] = tag
        self.touch.late_writes.add((side, address))

    def _pixels(self) -> dict[tuple[int, int, int], tuple[int, int, int]]:
        """Which pixel (y, x, channel) stands at (row, word, bit) of a plane of a sample: found by packing each one alone."""
        g, tensor = self.geometry[0], self.layout.plan["input"]
        shape = (g.height, g.width, g.channels)
        count = g.height * g.width * g.channels
        images = (np.eye(count, dtype=np.uint8) * 255).reshape(count, *shape)
        packed = pack.pack_samples(images, np.zeros(count, np.int64), self.layout.plan)[:, 8:]
        row = tensor.width * tensor.words * self.config.word
        plane = np.unpackbits(packed, axis=1, bitorder="little")[:, : tensor.height * row]  # the uppermost
        found: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        for pixel, at in np.argwhere(plane).tolist():
            y, rest = divmod(pixel, g.width * g.channels)
            found[at // row, at % row // self.config.word, at % self.config.word] = (y, *divmod(rest, g.channels))
        return found


def check_training(machine: Machine, steps: int) -> None:
    """What a training program of that many steps must have done by its end; Mismatch says what it has not."""
    layout, lanes = machine.layout, machine.lanes
    addresses = machine.addresses_of_weights
    expect((machine.unfinished, machine.totals), ({}, {}), "sums left unfinished")
    for tensor in layout.weights():
        shape = (tensor.groups, tensor.height, tensor.width, tensor.words)
        for n, (group, y, x, word) in enumerate(np.ndindex(shape)):
            valid = -(-min(tensor.bits - word * machine.config.word, machine.config.word) // lanes)
            wanted = [(tensor.name, steps, group, y, x, 0, word, k) for k in range(valid)]
            expect(machine.ddr[addresses[tensor.name] // machine.bank + n][:valid], wanted, "weights in memory")
    entries = sorted(machine.records.values())
    last = len(machine.geometry) - 1
    for layer, channel, changes in entries:
        expect(
            changes, 0 if channel < 0 else steps * (1 if layer == last else 2), f"changes of channel {channel} of layer {layer}"
        )
    for i in range(last):
        marks = machine.marks[i]
        each = len(marks) // steps
        wanted_marks = ["opens", *[""] * (each - 2), "closes"] if each > 1 else ["openscloses"]
        expect(marks, wanted_marks * steps, f"passes that open and close layer {i + 1}")
    for i, g in enumerate(machine.geometry):
        number, channel = np.indices((g.fan_in, g.filters)).astype(np.int16)
        rows, columns = (_words(pack.pack_weights(values, i, layout), machine.config) for values in (number, channel))
        expect(len(machine.latents[i]), len(rows), f"tiles of latent weights of layer {i + 1}")
        kept = (1 << machine.config.weight_word) - 1
        for count, (group, place, tile) in machine.latents[i].items():
            inputs, outputs = min(lanes, g.tap_inputs - tile * lanes), min(lanes, g.filters - group * lanes)
            first = place * g.tap_inputs + tile * lanes
            wanted_rows, wanted_columns = np.indices((inputs, outputs))
            found = rows[count][:inputs, :outputs], columns[count][:inputs, :outputs]
            where = f"of latent weights in tile {count} of layer {i + 1}"
            expect((found[0] == wanted_rows + first & kept).all(), True, f"rows {where}")
            expect((found[1] == wanted_columns + group * lanes & kept).all(), True, f"columns {where}")


def _words(packed: np.ndarray, config: Configuration) -> np.ndarray:
    """Tiles (n, lanes, lanes) of weight words, unsigned, of the bytes in which they lie side by side."""
    bits = np.unpackbits(packed, bitorder="little").reshape(-1, config.lanes, config.lanes, config.weight_word)
    return bits.astype(np.int64) @ (1 << np.arange(config.weight_word))
