"""Orders instructions by what they touch: the semaphores between the units' queues are set here and nowhere else.

Instructions are given in a serial order that is right. Units run side by side; where one touches what another unit's
earlier instruction touches (and one of them writes), it waits for a token that the other gives when it is done.
"""

from __future__ import annotations

import bisect
import dataclasses
import enum
from collections.abc import Iterable, Sequence

from bnnedge import isa
from bnnedge.isa import Instruction, Opcode, Unit


class Giver(enum.Enum):
    """Instructions that end in the order in which they stand. A TRANSPOSE may end before the heads of the passes before it."""

    PASS = Unit.EXECUTE, "pass"
    TRANSPOSE = Unit.EXECUTE, "transpose"
    LOAD = Unit.LOAD, "load"
    STORE = Unit.STORE, "store"

    @property
    def unit(self) -> Unit:
        """Where they are carried out."""
        return self.value[0]


# Who gives -> who takes. The execute queue waits for itself: a pass is fetched while the head is busy with the one before. What a
# TRANSPOSE makes is not stored.
SEMAPHORES: dict[tuple[Giver, Unit], int] = {
    (Giver.PASS, Unit.EXECUTE): 0,
    (Giver.LOAD, Unit.EXECUTE): 1,
    (Giver.PASS, Unit.LOAD): 2,
    (Giver.PASS, Unit.STORE): 3,
    (Giver.STORE, Unit.EXECUTE): 4,
    (Giver.STORE, Unit.LOAD): 5,
    (Giver.LOAD, Unit.STORE): 6,
    (Giver.TRANSPOSE, Unit.LOAD): 7,
}

_GIVERS = {Opcode.PASS: Giver.PASS, Opcode.TRANSPOSE: Giver.TRANSPOSE, Opcode.STORE: Giver.STORE}

# Tokens of a semaphore that wait to be taken, in program order; units may be a few instructions ahead of that.
MOST_TOKENS = (1 << isa.TOKEN_BITS) // 2


@dataclasses.dataclass(frozen=True)
class Access:
    """A touch of `space`, a memory or a tensor in DDR: of the box of coordinates `box`, low <= i < high in each direction.

    late: at the end of a pass, by its head; the next pass may have begun by then.
    """

    space: str
    box: tuple[tuple[int, int], ...]
    writes: bool
    late: bool = False

    def overlaps(self, other: Access) -> bool:
        """Whether both touch one thing."""
        return all(low < high_ and low_ < high for (low, high), (low_, high_) in zip(self.box, other.box, strict=True))


class Order:
    """Collects instructions and works out who waits for whom."""

    def __init__(self) -> None:
        self.opcodes: list[Opcode] = []
        self.fields: list[dict[str, int]] = []
        self.comments: list[str] = []
        # Of each space and giver: the accesses so far, with the places of their instructions.
        self._past: dict[str, dict[Giver, list[tuple[int, Access]]]] = {}
        # Of each unit, and of each instruction when it starts: up to which place the givers' instructions are done.
        self._known = {giver.unit: dict.fromkeys(Giver, -1) for giver in Giver}
        self._known_at: list[dict[Giver, int]] = []
        self._waits: dict[tuple[Giver, Unit], list[int]] = {pair: [] for pair in SEMAPHORES}
        self._latest = dict.fromkeys(Giver, -1)

    def __len__(self) -> int:
        return len(self.opcodes)

    def add(self, opcode: Opcode, fields: dict[str, int], comment: str, accesses: Iterable[Access] = ()) -> None:
        """Append an instruction that touches this. SYNC and what follows it wait for everything."""
        place, unit = len(self.opcodes), isa.UNITS[opcode]
        self.opcodes.append(opcode)
        self.fields.append({name: int(value) for name, value in fields.items()})
        self.comments.append(comment)
        if unit == Unit.SEQUENCER:
            self._past.clear()
            self._known_at.append({})
            return
        accesses, this = list(accesses), _GIVERS.get(opcode, Giver.LOAD)
        if unit == Unit.EXECUTE:  # a pass begins behind the transposes before it
            self._known[unit][Giver.TRANSPOSE] = self._latest[Giver.TRANSPOSE]
        for giver in Giver:
            at = max((self._conflict(access, giver, unit) for access in accesses), default=-1)
            if at > self._known[unit][giver]:
                self._wait(giver, unit, at, place)
        self._known_at.append(dict(self._known[unit]))
        self._latest[this] = place
        for access in accesses:
            self._past.setdefault(access.space, {}).setdefault(this, []).append((place, access))

    def _conflict(self, access: Access, giver: Giver, unit: Unit) -> int:
        """Place of the last instruction of `giver` that this access has to wait for; -1 if there is none."""
        known = self._known[unit][giver]
        for place, past in reversed(self._past.get(access.space, {}).get(giver, ())):
            if place <= known:
                break
            # A unit works in order, but for what the head does at the end of a pass.
            in_order = giver.unit == unit and not (past.late and not access.late)
            if (access.writes or past.writes) and not in_order and access.overlaps(past):
                return place
        return -1

    def _wait(self, giver: Giver, unit: Unit, at: int, place: int) -> None:
        """The instruction at `place` takes a token that the one at `at` gives."""
        waits = self._waits[giver, unit]
        if len(waits) - bisect.bisect_right(waits, at) >= MOST_TOKENS:
            at = self._latest[giver]  # its token comes behind those that are still to be taken
        waits.append(place)
        token = 1 << SEMAPHORES[giver, unit]
        self.fields[place]["wait"] = self.fields[place].get("wait", 0) | token
        self.fields[at]["signal"] = self.fields[at].get("signal", 0) | token
        # What was done when that one started is done now.
        known = self._known[unit]
        for other, done in self._known_at[at].items():
            known[other] = max(known[other], done)
        known[giver] = max(known[giver], at)

    def instructions(self) -> Sequence[Instruction]:
        """All instructions, tokens included."""
        return [Instruction(*item) for item in zip(self.opcodes, self.fields, self.comments, strict=True)]
