"""What the tests of boards share: one board, and the type of the fixture that makes tools which only pretend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bnnedge.boards import BOARDS

BOARD = BOARDS["pynq-z2"]
Tool = Callable[[str, str], Path]
