"""What to look at in the waveforms of the simulated accelerator: a save file for GTKWave, with the units in groups."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

HARNESS = Path(__file__).with_name("waves.cpp")

# The groups, in the order and by the names of docs/architecture.md, with the units in each: instances below `core`.
_GROUPS = {
    "control": r"sequencer|orders|\w+_queue|semaphores|load|store|labels",
    "buffers": r"left|right|transpose|window",
    "engine": r"fetch|array",
    "statistics": r"statistics|tile_buffer|totals",
    "head": r"head",
}
_HANDSHAKES = r"(\w+__)?(valid|ready|begin|start|done|busy|idle|hold|blocked)"  # ports that tell what a unit is at
_STATE = "_text"  # what `bnnedge.hw.generate` adds to the name of a state's register


def hierarchy(verilog: str) -> str:
    """The signals of the save file: lines of group, unit and name, with the width where it is not one bit, between tabs."""
    modules = {found[1].lstrip("\\"): found[0] for found in re.finditer(r"^module (\S+) ?\(.*?^endmodule", verilog, re.M | re.S)}
    lines = [("ports", "", name) for name in _ports(modules.get("accelerator", ""), r"\w+")]
    instances = list(_instances("accelerator.core", modules))
    for group, units in _GROUPS.items():
        for path, module in instances:
            unit = re.sub(r"\$\d+", "", path).split(".")
            if len(unit) > 2 and re.fullmatch(units, unit[2]):
                lines += [(group, path, name) for name in _states(modules[module])]
                if len(unit) == 3:
                    lines += [(group, path, name) for name in _ports(modules[module], _HANDSHAKES)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _instances(module: str, modules: dict[str, str], path: str = "accelerator.core") -> Iterator[tuple[str, str]]:
    """Paths of a module and all in it, with the names of their modules."""
    if module in modules:
        yield path, module
        for kind, name in re.findall(r"^  \\(accelerator\.\S+)  ?\\?(\S+)  ?\($", modules[module], re.MULTILINE):
            yield from _instances(kind, modules, f"{path}.{name}")


def _ports(text: str, name: str) -> list[str]:
    return _sized(re.findall(rf"^  (?:input|output) (?:\[(\d+):0\] )?\\?({name}) ?;", text, re.MULTILINE))


def _states(text: str) -> list[str]:
    return _sized(re.findall(rf"^  wire (?:\[(\d+):0\] )?\\?(\S+{_STATE}) ", text, re.MULTILINE))


def _sized(found: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"{name}[{top}:0]" if top else name for top, name, *_ in found]


def save_file(listed: str, waves: Path) -> str:
    """A save file of GTKWave for `waves`, with the signals that `hierarchy` listed; states as text, the rest in hexadecimal."""
    text = [f'[dumpfile] "{waves}"', "[timestart] 0", "[sst_expanded] 1"]
    lines = [line.split("\t") for line in listed.splitlines()]
    for group in dict.fromkeys(group for group, *_ in lines):
        text += ["@800200", f"-{group}"]
        unit = ""
        for _, path, name in (line for line in lines if line[0] == group):
            if path != unit:
                unit = path
                text += ["@200", f"-{path.removeprefix('accelerator.core.')}"]
            text += ["@820" if _STATE in name else "@22" if "[" in name else "@28", f"{path or 'accelerator'}.{name}"]
        text += ["@1000200", f"-{group}"]
    return "\n".join(text) + "\n"


def as_header(listed: str) -> str:
    """C++ that defines HIERARCHY as that text."""
    lines = [json.dumps(line) for line in listed.splitlines(keepends=True)]
    return "static const char HIERARCHY[] =\n" + "\n".join(lines or ['""']) + ";\n"


def whole(waves: Path) -> bool:
    """Whether a file of FST has been written to its end: its blocks fill it, and the first has the time of the last change."""
    with open(waves, "rb") as file:
        size = file.seek(0, 2)
        place, kinds = 0, []
        while place + 9 <= size:
            file.seek(place)
            kinds.append(file.read(1)[0])
            place += 1 + int.from_bytes(file.read(8), "big")
    return place == size and kinds[:1] == [0] and len(kinds) > 3
