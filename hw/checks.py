"""Assertions: what must not happen in any run, said in the unit where it would happen.

A design that is converted for the platform CHECKED has them: the simulated device and the tests of the units. What is
synthesised has none, nor anything that they alone need. An assertion that fails stops the simulation with its message.
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Shape, Signal
from amaranth.hdl import Assert, Format, Value

CHECKED = "checked"  # what `elaborate` gets as its platform
WIDE = 256  # bits from which on a payload is compared but once: instructions wait for as long as a pass takes


def check(m: Module, platform: object, when: Value, holds: Value, message: str, *values: Value) -> None:
    """Assert, at every clock edge at which `when` is true (and where `m.If` and its like lead here), that `holds` is.

    Each `{}` of the message stands for one of the values.
    """
    if platform == CHECKED:
        with m.If(when):
            m.d.sync += Assert(holds, Format(message, *values))


def check_fits(m: Module, platform: object, when: Value, exact: Value, shape: Any, message: str) -> None:
    """Assert that a register of this shape holds the exact value."""
    if platform == CHECKED:
        bits = Shape.cast(shape)
        kept = exact[: bits.width]
        holds = exact == (kept.as_signed() if bits.signed else kept)
        check(m, platform, when, holds, f"{message}: {{}} leaves {bits.width} bits", exact)


def check_stream(m: Module, platform: object, name: str, stream: Any) -> None:
    """Assert that a stream keeps an offer, with the same payload, until it is accepted."""
    check_offer(m, platform, name, stream.valid, stream.ready, Value.cast(stream.payload))


def check_offer(m: Module, platform: object, name: str, valid: Value, ready: Value, payload: Value) -> None:
    """`check_stream` for signals that are no stream."""
    if platform == CHECKED:
        waiting, offered = Signal(name=f"waiting_{name}"), Signal(len(payload), name=f"offered_{name}")
        m.d.sync += waiting.eq(valid & ~ready)
        with m.If(valid & ~waiting):
            m.d.sync += offered.eq(payload)
        check(m, platform, waiting, valid, f"{name}: valid fell before ready came")
        compared = waiting & valid & ready if len(payload) >= WIDE else waiting & valid
        check(m, platform, compared, payload == offered, f"{name}: the payload changed before ready came")
