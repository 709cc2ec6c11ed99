"""Accelerator parameters: ranges, derived numbers, and the digest."""

import dataclasses

import pytest

from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration


def test_names():
    for name in CONFIGURATIONS:
        assert configuration(name).name == name
    assert {"sim-small", "pynq-z2", "pynq-z2-x64"} <= set(CONFIGURATIONS)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="there is no configuration 'zcu'; there are sim-small, pynq-z2"):
        configuration("zcu")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lanes", 12),
        ("lanes", 2),
        ("lanes", 32),
        ("lanes", 8.0),
        ("word", 8),
        ("left_depth", 1000),
        ("right_depth", 0),
        ("tile_rows", 32),
        ("channels", -64),
        ("channels", 1 << 13),
        ("latent", 3),
        ("latent", 13),
        ("latent", "12"),
        ("accumulator", 25),
        ("accumulator", True),
        ("clock_hz", 0),
    ],
)
def test_out_of_range(field, value):
    with pytest.raises(ValueError, match=f"{field} of configuration 'odd' must be a .*, not {value!r}"):
        Configuration(name="odd", **{field: value})


def test_derived_numbers():
    small = Configuration(name="x", lanes=8, word=32, latent=6, accumulator=16)
    assert small.granules == 4
    assert small.latent_top == 32
    assert small.largest_sum == (1 << 15) - 32
    assert (small.weight_word, small.tile_beats) == (12, 12)
    wide = Configuration(name="y", lanes=16, word=32, latent=9)
    assert (wide.weight_word, wide.tile_beats) == (16, 64)


def test_digest_tells_hardware_apart():
    digests = {c.digest for c in CONFIGURATIONS.values()}
    assert len(digests) == len(CONFIGURATIONS)
    one = Configuration(name="one")
    assert one.digest == Configuration(name="other", clock_hz=50_000_000).digest
    for field in dataclasses.fields(Configuration):
        if field.name not in ("name", "clock_hz"):
            value = getattr(one, field.name)
            changed = value - 1 if field.name in ("latent", "accumulator") else value // 2
            if field.name == "word":
                changed = 64
            assert dataclasses.replace(one, **{field.name: changed}).digest != one.digest, field.name
