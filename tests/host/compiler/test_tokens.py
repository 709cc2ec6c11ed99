"""Which tokens the order of instructions asks for."""

from __future__ import annotations

import random

import pytest

from bnnedge import isa
from bnnedge.compiler.program import checked
from bnnedge.compiler.tokens import SEMAPHORES, Access, Giver, Order
from bnnedge.isa import Opcode, Unit

Box = tuple[int, int]
INSTRUCTION = {Unit.EXECUTE: Opcode.PASS, Unit.LOAD: Opcode.LOAD, Unit.STORE: Opcode.STORE}
GIVEN = {giver: Opcode[giver.name] for giver in Giver}


def touches(box: Box, *, writes: bool, late: bool = False, space: str = "left") -> Access:
    """A touch of some addresses."""
    return Access(space, (box,), writes, late)


def tokens(order: Order) -> list[tuple[int, int, int]]:
    """(giver, taker, semaphore) of each token, as a machine that carries out one instruction after another finds them."""
    found, waiting = [], {bit: list[int]() for bit in range(isa.SEMAPHORES)}
    for n, instruction in enumerate(order.instructions()):
        for bit, givers in waiting.items():
            if instruction.fields.get("wait", 0) >> bit & 1:
                found.append((givers.pop(0), n, bit))
            if instruction.fields.get("signal", 0) >> bit & 1:
                givers.append(n)
    assert not any(waiting.values())
    return found


def two(first: Giver, second: Unit, a: Access, b: Access) -> list[tuple[int, int, int]]:
    """Tokens of two instructions."""
    order = Order()
    order.add(GIVEN[first], {}, "", [a])
    order.add(INSTRUCTION[second], {}, "", [b])
    return tokens(order)


@pytest.mark.parametrize(("giver", "taker"), [pair for pair in SEMAPHORES if pair[0].unit != pair[1]])
@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_a_unit_waits_for_what_another_reads_or_writes(giver: Giver, taker: Unit, before: bool, after: bool) -> None:
    a, b = touches((0, 8), writes=before), touches((7, 9), writes=after)
    assert two(giver, taker, a, b) == [(0, 1, SEMAPHORES[giver, taker])]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (touches((0, 8), writes=False), touches((0, 8), writes=False)),  # both read
        (touches((0, 8), writes=True), touches((8, 9), writes=True)),  # side by side
        (touches((0, 8), writes=True), touches((0, 8), writes=True, space="right")),
    ],
)
def test_there_is_no_token_where_none_is_needed(a: Access, b: Access) -> None:
    assert two(Giver.LOAD, Unit.EXECUTE, a, b) == []


def test_boxes_meet_only_if_they_do_in_every_direction() -> None:
    a = Access("DDR x", ((0, 4), (2, 3)), writes=True)
    assert two(Giver.STORE, Unit.LOAD, a, Access("DDR x", ((3, 5), (3, 4)), writes=False)) == []
    assert len(two(Giver.STORE, Unit.LOAD, a, Access("DDR x", ((3, 5), (2, 4)), writes=False))) == 1


def test_a_unit_works_in_order_but_passes_overlap() -> None:
    late, early = touches((0, 8), writes=True, late=True), touches((0, 8), writes=False)
    assert two(Giver.PASS, Unit.EXECUTE, late, early) == [(0, 1, 0)]  # fetched while the head still writes
    assert two(Giver.PASS, Unit.EXECUTE, early, late) == []
    assert two(Giver.PASS, Unit.EXECUTE, late, late) == []  # heads work in order
    assert two(Giver.LOAD, Unit.LOAD, touches((0, 8), writes=True), touches((0, 8), writes=True)) == []


def test_a_transpose_ends_before_the_heads_of_passes_before_it() -> None:
    order = Order()
    order.add(Opcode.PASS, {}, "", [touches((0, 1), writes=True, late=True)])
    order.add(Opcode.TRANSPOSE, {}, "", [touches((1, 2), writes=False)])
    order.add(Opcode.LOAD, {}, "", [touches((1, 2), writes=True)])  # knows nothing of the pass
    order.add(Opcode.LOAD, {}, "", [touches((0, 1), writes=True)])
    order.add(Opcode.PASS, {}, "", [touches((1, 2), writes=True)])  # behind the load, and what it has waited for
    expected = [(1, 2, SEMAPHORES[Giver.TRANSPOSE, Unit.LOAD]), (0, 3, SEMAPHORES[Giver.PASS, Unit.LOAD])]
    assert tokens(order) == [*expected, (2, 4, SEMAPHORES[Giver.LOAD, Unit.EXECUTE])]
    assert two(Giver.TRANSPOSE, Unit.EXECUTE, touches((0, 1), writes=True), touches((0, 1), writes=False)) == []


def test_one_token_stands_for_all_before_it() -> None:
    order = Order()
    for n in range(3):
        order.add(Opcode.LOAD, {}, "", [touches((n, n + 1), writes=True)])
    order.add(Opcode.PASS, {}, "", [touches((0, 3), writes=False)])
    order.add(Opcode.PASS, {}, "", [touches((0, 2), writes=False)])  # knows it already
    assert tokens(order) == [(2, 3, SEMAPHORES[Giver.LOAD, Unit.EXECUTE])]


def test_what_was_written_over_needs_no_token() -> None:
    order = Order()
    order.add(Opcode.STORE, {}, "", [touches((0, 4), writes=False)])
    order.add(Opcode.LOAD, {}, "", [touches((0, 4), writes=True)])
    order.add(Opcode.PASS, {}, "", [touches((0, 4), writes=True)])
    assert [(giver, taker) for giver, taker, _ in tokens(order)] == [(0, 1), (1, 2)]


def test_a_sync_is_behind_and_before_everything() -> None:
    order = Order()
    order.add(Opcode.LOAD, {}, "", [touches((0, 4), writes=True)])
    order.add(Opcode.SYNC, {}, "")
    order.add(Opcode.PASS, {}, "", [touches((0, 4), writes=False)])
    assert tokens(order) == []


def test_tokens_never_pile_up() -> None:
    # The later pass waits for the earlier load: without a bound, all tokens of the first half are pending at once.
    order = Order()
    for n in range(100):
        order.add(Opcode.LOAD, {}, "", [touches((n, n + 1), writes=True)])
    for n in range(100):
        order.add(Opcode.PASS, {}, "", [touches((n, n + 1), writes=False)])
    checked(list(order.instructions()))
    order = Order()
    for n in range(100):
        order.add(Opcode.LOAD, {}, "", [touches((n, n + 1), writes=True)])
        if n >= 50:
            order.add(Opcode.PASS, {}, "", [touches((n - 50, n - 49), writes=False)])
    checked(list(order.instructions()))


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_are_in_order(seed: int) -> None:
    r = random.Random(seed)
    order, all_touches = Order(), []
    for _ in range(120):
        giver = r.choice(list(Giver))
        accesses = []
        for _ in range(r.randint(1, 3)):
            low = r.randint(0, 30)
            late = giver == Giver.PASS and r.random() < 0.5
            # What a TRANSPOSE makes, no STORE takes.
            space = {Giver.TRANSPOSE: "left", Giver.STORE: "right"}.get(giver) or r.choice(["left", "right"])
            accesses.append(touches((low, low + r.randint(1, 6)), writes=r.random() < 0.5, late=late, space=space))
        order.add(GIVEN[giver], {}, "", accesses)
        all_touches.append((giver, accesses))
    checked(list(order.instructions()))
    # Known to be done when an instruction begins: everything that leads to it by tokens, or by the order within a unit.
    given: dict[int, list[int]] = {n: [] for n in range(120)}
    for giver, taker, _ in tokens(order):
        given[taker].append(giver)
    done: list[set[int]] = []  # begin of instruction n: these have ended
    for n, (this, accesses) in enumerate(all_touches):
        known: set[int] = set()
        before = max((k for k in range(n) if all_touches[k][0].unit == this.unit), default=None)
        if before is not None:
            known |= done[before] | ({before} if all_touches[before][0] != Giver.PASS else set())
        for giver in given[n]:
            known |= done[giver] | {k for k in range(giver + 1) if all_touches[k][0] == all_touches[giver][0]}
        done.append(known)
        for k in range(n):
            for a in all_touches[k][1]:
                for b in accesses:
                    if not (a.space == b.space and (a.writes or b.writes) and a.overlaps(b)):
                        continue
                    in_order = all_touches[k][0].unit == this.unit and (not a.late or b.late)
                    assert in_order or k in known, (k, n)
