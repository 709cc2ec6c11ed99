"""Programs: order, tokens, encoding."""

from __future__ import annotations

import pytest
from networks import random_network

from bnnedge import Dense, Network, Settings, cnv, configuration, mlp
from bnnedge.compiler import Addresses, Compiler
from bnnedge.compiler.layout import layout
from bnnedge.compiler.program import Program, checked
from bnnedge.isa import INSTRUCTION_BYTES, Head, Instruction, Opcode, decode


def compiler(network: Network, *, training: bool = True, **settings: int) -> Compiler:
    """A compiler for the board's configuration."""
    there = layout(network, Settings(**settings), configuration("pynq-z2"), training=training)  # type: ignore[arg-type]
    return Compiler(there, Addresses(latents=tuple(range(0, 4096 * len(network.geometry), 4096))))


def heads(program: Program) -> list[str]:
    """The passes of a program by their heads."""
    return [Head(i.fields["head"]).name for i in program.instructions if i.opcode == Opcode.PASS]


def test_a_step_is_forward_loss_then_data_and_weight_gradients_by_turns() -> None:
    program = compiler(mlp()).training(5, 100)
    assert heads(program) == ["FORWARD"] * 4 + ["LOSS"] + ["BACKWARD", "UPDATE"] * 4 + ["UPDATE"]
    assert sum(i.opcode == Opcode.TRANSPOSE for i in program.instructions) == 2


def test_inference_only_goes_forward() -> None:
    program = compiler(mlp(), training=False).inference(3)
    assert heads(program) == ["FORWARD"] * 4 + ["LOSS"]
    assert all(i.fields["inference"] == 1 for i in program.instructions if i.opcode == Opcode.PASS)


def test_the_number_of_steps_does_not_change_the_length() -> None:
    network = Network((30,), [Dense(4)])
    assert len(compiler(network).training(1, 1).instructions) == len(compiler(network).training(10_000, 1).instructions)


def test_encoding_is_undone_by_decoding() -> None:
    program = compiler(mlp()).training(7, 321)
    code = program.encode()
    assert len(code) == INSTRUCTION_BYTES * len(program.instructions)
    for n, instruction in enumerate(program.instructions):
        again = decode(code[n * INSTRUCTION_BYTES : (n + 1) * INSTRUCTION_BYTES])
        assert again.opcode == instruction.opcode
        assert {k: v for k, v in again.fields.items() if v} == {k: v for k, v in instruction.fields.items() if v}


def test_listing_has_a_line_for_each_instruction_and_its_fields() -> None:
    program = compiler(mlp()).training(7, 321)
    lines = program.listing().splitlines()
    assert len(lines) == 2 * len(program.instructions)
    assert any("data gradient, layer 1" in line for line in lines)
    assert "count=7" in program.listing()


def test_a_wait_that_program_order_does_not_satisfy_is_refused() -> None:
    with pytest.raises(ValueError, match="waits for semaphore 3 for ever"):
        checked([Instruction(Opcode.SYNC, {"signal": 4}), Instruction(Opcode.SYNC, {"wait": 12}, "x")])
    # the second round of a loop lacks what only the part before the loop gives
    body = Instruction(Opcode.SYNC, {"wait": 1}, "x")
    loop = Instruction(Opcode.LOOP, {"count": 2, "target": INSTRUCTION_BYTES})
    with pytest.raises(ValueError, match=r"instruction 1 .x. waits for semaphore 0"):
        checked([Instruction(Opcode.SYNC, {"signal": 1}), body, loop])


@pytest.mark.parametrize("rate", [-1, 1 << 16])
def test_a_rate_that_does_not_fit_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match=r"layer 1 .dense 256.: learning rate .* does not fit 16 bits"):
        compiler(mlp()).training(1, rate)


def test_rates_are_scaled_as_the_weights_of_each_layer_are() -> None:
    network = Network((2048,), [Dense(20), Dense(4)])
    code = compiler(network, slope_planes=1).training(1, 1000).instructions
    passes = [i.fields for i in code if i.opcode == Opcode.PASS and "rate" in i.fields]
    rates = {(Head(f["head"]), f["layer"]): f["rate"] for f in passes}
    # With 10 bits of latent weight a quarter; 2**3 times as much where weights are 2**3 times as large.
    assert rates == {(Head.LOSS, 1): 1000, (Head.BACKWARD, 0): 1000, (Head.UPDATE, 1): 250, (Head.UPDATE, 0): 2000}
    compiler(network, slope_planes=1).training(1, (1 << 15) - 1)
    with pytest.raises(ValueError, match=r"layer 1 .dense 20.: learning rate 32768, .* does not fit 16 bits"):
        compiler(network, slope_planes=1).training(1, 1 << 15)


def test_semaphores_that_fill_up_or_have_two_takers_are_refused() -> None:
    give = Instruction(Opcode.SYNC, {"signal": 1}, "x")
    with pytest.raises(ValueError, match="more tokens than it can count"):
        checked([give] * 16)
    with pytest.raises(ValueError, match="leaves tokens behind"):
        checked([give, Instruction(Opcode.LOOP, {"count": 2, "target": 0})])
    with pytest.raises(ValueError, match="waits for semaphore 0, as unit load does"):
        checked([give, give, Instruction(Opcode.LOAD, {"wait": 1}), Instruction(Opcode.STORE, {"wait": 1}, "x")])


@pytest.mark.parametrize("name", ["sim-small", "pynq-z2", "pynq-z2-x64"])
@pytest.mark.parametrize("seed", range(8))
def test_programs_of_random_networks_are_legal(name: str, seed: int) -> None:
    # `training` and `inference` end in `checked`; instructions refuse values that their fields do not hold.
    network, settings = random_network(seed, 3e6)
    for training in (True, False):
        try:
            there = layout(network, settings, configuration(name), training=training)
        except ValueError:  # too large
            continue
        made = Compiler(there, Addresses(latents=(0,) * len(network.geometry)))
        program = made.training(2, 1) if training else made.inference(2)
        again = [decode(instruction.encode()) for instruction in program.instructions]
        assert [instruction.opcode for instruction in again] == [instruction.opcode for instruction in program.instructions]


def test_the_papers_cnv_is_a_program_of_a_few_thousand_instructions() -> None:
    code = compiler(cnv(), batch=128, gradient_planes=4).training(2, 1).instructions
    assert 1000 < len(code) < 10_000
    passes = [i for i in code if i.opcode == Opcode.PASS]
    for head, layers in ((Head.FORWARD, 8), (Head.LOSS, 1), (Head.BACKWARD, 8), (Head.UPDATE, 9)):
        assert len({i.fields["layer"] for i in passes if i.fields["head"] == head}) == layers


def test_the_order_of_a_step_with_convolutions() -> None:
    program = compiler(cnv(), batch=128, gradient_planes=4).training(2, 1)
    steps = [(i.fields["head"], i.fields["layer"]) for i in program.instructions if i.opcode == Opcode.PASS]
    order = list(dict.fromkeys(steps))
    backward = [step for i in range(8, 0, -1) for step in ((Head.UPDATE, i), (Head.BACKWARD, i - 1))]
    assert order == [*((Head.FORWARD, i) for i in range(8)), (Head.LOSS, 8), *backward, (Head.UPDATE, 0)]
