"""Boards that the accelerator is built for: a folder each. `BOARDS` has the built-in ones by name.

Only data is imported here, as drivers read it where there is no Amaranth.
"""

from __future__ import annotations

import os
from pathlib import Path

from bnnedge.boards import pynq_z1, pynq_z2
from bnnedge.boards.board import DESCRIPTION, Board, Part
from bnnedge.terminal import nearest

__all__ = ["BOARDS", "Board", "Part", "board"]

BOARDS: dict[str, Board] = {b.name: b for b in (pynq_z2.BOARD, pynq_z1.BOARD)}


def board(name: str | os.PathLike[str]) -> Board:
    """Return the built-in board of that name, or the one whose folder it is; ValueError if there is neither."""
    if str(name) in BOARDS:
        return BOARDS[str(name)]
    folder = Path(name).parent if Path(name).name == DESCRIPTION else Path(name)
    if not folder.is_dir():
        raise ValueError(
            f"there is no board {str(name)!r}: neither a built-in one ({', '.join(BOARDS)}) nor a folder with a {DESCRIPTION}"
            f"{nearest(str(name), BOARDS)}"
        )
    found = Board.from_folder(folder)
    if BOARDS.get(found.name, found) != found:
        raise ValueError(f"{name}: its name is that of the built-in board {found.name!r}, which is another: choose another name")
    return found
