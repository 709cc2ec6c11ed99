"""XNOR-popcount of two S-bit words, pipelined."""

from __future__ import annotations

from amaranth import Elaboratable, Module, Signal, unsigned
from amaranth.hdl import Value

# Three pairs of bits fill 6-input LUTs: the first level counts matches of three at a time.
PAIRS = 3
LEVELS_PER_REGISTER = 2


def latency(word: int) -> int:
    """Cycles from operands to count for words of `word` bits."""
    terms, levels = -(-word // PAIRS), 0
    while terms > 1:
        terms, levels = -(-terms // 2), levels + 1
    return 1 + -(-levels // LEVELS_PER_REGISTER)


class Popcount(Elaboratable):
    """Counts the bit positions in which `left` and `right` agree.

    Parameters
    ----------
    word: bits of an operand.

    Members
    -------
    left, right: in, `word` bits.
    count: out, 0..word, `latency(word)` cycles behind its operands.
    """

    def __init__(self, word: int) -> None:
        self.left = Signal(word)
        self.right = Signal(word)
        self.count = Signal(range(word + 1))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        agree = Signal(len(self.left))
        m.d.comb += agree.eq(~(self.left ^ self.right))
        terms: list[Value] = []
        for low in range(0, len(agree), PAIRS):
            bits = agree[low : low + PAIRS]
            term = Signal(range(len(bits) + 1), name=f"matches_{low}")
            m.d.sync += term.eq(sum((bits[i] for i in range(1, len(bits))), start=bits[0]))
            terms.append(term)
        largest, level = PAIRS, 0
        while len(terms) > 1:
            level, largest = level + 1, min(2 * largest, len(agree))
            domain = m.d.sync if level % LEVELS_PER_REGISTER == 0 or len(terms) <= 2 else m.d.comb
            sums: list[Value] = []
            for i in range(0, len(terms), 2):
                total = Signal(unsigned(largest.bit_length()), name=f"sum_{level}_{i}")
                domain += total.eq(sum(terms[i + 1 : i + 2], start=terms[i]))
                sums.append(total)
            terms = sums
        m.d.comb += self.count.eq(terms[0])
        return m
