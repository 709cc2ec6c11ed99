"""Images of tensors as they lie in DDR and in the buffers, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bnnedge import formats
from bnnedge.compiler.layout import Layout
from bnnedge.compiler.passes import strips
from bnnedge.compiler.plan import SAMPLE_HEADER, Plan
from bnnedge.compiler.tensors import Tensor
from bnnedge.configuration import Configuration
from bnnedge.formats import Code


class Records(NamedTuple):
    """Fields of entries of the parameter memory, (n,) each: see `LayerState`. An exponent has E in `mu`, A in `centre`."""

    mu: np.ndarray
    psi: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    beta: np.ndarray


def codes_of(bits: np.ndarray, code: Code) -> np.ndarray:
    """Codes (..., C) int16 of (..., planes, C) bits, least significant plane first: odd integers, or even ones of twin planes."""
    weights = 1 << np.arange(code.planes, dtype=np.int16)
    if code.twin:  # 1, 1, 2, 4, ..
        weights = np.maximum(1, weights >> 1)
    signs = 2 * bits.astype(np.int16) - 1
    return np.tensordot(signs, weights, axes=(-2, 0)).astype(np.int16)


def pack_tensor(bits: np.ndarray, tensor: Tensor, config: Configuration) -> np.ndarray:
    """Buffer image, uint8, of (vectors, height, width, planes, bits) bools: address-major, bank-minor."""
    full = np.zeros((tensor.groups * config.lanes, tensor.height, tensor.width, tensor.planes, tensor.words * config.word), bool)
    full[: tensor.vectors, ..., : tensor.bits] = bits
    banked = full.reshape(tensor.groups, config.lanes, -1, config.word).transpose(0, 2, 1, 3)
    return np.packbits(banked, axis=-1, bitorder="little").ravel()


def unpack_tensor(image: np.ndarray, tensor: Tensor, config: Configuration) -> np.ndarray:
    """Inverse of `pack_tensor`: (vectors, height, width, planes, bits) bools of a uint8 image."""
    bits = np.unpackbits(image, bitorder="little").reshape(tensor.groups, -1, config.lanes, config.word)
    shape = (tensor.groups * config.lanes, tensor.height, tensor.width, tensor.planes, tensor.words * config.word)
    return bits.transpose(0, 2, 1, 3).reshape(shape)[: tensor.vectors, ..., : tensor.bits].astype(bool)


def pack_samples(images: np.ndarray, labels: np.ndarray, plan: Plan) -> np.ndarray:
    """Data set in DDR, (N, bytes) uint8: each sample's label, then the planes of its pixels, the uppermost first.

    Where the network begins with a convolution, each row of pixels is cut into words as `passes.strips` says.
    """
    count, g, word = len(images), plan.geometry[0], plan.config.word
    planes = plan.settings.input_planes
    packed = np.zeros((count, plan.sample_bytes), np.uint8)
    packed[:, :SAMPLE_HEADER] = labels.astype("<i8").reshape(-1, 1).view(np.uint8)
    if g.pixels:
        steps, words = strips(g, word)
        outputs = 1 if g.pool == "none" else 2
        apart, pixels = steps * outputs * g.stride, word // g.channels
        wide = np.zeros((count, g.height, apart * (words - 1) + max(pixels, g.width + g.pad_x), g.channels), np.uint8)
        wide[:, :, g.pad_x : g.pad_x + g.width] = images.reshape(count, g.height, g.width, g.channels)
        columns = np.arange(words)[:, None] * apart + np.arange(pixels)
        values = wide[:, :, columns].reshape(count, g.height * words, pixels * g.channels)
    else:
        values = images.reshape(count, 1, -1)
    rows, width = values.shape[1], -(-values.shape[2] // word) * word // 8
    for plane in range(planes):
        mask = np.uint8(1 << formats.MAX_PLANES - 1 - plane)
        bits = np.packbits(values & mask != 0, axis=2, bitorder="little")
        start = SAMPLE_HEADER + plane * rows * width
        place = packed[:, start : start + rows * width].reshape(count, rows, width)
        place[:, :, : bits.shape[2]] = bits
    return packed


def pack_weights(weight: np.ndarray, i: int, layout: Layout) -> np.ndarray:
    """Weight words (K, M) int16 of layer i as they lie in DDR, in the order in which its updates come: flat uint8."""
    size = layout.config.weight_word
    fours = (_tiles(weight, i, layout)[_order(i, layout)].reshape(-1, 4).view(np.uint16) & (1 << size) - 1).astype(np.uint64)
    joined = np.bitwise_or.reduce(fours << np.arange(0, 4 * size, size, dtype=np.uint64), axis=1).astype("<u8")
    return joined.view(np.uint8).reshape(-1, 8)[:, : size // 2].ravel()


def unpack_weights(packed: np.ndarray, i: int, layout: Layout) -> np.ndarray:
    """Inverse of `pack_weights`."""
    size = layout.config.weight_word
    joined = np.zeros((layout.latent_bytes(i) // (size // 2), 8), np.uint8)
    joined[:, : size // 2] = packed[: layout.latent_bytes(i)].reshape(-1, size // 2)
    fours = joined.view("<u8") >> np.arange(0, 4 * size, size, dtype=np.uint64)
    flat = (fours << np.uint64(16 - size)).astype(np.uint16).view(np.int16) >> 16 - size  # the sign of a narrower word
    g, lanes = layout.plan.geometry[i], layout.config.lanes
    inputs, outputs = -(-g.tap_inputs // lanes), -(-g.filters // lanes)
    tiles = np.empty((g.taps * inputs * outputs, lanes, lanes), np.int16)
    tiles[_order(i, layout)] = flat.reshape(-1, lanes, lanes)
    full = tiles.reshape(g.taps, inputs, outputs, lanes, lanes).transpose(0, 1, 3, 2, 4)
    full = full.reshape(g.taps, inputs * lanes, outputs * lanes)
    return full[:, : g.tap_inputs, : g.filters].reshape(g.fan_in, g.filters).copy()


def _tiles(weight: np.ndarray, i: int, layout: Layout) -> np.ndarray:
    """Tiles of lanes x lanes in the order taps, groups of inputs, groups of outputs."""
    g, lanes = layout.plan.geometry[i], layout.config.lanes
    inputs, outputs = -(-g.tap_inputs // lanes), -(-g.filters // lanes)
    full = np.zeros((g.taps, inputs * lanes, outputs * lanes), np.int16)
    full[:, : g.tap_inputs, : g.filters] = weight.reshape(g.taps, g.tap_inputs, g.filters)
    return full.reshape(g.taps, inputs, lanes, outputs, lanes).transpose(0, 1, 3, 2, 4).reshape(-1, lanes, lanes)


def _order(i: int, layout: Layout) -> np.ndarray:
    """Numbers of the tiles, as `_tiles` counts them, in the order in which they lie in DDR."""
    g, lanes = layout.plan.geometry[i], layout.config.lanes
    inputs, outputs = -(-g.tap_inputs // lanes), -(-g.filters // lanes)
    width = g.taps // g.kernel_y
    numbers = np.arange(g.taps * inputs * outputs).reshape(g.kernel_y, width, inputs, outputs)
    found = []
    for part in layout.latent_sets(i):
        rows, groups, columns = (slice(first, first + count) for first, count in (part.taps_y, part.inputs, part.outputs))
        found.append(numbers[rows, :, groups, columns].transpose(3, 0, 1, 2).ravel())
    return np.concatenate(found)


def pack_records(records: Records) -> np.ndarray:
    """Entries of the parameter memory as `formats.RECORD_WORDS` says: (n, words) uint64."""
    packed = np.zeros((len(records.mu), len(formats.RECORD_WORDS)), np.int64)
    for number, word in enumerate(formats.RECORD_WORDS):
        low = 0
        for name, bits in word.items():
            packed[:, number] |= (getattr(records, name).astype(np.int64) & (1 << bits) - 1) << low
            low += bits
    return packed.view(np.uint64)


def unpack_records(packed: np.ndarray, slopes: slice = slice(0, 0)) -> Records:
    """Inverse of `pack_records`; slopes: entries of the last layer, whose size has a sign: it is the slope."""
    found = {}
    for word, values in zip(formats.RECORD_WORDS, packed.astype(np.uint64).view(np.int64).T, strict=True):
        low = 0
        for name, bits in word.items():
            field = values << 64 - low - bits >> 64 - bits
            field = field if name in formats.RECORD_SIGNED else field & (1 << bits) - 1
            found[name] = field.astype(np.int64 if name == "size" else np.int32)
            low += bits
    above = 64 - formats.SIZE_BITS
    found["size"][slopes] = found["size"][slopes] << above >> above
    return Records(**found)
