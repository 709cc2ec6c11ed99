"""An engineer's bench: configurations, boards, simulation, files for other tools."""

from __future__ import annotations

from situations import Row

ROWS: list[Row] = []
