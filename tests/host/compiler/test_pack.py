"""Images of tensors in DDR and in the buffers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bnnedge import Configuration, Conv2D, Dense, MaxPool2D, Network, Settings, configuration
from bnnedge.compiler import pack
from bnnedge.compiler.layout import layout
from bnnedge.compiler.plan import SAMPLE_HEADER, Plan
from bnnedge.compiler.tensors import Tensor
from bnnedge.formats import Code

CONFIGS = [
    Configuration("a", lanes=4, word=16),
    Configuration("b", lanes=8, word=32),
    Configuration("c", word=64, tile_rows=256),
    Configuration("d", lanes=4, word=16, latent=6),
    Configuration("e", lanes=16, word=32, latent=4),
]
by_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"S={config.word}, {config.weight_word}-bit weights")


@given(
    st.sampled_from(CONFIGS),
    st.integers(1, 40),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 8),
    st.integers(1, 100),
    st.integers(0, 99),
)
@hypothesis_settings(deadline=None)
def test_a_tensor_comes_back(
    config: Configuration, vectors: int, size: tuple[int, int], planes: int, bits: int, seed: int
) -> None:
    tensor = Tensor.of("t", config, vectors, size, planes, bits)
    values = np.random.RandomState(seed).rand(vectors, *size, planes, bits) < 0.5
    image = pack.pack_tensor(values, tensor, config)
    assert len(image) == tensor.size * config.lanes * config.word // 8
    np.testing.assert_array_equal(pack.unpack_tensor(image, tensor, config), values)


def test_a_bit_of_a_tensor_lies_where_the_layout_says() -> None:
    config = CONFIGS[1]
    tensor = Tensor.of("t", config, 20, (2, 5), 3, 70)
    bits = np.zeros((20, 2, 5, 3, 70), bool)
    bits[13, 1, 4, 2, 37] = True  # group 1, bank 5; row 1, column 4; plane 2 of 3; word 1 of 3, bit 5
    image = pack.pack_tensor(bits, tensor, config)
    address = (((1 * 2 + 1) * 5 + 4) * 3 + 2) * 3 + 1
    byte = (address * 8 + 5) * 4
    assert np.flatnonzero(image).tolist() == [byte]
    assert image[byte] == 1 << 5


LAYERS = {
    "dense": ((40,), [Dense(33), Dense(9)]),
    "convolutions": ((6, 6, 3), [Conv2D(33, padding="same"), Conv2D(20, 3, 2), Dense(9)]),
    "many latent sets": ((7, 7), [Conv2D(72, padding="same"), Conv2D(40, 7), Dense(9)]),
}


@pytest.mark.parametrize("name", LAYERS)
@by_config
def test_weights_come_back(config: Configuration, name: str) -> None:
    shape, layers = LAYERS[name]
    there = layout(Network(shape, layers), Settings(batch=64, gradient_planes=4), config)
    for i, g in enumerate(there.plan.geometry):
        top = 1 << config.weight_word - 1
        weight = np.random.RandomState(i).randint(-top, top, (g.fan_in, g.fan_out)).astype(np.int16)
        flat = pack.pack_weights(weight, i, there)
        assert flat.shape == (there.latent_bytes(i),)
        np.testing.assert_array_equal(pack.unpack_weights(flat, i, there), weight)


def test_some_weights_lie_in_several_sets() -> None:
    small = dataclasses.replace(configuration("sim-small"), left_depth=384, right_depth=512)
    there = layout(Network((4, 4, 2), [Conv2D(64, 1), Conv2D(72, 2), Dense(3)]), Settings(batch=64, gradient_planes=4), small)
    sets = there.latent_sets(1)
    assert len(sets) > 1
    g, lanes = there.plan.geometry[1], small.lanes
    weight = np.random.RandomState(1).randint(-(2**15), 2**15, (g.fan_in, g.fan_out)).astype(np.int16)
    flat = pack.pack_weights(weight, 1, there)
    np.testing.assert_array_equal(pack.unpack_weights(flat, 1, there), weight)
    # Set by set: groups of outputs, then taps, then groups of inputs.
    taps = weight.reshape(g.kernel_y, g.kernel_x, 8, lanes, 9, lanes)
    tiles = [
        taps[y, x, c, :, m]
        for part in sets
        for m in range(part.outputs[0], sum(part.outputs))
        for y in range(part.taps_y[0], sum(part.taps_y))
        for x in range(g.kernel_x)
        for c in range(part.inputs[0], sum(part.inputs))
    ]
    np.testing.assert_array_equal(flat.view("<i2").reshape(-1, lanes, lanes), tiles)


def test_narrow_weight_words_lie_side_by_side() -> None:
    config = CONFIGS[3]
    there = layout(Network((4,), [Dense(4), Dense(3)]), Settings(batch=64), config)
    weight = np.zeros((4, 4), np.int16)
    weight[0] = 0x123, -1, 0x456, -2048
    assert pack.pack_weights(weight, 0, there).tobytes()[:6].hex() == "23f1ff560480"


def test_records_come_back_at_their_extremes() -> None:
    given_values = pack.Records(
        mu=np.array([-(2**27), 2**27 - 1, 0, -1]),
        psi=np.array([0, 2**28 - 1, 5, 1]),
        centre=np.array([2**27 - 1, -(2**27), -1, 0]),
        size=np.array([0, 2**40 - 1, 1, 2**40 - 1]),
        beta=np.array([-(2**19), 2**19 - 1, -1, 0]),
    )
    packed = pack.pack_records(given_values)
    assert packed.shape == (4, 3)
    for wanted, found in zip(given_values, pack.unpack_records(packed), strict=True):
        assert found.dtype == (np.int64 if wanted is given_values.size else np.int32)
        np.testing.assert_array_equal(found, wanted)


def test_the_last_layers_slopes_come_back_with_their_sign() -> None:
    none, slopes = np.zeros(4, np.int32), np.array([2**39, 2**39, -(2**39), -1])
    packed = pack.pack_records(pack.Records(none, none, none, slopes, none))
    assert pack.unpack_records(packed, slice(2, 4)).size.tolist() == slopes.tolist()


def test_the_fields_of_a_record_lie_where_the_hardware_looks_for_them() -> None:
    record = pack.Records(*(np.array([value]) for value in (-2, 0xABCDEF1, -3, 0x123456789A, -4)))
    assert pack.pack_records(record).tolist() == [[0xABCDEF1FFFFFFE, 0xFFFFCFFFFFFD, 0x123456789A]]


@by_config
@pytest.mark.parametrize("planes", [1, 3, 8])
def test_a_sample_is_its_label_and_the_uppermost_planes(config: Configuration, planes: int) -> None:
    plan = Plan(Network((7, 6), [Dense(9)]), Settings(batch=64, input_planes=planes, slope_planes=1), config)
    images = np.random.RandomState(1).randint(0, 256, (5, 7, 6)).astype(np.uint8)
    labels = np.array([3, 1, 4, 1, 200])
    packed = pack.pack_samples(images, labels, plan)
    assert packed.shape == (5, plan.sample_bytes)
    assert plan.sample_bytes % 8 == 0
    assert packed[:, :8].copy().view("<i8").ravel().tolist() == labels.tolist()
    row = -(-42 // config.word) * config.word // 8
    for plane in range(planes):
        bits = np.unpackbits(packed[:, 8 + plane * row : 8 + (plane + 1) * row], axis=1, bitorder="little")[:, :42]
        np.testing.assert_array_equal(bits, images.reshape(5, 42) >> (7 - plane) & 1)


@by_config
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((5, 12, 3), Conv2D(4, 3, padding="same")),
        ((4, 32, 3), Conv2D(4, 3)),
        ((6, 33), Conv2D(4, 4)),
        ((5, 9, 5), Conv2D(4, 3, 2, "same")),
        ((7, 31), Conv2D(4, 7, 2, "same")),
        ((4, 4, 8), Conv2D(4, 2, padding="same")),
    ],
)
def test_windows_of_pixels_lie_side_by_side(config: Configuration, shape: tuple[int, ...], layer: Conv2D, pool: bool) -> None:
    outputs = [layer.outputs(side) for side in shape[:2]]
    if pool and (outputs[0] % 2 or outputs[1] % 2):
        pytest.skip("an odd map is not pooled")
    network = Network(shape, [layer, *([MaxPool2D()] if pool else []), Dense(3)])
    places = 2 if pool else 1
    if not fits(1, places, layer.stride, layer.kernel, config.word // network.geometry[0].channels):
        pytest.skip("windows are wider than a word")
    plan = Plan(network, Settings(batch=64, input_planes=2), config)
    g = network.geometry[0]
    random = np.random.RandomState(2)
    images = random.randint(0, 256, (3, *shape)).astype(np.uint8)
    packed = pack.pack_samples(images, np.zeros(3, np.int64), plan)
    tensor = plan["input"]
    words = tensor.width
    bits = np.unpackbits(packed[:, SAMPLE_HEADER:], axis=1, bitorder="little")
    bits = bits[:, : 2 * g.height * words * config.word].reshape(3, 2, g.height, words, config.word)
    pixels = images.reshape(3, *shape[:2], g.channels)
    # Each output finds its row of the window in one word, from the bit on that its place among the word's steps gives.
    pixels_of_word = config.word // g.channels
    steps = max(n for n in range(1, g.pooled_width + 1) if fits(n, places, g.stride, g.kernel_x, pixels_of_word))
    assert words == -(-g.pooled_width // steps)
    for plane, y, out in np.ndindex(2, g.height, g.out_width):
        word, step = divmod(out, steps * places)
        for k, c in np.ndindex(g.kernel_x, g.channels):
            x = out * g.stride - g.pad_x + k
            found = bits[:, plane, y, word, (step * g.stride + k) * g.channels + c]
            wanted = pixels[:, y, x, c] >> (7 - plane) & 1 if 0 <= x < g.width else 0
            np.testing.assert_array_equal(found, wanted)


def fits(steps: int, places: int, stride: int, kernel: int, pixels: int) -> bool:
    """Whether the windows of that many steps lie in a word of so many pixels."""
    return (steps * places - 1) * stride + kernel <= pixels


def test_codes_are_odd_integers() -> None:
    bits = np.array([[[0, 1, 0, 1]], [[1, 1, 0, 0]]], bool)  # (2, 1, 4): one plane
    np.testing.assert_array_equal(pack.codes_of(bits, Code(1)), [[-1, 1, -1, 1], [1, 1, -1, -1]])
    both = bits.reshape(1, 2, 4)
    np.testing.assert_array_equal(pack.codes_of(both, Code(2)), [[-3 + 2 * u for u in (2, 3, 0, 1)]])


@pytest.mark.parametrize("planes", [2, 3, 8])
def test_codes_of_twin_planes_are_even_integers_with_a_zero(planes: int) -> None:
    u = np.arange(1 << planes)
    bits = u[None, :] >> np.arange(planes)[:, None] & 1
    expected = 2 * (u >> 1) + 2 * (u % 2) - (1 << planes - 1)
    np.testing.assert_array_equal(pack.codes_of(bits, Code(planes, True)), expected)
    assert expected.max() == -expected.min() == Code(planes, True).largest
