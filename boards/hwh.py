"""Metadata for pynq."""

from __future__ import annotations

from bnnedge.boards.board import Board
from bnnedge.configuration import Configuration


def to_hwh(board: Board, config: Configuration) -> str:
    """The .hwh of the board's design."""
    return f'<EDKSYSTEM VERSION="1.2"><SYSTEMINFO DEVICE="{board.part.name}" NAME="bnnedge"/></EDKSYSTEM>\n'
