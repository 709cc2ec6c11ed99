"""Hardware handoff: the .hwh beside a bitstream, from which pynq learns what it holds.

Vivado writes one for a block design; our top has none. This one describes the processor and the accelerator as far as
pynq's parsers look: address, registers, parameters, clocks, ports.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from bnnedge import isa
from bnnedge.boards.board import Board
from bnnedge.configuration import Configuration
from bnnedge.registers import REGISTERS, Register

INSTANCE = "bnnedge"  # the attribute of pynq's Overlay
VLNV = "bnnedge:hw:accelerator:1.0"
AXI = "xilinx.com:interface:aximm:1.0"
IO_PLL = 1_000_000_000  # Hz, as the boards' boot loaders set it
CLOCKS = 4
PORTS = 4  # high-performance ports


def to_hwh(board: Board, config: Configuration) -> str:
    """The .hwh of the accelerator of `config` on a Zynq-7000 `board`; the same text each time.

    The accelerator carries the parameters DIGEST and INSTRUCTION_SET, those of the registers CONFIGURATION and VERSION.
    """
    root = ET.Element("EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="", VIVADOVERSION="")
    device, package, grade = board.part.pieces
    ET.SubElement(
        root, "SYSTEMINFO", ARCH="zynq", BOARD=board.name, DEVICE=device, NAME=INSTANCE, PACKAGE=package, SPEEDGRADE=grade
    )
    ET.SubElement(root, "EXTERNALPORTS")
    ET.SubElement(root, "EXTERNALINTERFACES")
    modules = ET.SubElement(root, "MODULES")
    _accelerator(modules, board, config)
    _processor(modules, board, config)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _accelerator(modules: ET.Element, board: Board, config: Configuration) -> None:
    module = _module(modules, INSTANCE, "accelerator", VLNV)
    blocks = ET.SubElement(module, "ADDRESSBLOCKS")
    size = str(board.registers[1])
    block = ET.SubElement(blocks, "ADDRESSBLOCK", ACCESS="", INTERFACE="s_axi", NAME="registers", RANGE=size, USAGE="register")
    registers = ET.SubElement(block, "REGISTERS")
    for name, register in REGISTERS.items():
        _register(registers, name, register)
    _parameters(module, {"CONFIGURATION": config.name, "DIGEST": f"{config.digest:#010x}", "INSTRUCTION_SET": isa.VERSION})
    _bus(module, "s_axi", "SLAVE", 32)
    for number in range(len(board.memory_ports)):
        _bus(module, f"m{number}_axi", "MASTER", 64)


def _register(parent: ET.Element, name: str, register: Register) -> None:
    access = register.access.value
    element = ET.SubElement(parent, "REGISTER", NAME=name)
    _properties(element, DESCRIPTION=register.text, ADDRESS_OFFSET=f"{register.offset:#x}", SIZE=32, ACCESS=access, RESET_VALUE=0)
    fields = ET.SubElement(element, "FIELDS")
    for field, low, bits in register.fields:
        part = ET.SubElement(fields, "FIELD", NAME=field)
        _properties(part, DESCRIPTION=field, ADDRESS_OFFSET=0, ACCESS=access, BIT_OFFSET=low, BIT_WIDTH=bits)


def _processor(modules: ET.Element, board: Board, config: Configuration) -> None:
    module = _module(modules, "processing_system7_0", "processing_system7", "xilinx.com:ip:processing_system7:5.5")
    module.set("IS_PL", "FALSE")
    values: dict[str, object] = {}
    for i in range(CLOCKS):
        hertz = config.clock_hz if i == 0 else 100_000_000  # pynq sets clocks that are off, too
        first, second = divisors(hertz)
        values |= {
            f"PCW_FPGA_FCLK{i}_ENABLE": int(i == 0),
            f"PCW_FCLK{i}_PERIPHERAL_CLKSRC": "IO PLL",
            f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0": first,
            f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1": second,
            f"PCW_ACT_FPGA{i}_PERIPHERAL_FREQMHZ": IO_PLL / 1e6 / first / second,
            # pynq 4.0 looks for a Zynq-7000's clocks under the names of its larger sister, and fails without.
            f"PSU__CRL_APB__PL{i}_REF_CTRL__ACT_FREQMHZ": IO_PLL / 1e6 / first / second,
        }
    for i in range(PORTS):
        used = i in board.memory_ports
        values[f"PCW_USE_S_AXI_HP{i}"] = int(used)
        if used:
            values[f"PCW_S_AXI_HP{i}_DATA_WIDTH"] = 64
    values["PCW_USE_M_AXI_GP0"] = 1
    _parameters(module, values)
    _bus(module, "M_AXI_GP0", "MASTER", 32)
    for i in board.memory_ports:
        _bus(module, f"S_AXI_HP{i}", "SLAVE", 64)
    base, size = board.registers
    ET.SubElement(
        ET.SubElement(module, "MEMORYMAP"),
        "MEMRANGE",
        ADDRESSBLOCK="registers",
        BASENAME="C_BASEADDR",
        BASEVALUE=f"{base:#010x}",
        HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"{base + size - 1:#010x}",
        INSTANCE=INSTANCE,
        IS_DATA="TRUE",
        IS_INSTRUCTION="FALSE",
        MASTERBUSINTERFACE="M_AXI_GP0",
        MEMTYPE="REGISTER",
        SLAVEBUSINTERFACE="s_axi",
    )


def divisors(hertz: int) -> tuple[int, int]:
    """Two factors, 1..63 each, that divide the PLL down to the fastest clock not above `hertz`; ValueError if none do."""
    product = -(-IO_PLL // hertz)
    pairs = [(p, q) for p in range(1, 64) for q in range(1, 64) if p * q >= product]
    if not pairs:
        raise ValueError(f"a clock of {hertz} Hz is too slow: the processor can give {IO_PLL // 63**2 + 1} Hz and more")
    return min(pairs, key=lambda pair: (pair[0] * pair[1], -pair[0]))


def _module(parent: ET.Element, name: str, kind: str, vlnv: str) -> ET.Element:
    return ET.SubElement(
        parent,
        "MODULE",
        FULLNAME=f"/{name}",
        HWVERSION=vlnv.rpartition(":")[2],
        INSTANCE=name,
        IPTYPE="PERIPHERAL",
        IS_ENABLE="1",
        MODCLASS="PERIPHERAL",
        MODTYPE=kind,
        VLNV=vlnv,
    )


def _parameters(module: ET.Element, values: dict[str, object]) -> None:
    parent = ET.SubElement(module, "PARAMETERS")
    for name, value in values.items():
        ET.SubElement(parent, "PARAMETER", NAME=name, VALUE=str(value))
    ET.SubElement(module, "PORTS")
    ET.SubElement(module, "BUSINTERFACES")


def _bus(module: ET.Element, name: str, kind: str, bits: int) -> None:
    parent = module.find("BUSINTERFACES")
    assert parent is not None
    bus = ET.SubElement(parent, "BUSINTERFACE", NAME=name, BUSNAME=name, TYPE=kind, DATAWIDTH=str(bits), VLNV=AXI)
    ET.SubElement(bus, "PORTMAPS")


def _properties(parent: ET.Element, **values: object) -> None:
    for name, value in values.items():
        ET.SubElement(parent, "PROPERTY", NAME=name, VALUE=str(value))
