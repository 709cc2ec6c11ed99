"""The walk through a program: each instruction's addresses and sums, in the order in which they are carried out."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from bnnedge import isa
from bnnedge.compiler.layout import Layout
from bnnedge.compiler.proof.extents import Extents
from bnnedge.compiler.proof.regions import ProofError, Regions, Transfers, require
from bnnedge.compiler.proof.sums import Sums
from bnnedge.isa import Head, Instruction, Opcode


def prove(code: Sequence[Instruction], layout: Layout, regions: Regions | None) -> None:
    """ProofError, naming the instruction, if the program could leave a memory or the width of a sum.

    regions: of external memory; None if nothing has been placed there, so that the program can't be run.

    The body of the loop is followed once: totals and sums of weight gradients begin anew in each iteration, which is proven,
    and addresses that move from one to the next do so by equal steps.
    """
    loop = next((n for n, instruction in enumerate(code) if instruction.opcode == Opcode.LOOP), len(code))
    fields = code[loop].fields if loop < len(code) else {"target": 0, "count": 1}
    body = range(fields["target"] // isa.INSTRUCTION_BYTES, loop)
    transfers = Transfers(layout, regions, fields["count"]) if regions else None
    extents, sums = Extents(layout.config), Sums(layout)
    for n, instruction in enumerate(code):
        f = collections.defaultdict(int, instruction.fields)
        try:
            if instruction.opcode in (Opcode.LOAD, Opcode.STORE, Opcode.GATHER):
                if transfers:
                    transfers.check(instruction.opcode, f, n in body)
            elif instruction.opcode in (Opcode.PASS, Opcode.TRANSPOSE):
                axes = extents.check(instruction.opcode, f)
                if instruction.opcode == Opcode.PASS:
                    sums.check(f, axes)
                    if transfers and f["head"] == Head.UPDATE and not f["unfinished"]:
                        transfers.latents(f)
        except ProofError as error:
            raise ProofError(
                f"instruction {n} ({instruction.comment}) {error}: this is a fault of the compiler; another batch, number of "
                "planes or width may avoid it"
            ) from None
    left = ["weight gradients"] * (sums.unfinished is not None) + ["channels"] * (sums.totals != {} or sums.open is not None)
    require(not left, f"the program leaves sums of {' and '.join(left)} behind: this is a fault of the compiler")
