"""Counts the bits in which two S-bit words agree, pipelined."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from amaranth import Cat, Elaboratable, Module, Signal
from amaranth.hdl import Value

from bnnedge.hw import series7

PAIRS = 3  # pairs of bits that fill a 6-input LUT
COMPRESSED = 6  # bits of one weight that another three LUTs count


def latency(word: int) -> int:
    """Cycles from operands to count for words of `word` bits: triples and sixes in one, then sums of two but the last."""
    triples = -(-word // PAIRS)
    return 1 + (-(-triples // COMPRESSED) - 1).bit_length()


class Popcount(Elaboratable):
    """Counts the bits in which `left` and `right` are the same.

    Counters of three and of six bits, each output of which is one 6-input LUT, leave a few 3-bit numbers to be added: some
    1.4 LUTs a bit, where a tree of adders takes 1.9.

    Parameters
    ----------
    word: bits of an operand.

    Members
    -------
    left, right: in, `word` bits.
    count: out, 0..word, `latency(word)` cycles behind its operands; a sum that is still to be registered.
    """

    def __init__(self, word: int) -> None:
        self.left = Signal(word)
        self.right = Signal(word)
        self.count = Signal(range(word + 1))

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def register(values: Sequence[Value], name: str) -> list[Signal]:
            kept = [Signal.like(Value.cast(value), name=f"{name}_{i}", reset_less=True) for i, value in enumerate(values)]
            m.d.sync += [a.eq(b) for a, b in zip(kept, values, strict=True)]
            return kept

        triples = -(-len(self.left) // PAIRS)
        sixes = -(-triples // COMPRESSED)
        agreeing = _count(m, platform, *(_slices(word, triples) for word in (self.left, self.right)))
        totals = []
        for weight, bits in enumerate(agreeing):
            digits = register(_count(m, platform, _slices(bits, sixes)), f"digit_{weight}")
            numbers: list[Value] = [Cat(digit[i : i + 1] for digit in digits) for i in range(sixes)]
            while len(numbers) > 1:
                sums = [sum(numbers[i + 1 : i + 2], start=numbers[i]) for i in range(0, len(numbers), 2)]
                numbers = list(register(sums, f"sum_{weight}_{len(sums)}"))
            totals.append(numbers[0] << weight)
        m.d.comb += self.count.eq(sum(totals[1:], start=totals[0]))
        return m


def _slices(bits: Value, width: int) -> list[Value]:
    """The bits in vectors of `width`: those at one place of all vectors are counted together."""
    return [bits[low : low + width] for low in range(0, len(bits), width)]


def _count(m: Module, platform: object, vectors: list[Value], others: Sequence[Value] = ()) -> list[Value]:
    """How many of up to six bits are set, or of up to three pairs agree, for all places of the vectors at once.

    Returns the number's binary digits, vectors too, the lowest first.
    """
    if platform != series7.SERIES7:
        return _add([~(a ^ b) for a, b in zip(vectors, others, strict=True)] if others else vectors)

    def digit(k: int, place: int) -> Signal:
        inputs = [vector[place] for vector in (*vectors, *others) if place < len(vector)]
        bits = len(inputs) // 2 if others else len(inputs)

        def function(values: Sequence[int]) -> int:
            compared = values[bits:] or [1] * bits
            return sum(a == b for a, b in zip(values[:bits], compared, strict=True)) >> k & 1

        return series7.lookup(m, function, inputs)

    return [Cat(digit(k, place) for place in range(len(vectors[0]))) for k in range(len(vectors).bit_length())]


def _add(bits: Sequence[Value]) -> list[Value]:
    """Binary digits of the number of bits, by full adders."""
    carries = []
    while len(bits) > 1:
        some, bits = bits[:3], bits[3:]
        carries.append(functools.reduce(operator.or_, (a & b for i, a in enumerate(some) for b in some[:i])))
        bits = [*bits, functools.reduce(operator.xor, some)]
    return [*bits, *(_add(carries) if carries else [])]
