"""Programs on an independent machine: every operand is where the instructions look for it, and nothing overtakes it."""

from __future__ import annotations

import dataclasses

import limits
import pytest
from campaign import streaming
from interpreter import Machine, Mismatch, check_training
from networks import random_network
from ordering import check_order

from bnnedge import Configuration, Conv2D, Dense, MaxPool2D, Network, Settings, configuration, isa
from bnnedge.compiler import Compiler, tiling
from bnnedge.compiler.layout import fits, layout
from bnnedge.isa import Head, Instruction, Opcode
from bnnedge.layers import Layer

SMALL = configuration("sim-small")
# Buffers that hold less, and narrow weight words: more bands, groups of channels and tiles by turns, single copies.
TIGHT = dataclasses.replace(SMALL, left_depth=384, right_depth=512, latent=6)
NARROW = dataclasses.replace(SMALL, lanes=4, word=16, tile_rows=128)
WIDE = dataclasses.replace(SMALL, lanes=16, word=64, tile_rows=256)
CONFIGS = {"small": SMALL, "tight": TIGHT, "narrow": NARROW, "wide": WIDE}
FEW = Settings(batch=64, gradient_planes=2, input_planes=2, slope_planes=2)


def check(network: Network, settings: Settings, config: Configuration, steps: int = 2) -> None:
    """Run a program of training and one of inference."""
    machine = Machine(layout(network, settings, config))
    machine_order = machine.run(Compiler(machine.layout, machine.addresses()).training(steps, 1).instructions)
    check_training(machine, steps)
    check_order(machine_order)
    machine = Machine(layout(network, settings, config, training=False))
    check_order(machine.run(Compiler(machine.layout, machine.addresses()).inference(2).instructions))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(5))
def test_random_networks(config: str, seed: int) -> None:
    for number in range(seed, 1000, 100):
        network, settings = random_network(number, 3e4)
        if fits(network, settings, CONFIGS[config]):
            check(network, settings, CONFIGS[config])
            return
    pytest.fail("no network fits")


@pytest.mark.parametrize("streams", [False, True], ids=["resident", "streamed"])
@pytest.mark.parametrize("convolutions", [False, True], ids=["dense", "convolutions"])
@pytest.mark.parametrize("name", limits.EXTREMES)
def test_networks_at_the_limits(name: str, convolutions: bool, streams: bool) -> None:
    config, found = limits.EXTREMES[name], 0
    with streaming(streams):
        for seed in range(10_000):
            network, settings = limits.description(seed, config, convolutions=convolutions, most=config.channels)
            if limits.work(network, settings) < 2e6 and fits(network, settings, config):
                check(network, settings, config, steps=1)
                found += 1
            if found == 3:
                return
    pytest.fail("too few fit")


def test_pixels_windows_that_exceed_the_tile_buffer_are_taken_row_by_row() -> None:
    network = Network((10, 7, 2), [Conv2D(1, 7, 2, "same"), Dense(4)])
    config, settings = limits.EXTREMES["least"], Settings(batch=64, gradient_planes=4, input_planes=1, slope_planes=1)
    sets = layout(network, settings, config).cutter.update(0)
    assert (sets.taps_y, sets.tiling.tiles) == (1, 4)
    check(network, settings, config)


@pytest.mark.parametrize("word", [32, 64])
@pytest.mark.parametrize("layers", [[Conv2D(8, 1)], [Conv2D(8, 1), MaxPool2D()], [Conv2D(9, 3), MaxPool2D("sums")]])
def test_strips_of_as_many_pixels_as_an_instruction_can_tell(layers: list[Layer], word: int) -> None:
    config = dataclasses.replace(SMALL, word=word, left_depth=4096, right_depth=4096)
    check(Network((4, 64), [*layers, Dense(3)]), FEW, config, steps=1)


@pytest.mark.parametrize("sizes", [[20, 24, 12, 10], [70, 33, 5], [9, 2]])
def test_dense_networks_that_stay_on_the_chip(sizes: list[int]) -> None:
    network = Network((sizes[0],), [Dense(n) for n in sizes[1:]])
    assert layout(network, FEW, SMALL).resident is not None
    check(network, FEW, SMALL)


def test_a_dense_network_that_streams() -> None:
    network = Network((100,), [Dense(256), Dense(128), Dense(10)])
    assert layout(network, FEW, TIGHT).resident is None
    check(network, FEW, TIGHT)


@pytest.mark.parametrize("operation", ["forward", "backward"])
def test_more_channels_than_the_totals_hold_are_taken_in_shares(operation: str) -> None:
    network = Network((4, 4, 3), [Conv2D(300, padding="same"), Conv2D(280, 2, 2, "same"), Dense(10)])
    there = layout(network, FEW, SMALL)
    tiling = getattr(there.cutter, operation)(0)
    assert tiling.share * SMALL.lanes == SMALL.layer_channels < network.geometry[0].filters
    check(network, FEW, SMALL)


def test_more_channels_than_the_totals_hold_where_one_pass_covers_each() -> None:
    network = Network((64,), [Dense(302), Dense(720), Dense(10)])
    there = layout(network, dataclasses.replace(FEW, gradient_planes=4), SMALL)
    assert there.resident is None
    assert there.cutter.forward(0).share == 38
    check(network, there.settings, SMALL)


@pytest.mark.parametrize("config", ["small", "narrow"])
@pytest.mark.parametrize("batch", [32, 96, 160])
@pytest.mark.parametrize(
    "layers", [[Dense(40), Dense(9)], [Conv2D(12, padding="same"), MaxPool2D(), Conv2D(9, 3, 2), Dense(9)]], ids=["dense", "cnn"]
)
def test_batches_that_are_no_power_of_two(layers: list[Layer], batch: int, config: str) -> None:
    found = dataclasses.replace(CONFIGS[config], tile_rows=512, right_depth=640)
    check(Network((9, 9, 2), layers), dataclasses.replace(FEW, batch=batch), found)


def test_a_number_of_planes_for_each_layer() -> None:
    layers = [Conv2D(9, padding="same"), MaxPool2D(), Conv2D(10, 2), MaxPool2D("sums"), Dense(9), Dense(9)]
    check(Network((6, 6, 2), layers), dataclasses.replace(FEW, gradient_planes=(2, 5, 1, 8)), SMALL)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("batch", [64, 128])
def test_weight_gradients_that_exceed_the_accumulator_are_summed_in_parts(resident: bool, batch: int) -> None:
    network, config = Network((60,), [Dense(100), Dense(20), Dense(5)]), SMALL if resident else TIGHT
    settings = Settings(batch=batch, gradient_planes=8, slope_planes=8)
    there = layout(network, settings, config)
    assert (there.resident is not None) == resident
    assert there.cutter.update(0).words * config.word < batch
    assert there.cutter.update(1).words * config.word == batch
    check(network, settings, config)


def test_columns_of_less_than_a_batch_where_all_of_them_exceed_the_buffer() -> None:
    network, settings = Network((120,), [Dense(40), Dense(5)]), Settings(batch=128, gradient_planes=1, slope_planes=8)
    sets = layout(network, settings, TIGHT).cutter.update(0)
    assert sets.words * TIGHT.word < 128
    check(network, settings, TIGHT)


def test_parameters_by_turns() -> None:
    layers = [Conv2D(16, 1), Conv2D(16, 1), Conv2D(12, 1), Conv2D(16, 1), Dense(4)]
    config = dataclasses.replace(SMALL, channels=64)
    network = Network((2, 3, 3), layers)
    assert not layout(network, FEW, config).parameters_stay
    check(network, FEW, config)


def test_weight_gradients_in_parts_and_taps_row_by_row() -> None:
    network = Network((8, 8, 1), [Conv2D(12, 3, padding="same"), Conv2D(10, 7, 2, "same"), Dense(3)])
    settings = dataclasses.replace(FEW, batch=128, gradient_planes=4)
    there = layout(network, settings, TIGHT)
    sets = [there.cutter.update(i) for i in range(2)]
    assert sets[1].taps_y == 1
    assert any(found.tiling.rows < 4 for found in sets)
    assert there.plan.block[0] < 128
    check(network, settings, TIGHT)


def test_groups_of_channels_by_turns() -> None:
    network = Network((4, 4, 2), [Conv2D(64, 1), Conv2D(136, 2), Dense(3)])
    config = dataclasses.replace(TIGHT, right_depth=128)
    assert layout(network, FEW, config).cutter.forward(1).groups < 17
    check(network, FEW, config)


def test_columns_group_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "STALLED", 1.0)  # other ways, which have columns once, would be quicker by little
    network = Network((10, 10, 2), [Conv2D(32, 3), Conv2D(8, 3), Dense(4)])
    config = dataclasses.replace(TIGHT, left_depth=320, right_depth=192)
    taken = layout(network, FEW, config).cutter.backward(0)
    assert taken.apart
    assert taken.groups <= len(taken.rooms["columns"]) < 2 * taken.groups
    check(network, FEW, config)


# A mistake in any of these fields must be noticed, else the tests above show nothing.
FIELDS = {
    Head.FORWARD: "left_base left_y left_x left_tile left_tap_y left_twin right_base right_tap_y rows_base rows_plane "
    "rows_planes columns_base columns_y y_origin tail first_tile channel fresh commit inference reciprocal",
    Head.LOSS: "left_base rows_base columns_group columns_plane clips fresh commit images exponent twin",
    Head.BACKWARD: "left_base left_plane left_twin right_base side_base side_y side_plane rows_plane columns_plane twin clips "
    "random_base random_y x_origin fresh commit opens closes",
    Head.UPDATE: "left_base left_tap_y left_plane right_base right_tap_x right_plane right_twin random_base address columns_base "
    "rows_base rows_tile row_last unfinished rows",
}
POOLED = Network((6, 6, 2), [Conv2D(9, padding="same"), MaxPool2D(), Conv2D(10, 2), Dense(9), Dense(9)])


@pytest.mark.parametrize(("head", "field"), [(head, field) for head, fields in FIELDS.items() for field in fields.split()])
def test_a_wrong_field_is_noticed(head: Head, field: str) -> None:
    there = layout(POOLED, FEW, SMALL)
    right = Compiler(there, Machine(there).addresses()).training(1, 1).instructions
    bits = isa.layout(Opcode.PASS)[field].bits
    for n, instruction in enumerate(right):
        if instruction.opcode != Opcode.PASS or instruction.fields["head"] != head:
            continue
        value = instruction.fields.get(field, 0) + (2 if field == "address" else 1)
        code = list(right)
        code[n] = Instruction(Opcode.PASS, {**instruction.fields, field: value % (1 << bits)}, instruction.comment)
        machine = Machine(there)
        machine.addresses()
        try:
            machine.run(tuple(code))
            check_training(machine, 1)
        except (Mismatch, IndexError, KeyError):
            return
    pytest.fail("no pass needs it")


def test_a_missing_token_is_noticed() -> None:
    machine = Machine(layout(POOLED, FEW, SMALL))
    code = list(Compiler(machine.layout, machine.addresses()).training(1, 1).instructions)
    noticed = taken = 0
    for n, instruction in enumerate(code):
        for bit in range(8):
            if not instruction.fields.get("wait", 0) >> bit & 1 or n % 3:
                continue
            # Without this token, and the one that was given for it, the others meet as before.
            number = sum(before.fields.get("wait", 0) >> bit & 1 for before in code[:n])
            givers = [k for k, before in enumerate(code) if before.fields.get("signal", 0) >> bit & 1]
            shorter = list(code)
            for place, mask in ((n, "wait"), (givers[number], "signal")):
                fields = shorter[place].fields
                shorter[place] = Instruction(shorter[place].opcode, {**fields, mask: fields[mask] & ~(1 << bit)})
            taken += 1
            again = Machine(machine.layout)
            again.addresses()
            touched = again.run(tuple(shorter))
            try:
                check_order(touched)
            except Mismatch:
                noticed += 1
    # Some tokens stand for what others enforce as well.
    assert taken / 2 < noticed


@pytest.mark.parametrize(
    ("config", "network"),
    [
        (SMALL, Network((3, 9, 3), [Conv2D(40, 5, 2, "same"), Dense(9)])),
        (configuration("pynq-z2"), Network((4, 6, 2), [Conv2D(96, 7, padding="same"), Conv2D(4, 3, 2), Dense(3)])),
    ],
    ids=["sim-small", "pynq-z2"],
)
def test_unfinished_weight_gradients_fit_the_tile_buffer(config: Configuration, network: Network) -> None:
    # In a padded convolution of pixels the columns at the edges have passes of their own: sums are left unfinished.
    check(network, FEW, config, steps=1)
