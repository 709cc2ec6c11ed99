"""Boards that the accelerator is built for: a folder each. `BOARDS` has them by name.

Only data is imported here, as drivers read it where there is no Amaranth.
"""

from __future__ import annotations

from bnnedge.boards import pynq_z1, pynq_z2
from bnnedge.boards.board import Board, Part
from bnnedge.terminal import nearest

__all__ = ["BOARDS", "Board", "Part", "board"]

BOARDS: dict[str, Board] = {b.name: b for b in (pynq_z2.BOARD, pynq_z1.BOARD)}


def board(name: str) -> Board:
    """Return the board called `name`; ValueError lists those that there are."""
    try:
        return BOARDS[name]
    except KeyError:
        raise ValueError(f"there is no board {name!r}; there are {', '.join(BOARDS)}{nearest(name, BOARDS)}") from None
