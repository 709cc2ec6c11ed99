"""Writes the pages that follow from the code: instruction-set.md and registers.md. A test keeps them up to date.

python docs/generate.py
"""

from __future__ import annotations

from pathlib import Path

from bnnedge import isa, registers
from bnnedge.compiler import emitter, program
from bnnedge.formats import MOMENT, RECORD_WORDS

DOCS = Path(__file__).parent

_INSTRUCTIONS = {
    isa.Opcode.HALT: "Waits until all units are idle, then raises `done` and the interrupt.",
    isa.Opcode.LOOP: "Takes the iteration and the step one further; jumps back unless `count` iterations are done.",
    isa.Opcode.PASS: "One product for the columns, outputs and images that its loops name, and what becomes of the sums.",
    isa.Opcode.TRANSPOSE: (
        "Reads a row tensor (left buffer) and writes the same bits as columns (left buffer), pixel by pixel. Uses these "
        "fields of the PASS format, others are 0: `height`, `width`, `tiles`, `words`; `left_planes`, `left_base`, "
        "`left_y`, `left_x`, `left_tile`, `left_plane` (source; `strip` is 1); `groups` (groups of Q columns to write at "
        "each pixel), `columns_base`, `columns_group`, `columns_y`, `columns_x`, `columns_plane` (target); `first_tile` "
        "(the columns of a pixel begin at granule `first_tile` mod S/Q of their word)."
    ),
    isa.Opcode.LOAD: (
        "Copies rows of a buffer image (address-major, bank-minor), or parameter records, from DDR to the chip: `repeats` "
        "times `count` buffer addresses, each time `base_stride` and `address_stride` further."
    ),
    isa.Opcode.GATHER: (
        "Looks samples up by an index list: their words go to the left buffer, with `labels` their labels go to the label queue."
    ),
    isa.Opcode.STORE: "Copies from the chip to DDR: rows of a buffer image as LOAD does, or records, logits, a report.",
    isa.Opcode.SYNC: "Waits until all units are idle.",
}

_ENUMERATIONS = (isa.Head, isa.Pool, isa.Buffer)

_LOOPS = """\
A PASS is a nest of loops. Outermost first, with the fields that say how often:

    group         groups            Q columns: channels
      y           height            rows of outputs (UPDATE: of the window)
        x         width             columns of outputs (UPDATE: of the window)
          tile    tiles             P vectors: images (UPDATE: input channels)
            place                   FORWARD with `pool`: the four neighbours of a pooled output, row by row
              planes                pairs of one plane each of `left_planes` and `right_planes`
                tap_y, tap_x        `taps_y` by `taps_x` taps, those outside the input skipped (UPDATE: pixels to sum over)
                  word              words of the contraction

An address begins at its `_base` and moves by the field named after a loop when that loop advances; a loop that begins anew
takes its contribution back, modulo 2^16. Tap i of output y falls on row `y_origin` + y * `y_step` + i * 2^`y_pitch` of the
input and counts if that is in 0..`y_limit`-1; at the lower places of a pool it is half of `y_step` further. Columns likewise.

Several instructions may make up one product: `fresh` begins the sums of its channels, and behind the pass with `commit` they move
the averages; `unfinished` and `continues` sum a weight gradient in parts.
"""


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
        "LOSS that trains waits for it, since the softmax rewrites sums in place; labels are below the number of classes;",
        "a TRANSPOSE may end before passes that stand in front of it, so its tokens have a semaphore of their own.",
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
        lines += [f"## {', '.join(o.name for o in opcodes)}", ""]
        if isa.Opcode.PASS in opcodes:
            lines += [*_LOOPS.splitlines(), ""]
        lines += [*_fields(isa.FORMATS[opcodes[0]], header), ""]
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
        "* Sample: 8 bytes of label, then `sample_words` words of S bits: planes of its pixels, the least significant first.",
        f"* Report: {emitter.REPORT_BYTES} bytes: loss (sum of -log2 p, 8 fraction bits), hits (32 bits each), cycle (64 bits).",
        f"* Parameter record: {8 * len(RECORD_WORDS)} bytes: {_record_fields()};",
        "  an exponent record has E in mu, the unit A in centre. Beyond these bits a record is 0.",
        f"* Latent weights: words of 16 bits, or of 12 if these have {12 - MOMENT} bits or fewer, side by side in the order of",
        "  the update: for each group of outputs, each place of the window and each tile of inputs, by rows.",
        f"* Logits: 16 bits each, padded to {program.SCORES_PER_BEAT} an image, base 2, 8 fraction bits.",
    ]
    return "\n".join(lines) + "\n"


def _record_fields() -> str:
    places = []
    for number, word in enumerate(RECORD_WORDS):
        low = 64 * number
        for name, bits in word.items():
            places.append(f"{name} in bits {low + bits - 1}..{low}")
            low += bits
    return ", ".join(places)


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
