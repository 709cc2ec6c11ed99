"""Models whose predictions, sizes or layers need a second look."""

from __future__ import annotations

from situations import Row

ROWS: list[Row] = []
