"""Accelerator parameters: ranges, derived numbers, and the digest."""

import dataclasses
import os

import numpy as np
import pytest

from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration


def test_names():
    for name in CONFIGURATIONS:
        assert configuration(name).name == name
    assert {"sim-small", "pynq-z2", "pynq-z2-x64"} <= set(CONFIGURATIONS)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"there is no configuration 'zcu': neither a built-in one \(sim-small, .*\) nor a file"):
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
        ("clock_hz", 100),  # MHz, it seems
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


@pytest.mark.parametrize(
    ("field", "value", "would"),
    [("lanes", 12, "8 or 16"), ("lanes", 32, "16"), ("word", 8, "16"), ("left_depth", 1000, "960 or 1024"), ("latent", 3, "4")],
)
def test_what_would_do(field, value, would):
    with pytest.raises(ValueError, match=rf"\(.+\), not {value}; {would} would do$"):
        Configuration(name="odd", **{field: value})


def test_numbers_of_numpy():
    found = Configuration("numpy", lanes=np.int64(8), left_depth=np.uint16(128))
    assert found == Configuration("numpy", lanes=8, left_depth=128)
    assert {type(value) for value in dataclasses.asdict(found).values()} == {str, int}


def test_an_unknown_keyword():
    with pytest.raises(TypeError, match="Configuration has no 'lane': did you mean `lanes`"):
        Configuration("odd", lane=8)


def test_neither_name_nor_file():
    with pytest.raises(ValueError, match=r"configuration must be a Configuration, a name or a file, not {'lanes': 8}"):
        configuration({"lanes": 8})


class TestFiles:
    def test_yaml_and_json(self, tmp_path):
        (tmp_path / "small.yaml").write_text("lanes: 4\nword: 16\nclock_hz: 80e6\n")
        (tmp_path / "small.JSON").write_text('{"lanes": 4, "word": 16, "clock_hz": 80000000}')
        small = Configuration("small", lanes=4, word=16, clock_hz=80_000_000)
        assert configuration(tmp_path / "small.yaml") == configuration(str(tmp_path / "small.JSON")) == small

    def test_a_pipe(self):
        """What a shell makes of <(...), whose name is a number."""
        reading, writing = os.pipe()
        with os.fdopen(reading), os.fdopen(writing, "w") as file:
            file.write("lanes: 4\n")
            file.close()
            assert configuration(f"/dev/fd/{reading}").lanes == 4

    def test_a_name_of_its_own(self, tmp_path):
        path = tmp_path / "my configuration.yaml"
        path.write_text("name: mine\nlatent: 8\n")
        assert configuration(path) == Configuration("mine", latent=8)

    def test_a_copy_of_a_built_in_one(self, tmp_path):
        path = tmp_path / "pynq-z2.yaml"
        path.write_text("lanes: 16\n")
        assert Configuration.from_file(path) == CONFIGURATIONS["pynq-z2"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "it must be a table of parameters, such as lanes: 8"),
            ("- lanes", "it must be a table"),
            ("lane: 8", r"there is no parameter 'lane'; there are name, lanes, .*; did you mean 'lanes'\?"),
            ("frequency: 8", "there is no parameter 'frequency'; there are name, lanes"),
            ("lanes: '8'", "lanes of configuration 'own' must be a power of two .*, not '8'$"),
            ("lanes: 8.5", "lanes .* not 8.5; 8 or 16 would do"),
            ("lanes: 8\nlanes: 4", "the key 'lanes' stands twice"),
            ("lanes: &a 8", "line 1, column 8: anchors"),
            ("name: a/b", "name of a configuration must be letters, digits, dots and hyphens, not 'a/b'"),
            ("name: pynq-z2\nlanes: 8", "its name is that of the built-in configuration 'pynq-z2', which is another"),
            ("clock_hz: 100", r"clock_hz .* 1000000\.\.10000000000 \(it is in Hz\), not 100"),
        ],
    )
    def test_faults_are_named_with_the_file(self, tmp_path, text, message):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"configuration file .*own.yaml: .*{message}"):
            configuration(path)

    def test_a_name_that_is_none(self, tmp_path):
        path = tmp_path / "my configuration.yaml"
        path.write_text("latent: 8\n")
        with pytest.raises(ValueError, match="its name must be letters, digits, dots and hyphens: give one in the file"):
            configuration(path)
