"""Entries of the parameter memory, for tests of what reads and writes them."""

from __future__ import annotations

from typing import NamedTuple

BETA, CENTRE = 1 << 19, 1 << 27  # the ends of their ranges
ONE = 64  # mu, psi and tau have 6 fraction bits


class Record(NamedTuple):
    """An entry of the parameter memory."""

    mu: int = 0
    psi: int = 0
    beta: int = 0
    centre: int = 0
    size: int = 0
