"""The proof of programs: its extents are those of the independent machine, and what could go wrong is refused."""

from __future__ import annotations

import collections
import dataclasses

import limits
import pytest
from campaign import compiled, placed
from interpreter import Machine
from networks import random_network

from bnnedge import Configuration, Conv2D, Dense, MaxPool2D, Network, Settings, configuration, isa
from bnnedge.compiler import Compiler
from bnnedge.compiler.cutter import Cutter
from bnnedge.compiler.layout import Layout, layout
from bnnedge.compiler.proof import ProofError, Regions, prove
from bnnedge.compiler.proof.extents import Extents
from bnnedge.compiler.tiling import Tiling
from bnnedge.isa import Buffer, Head, Instruction, Opcode

SMALL = configuration("sim-small")
TIGHT = dataclasses.replace(SMALL, left_depth=384, right_depth=512)
FEW = Settings(batch=64, gradient_planes=2, input_planes=2, slope_planes=2)
POOLED = Network((6, 6, 2), [Conv2D(9, padding="same"), MaxPool2D(), Conv2D(10, 2), MaxPool2D("sums"), Dense(9), Dense(9)])
SIDES = {"left": Buffer.LEFT, "right": Buffer.RIGHT}


def program(there: Layout, steps: int = 2) -> tuple[tuple[Instruction, ...], Regions]:
    """A training program and its regions."""
    addresses = placed(there)
    code = Compiler(there, addresses).training(steps, 7).instructions
    return code, Regions.of(there, addresses, steps=steps)


def changed(code: tuple[Instruction, ...], n: int, **fields: int) -> list[Instruction]:
    """The program with other fields in one instruction."""
    other = list(code)
    other[n] = Instruction(code[n].opcode, {**code[n].fields, **fields}, code[n].comment)
    return other


# Extents


@pytest.mark.parametrize("seed", range(12))
def test_extents_are_what_the_machine_touches(seed: int) -> None:
    config = [SMALL, TIGHT, dataclasses.replace(SMALL, lanes=4, word=64)][seed % 3]
    for number in range(seed, 2000, 100):
        network, settings = random_network(number, 2e4)
        try:
            there = Layout(network, settings, config)
            break
        except ValueError:
            continue
    machine = Machine(there)
    touched = machine.run(Compiler(there, machine.addresses()).training(1, 1).instructions)
    for touch in touched:
        if touch.instruction.opcode not in (Opcode.PASS, Opcode.TRANSPOSE):
            continue
        fields = collections.defaultdict(int, touch.instruction.fields)
        places = touch.reads | touch.writes | touch.late_reads | touch.late_writes
        for side, buffer in SIDES.items():
            highest = max((place for space, place in places if space == side), default=-1)
            extents = Extents(config)
            extents.depth[buffer] = highest + 1
            extents.check(touch.instruction.opcode, fields)
            if highest >= 0:
                extents.depth[buffer] = highest
                with pytest.raises(ProofError, match=rf"at \d+..{highest} of the {side} buffer, which has {highest} words"):
                    extents.check(touch.instruction.opcode, fields)


BASES = {
    Head.FORWARD: ["left_base", "right_base", "rows_base", "columns_base"],
    Head.LOSS: ["left_base", "right_base", "rows_base", "columns_base"],
    Head.BACKWARD: ["left_base", "right_base", "side_base", "rows_base", "columns_base"],
    Head.UPDATE: ["left_base", "right_base", "rows_base", "columns_base"],
}


@pytest.mark.parametrize(("head", "field"), [(head, field) for head, fields in BASES.items() for field in fields])
def test_an_address_outside_its_buffer_is_refused(head: Head, field: str) -> None:
    there = layout(POOLED, FEW, SMALL)
    code, regions = program(there)
    prove(code, there, regions)
    n = next(n for n, i in enumerate(code) if i.opcode == Opcode.PASS and i.fields["head"] == head and field in i.fields)
    with pytest.raises(ProofError, match=rf"instruction {n} \(.*buffer, which has"):
        prove(changed(code, n, **{field: code[n].fields[field] + 4096}), there, regions)


# Sums and totals


def test_channels_that_share_a_place_of_the_totals_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network((4, 4, 3), [Conv2D(300, padding="same"), Conv2D(280, 2, 2, "same"), Dense(10)])
    there, right = Layout(network, FEW, SMALL), Cutter.forward

    def wrong(cutter: Cutter, i: int) -> Tiling:
        return dataclasses.replace(right(cutter, i), share=38)

    monkeypatch.setattr(Cutter, "forward", wrong)
    with pytest.raises(ProofError, match=r"forward, layer 1\) begins group 32 where the sums of another are not complete"):
        program(there)


@pytest.mark.parametrize("config", [SMALL, dataclasses.replace(SMALL, left_depth=384)], ids=["resident", "streamed"])
def test_weight_gradients_beyond_the_accumulator_are_refused(config: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network((60,), [Dense(100), Dense(20), Dense(5)])
    monkeypatch.setattr(Cutter, "_summable", lambda self, i: [(self.settings.batch // self.config.word, 1)])
    there = Layout(network, Settings(batch=64, slope_planes=8), config)
    with pytest.raises(ProofError, match=r"weight gradient, layer 1\) sums reach 4161600, the accumulator holds 2097120"):
        program(there)


def first(code: tuple[Instruction, ...], head: Head, **having: int) -> int:
    """Number of the first pass with that head and these fields."""
    for n, instruction in enumerate(code):
        f = instruction.fields
        if instruction.opcode == Opcode.PASS and f["head"] == head and all(f.get(k, 0) == v for k, v in having.items()):
            return n
    raise AssertionError("there is none")


CONVOLUTION = Network((9, 9, 2), [Conv2D(12, padding="same"), Conv2D(10, 3, 2, "same"), Dense(3)])


@pytest.mark.parametrize(
    ("head", "having", "fields", "text"),
    [
        (Head.FORWARD, {"fresh": 1}, {"fresh": 0}, "adds group 0 to totals that are not its own"),
        (Head.FORWARD, {"fresh": 0}, {"fresh": 1}, "begins group 0 where the sums of another are not complete"),
        (Head.FORWARD, {"fresh": 1}, {"commit": 1}, r"moves the averages of group 0 behind \d+ rows of 5184"),
        (Head.FORWARD, {"commit": 1}, {"commit": 0}, "does not move the averages of group 0 behind 5184 rows of 5184"),
        (Head.FORWARD, {"commit": 1}, {"tiles": 1}, r"moves the averages of group 0 behind \d+ rows of 5184"),
        (Head.FORWARD, {"fresh": 0}, {"layer": 1}, "adds group 0 to totals that are not its own"),
        (Head.FORWARD, {}, {"channel": 1020}, "takes 1036 entries of 1024 parameters"),
        (Head.BACKWARD, {}, {"exponent": 1024}, "takes entry 1024 of 1024 parameters"),
        (Head.BACKWARD, {"opens": 1}, {"opens": 0}, "takes a data gradient of a layer that is not open"),
        (Head.BACKWARD, {"opens": 0}, {"opens": 1}, "opens a layer before another is closed"),
        (Head.BACKWARD, {"closes": 1}, {"closes": 0}, "opens a layer before another is closed"),
        (Head.BACKWARD, {"closes": 0}, {"closes": 1}, "closes a layer of 2 groups behind [01]"),
        (Head.LOSS, {}, {"tiles": 4, "groups": 9}, "288 rows wait in the tile buffer of 256"),
        (Head.LOSS, {}, {"tiles": 4}, "takes the loss of 32 images of 64"),
        (
            Head.FORWARD,
            {},
            dict.fromkeys(("left_planes", "right_planes"), 15) | dict.fromkeys(("left_plane", "right_plane"), 0),
            "the accumulator holds",
        ),
        (Head.UPDATE, {"unfinished": 1}, {"unfinished": 0, "rows": 8}, "moves 8 rows of weights"),
        (Head.UPDATE, {"unfinished": 1, "continues": 0}, {"continues": 1}, "goes on with sums that are not there"),
        (Head.UPDATE, {"continues": 1}, {"continues": 0}, "leaves sums of weight gradients behind"),
        (Head.UPDATE, {"unfinished": 0}, {"address": 0x8000_0000}, "moves latent weights up to address 0x8"),
    ],
)
def test_a_wrong_pass_is_refused(head: Head, having: dict[str, int], fields: dict[str, int], text: str) -> None:
    there = layout(CONVOLUTION, FEW, TIGHT)
    code, regions = program(there)
    with pytest.raises(ProofError, match=text):
        prove(changed(code, first(code, head, **having), **fields), there, regions)


DENSE = Network((40,), [Dense(20), Dense(12), Dense(3)])


@pytest.mark.parametrize(
    ("network", "fields", "text"),
    [
        (DENSE, {"head": Head.LOSS, "own_centre": 0}, "gradients of 1 places do not wait for their mean"),
        (DENSE, {"own_centre": 0}, "gradients of 1 places do not wait for their mean"),
        (CONVOLUTION, {"own_centre": 1}, "gradients of 25 places wait for their mean"),
        (DENSE, {"tiles": 1}, r"centres \d+ gradients of 64 by their mean"),
        (DENSE, {"fresh": 0}, "centres 64 gradients of 64 by their mean"),
        (DENSE, {"commit": 0}, "centres 64 gradients of 64 by their mean"),
    ],
)
def test_gradients_that_their_own_mean_centres_come_in_one_pass(network: Network, fields: dict[str, int], text: str) -> None:
    there = layout(network, FEW, TIGHT)
    code, regions = program(there)
    with pytest.raises(ProofError, match=text):
        prove(changed(code, first(code, Head(fields.get("head", Head.BACKWARD))), **fields), there, regions)


def test_sums_that_are_left_behind_are_refused() -> None:
    there = layout(CONVOLUTION, FEW, TIGHT)
    code, regions = program(there)
    last = max(n for n, i in enumerate(code) if i.opcode == Opcode.PASS and i.fields["head"] == Head.BACKWARD)
    with pytest.raises(ProofError, match="the program leaves sums of channels behind"):
        prove(changed(code, last, closes=0), there, regions)


def test_long_sums_are_refused() -> None:
    there = layout(CONVOLUTION, FEW, TIGHT)
    code, regions = program(there)
    n = first(code, Head.FORWARD)
    wide = {"height": 255, "width": 255, "tiles": 100, "y_step": 0, "x_step": 0, "left_tile": 0, "left_y": 0, "left_x": 0}
    wide |= {"rows_planes": 0, "columns_planes": 0}
    with pytest.raises(ProofError, match=r"sums of 52020000 rows reach \d+ in a pass"):
        prove(changed(code, n, **wide), there, regions)


# External memory

OUTSIDE = {
    Opcode.LOAD: [
        ({"base": 65000}, "touches the .* buffer up to"),
        ({"count": 9999}, "touches the .* buffer up to"),
        ({"address": 64}, "where no tensor lies"),
        ({"address_stride": 1 << 24, "repeats": 2, "count": 1, "base_stride": 0}, "where no tensor lies"),
        ({"stride": 1 << 24}, "where no tensor lies"),
    ],
    Opcode.STORE: [({"base": 510}, "buffer up to"), ({"address": 1 << 31}, "where no tensor lies")],
    Opcode.GATHER: [
        ({"base": 380}, "writes the left buffer up to"),
        ({"sample_words": 4000, "count": 1}, "writes the left buffer up to"),
        ({"sample_bytes": 8}, "of a sample of 8"),
        ({"count": 512, "sample_words": 0}, "reads the order of samples up to"),
        ({"stride": 1 << 20}, "reads the order of samples up to"),
    ],
}


@pytest.mark.parametrize(("opcode", "fields", "text"), [(o, *case) for o, cases in OUTSIDE.items() for case in cases])
def test_a_wrong_transfer_is_refused(opcode: Opcode, fields: dict[str, int], text: str) -> None:
    there = layout(CONVOLUTION, FEW, TIGHT)
    code, regions = program(there)
    loop = next(n for n, instruction in enumerate(code) if instruction.opcode == Opcode.LOOP)
    begin = code[loop].fields["target"] // isa.INSTRUCTION_BYTES
    n = next(
        n for n in range(begin, loop) if code[n].opcode == opcode and code[n].fields["buffer"] in (Buffer.LEFT, Buffer.RIGHT)
    )
    with pytest.raises(ProofError, match=text):
        prove(changed(code, n, **fields), there, regions)


@pytest.mark.parametrize(
    ("buffer", "fields", "text"),
    [
        (Buffer.PARAMETERS, {"base": 1020}, "entries of 1024 parameters"),
        (Buffer.PARAMETERS, {"address": 1 << 31}, "touches parameters in memory up to"),
        (Buffer.REPORT, {"stride": 1 << 20}, "touches report in memory up to"),
    ],
)
def test_wrong_parameters_and_reports_are_refused(buffer: Buffer, fields: dict[str, int], text: str) -> None:
    there = layout(CONVOLUTION, FEW, TIGHT)
    code, regions = program(there)
    found = [n for n, i in enumerate(code) if i.opcode == Opcode.STORE and i.fields["buffer"] == buffer]
    with pytest.raises(ProofError, match=text):
        prove(changed(code, found[0], **fields), there, regions)


# What the layout accepts


@pytest.mark.parametrize("name", [*limits.EXTREMES, "sim-small", "pynq-z2", "pynq-z2-x64", "pynq-z2-lean"])
def test_whatever_the_layout_accepts_is_proven(name: str) -> None:
    config = {**limits.EXTREMES}.get(name) or configuration(name)
    accepted, seed = 0, 0
    while accepted < 4:
        accepted += compiled(seed, config, convolutions=seed % 2 == 1) == "accepted"
        seed += 1
