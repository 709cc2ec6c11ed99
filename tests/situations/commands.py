"""The command line, paths and accounts."""

from __future__ import annotations

from situations import Row

ROWS: list[Row] = []
