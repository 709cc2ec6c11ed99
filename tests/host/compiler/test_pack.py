"""Images of tensors in DDR and in the buffers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnedge import Configuration
from bnnedge.compiler import pack

CONFIGS = [Configuration("a", lanes=4, word=16), Configuration("b", lanes=8, word=32), Configuration("c", word=64)]


@given(st.sampled_from(CONFIGS), st.integers(1, 40), st.integers(1, 8), st.integers(1, 100), st.integers(0, 99))
def test_a_banked_image_comes_back(config: Configuration, vectors: int, planes: int, width: int, seed: int) -> None:
    bits = np.random.RandomState(seed).rand(vectors, planes, width) < 0.5
    image = pack.pack_banked(bits, config)
    np.testing.assert_array_equal(pack.unpack_banked(image, bits.shape, config), bits)


def test_a_bit_of_a_banked_image_lies_where_the_layout_says() -> None:
    config = CONFIGS[1]
    bits = np.zeros((20, 3, 70), bool)
    bits[13, 2, 37] = True  # slot 1, bank 5; plane 2 of 3; word 1 of 3, bit 5
    image = pack.pack_banked(bits, config)
    address = (1 * 3 + 2) * 3 + 1
    byte = (address * 8 + 5) * 4
    assert np.flatnonzero(image).tolist() == [byte]
    assert image[byte] == 1 << 5


@given(st.sampled_from(CONFIGS), st.integers(1, 50), st.integers(1, 50), st.integers(0, 99))
def test_weights_come_back(config: Configuration, inputs: int, outputs: int, seed: int) -> None:
    weight = np.random.RandomState(seed).randint(-(2**15), 2**15, (inputs, outputs)).astype(np.int16)
    flat = pack.pack_weights(weight, config)
    np.testing.assert_array_equal(pack.unpack_weights(flat, weight.shape, config), weight)


def test_weights_lie_tile_by_tile_down_the_inputs_first() -> None:
    weight = np.arange(8 * 8, dtype=np.int16).reshape(8, 8)
    flat = pack.pack_weights(weight, CONFIGS[0])
    assert flat[:4].tolist() == [0, 1, 2, 3]  # first row of tile 0
    assert flat[4:8].tolist() == [8, 9, 10, 11]
    assert flat[16:20].tolist() == [32, 33, 34, 35]  # tile 1: the next inputs
    assert flat[32:36].tolist() == [4, 5, 6, 7]  # group 1: the next outputs


def test_records_come_back_at_their_extremes() -> None:
    mu = np.array([-(2**27), 2**27 - 1, 0, -1])
    psi = np.array([0, 2**28 - 1, 5, 1])
    beta = np.array([-(2**15), 2**15 - 1, -1, 0])
    for given_values, found in zip((mu, psi, beta), pack.unpack_records(pack.pack_records(mu, psi, beta)), strict=True):
        np.testing.assert_array_equal(found, given_values)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
@pytest.mark.parametrize("planes", [1, 3, 8])
def test_a_sample_is_its_label_and_the_uppermost_planes(config: Configuration, planes: int) -> None:
    images = np.random.RandomState(1).randint(0, 256, (5, 7, 6)).astype(np.uint8)
    labels = np.array([3, 1, 4, 1, 200])
    packed = pack.pack_samples(images, labels, planes, config)
    assert packed.shape == (5, pack.sample_bytes(42, planes, config))
    assert packed.shape[1] % 8 == 0
    assert packed[:, :8].copy().view("<i8").ravel().tolist() == labels.tolist()
    row = -(-42 // config.word) * config.word // 8
    for plane in range(planes):
        bits = np.unpackbits(packed[:, 8 + plane * row : 8 + (plane + 1) * row], axis=1, bitorder="little")[:, :42]
        np.testing.assert_array_equal(bits, images.reshape(5, 42) >> (8 - planes + plane) & 1)


def test_codes_are_odd_integers() -> None:
    bits = np.array([[[0, 1, 0, 1]], [[1, 1, 0, 0]]], bool)  # (2, 1, 4): one plane
    np.testing.assert_array_equal(pack.codes_of(bits), [[-1, 1, -1, 1], [1, 1, -1, -1]])
    both = bits.reshape(1, 2, 4)
    np.testing.assert_array_equal(pack.codes_of(both), [[-3 + 2 * u for u in (2, 3, 0, 1)]])
