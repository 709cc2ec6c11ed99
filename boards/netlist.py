"""What a mapped netlist tells of its registers: their control sets, and where block RAMs and multiplier blocks want one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LOGIC = ("LUT", "MUXF", "CARRY4", "INV", "BUF")  # what a path goes on through
CONTROLS = {  # of the flip-flops of the 7-series: clock, enable, set or reset
    "FDRE": ("C", "CE", "R"),
    "FDSE": ("C", "CE", "S"),
    "FDCE": ("C", "CE", "CLR"),
    "FDPE": ("C", "CE", "PRE"),
}
PORT_REGISTERS = {"A": "AREG", "B": "BREG", "C": "CREG", "D": "DREG"}  # of a DSP48E1; its other inputs have none

Cell = Mapping[str, Any]


def control_sets(cells: Iterable[Cell]) -> int:
    """How many different (clock, enable, set or reset) the flip-flops among these cells have; a constant counts as none.

    The cells are those of one flat netlist as Yosys's write_json has it. The flip-flops of a slice share one such set.
    """
    sets = set()
    for cell in cells:
        if cell["type"].startswith("FD"):
            bits = (cell["connections"][port][0] for port in CONTROLS[cell["type"]])
            sets.add(tuple(bit if isinstance(bit, int) else None for bit in bits))
    return len(sets)


def unregistered(cells: Mapping[str, Cell]) -> list[str]:
    """Paths that the 7-series would rather not have, from the `cells` of a flat netlist as Yosys's write_json has them.

    One line for each block and the kind of what it reaches, "CELL -> TYPE.PORT": from a block RAM anything but a register
    (a flip-flop, a shift register, or that of a DSP48E1's input); from a DSP48E1 without an output register, through logic,
    another one without one at its input.
    """
    readers: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bit in _bits(cell, "input"):
            readers[bit].append((name, port))
    found = set()
    for name, cell in cells.items():
        if cell["type"].startswith("RAMB"):
            for _, bit in _bits(cell, "output"):
                found |= {f"{name} -> {cells[to]['type']}.{at}" for to, at in readers[bit] if not _registers(cells[to], at)}
        elif cell["type"] == "DSP48E1" and not _parameter(cell, "PREG"):
            reached = (end for _, bit in _bits(cell, "output") for end in _reached(cells, readers, bit))
            found |= {
                f"{name} -> DSP48E1.{at}"
                for to, at in reached
                if cells[to]["type"] == "DSP48E1" and not _registers(cells[to], at)
            }
    return sorted(found)


def _bits(cell: Cell, direction: str) -> Iterator[tuple[str, int]]:
    """Ports and numbers of the nets at them; constants left out."""
    for port, bits in cell["connections"].items():
        if cell["port_directions"][port] == direction:
            yield from ((port, bit) for bit in bits if isinstance(bit, int))


def _parameter(cell: Cell, name: str) -> int:
    return int(cell["parameters"].get(name, "0"), 2)


def _registers(cell: Cell, port: str) -> bool:
    """Whether what comes in at this port goes into a register at once."""
    if cell["type"] == "DSP48E1":
        return port in PORT_REGISTERS and _parameter(cell, PORT_REGISTERS[port]) > 0
    return cell["type"].startswith(("FD", "SRL")) and port == "D"


def _reached(cells: Mapping[str, Cell], readers: Mapping[int, list[tuple[str, str]]], start: int) -> Iterator[tuple[str, str]]:
    """Cells and ports at the end of all paths from a net through logic."""
    seen, left = {start}, [start]
    while left:
        for name, port in readers[left.pop()]:
            if not cells[name]["type"].startswith(LOGIC):
                yield name, port
                continue
            fresh = {bit for _, bit in _bits(cells[name], "output")} - seen
            seen |= fresh
            left += fresh
