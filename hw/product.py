"""Products of wide numbers."""

from __future__ import annotations

from amaranth import Module
from amaranth.hdl import Value

from bnnedge.hw.delay import delayed

PART_BITS = 24  # unsigned: a multiplier block takes signed numbers of 25 and 18 bits
LATENCY = 3


def product(m: Module, wide: Value, narrow: Value, name: str) -> Value:
    """``wide * narrow``, LATENCY cycles later, from a register.

    The upper bits of `wide` are multiplied a cycle behind the lower ones, whose product is added to theirs in the next: each
    cycle goes through one multiplier block, where synthesis by itself would go through both at once.

    wide: more than one part, two at most. narrow: 18 bits, or 17 unsigned.
    """
    assert PART_BITS < len(wide) <= 2 * PART_BITS
    high = wide[PART_BITS:].as_signed() if wide.shape().signed else wide[PART_BITS:]
    lower = delayed(m, wide[:PART_BITS] * narrow, 2, f"{name}_lower")
    late_high, late_narrow = delayed(m, high, 1, f"{name}_high"), delayed(m, narrow, 1, f"{name}_narrow")
    upper = delayed(m, late_high * late_narrow, 1, f"{name}_upper")
    return delayed(m, (upper << PART_BITS) + lower, 1, name)
