"""The description in IP-XACT (IEEE 1685-2009, which Vivado reads): buses, address map with all registers, ports, files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from bnnedge.configuration import Configuration
from bnnedge.hw.bus.axi import ADDRESS_BITS, DATA_BITS
from bnnedge.hw.embed.ports import BUSES, MEMORIES, PORTS, REGISTERS, Bus, Port
from bnnedge.hw.embed.wrapper import MODULE, interface
from bnnedge.registers import REGISTERS as MAP
from bnnedge.registers import WINDOW, Register

SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
XILINX = "http://www.xilinx.com"
FAMILIES = ("zynq", "artix7", "kintex7", "virtex7", "zynquplus")
VIEWS = {"synthesis": ":*Synthesis:", "simulation": ":*Simulation:"}
FILES = "rtl"


def component(config: Configuration, sources: Sequence[str]) -> str:
    """The text of component.xml; `sources` are file names in its folder. The same text each time."""
    ET.register_namespace("spirit", SPIRIT)
    ET.register_namespace("xilinx", XILINX)
    root = ET.Element(_tag("component"))
    _name(root, vendor="bnnedge", library="hw", name=MODULE, version="1.0")
    buses = _add(root, "busInterfaces")
    for bus in BUSES:
        _bus(buses, bus)
    spaces = _add(root, "addressSpaces")
    for bus in MEMORIES:
        _name(_add(spaces, "addressSpace"), name=bus.name, range=1 << ADDRESS_BITS, width=DATA_BITS)
    _registers(_add(root, "memoryMaps"))
    model = _add(root, "model")
    views = _add(model, "views")
    for name, environment in VIEWS.items():
        view = _add(views, "view")
        _name(view, name=name, envIdentifier=environment, language="verilog", modelName=MODULE)
        _name(_add(view, "fileSetRef"), localName=FILES)
    ports = _add(model, "ports")
    for port in PORTS:
        _port(ports, port)
    files = _add(_add(root, "fileSets"), "fileSet")
    _name(files, name=FILES)
    for source in sources:
        _name(_add(files, "file"), name=source, fileType="verilogSource")
    _add(root, "description", f"Trains binary neural networks: configuration {config.name}")
    parameters = _add(root, "parameters")
    for name, value in {"CONFIGURATION": config.name, "DIGEST": f"{config.digest:#010x}"}.items():
        _name(_add(parameters, "parameter"), name=name, value=value)
    _extensions(_add(root, "vendorExtensions"))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _extensions(parent: ET.Element) -> None:
    """What Vivado's catalogue wants to know."""
    extensions = ET.SubElement(parent, f"{{{XILINX}}}coreExtensions")
    families = ET.SubElement(extensions, f"{{{XILINX}}}supportedFamilies")
    for name in FAMILIES:
        family = ET.SubElement(families, f"{{{XILINX}}}family", {f"{{{XILINX}}}lifeCycle": "Pre-Production"})
        family.text = name
    taxonomies = ET.SubElement(extensions, f"{{{XILINX}}}taxonomies")
    ET.SubElement(taxonomies, f"{{{XILINX}}}taxonomy").text = "/UserIP"
    ET.SubElement(extensions, f"{{{XILINX}}}displayName").text = "bnnedge: trains binary neural networks"


def _bus(parent: ET.Element, bus: Bus) -> None:
    element = _add(parent, "busInterface")
    _name(element, name=bus.name)
    vendor, library, name, version = interface(bus).split(":")
    for tag, kind in (("busType", name), ("abstractionType", f"{name}_rtl")):
        reference = {"vendor": vendor, "library": library, "name": kind, "version": version}
        _add(element, tag).attrib.update({_tag(key): value for key, value in reference.items()})
    role = _add(element, "master" if bus.master else "slave")
    if bus is REGISTERS:
        _add(role, "memoryMapRef").set(_tag("memoryMapRef"), bus.name)
    elif bus in MEMORIES:
        _add(role, "addressSpaceRef").set(_tag("addressSpaceRef"), bus.name)
    maps = _add(element, "portMaps")
    for port in bus.ports:
        pair = _add(maps, "portMap")
        _name(_add(pair, "logicalPort"), name=port.logical)
        _name(_add(pair, "physicalPort"), name=port.name)
    parameters = _add(element, "parameters")
    for key, value in bus.parameters.items():
        _name(_add(parameters, "parameter"), name=key, value=value)


def _registers(parent: ET.Element) -> None:
    memory = _add(parent, "memoryMap")
    _name(memory, name=REGISTERS.name)
    block = _add(memory, "addressBlock")
    _name(block, name="registers", baseAddress=0, range=WINDOW, width=32, usage="register")
    for name, register in MAP.items():
        _register(block, name, register)


def _register(parent: ET.Element, name: str, register: Register) -> None:
    element = _add(parent, "register")
    _name(element, name=name, description=register.text, addressOffset=f"{register.offset:#x}", size=32)
    _name(element, access=register.access.value)
    for field, low, bits in register.fields:
        _name(_add(element, "field"), name=field, bitOffset=low, bitWidth=bits, access=register.access.value)


def _port(parent: ET.Element, port: Port) -> None:
    element = _add(parent, "port")
    _name(element, name=port.name)
    wire = _add(element, "wire")
    _name(wire, direction="out" if port.output else "in")
    if port.vector:
        _name(_add(wire, "vector"), left=port.bits - 1, right=0)


def _tag(name: str) -> str:
    return f"{{{SPIRIT}}}{name}"


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, _tag(name))
    element.text = text
    return element


def _name(parent: ET.Element, **values: object) -> None:
    """Add elements with texts."""
    for name, value in values.items():
        _add(parent, name, str(value))
