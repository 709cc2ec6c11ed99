"""Whether tokens keep instructions in order that touch the same things: worked out from what an `interpreter.Machine` saw."""

from __future__ import annotations

import collections

from interpreter import Mismatch, Touch

from bnnedge import isa
from bnnedge.isa import Opcode

# What a unit can know to be done: what execute has fetched, what the heads have ended, loads, stores.
_FETCHED, _ENDED, _LOADED, _STORED = range(4)
_GIVERS = {isa.Unit.LOAD: _LOADED, isa.Unit.STORE: _STORED}


def check_order(touched: list[Touch]) -> None:
    """Mismatch if two instructions touch one place, one of them writing, and may do so in another order than the program's.

    A unit begins an instruction behind the one before, and behind those whose tokens it takes. A pass ends (`late`) behind
    all passes before it, but the next one is fetched while it goes on.
    """
    done = [-1] * 4  # of each kind, the latest instruction that the unit now beginning knows to be done
    knows: dict[isa.Unit, list[int]] = {unit: list(done) for unit in isa.Unit}
    tokens: dict[int, collections.deque[list[int]]] = collections.defaultdict(collections.deque)
    writer: dict[tuple[str, int], tuple[int, int]] = {}
    readers: dict[tuple[str, int], dict[int, int]] = collections.defaultdict(dict)
    for n, touch in enumerate(touched):
        instruction = touch.instruction
        unit, fields = isa.UNITS[instruction.opcode], instruction.fields
        if unit == isa.Unit.SEQUENCER:  # waits for everything
            knows = {unit: [n] * 4 for unit in isa.Unit}
            continue
        begin = knows[unit]
        for bit in range(isa.SEMAPHORES):
            if fields.get("wait", 0) >> bit & 1:
                begin = [max(pair) for pair in zip(begin, tokens[bit].popleft(), strict=True)]
        is_pass = instruction.opcode == Opcode.PASS
        kind = _GIVERS.get(unit, _FETCHED)
        end = list(begin)
        end[kind] = n  # behind all that this unit did before
        if is_pass:
            end[_ENDED] = n
        # The head of a pass knows what the unit knew when it began, and ends behind the heads before.
        late = list(end)
        late[_ENDED] = n if is_pass else begin[_ENDED]
        for places, writes, known, stage in (
            (touch.reads, False, begin, kind),
            (touch.writes, True, begin, kind),
            (touch.late_reads, False, late, _ENDED),
            (touch.late_writes, True, late, _ENDED),
        ):
            for place in places:
                stage_before, before = writer.get(place, (stage, -1))
                others = [(stage_before, before)] + (list(readers[place].items()) if writes else [])
                for other_stage, other in others:
                    in_order = other_stage in ((stage,) if is_pass else (stage, kind))
                    if other != n and other > known[other_stage] and not in_order:
                        raise Mismatch(
                            f"instruction {n} ({instruction.comment}) does not wait for {other} "
                            f"({touched[other].instruction.comment}), which touches {place} too"
                        )
                if writes:
                    writer[place] = (stage, n)
                    readers[place] = {}
                else:
                    readers[place][stage] = n
        knows[unit] = list(begin)
        knows[unit][kind] = n
        for bit in range(isa.SEMAPHORES):
            if fields.get("signal", 0) >> bit & 1:
                tokens[bit].append(end)
