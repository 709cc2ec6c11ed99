"""Writes the pages that follow from the code: instruction-set.md and registers.md. A test keeps them up to date.

python docs/generate.py
"""

from __future__ import annotations

from pathlib import Path

from bnnedge import isa, registers
from bnnedge.compiler import program

DOCS = Path(__file__).parent

_INSTRUCTIONS = {
    isa.Opcode.HALT: "Waits until all units are idle, then raises `done` and the interrupt.",
    isa.Opcode.LOOP: "Takes the iteration and the step one further; jumps back unless `count` iterations are done.",
    isa.Opcode.PASS: "One product for all tiles of a layer, and what becomes of its sums.",
    isa.Opcode.TRANSPOSE: (
        "Reads a row tensor (left) and writes the same bits as columns. Uses the PASS format: `groups` (column groups "
        "to write), `tiles`, `words`, `left_*` (source; `left_planes` planes) and `columns_*` (target)."
    ),
    isa.Opcode.LOAD: "Copies a buffer image (address-major, bank-minor) or parameter records from DDR to the chip.",
    isa.Opcode.GATHER: (
        "Looks samples up by an index list: their words go to the left buffer, their labels to the label queue."
    ),
    isa.Opcode.STORE: "Copies from the chip to DDR.",
    isa.Opcode.SYNC: "Waits until all units are idle.",
}

_ENUMERATIONS = (isa.Head, isa.Buffer)


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]


def _fields(fields: dict[str, isa.Field], place: int) -> list[str]:
    rows: list[tuple[object, ...]] = []
    for name, field in fields.items():
        rows.append((f"`{name}`", f"{place + field.bits - 1}..{place}" if field.bits > 1 else place, field.text))
        place += field.bits
    return _table(("field", "bits", "meaning"), rows)


def instruction_set() -> str:
    """The page on the instruction set."""
    header = sum(field.bits for field in isa.HEADER.values())
    lines = [
        "# Instruction set",
        "",
        "Generated from `host/isa.py` by `docs/generate.py`; do not edit.",
        "",
        f"Version {isa.VERSION}. A program is a row of instructions of {isa.INSTRUCTION_BYTES} bytes in DDR, little-endian,",
        "each a header and the fields of its format, from bit 0 up. The sequencer reads them one by one and puts them into",
        "the queue of the unit that carries them out; a unit works in order, the units side by side. Between them stand",
        f"{isa.SEMAPHORES} counting semaphores: an instruction starts when each semaphore of its `wait` mask has a token,",
        "takes one of each, and gives one to each of its `signal` mask when its last effect has taken place. Only one unit",
        "waits for a given semaphore. Program order is a legal serial order, so no depth of the queues can cause a deadlock.",
        "All semaphores are 0 at the start of a program.",
        "",
        "Rules that the compiler keeps and the hardware does not check: fields that count something are at least 1; buffers",
        "are such as the instruction can reach (LOAD: LEFT, RIGHT, PARAMETERS; GATHER: LEFT); a program has one LOOP at most;",
        "`wait` and `signal` of HALT, LOOP and SYNC are 0; an index list can be read up to a multiple of 32; the pass behind a",
        "LOSS that trains waits for it, since the softmax rewrites sums in place; labels are below the number of",
        "classes.",
        "",
        "## Header",
        "",
        *_fields(isa.HEADER, 0),
        "",
        "## Instructions",
        "",
        *_table(
            ("opcode", "name", "unit", "what it does"),
            [(o.value, o.name, isa.UNITS[o].name.lower(), _INSTRUCTIONS[o]) for o in isa.Opcode],
        ),
        "",
    ]
    formats: dict[int, list[isa.Opcode]] = {}
    for opcode, fields in isa.FORMATS.items():
        if fields:
            formats.setdefault(id(fields), []).append(opcode)
    for opcodes in formats.values():
        lines += [f"## {', '.join(o.name for o in opcodes)}", "", *_fields(isa.FORMATS[opcodes[0]], header), ""]
    for enumeration in _ENUMERATIONS:
        lines += [
            f"## `{enumeration.__name__}`",
            "",
            *_table(("value", "name"), [(e.value, e.name) for e in enumeration]),
            "",
        ]
    lines += [
        "## Data in DDR",
        "",
        "* Sample: 8 bytes of label, then the planes of its pixels, the least significant first, in words of S bits.",
        f"* Report: {program.REPORT_BYTES} bytes: loss (sum of -log2 p, 8 fraction bits), hits (32 bits each), cycle (64 bits).",
        "* Parameter record: 16 bytes: mu in bits 27..0, psi in 55..28, beta in 79..64; an exponent record has E in mu.",
        "* Latent weights: 16-bit words in the order of the update: for each group of outputs each tile of inputs, by rows.",
        f"* Logits: 16 bits each, padded to {program.SCORES_PER_BEAT} an image, base 2, 8 fraction bits.",
    ]
    return "\n".join(lines) + "\n"


def register_map() -> str:
    """The page on the registers."""
    rows: list[tuple[object, ...]] = []
    for name, register in registers.REGISTERS.items():
        fields = ", ".join(
            f"{field}: bit {low}" if bits == 1 else f"{field}: bits {low + bits - 1}..{low}"
            for field, low, bits in register.fields
        )
        rows.append(
            (
                f"{register.offset:#05x}",
                f"`{name}`",
                register.access.value,
                register.text + (f" ({fields})" if fields else ""),
            )
        )
    lines = [
        "# Registers",
        "",
        "Generated from `host/registers.py` by `docs/generate.py`; do not edit.",
        "",
        "32-bit registers behind the AXI-Lite port, written whole. The interrupt is high while `done` or `error` is. A start",
        "clears everything but these registers and the contents of the memories; after an error a reset must come first.",
        "",
        *_table(("offset", "name", "access", "meaning"), rows),
        "",
        "## Causes of an error",
        "",
        *_table(("value", "name"), [(cause.value, cause.name) for cause in registers.Cause]),
    ]
    return "\n".join(lines) + "\n"


PAGES = {"instruction-set.md": instruction_set, "registers.md": register_map}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).write_text(text())
