"""The Zynq-7000's processor as a cell of the design: no block design, no vendor IP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth import Cat, Const, Instance, Value
from amaranth.lib.wiring import Out

from bnnedge.boards.zynq.axi3 import Axi3

INTERRUPTS = 20


def connections(
    clock: Value, fabric_clocks: Value, fabric_resets: Value, interrupt: Value, gp0: Any, hp: Mapping[int, Any]
) -> dict[str, Value]:
    """Ports of the primitive PS7, with the prefixes of `Instance`.

    clock: of all AXI ports. fabric_clocks, fabric_resets: 4 bits each, out of the processor; resets are active low.
    interrupt: one bit. gp0: an Axi3 interface whose master the processor is. hp: Axi3 interfaces of masters in the
    fabric, by the number of their port.

    The other ports stay open. DDR and MIO are wired to pins of their own, which no constraint can move: the vendor's
    wrapper takes them to the top only because its constraints name them. Inputs that are left open are tied to 0 by
    Vivado and by nextpnr-xilinx alike, whereas fabric that nobody drives reads 1.
    """
    ports: dict[str, Value] = {
        "o_FCLKCLK": fabric_clocks,
        "o_FCLKRESETN": fabric_resets,
        # All of it: bits 16..19 are FIQ and IRQ of the two cores, which would hang if they floated.
        "i_IRQF2P": Cat(interrupt, Const(0, INTERRUPTS - 1)),
        **_axi("MAXIGP0", gp0, clock, processor_is_master=True),
    }
    for number, axi in hp.items():
        ports |= _axi(f"SAXIHP{number}", axi, clock, processor_is_master=False)
    return ports


def _axi(prefix: str, axi: Any, clock: Value, processor_is_master: bool) -> dict[str, Value]:
    width, id_width = len(axi.wdata), len(axi.wid)
    ports: dict[str, Value] = {f"i_{prefix}ACLK": clock}
    for name, member in Axi3(width, id_width).members.items():
        direction = "o" if (member.flow == Out) == processor_is_master else "i"
        ports[f"{direction}_{prefix}{name.upper()}"] = getattr(axi, name)
    return ports


def instance(**arguments: Any) -> Instance:
    """The processor; the arguments are those of `connections`."""
    return Instance("PS7", **connections(**arguments))
