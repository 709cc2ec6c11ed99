"""A network as one C99 header, `inference.h` with its numbers: no library, no allocation, 32-bit words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bnnedge import formats
from bnnedge.export.folded import SCORE_LIMIT, SCORE_SHIFT, Folded, FoldedLayer
from bnnedge.terminal import printable

_WORD = 32
_WIDTH = 120  # of a line of numbers


def encode(folded: Folded, file: str) -> bytes:
    """The content of a header of this file name; the name without its ending, made an identifier of C, begins all names in it.

    ValueError if no program can include a file of that name.
    """
    if printable(file) != file or set(file) & {'"', "\\"}:
        raise ValueError(f"no C program can include {file!r}: give a name without quotation marks, backslashes and the like")
    name = identifier(Path(file).stem)
    template = Path(__file__).with_name("inference.h").read_text(encoding="ascii")
    values = {
        "name": name,
        "NAME": name.upper(),
        "data": _data(folded, name),
        "scale": str(1 << formats.STATISTICS),
        "half": str(1 << SCORE_SHIFT - 1),
        "shift": str(SCORE_SHIFT),
        "limit": str(SCORE_LIMIT),
    }
    code = re.sub(r"@(\w+)@", lambda match: values[match[1]], template)
    return f"{_opening(folded, name, file)}\n{code}\n#endif\n".encode()


def identifier(text: str) -> str:
    """Text as the beginning of names of C: letters that C lacks as `u00e4`, whatever else it lacks as `_`."""
    name = "".join(char if char.isascii() else f"u{ord(char):04x}" if char.isalnum() else "_" for char in text)
    name = re.sub(r"\W", "_", name, flags=re.ASCII).lower()
    return name if re.match(r"[a-z]", name) else f"bnn_{name}"


def packed(layer: FoldedLayer) -> np.ndarray:
    """Weights (M, ky, kx, words) uint32; channel c of a tap is bit c % 32 of word c // 32, unused bits are 0."""
    g = layer.geometry
    words = -(-g.channels // _WORD)
    bits = np.zeros((g.filters, g.kernel_y * g.kernel_x, words * _WORD), bool)
    bits[..., : g.channels] = layer.sign.T.reshape(g.filters, -1, g.channels)
    packed = np.packbits(bits, axis=-1, bitorder="little").view("<u4")
    return packed.reshape(g.filters, g.kernel_y, g.kernel_x, words)


def _opening(folded: Folded, name: str, file: str) -> str:
    first, upper = folded.layers[0].geometry, name.upper()
    maps = [g.height * g.width * -(-g.channels // _WORD) for g in folded.network.geometry]
    maps[0] *= folded.input_planes
    weights = sum(packed(layer).nbytes for layer in folded.layers)
    shape = " x ".join(map(str, folded.network.input_shape))
    return f"""\
/* A binary neural network, written by bnnedge: {shape} pixels, {folded.network.classes} classes.
 *
 *     #include "{file}"
 *     int class_of_image = {name}_predict(image);          image: const uint8_t [{upper}_INPUTS]
 *     {name}_logits(image, logits);                        logits: int32_t [{upper}_CLASSES]
 *
 * C99, needs no library and allocates nothing. {weights:,} bytes of weights, {8 * max(maps):,} bytes of stack for maps.
 * Sums are XNOR and popcount: channels - 2 popcount(x ^ w), for each plane of the pixels. */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_INPUTS {first.height * first.width * first.channels}
#define {upper}_CLASSES {folded.network.classes}
#define {upper}_LAYERS {len(folded.layers)}
#define {upper}_PLANES {folded.input_planes}
#define {upper}_MAP_WORDS {max(maps)}
"""


def _data(folded: Folded, name: str) -> str:
    arrays, rows = [], []
    for i, layer in enumerate(folded.layers):
        g = layer.geometry
        arrays.append(_array("uint32_t", f"{name}_weight_{i + 1}", [f"0x{word:08x}" for word in packed(layer).ravel().tolist()]))
        threshold = "0"
        if i < len(folded.thresholds):
            threshold = f"{name}_threshold_{i + 1}"
            arrays.append(_array("int32_t", threshold, folded.thresholds[i].tolist()))
        numbers = (
            *(g.height, g.width, g.channels, -(-g.channels // _WORD), g.kernel_y, g.kernel_x, g.stride, g.pad_y, g.pad_x),
            *(g.filters, g.out_height, g.out_width, 2 if layer.pooled else 1),
        )
        rows.append(f"    {{{', '.join(map(str, numbers))}, {name}_weight_{i + 1}, {threshold}}},")
    for field in ("mean", "reciprocal", "offset"):
        arrays.append(_array("int32_t", f"{name}_{field}", getattr(folded, field).tolist()))
    table = "\n".join([f"static const struct {name}_layer {name}_layers[{len(rows)}] = {{", *rows, "};"])
    return "\n".join([*arrays, table])


def _array(kind: str, name: str, values: list[str] | list[int]) -> str:
    lines, line = [], "   "
    for value in values:
        if len(line) + len(str(value)) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join([f"static const {kind} {name}[{len(values)}] = {{", *lines, line, "};"])
