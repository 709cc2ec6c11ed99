"""How loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when called, without Python's lock, and keep what was compiled where there is a folder for it."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's own folder nor the account's can be written to
        return numba.njit(nogil=True)(function)


inlined = numba.njit(nogil=True, inline="always")
