"""The ports of the accelerator as AMBA, Vivado and IP-XACT know them: by bus and by the standard's names of signals."""

from __future__ import annotations

import dataclasses

from amaranth.lib.wiring import Out, Signature

from bnnedge import registers
from bnnedge.hw.bus.axi import ADDRESS_BITS, BURST_BEATS, DATA_BITS, Axi4, AxiLite
from bnnedge.hw.bus.read import OUTSTANDING as READS
from bnnedge.hw.bus.write import OUTSTANDING as WRITES

CACHE = 0b0011  # bufferable and modifiable: an interconnect may pack beats; without it a burst reaches memory in pieces
# Signals that standard buses have and the accelerator lacks: bits, and what a master drives.
_ADDED = {"lock": (1, 0), "cache": (4, CACHE), "prot": (3, 0), "qos": (4, 0)}


@dataclasses.dataclass(frozen=True)
class Port:
    """A port of the wrapper.

    name: with that of its bus in front. logical: the standard's name. bits: 1 or more. output: seen from the accelerator.
    inner: the accelerator's own port, or "" if it has none. value: what an output without such a port is tied to.
    """

    name: str
    logical: str
    bits: int
    output: bool
    inner: str = ""
    value: int = 0

    @property
    def vector(self) -> bool:
        """Whether it is declared with a range: an ID is, of one bit, too."""
        return self.bits > 1 or self.logical in ("AWID", "BID", "ARID", "RID")


@dataclasses.dataclass(frozen=True)
class Bus:
    """A group of ports.

    kind: `aximm`, `clock`, `reset` or `interrupt`, names of Vivado's interfaces. master: whether it drives the bus.
    parameters: of the interface, by Vivado's names.
    """

    name: str
    kind: str
    master: bool
    ports: tuple[Port, ...]
    parameters: dict[str, str | int]


def _axi(name: str, signature: Signature, parameters: dict[str, str | int]) -> Bus:
    master, ports = parameters["PROTOCOL"] == "AXI4", []
    for member, port in signature.members.items():
        output = (port.flow == Out) == master
        if member in ("awvalid", "arvalid"):  # where an address's own signals end
            added = _ADDED if master else {"prot": _ADDED["prot"]}
            for signal, (bits, value) in added.items():
                logical = f"{member[:2]}{signal}"
                ports.append(Port(f"{name}_{logical}", logical.upper(), bits, output, value=value))
        ports.append(Port(f"{name}_{member}", member.upper(), port.shape, output, f"{name}_{member}"))
    return Bus(name, "aximm", master, tuple(ports), parameters)


_LITE: dict[str, str | int] = {"PROTOCOL": "AXI4LITE", "DATA_WIDTH": 32, "ADDR_WIDTH": registers.ADDRESS_BITS}
_FULL: dict[str, str | int] = {
    "PROTOCOL": "AXI4",
    "DATA_WIDTH": DATA_BITS,
    "ADDR_WIDTH": ADDRESS_BITS,
    "ID_WIDTH": 1,
    "MAX_BURST_LENGTH": BURST_BEATS,
    "NUM_READ_OUTSTANDING": READS,
    "NUM_WRITE_OUTSTANDING": WRITES,
    "SUPPORTS_NARROW_BURST": 0,
}
REGISTERS = _axi("s_axi", AxiLite(), _LITE)
MEMORIES = tuple(_axi(f"m{number}_axi", Axi4(), _FULL) for number in range(2))
CLOCK = Bus(
    "aclk",
    "clock",
    False,
    (Port("aclk", "CLK", 1, False, "clk"),),
    {"ASSOCIATED_BUSIF": ":".join(bus.name for bus in (REGISTERS, *MEMORIES)), "ASSOCIATED_RESET": "aresetn"},
)
RESET = Bus("aresetn", "reset", False, (Port("aresetn", "RST", 1, False),), {"POLARITY": "ACTIVE_LOW"})
INTERRUPT = Bus("irq", "interrupt", True, (Port("irq", "INTERRUPT", 1, True, "irq"),), {"SENSITIVITY": "LEVEL_HIGH"})
BUSES = (CLOCK, RESET, REGISTERS, *MEMORIES, INTERRUPT)
LIGHTS = (Port("busy", "", 1, True, "busy"), Port("error", "", 1, True, "error"))
PORTS = (*(port for bus in BUSES for port in bus.ports), *LIGHTS)
