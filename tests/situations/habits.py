"""Habits from Keras and scikit-learn."""

from __future__ import annotations

from situations import Row

ROWS: list[Row] = []
