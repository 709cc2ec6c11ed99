"""Loops that Numba compiles for products of single bits: what `bits.Bits` is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import intrinsic

from bnnedge.sim.golden.jit import compiled

WORD = 32
"""Bits of a word: channels of a pixel, or of a tap of the weights."""


def _ones(_: Any, word: Any) -> Any:
    """Number of ones, of the word's type: a processor's instruction, where it has one, of vectors too."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [arguments[0].type]), arguments)

    return word(word), generate


_count: Any = intrinsic(_ones)


@compiled
def pack_weights(weight, out):
    """Bits uint32 (taps, words, M) of signs (taps, channels, M) int8, zeros behind the last channel."""
    taps, channels, columns = weight.shape
    for tap in range(taps):
        for word in range(out.shape[1]):
            packed = out[tap, word]
            packed[:] = 0
            for i in range(min(WORD, channels - word * WORD)):
                row = weight[tap, word * WORD + i]
                for m in range(columns):
                    packed[m] |= np.uint32(np.uint32(row[m] > 0) << np.uint32(i))


@compiled
def sums(x, weight, words, channels, stride, pad_y, pad_x, y):
    """Sums y (B, h, w, M) int32 of bits x (B, H, W * words) and weight (ky, kx * words, M), both uint32."""
    images, height, width = x.shape
    taps, span, columns = weight.shape
    differing, rows = np.empty(columns, np.uint32), weight.reshape(taps * span, columns)
    held, meets = np.empty(taps * span, np.uint32), np.empty(taps * span, np.uintp)  # a window's words, and the weights' rows
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for image in range(images):
        for oy in range(y.shape[1]):
            for ox in range(y.shape[2]):
                left, count = (ox * stride - pad_x) * words, np.uintp(0)
                for tap in range(taps):
                    row = oy * stride + tap - pad_y
                    if 0 <= row < height:
                        for i in range(max(0, -left), min(span, width - left)):
                            held[count], meets[count] = x[image, row, np.uintp(left + i)], np.uintp(tap * span + i)
                            count += one
                differing[:] = 0
                at = np.uintp(0)
                while at + four <= count:  # four rows each time that the counts are read and written
                    v0, v1, v2, v3 = held[at], held[at + one], held[at + two], held[at + three]
                    w0, w1, w2, w3 = rows[meets[at]], rows[meets[at + one]], rows[meets[at + two]], rows[meets[at + three]]
                    for m in range(columns):
                        some = _count(v0 ^ w0[m]) + _count(v1 ^ w1[m]) + _count(v2 ^ w2[m]) + _count(v3 ^ w3[m])
                        differing[m] = np.uint32(differing[m] + some)
                    at += four
                while at < count:
                    v0, w0 = held[at], rows[meets[at]]
                    for m in range(columns):
                        differing[m] = np.uint32(differing[m] + _count(v0 ^ w0[m]))
                    at += one
                to, terms = y[image, oy, ox], np.int32(np.int32(count) // words * channels)
                for m in range(columns):
                    to[m] = np.int32(terms - np.int32(2) * np.int32(differing[m]))
