"""Free memory, as Linux reports it in /proc/meminfo."""

from __future__ import annotations

import contextlib
from pathlib import Path

PATH = Path("/proc/meminfo")


def meminfo() -> dict[str, int]:
    """Bytes by Linux's own names, such as MemAvailable; empty where there is no such file."""
    found = {}
    with contextlib.suppress(OSError):
        for line in PATH.read_text().splitlines():
            name, _, value = line.partition(":")
            with contextlib.suppress(ValueError, IndexError):
                found[name] = int(value.split()[0]) << 10
    return found
