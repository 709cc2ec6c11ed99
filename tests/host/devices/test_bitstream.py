"""Finding bitstreams: whole ones of this configuration, board and version, and clear words for all others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from overlays import bit_file, overlay

from bnnedge import DeviceError, configuration
from bnnedge.boards import BOARDS
from bnnedge.devices import bitstream, own_configuration

CONFIG = configuration("pynq-z2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return overlay(tmp_path / "overlay", CONFIG)


def edit(folder: Path, **changes: Any) -> None:
    """Change values of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_good_one_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNEDGE_BITSTREAM", str(folder))
    found = bitstream.find(CONFIG)
    assert (found.path, found.board, found.clock_hz) == (folder / "bnnedge.bit", BOARDS["pynq-z2"], 100_000_000)
    slower = dataclasses.replace(CONFIG, clock_hz=50_000_000)
    assert bitstream.find(slower) == found


def test_the_package_s_own_folder_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNNEDGE_BITSTREAM", raising=False)
    monkeypatch.setattr(bitstream, "OVERLAYS", folder.parent)
    with pytest.raises(DeviceError, match=r"there is no folder .*pynq-z2: set BNNEDGE_BITSTREAM to one with .* 'pynq-z2' \(bnne"):
        bitstream.find(CONFIG)
    folder.rename(folder.with_name("pynq-z2"))
    assert bitstream.find(CONFIG).path.name == "bnnedge.bit"


def test_the_only_one_says_what_was_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_configuration("rtl") is None
    monkeypatch.delenv("BNNEDGE_BITSTREAM", raising=False)
    monkeypatch.setattr(bitstream, "OVERLAYS", folder.parent)
    assert own_configuration("pynq") == CONFIG
    overlay(folder.with_name("second"), configuration("pynq-z2-x64"))
    assert own_configuration("pynq") is None, "there are two"
    monkeypatch.setenv("BNNEDGE_BITSTREAM", str(folder.with_name("second")))
    assert own_configuration("pynq") == configuration("pynq-z2-x64")
    edit(folder.with_name("second"), configuration={"lanes": 16, "colour": "red"})
    with pytest.raises(DeviceError, match=r"manifest.json describes no configuration of this version \(.*colour.*\): copy"):
        own_configuration("pynq")


@pytest.mark.parametrize("name", bitstream.FILES)
def test_each_file_is_needed(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DeviceError, match=f"overlay lacks {name}: copy the three files of one build"):
        bitstream.check(folder, CONFIG)


def test_files_too_large_are_refused_before_they_are_read(folder: Path) -> None:
    with open(folder / "bnnedge.bit", "ab") as file:
        file.truncate(1 << 40)  # of holes
    with pytest.raises(DeviceError, match=r"bnnedge.bit is larger than 67,108,864 bytes, as no file of a bitstream is"):
        bitstream.check(folder, CONFIG)


@pytest.mark.parametrize("name", bitstream.FILES[:2])
def test_files_of_another_build_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(DeviceError, match=f"{name} is not the file that manifest.json describes: copy the three files"):
        bitstream.check(folder, CONFIG)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"digest": "0x12345678"}, r"holds configuration 'pynq-z2' \(digest 0x12345678\), not 'pynq-z2' \(0x\w+\): choose that"),
        ({"instruction_set": 1}, r"has version 1 of the instruction set, this bnnedge \d+: take a bitstream of this version"),
        ({"board": "pynq-z2"}, r"not of a bitstream for a board \(it must be a table with a part, such as .*\): copy"),
        ({"board": {"name": "ultra96", "part": "xczu3eg"}}, r"\(part must be a Zynq-7000 .*, not 'xczu3eg'; .*\): copy"),
        ({"board": {"name": "x", "part": "xc7z020clg400-1", "registers": [0, 4096]}}, r"registers of a board must be .*: copy"),
        ({"sha256": {}}, r"manifest.json is not of a bitstream for a board \(it lacks 'bnnedge.bit'\): copy"),
        *(
            ({name: value}, "manifest.json is not of a bitstream for a board")
            for name in ("board", "digest", "instruction_set", "configuration", "sha256")
            for value in (None, True, 4.7, -1, "x\x1b", [], {}, [[]], {"name": 3, "bnnedge.bit": 3})
        ),
        ({"configuration": {"name": "pynq-z2", "clock_hz": 1e300}}, "instruction_set and clock_hz must be positive whole"),
        ({"configuration": {"name": "pynq-z2", "clock_hz": "1"}}, "instruction_set and clock_hz must be positive whole"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(folder: Path, changes: dict[str, Any], text: str) -> None:
    edit(folder, **changes)
    with pytest.raises(DeviceError, match=text):
        bitstream.check(folder, CONFIG)


CONFIGURATIONS = None, [], "x", {}, {"name": "../../x"}, {"name": 3}, {"name": "x", "lanes": 1e300}, {"\x1b\n": 1}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_configurations_that_are_none_are_refused(folder: Path, configuration: Any) -> None:
    edit(folder, configuration=configuration)
    with pytest.raises(DeviceError, match=r"manifest.json describes no configuration of this version \(.*\): copy") as caught:
        bitstream.described(folder)
    assert str(caught.value).isprintable()


LARGE = b"[" * 3000, b'{"board": NaN}', b'{"digest": 1' + b"0" * 5000 + b"}", b"\xff", b" " * (1 << 19), b'{"a": 1, "a": 1}'


@pytest.mark.parametrize("content", ["", "{", "[]", "3", *LARGE])
def test_manifests_that_are_none_are_refused(folder: Path, content: str | bytes) -> None:
    (folder / "manifest.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DeviceError, match=r"manifest.json (cannot be read|is not of a bitstream)"):
        bitstream.check(folder, CONFIG)


def test_another_configuration_is_refused(folder: Path) -> None:
    with pytest.raises(DeviceError, match=r"holds configuration 'pynq-z2' .*, not 'sim-small' .*BNNEDGE_BITSTREAM"):
        bitstream.check(folder, configuration("sim-small"))


def test_a_faster_clock_than_it_was_built_for_is_refused(folder: Path) -> None:
    with pytest.raises(DeviceError, match="overlay was built for 100 MHz, 'pynq-z2' asks for 125 MHz"):
        bitstream.check(folder, dataclasses.replace(CONFIG, clock_hz=125_000_000))


def test_a_bitstream_for_another_part_is_refused(tmp_path: Path) -> None:
    overlay(tmp_path, CONFIG, bits=bit_file("7z010clg400"))
    with pytest.raises(DeviceError, match="part 7z010clg400, and TUL PYNQ-Z2 has xc7z020clg400-1: take"):
        bitstream.check(tmp_path, CONFIG)


@pytest.mark.parametrize("part", ["7z020clg400", "xc7z020clg400", "xc7z020clg400-1"])
def test_parts_are_known_under_the_names_that_tools_give_them(tmp_path: Path, part: str) -> None:
    overlay(tmp_path, CONFIG, bits=bit_file(part))
    assert bitstream.part_of(tmp_path / "bnnedge.bit") == (part, bitstream.NO_USER)
    bitstream.check(tmp_path, CONFIG)


@pytest.mark.parametrize("content", [b"", b"\0", b"hello, this is text", bit_file()[:20], bytes(5000), bit_file("\x1b[2J")])
def test_a_file_that_is_no_bitstream_is_refused(tmp_path: Path, content: bytes) -> None:
    overlay(tmp_path, CONFIG, bits=content)
    with pytest.raises(DeviceError, match=r"bnnedge.bit is not a bitstream: it lacks the header of a .bit file"):
        bitstream.check(tmp_path, CONFIG)


def test_the_userid_of_another_configuration_is_refused(tmp_path: Path) -> None:
    """As of a .bit that was built by hand, and then copied beside files of another configuration."""
    overlay(tmp_path / "same", CONFIG, bits=bit_file(user=CONFIG.digest))
    assert bitstream.check(tmp_path / "same", CONFIG).path
    overlay(tmp_path / "other", CONFIG, bits=bit_file(user=0xDEADBEEF))
    message = "is of another configuration than its manifest: its USERID is 0xdeadbeef, not the digest"
    with pytest.raises(DeviceError, match=message):
        bitstream.check(tmp_path / "other", CONFIG)
