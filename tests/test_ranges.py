"""Each library that users install is tested at the oldest version that pyproject.toml allows: tests/oldest.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[1]

# For users. What a board has is older; it is tested there, and in an emulator (tests/system/test_armhf.py).
EXTRAS = "sim", "hw", "host", "notebook", "exchange", "keras", "study", "sklearn"
ON_BOARDS = {"numpy", "matplotlib"}


def oldest() -> dict[str, str]:
    lines = (ROOT / "tests/oldest.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def numbers(version: str) -> tuple[int, ...]:
    """A version without trailing zeros."""
    found = [int(part) for part in version.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def test_each_lower_bound_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    seen = set()
    for requirement in [*project["dependencies"], *(r for extra in EXTRAS for r in project["optional-dependencies"][extra])]:
        name, least = re.match(r"([\w-]+)(?:\[[\w,-]+\])?(?:>=([\d.]+))?", requirement).groups()
        if name == "bnnedge":
            continue
        assert least, f"{requirement} has no lower bound"
        seen.add(name)
        tested = numbers(oldest()[name])
        assert tested >= numbers(least)
        assert name in ON_BOARDS or tested == numbers(least), f"{requirement}, but tests/oldest.txt has {oldest()[name]}"
    assert seen <= set(oldest())


def test_the_commands_install_these_extras():
    makefile = (ROOT / "Makefile").read_text()
    installed = re.search(r"^USERS := (.*)$", makefile, re.MULTILINE).group(1)
    assert set(installed.split(",")) | {"hw"} == set(EXTRAS)
