"""The DDR memory that the verilated accelerator sees: bandwidth, latency, stalls, errors."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal

_HARNESS_QUEUE = 64
"""Most bursts that a queue of the harness holds."""


class CMemory(ctypes.Structure):
    """Mirror of ``MemoryModel`` in ``harness.cpp``."""

    _fields_ = [
        ("milli_bytes_per_cycle", ctypes.c_int64),
        ("latency", ctypes.c_int64),
        ("outstanding", ctypes.c_int64),
        ("hang_after", ctypes.c_int64),
        ("error_low", ctypes.c_uint64),
        ("error_high", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("stall", ctypes.c_uint32),
        ("error_on", ctypes.c_uint32),
    ]


class CTraffic(ctypes.Structure):
    """Mirror of ``Traffic`` in ``harness.cpp``."""

    _fields_ = [("bytes_read", ctypes.c_uint64), ("bytes_written", ctypes.c_uint64)]


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """How the memory behaves. The defaults are the pinned model under which cycle figures are quoted.

    Equal models give equal cycle counts: all arithmetic is in integers, all randomness comes from ``seed``.

    Parameters
    ----------
    bytes_per_cycle
        Bandwidth that all ports share, reads and writes together, in steps of 1/1000 byte. A beat costs 8 bytes
        whatever its strobes; ports and directions take turns. Less than one beat of unused bandwidth is saved up.
    latency
        Cycles from the acceptance of a read address to its first beat, and from the last beat of a write to its
        response; at least 1.
    stall
        Probability that a channel is held back in a cycle (0 up to, but not including, 1; steps of 1/65536): AR, AW and
        W are not ready, R and B put nothing new on the bus. Drawn per port, channel and cycle.
    seed
        Of the generator behind ``stall``; a reset starts it anew.
    outstanding
        Bursts that a port accepts ahead, per direction: reads until their last beat, writes until their response;
        1 to 64.
    error
        Device addresses ``(low, high)``, high excluded, that answer SLVERR: the read beats that touch them, the
        response of a write that touches them (its beats there change nothing). Outside of the DDR the answer is
        always DECERR.
    error_on
        Directions for which ``error`` counts.
    hang_after
        The memory falls silent after this many accepted bursts (all ports, both directions), until the next reset.

    Raises
    ------
    ValueError
        A parameter is outside of its range.
    """

    bytes_per_cycle: float = 14.0
    latency: int = 40
    stall: float = 0.0
    seed: int = 1
    outstanding: int = 8
    error: tuple[int, int] | None = None
    error_on: Literal["read", "write", "both"] = "both"
    hang_after: int | None = None

    def __post_init__(self) -> None:
        if not 0.001 <= self.bytes_per_cycle <= 1e6:
            raise ValueError(f"bytes_per_cycle must be from 0.001 to 1000000, not {self.bytes_per_cycle!r}")
        if self.latency < 1:
            raise ValueError(f"latency must be at least 1 cycle, not {self.latency!r}")
        if not 0 <= self.stall < 1:
            raise ValueError(f"stall must be a probability below 1, not {self.stall!r}")
        if not 1 <= self.outstanding <= _HARNESS_QUEUE:
            raise ValueError(f"outstanding must be from 1 to {_HARNESS_QUEUE}, not {self.outstanding!r}")
        if self.error is not None and not 0 <= self.error[0] < self.error[1]:
            raise ValueError(f"error must be (low, high) with low < high, not {self.error!r}")
        if self.error_on not in ("read", "write", "both"):
            raise ValueError(f"error_on must be 'read', 'write' or 'both', not {self.error_on!r}")
        if self.hang_after is not None and self.hang_after < 0:
            raise ValueError(f"hang_after must not be negative, not {self.hang_after!r}")

    def to_c(self) -> CMemory:
        """The struct that the harness takes."""
        low, high = self.error or (0, 0)
        return CMemory(
            milli_bytes_per_cycle=round(self.bytes_per_cycle * 1000),
            latency=self.latency,
            outstanding=self.outstanding,
            hang_after=-1 if self.hang_after is None else self.hang_after,
            error_low=low,
            error_high=high,
            seed=self.seed,
            stall=int(self.stall * 65536),
            error_on={"read": 1, "write": 2, "both": 3}[self.error_on],
        )
