"""Descriptions that nobody need trust: what is read, and the line for each way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnnedge.parsing import decoded, parse_json, parse_yaml, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: [1, -2.5, ~, yes, '5', 1_000, 0x1f, 1e-3]", {"a": [1, -2.5, None, True, "5", 1000, 31, 0.001]}),
        ("{a: 2024-01-01, b: 2024-13-45, c: 12:30, d: <<, e: =, f: 1e}", {
            "a": "2024-01-01", "b": "2024-13-45", "c": "12:30", "d": "<<", "e": "=", "f": "1e"}),
        ("- |\n  two\n  lines\n- >-\n  one\n  line\n", ["two\nlines\n", "one line"]),
        ("---\na: 1\n...\n", {"a": 1}),
        ("[" * 20 + "]" * 20, eval("[" * 20 + "]" * 20)),
        ("'\\ud800'", "\\ud800"),
    ],
)  # fmt: skip
def test_yaml(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 3000, "line 1, column 21: lists and tables are nested more than 20 deep"),
        ("- " * 3000, "line 1, column 41: lists and tables are nested more than 20 deep"),
        ("{a: " * 3000, "line 1, column 81: lists and tables are nested more than 20 deep"),
        ("[" + "0, " * 10_000 + "]", "line 1, column .*: it holds more than 10,000 values"),
        ("a: 1\nb: &x [1]\nc: [*x, *x]", r"line 2, column 4: anchors \(&x\) and aliases \(\*\) are not read: write it out"),
        ("a: *x", r"line 1, column 4: anchors \(&x\) and aliases"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' stands twice in one table: keep one"),
        ("8: 3", "line 1, column 1: the key 8 is no text to YAML: put it in quotes"),
        ("yes: 3", "line 1, column 1: the key True is no text to YAML: put it in quotes"),
        ("? [1]\n: 3", "line 1, column 3: a list or a table stands where a key does"),
        ("a:\n  - !!python/object/apply:os.system [x]", r"line 2, column 5: tags \(tag:yaml.org,2002:python/object/apply"),
        ("a: !!int 5", "line 1, column 4: tags"),
        ("a: " + "9" * 5000, "line 1, column 4: a number has 5000 characters; 20 digits are the most"),
        ("a: 0x" + "f" * 30, "line 1, column 4: the number 0xf+ is too large; 20 digits are the most"),
        ("a: 1e400", "line 1, column 4: 1e400 is no finite number"),
        ("a: .nan", "line 1, column 4: .nan is no finite number"),
        ("a: -.inf", "line 1, column 4: -.inf is no finite number"),
        ("a: [1", r"line 1, column 6: while parsing a flow sequence, expected ',' or '\]'"),
        ("\n\n@", "line 3, column 1: while scanning for the next token, found character '@'"),
        ("a: 1\nb: \x1b", "line 2: the character #x001b is not allowed"),
        ("a: 1\n---\nb: 2", "line 2, column 1: a second document begins here; one is read"),
        ('a: "\\ud800"', r"line 1, column 4: '\\ud800' is no whole character"),
        ("%YAML 3.0\n---\na: 1", "line 1, column 1: found incompatible YAML document"),
    ],
)
def test_yaml_that_is_not_sound(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


def test_json() -> None:
    assert parse_json('{"a": [1, -2.5, 1e-3, null, true, "x"]}') == {"a": [1, -2.5, 0.001, None, True, "x"]}
    assert parse_json("[" * 20 + "]" * 20) == eval("[" * 20 + "]" * 20)
    assert parse_json(str(2**64 - 1)) == 2**64 - 1
    assert parse_json(r'"\ud83d\ude00"') == "😀"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: Expecting value"),
        ('{"a":\n1,}', "line 2, column"),
        ("[" * 9000, "its lists and tables are nested more than 20 deep"),
        ("[" * 100_000, "it is divided into more lists and tables than 10,000"),
        ("[" * 21 + "]" * 21, "its lists and tables are nested more than 20 deep"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
        ("1" * 5000, "a whole number has 5000 digits; 20 are the most"),
        ("-1e400", "the number -1e400 is too large"),
        (r'{"a": ["\ud800"]}', r"'\\ud800' is no whole character"),
        ('[{"a": 1, "b": 2, "a": 1}]', "the key 'a' stands twice in one table: keep one"),
    ],
)
def test_json_that_is_not_sound(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_a_repeated_key_among_many() -> None:
    """It is found in a second, where comparing each with all others would take an hour."""
    keys = [*range(200_000), 199_999]
    with pytest.raises(ValueError, match="the key '199999' stands twice in one table"):
        parse_json("{" + ", ".join(f'"{key}": 0' for key in keys) + "}")


def test_text_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("ä".encode())
    assert read_text(path, 2) == "ä"
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="it is larger than 2 bytes"):
        read_text(path, 2)
    with pytest.raises(ValueError, match="it is larger than 262,144 bytes"):
        read_text("/dev/zero")
    with pytest.raises(ValueError, match=r"line 3 is not UTF-8 text \(byte 2 is 0xff\)"):
        decoded(b"\n\n\xff")
