"""Primitives of Xilinx 7-series parts, for what synthesis does not map well by itself.

Amaranth designs converted for the platform SERIES7 have them; simulations and other parts get the same in plain Amaranth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amaranth import C, Cat, ClockSignal, Instance, Module, Signal
from amaranth.hdl import Value

SERIES7 = "7-series"  # what `elaborate` gets as its platform
LUT_INPUTS = 6


def lookup(m: Module, function: Callable[[Sequence[int]], int], inputs: Sequence[Value]) -> Signal:
    """`function` of up to six bits as one LUT6."""
    assert len(inputs) <= LUT_INPUTS
    table = 0
    for number in range(1 << len(inputs)):
        table |= function([number >> i & 1 for i in range(len(inputs))]) << number
    for width in range(len(inputs), LUT_INPUTS):  # whatever the inputs that are not used
        table |= table << (1 << width)
    output = Signal()
    ports = {f"i_I{i}": inputs[i] if i < len(inputs) else C(0, 1) for i in range(LUT_INPUTS)}
    m.submodules += Instance("LUT6", p_INIT=C(table, 64), o_O=output, **ports)
    return output


def accumulator(
    addend: Signal, first: Value, step: Value, *, double: Value | None = None, minus: Value | None = None
) -> tuple[Instance, Signal]:
    """A DSP48E1 whose 48-bit sum becomes ``(0 | sum | 2 * sum) +- addend``: all but `step` are registered, and taken in the
    next cycle if `step` is 1 then.
    """
    assert len(addend) == 48
    double, minus = (C(0, 1) if given is None else given for given in (double, minus))
    total = Signal(48)
    # Z: 0 or P; Y: C; X: 0 or P, which doubles. Z + (X + Y) or Z - (X + Y).
    mode = Cat(C(0, 1), double & ~first, C(0b11, 2), C(0, 1), ~first, C(0, 1))
    ports = {"CLK": ClockSignal(), "C": addend, "OPMODE": mode, "ALUMODE": Cat(minus, minus, C(0, 2)), "CEP": step}
    ports |= {name: C(1, 1) for name in ("CEC", "CECTRL", "CEALUMODE")}
    unused = {"A": 30, "B": 18, "D": 25, "ACIN": 30, "BCIN": 18, "PCIN": 48, "INMODE": 5, "CARRYINSEL": 3}
    unused |= dict.fromkeys(("CARRYIN", "CARRYCASCIN", "MULTSIGNIN"), 1)
    unused |= dict.fromkeys((f"CE{name}" for name in ["A1", "A2", "B1", "B2", "D", "AD", "M", "INMODE", "CARRYIN"]), 1)
    unused |= dict.fromkeys(
        (f"RST{name}" for name in ["A", "B", "C", "D", "M", "P", "CTRL", "INMODE", "ALUMODE", "ALLCARRYIN"]), 1
    )
    ports |= {name: C(0, bits) for name, bits in unused.items()}
    registers = dict.fromkeys(["AREG", "ACASCREG", "BREG", "BCASCREG", "CREG", "PREG", "OPMODEREG", "ALUMODEREG"], 1)
    registers |= dict.fromkeys(["DREG", "ADREG", "MREG", "INMODEREG", "CARRYINREG", "CARRYINSELREG"], 0)
    block = Instance(
        "DSP48E1",
        p_USE_MULT="NONE",
        p_USE_DPORT="FALSE",
        o_P=total,
        **{f"p_{name}": value for name, value in registers.items()},
        **{f"i_{name}": value for name, value in ports.items()},
    )
    return block, total
