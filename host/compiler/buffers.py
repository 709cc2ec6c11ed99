"""Where tensors live while a step runs: all of them in the on-chip buffers, or in DDR, with parts on the chip by turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bnnedge.compiler.emitter import Emitter
from bnnedge.compiler.plan import Plan
from bnnedge.compiler.tensors import View
from bnnedge.configuration import Configuration


class Allocator:
    """First-fit addresses for things that live from one operation to another (both included)."""

    def __init__(self) -> None:
        self.placed: list[tuple[int, int, tuple[int, int]]] = []

    def place(self, size: int, life: tuple[int, int]) -> int:
        """Return the lowest address at which `size` addresses are free during `life`."""
        base = 0
        for low, high, (first, last) in sorted(self.placed):
            if first <= life[1] and life[0] <= last and low < base + size and base < high:
                base = high
        self.placed.append((base, base + size, life))
        return base

    @property
    def used(self) -> int:
        """Up to the highest address in use."""
        return max((high for _, high, _ in self.placed), default=0)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Room that an operation needs: `size` addresses, up to `copies` times, so that one is filled while another is used.

    sides: buffers in which it may lie. least: copies that it can't do without. early: it is brought while the operation before
    still works, so it lies farthest from what that one uses last.
    """

    role: str
    size: int
    sides: tuple[str, ...]
    copies: int = 2
    least: int = 1
    early: bool = False


# Buffer, first address and size of each copy of a piece.
Room = tuple[tuple[str, int, int], ...]


def fit(pieces: Sequence[Piece], config: Configuration, *, from_top: bool = False) -> dict[str, Room] | None:
    """Place pieces; None if they do not fit. Further copies come as far as there is room, in the order of the pieces."""
    free = {"left": config.left_depth, "right": config.right_depth}
    rooms: dict[str, Room] = {}

    def place(piece: Piece) -> bool:
        side = max(piece.sides, key=lambda side: free[side])
        if free[side] < piece.size:
            return False
        free[side] -= piece.size
        depth = config.left_depth if side == "left" else config.right_depth
        base = free[side] if from_top else depth - free[side] - piece.size
        rooms[piece.role] = (*rooms.get(piece.role, ()), (side, base, piece.size))
        return True

    for piece in sorted(pieces, key=lambda piece: (not piece.early, len(piece.sides), -piece.size)):
        if not all(place(piece) for _ in range(piece.least)):
            return None
    for copy in range(1, max(piece.copies for piece in pieces)):
        for piece in pieces:
            if piece.least <= copy < piece.copies:
                place(piece)
    return rooms


class Resident:
    """Every tensor has its home in a buffer, by lifetime; nothing moves."""

    resident = True

    def __init__(self, plan: Plan) -> None:
        buffers = {"left": Allocator(), "right": Allocator()}
        self.homes: dict[str, View] = {}
        # The largest first: small ones find room between them.
        for name, item in sorted(plan.tensors.items(), key=lambda entry: -entry[1].tensor.size):
            kind = name.split(".")[1] if "." in name else name
            if kind == "input_top":
                continue
            side = "right" if kind.startswith("weight") or kind == "code_columns" else "left"
            base = buffers[side].place(item.tensor.size, item.life)
            self.homes[name] = View.of(item.tensor, side, base)
        self.used = {side: allocator.used for side, allocator in buffers.items()}

    def begin(self, rooms: dict[str, Room], uses: Mapping[str, int] | None = None) -> None:
        """There is nothing to make room for."""

    def take(self, role: str, *views: View) -> list[View]:
        """Operands."""
        return [self.homes[view.tensor.name] for view in views]

    def give(self, role: str, *views: View) -> list[View]:
        """Room for results."""
        return self.take(role, *views)

    def keep(self, views: Sequence[View]) -> None:
        """Results are complete, and stay."""

    def finish(self) -> None:
        """There is nothing to store."""


class Streamed:
    """Operands come from DDR and results go there; what is on the chip already is not brought again."""

    resident = False

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.rooms: dict[str, Room] = {}
        self.held: dict[str, list[tuple[View, ...]]] = {}  # views in each copy of a role's room
        self.turns: dict[str, list[int]] = {}  # the copies; what was used last comes last
        self.results: list[View] = []

    def begin(self, rooms: dict[str, Room], uses: Mapping[str, int] | None = None) -> None:
        """Another phase or operation, with these rooms; what lies in one that a role has again stays there.

        uses: how often results take a role's room. The next operation's first operands come to the other end of the buffers
        while these are still stored: so of the copies, which take turns, the last one, nearest to that end, rests at the end.
        """
        before = {role: dict(zip(room, self.held[role], strict=True)) for role, room in self.rooms.items()}
        self.rooms = rooms
        self.held = {role: [before.get(role, {}).get(copy, ()) for copy in room] for role, room in rooms.items()}
        self.turns = {}
        for role, room in rooms.items():
            first = -(1 + uses[role]) % len(room) if uses and role in uses else 0
            self.turns[role] = [*range(first, len(room)), *range(first)]

    def take(self, role: str, *views: View) -> list[View]:
        """Operands, which lie one behind the other."""
        found = self.find(role, *views)
        if not found:
            found = self.give(role, *views)
            for view in found:
                if any(view.tensor.name == result.tensor.name for result in self.results):
                    self.finish()
                self.emitter.load(view)
        return found

    def find(self, role: str, *views: View) -> list[View]:
        """Those views, if they are on the chip."""
        for copy, held in enumerate(self.held[role]):
            if tuple(dataclasses.replace(view, buffer="left", base=0) for view in held) == views:
                self._use(role, copy)
                return list(held)
        return []

    def _use(self, role: str, copy: int) -> None:
        turns = self.turns[role]
        turns.append(turns.pop(turns.index(copy)))

    def give(self, role: str, *views: View) -> list[View]:
        """Room for results, or for operands that are made on the chip; one behind the other."""
        copy = self.turns[role][0]
        self._use(role, copy)
        (buffer, base, size), placed = self.rooms[role][copy], []
        assert sum(view.size for view in views) <= size, f"{role} of {views[0].tensor.name} needs more room than planned"
        for view in views:
            placed.append(dataclasses.replace(view, buffer=buffer, base=base))
            base += view.size
        if any(_same_place(view, result) for view in placed for result in self.results):
            self.finish()
        self.held[role][copy] = tuple(placed)
        return placed

    def keep(self, views: Sequence[View]) -> None:
        """Results are complete. They go to DDR behind the next pass, so that it is on its way while they are stored."""
        self.results += views

    def finish(self) -> None:
        """Store what is complete."""
        for view in self.results:
            self.emitter.store(view)
        self.results = []


def _same_place(a: View, b: View) -> bool:
    return a.buffer == b.buffer and a.base < b.base + b.size and b.base < a.base + a.size
