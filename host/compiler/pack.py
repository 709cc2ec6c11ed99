"""Images of tensors as they lie in DDR and in the buffers, and back."""

from __future__ import annotations

import numpy as np

from bnnedge import formats
from bnnedge.configuration import Configuration

SAMPLE_HEADER = 8  # bytes of label before a sample's words
RECORD_BYTES = 16  # of one entry of the parameter memory


def pack_banked(bits: np.ndarray, config: Configuration) -> np.ndarray:
    """Buffer image of (N, planes, C) bools: vector n in bank n % lanes; address-major, bank-minor, as uint8."""
    vectors, planes, width = bits.shape
    slots, words = -(-vectors // config.lanes), -(-width // config.word)
    full = np.zeros((slots * config.lanes, planes, words * config.word), bool)
    full[:vectors, :, :width] = bits
    banked = full.reshape(slots, config.lanes, planes, words, config.word).transpose(0, 2, 3, 1, 4)
    return np.packbits(banked, axis=-1, bitorder="little").ravel()


def unpack_banked(image: np.ndarray, shape: tuple[int, int, int], config: Configuration) -> np.ndarray:
    """Inverse of `pack_banked`: (N, planes, C) bools of a uint8 image."""
    vectors, planes, width = shape
    slots, words = -(-vectors // config.lanes), -(-width // config.word)
    bits = np.unpackbits(image, bitorder="little").reshape(slots, planes, words, config.lanes, config.word)
    return bits.transpose(0, 3, 1, 2, 4).reshape(slots * config.lanes, planes, -1)[:vectors, :, :width].astype(bool)


def codes_of(bits: np.ndarray) -> np.ndarray:
    """Odd integers (N, C) int16 of (N, planes, C) bits, least significant plane first."""
    planes = bits.shape[1]
    unsigned = np.tensordot(bits.astype(np.int16), 1 << np.arange(planes, dtype=np.int16), axes=(1, 0))
    return (2 * unsigned - (2**planes - 1)).astype(np.int16)


def sample_words(inputs: int, planes: int, config: Configuration) -> int:
    """Words of a sample of that many inputs."""
    return planes * -(-inputs // config.word)


def sample_bytes(inputs: int, planes: int, config: Configuration) -> int:
    """Bytes from one sample to the next."""
    return SAMPLE_HEADER + -(-sample_words(inputs, planes, config) * config.word // 64) * 8


def pack_samples(images: np.ndarray, labels: np.ndarray, planes: int, config: Configuration) -> np.ndarray:
    """Data set in DDR, (N, bytes) uint8: each sample's label, then the uppermost planes of its pixels, lowest first."""
    count = len(images)
    pixels = images.reshape(count, -1)
    inputs = pixels.shape[1]
    words = -(-inputs // config.word)
    packed = np.zeros((count, sample_bytes(inputs, planes, config)), np.uint8)
    packed[:, :SAMPLE_HEADER] = labels.astype("<i8").reshape(-1, 1).view(np.uint8)
    row = words * config.word // 8
    for plane in range(planes):
        mask = np.uint8(1 << formats.MAX_PLANES - planes + plane)
        bits = np.packbits(pixels & mask != 0, axis=1, bitorder="little")
        start = SAMPLE_HEADER + plane * row
        packed[:, start : start + bits.shape[1]] = bits
    return packed


def pack_weights(weight: np.ndarray, config: Configuration) -> np.ndarray:
    """Weight words (K, M) int16 in update order: tiles of lanes x lanes, down the inputs first; flat int16."""
    lanes = config.lanes
    tiles, groups = (-(-n // lanes) for n in weight.shape)
    full = np.zeros((tiles * lanes, groups * lanes), np.int16)
    full[: weight.shape[0], : weight.shape[1]] = weight
    return full.reshape(tiles, lanes, groups, lanes).transpose(2, 0, 1, 3).ravel()


def unpack_weights(flat: np.ndarray, shape: tuple[int, int], config: Configuration) -> np.ndarray:
    """Inverse of `pack_weights`."""
    lanes = config.lanes
    tiles, groups = (-(-n // lanes) for n in shape)
    full = flat.reshape(groups, tiles, lanes, lanes).transpose(1, 2, 0, 3).reshape(tiles * lanes, groups * lanes)
    return full[: shape[0], : shape[1]].copy()


def pack_records(mu: np.ndarray, psi: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Entries of the parameter memory: (n, 2) uint64, mu and psi in the first word, beta in the second."""
    mask = (1 << formats.MU_BITS) - 1
    records = np.zeros((len(mu), 2), np.uint64)
    records[:, 0] = (mu.astype(np.int64) & mask | psi.astype(np.int64) << formats.MU_BITS).astype(np.uint64)
    records[:, 1] = beta.astype(np.int16).view(np.uint16)
    return records


def unpack_records(records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverse of `pack_records`: mu int32, psi int32, beta int16."""
    word, bits = records[:, 0].astype(np.int64), formats.MU_BITS
    mu = (word << 64 - bits >> 64 - bits).astype(np.int32)
    psi = (word >> bits & (1 << bits) - 1).astype(np.int32)
    return mu, psi, records[:, 1].astype(np.uint16).view(np.int16)
