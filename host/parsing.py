"""JSON and YAML from files that need not be trusted: limited in size, in depth and in their numbers; keys stand once.

What is read is plain: None, bool, int, float (finite), str, list, dict with keys of str. All errors are ValueErrors of one
line that say where.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from typing import Any, NoReturn

from bnnedge import bounded

DEPTH = 20  # lists and tables within each other
TABLES = 10_000  # and in all: a pair of brackets takes far more memory than two bytes; in YAML each value does
DIGITS = 20  # of a whole number: more than 64 bits have
DESCRIPTION = 1 << 18  # bytes of a file that people write; PyYAML takes seconds for as many

_DEEP = f"its lists and tables are nested more than {DEPTH} deep"


def read_text(path: str | os.PathLike[str], limit: int = DESCRIPTION, *, regular: bool = False) -> str:
    """The text of a UTF-8 file of up to `limit` bytes; OSError if it can't be read, ValueError for any other.

    regular: refuse pipes, which would keep us waiting, and devices.
    """
    with bounded.opened(path) if regular else open(path, "rb") as file:
        content = file.read(limit + 1)  # of a device, too, which may have no end
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes, which is more than such a file needs")
    return decoded(content)


def read_description(path: str | os.PathLike[str], source: str, wrong: str = "") -> Any:
    """What a file describes that people write: JSON if its name says so (.json), else YAML.

    ValueError begins with `source`, which names the file; if it is neither JSON nor YAML, with `wrong`, where that is given.
    """
    try:
        text = read_text(path)
        return parse_json(text) if os.fspath(path).lower().endswith(".json") else parse_yaml(text)
    except ModuleNotFoundError:
        raise ValueError(f"{source}: reading YAML needs PyYAML: pip install 'bnnedge[host]'") from None
    except OSError as error:
        raise ValueError(f"{source}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{wrong or source}: {error}") from None


def decoded(content: bytes) -> str:
    """UTF-8 as text; ValueError names the line of what is none."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x})") from None


def parse_json(text: str) -> Any:
    """What a JSON text says; ValueError if it is none, or none that is sound."""
    if text.count("[") + text.count("{") > TABLES:
        raise ValueError(f"it is divided into more lists and tables than {TABLES:,}")
    try:
        found = json.loads(
            text, parse_constant=_no_number, parse_int=_whole, parse_float=_real, object_pairs_hook=_without_repeats
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError(_DEEP) from None
    if not _shallow(found):
        raise ValueError(_DEEP)
    if "\\u" in text:
        _whole_characters(json.dumps(found, ensure_ascii=False))
    return found


def _whole_characters(text: str) -> str:
    r"""The text; ValueError for half a character, as `\ud800` is, which can be written nowhere."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[error.start]!r} is no whole character") from None
    return text


def _shallow(value: Any, depth: int = DEPTH) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not isinstance(value, (dict, list)) or (depth > 0 and all(_shallow(item, depth - 1) for item in inner))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _whole(text: str) -> int:
    if len(text.lstrip("+-")) > DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits; {DIGITS} are the most")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice!r:.60} stands twice in one table: keep one")
    return table


def parse_yaml(text: str) -> Any:
    """What a YAML text says; ValueError if it is none, or none that is sound. ModuleNotFoundError without PyYAML.

    Dates are text, as is all else that is neither number, truth value nor null; 1e-3 is a number. Anchors, aliases, tags and
    further documents are refused: no description needs them.
    """
    import yaml  # only here: a board runs without it

    try:
        document = _Document(yaml, yaml.SafeLoader(text))
        return document.read()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: the character #x{error.character:04x} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}, " if error.context else ""
        raise ValueError(f"{_place(error.problem_mark or error.context_mark)}: {context}{error.problem}") from None


class _Document:
    """Makes values of a parser's events, one after the other: no further than up to the first that is wrong."""

    def __init__(self, yaml: Any, loader: Any) -> None:
        self._yaml, self._loader, self._values = yaml, loader, 0

    def read(self) -> Any:
        loader, yaml = self._loader, self._yaml
        loader.get_event()  # the stream begins
        if loader.check_event(yaml.StreamEndEvent):
            return None
        loader.get_event()  # the document begins
        found = self._value(DEPTH)
        loader.get_event()  # the document ends
        if not loader.check_event(yaml.StreamEndEvent):
            raise ValueError(f"{_place(loader.get_event().start_mark)}: a second document begins here; one is read")
        return found

    def _value(self, depth: int) -> Any:
        yaml, event = self._yaml, self._loader.get_event()
        place = _place(event.start_mark)
        self._values += 1
        if self._values > TABLES:
            raise ValueError(f"{place}: it holds more than {TABLES:,} values")
        if event.anchor is not None:
            raise ValueError(f"{place}: anchors (&{event.anchor:.40}) and aliases (*) are not read: write it out")
        if event.tag is not None:
            raise ValueError(f"{place}: tags ({event.tag:.60}) are not read: leave it away")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if depth == 0:
            raise ValueError(f"{place}: lists and tables are nested more than {DEPTH} deep")
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not self._loader.check_event(yaml.SequenceEndEvent):
                items.append(self._value(depth - 1))
            self._loader.get_event()
            return items
        table: dict[str, Any] = {}
        while not self._loader.check_event(yaml.MappingEndEvent):
            place = _place(self._loader.peek_event().start_mark)
            if self._loader.check_event(yaml.CollectionStartEvent):
                raise ValueError(f"{place}: a list or a table stands where a key does")
            key = self._value(depth - 1)
            if not isinstance(key, str):
                raise ValueError(f"{place}: the key {key!r} is no text to YAML: put it in quotes")
            if key in table:
                raise ValueError(f"{place}: the key {key!r:.60} stands twice in one table: keep one")
            table[key] = self._value(depth - 1)
        self._loader.get_event()
        return table

    def _scalar(self, event: Any, place: str) -> Any:
        node = self._yaml.ScalarNode
        kind = self._loader.resolve(node, event.value, event.implicit).rpartition(":")[2]
        if event.implicit[0] and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", event.value):
            kind = "float"  # which YAML 1.1 takes for text
        if kind not in ("int", "float", "bool", "null") or ":" in event.value:  # 12:30 is 750 in YAML 1.1
            try:
                return _whole_characters(event.value)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
        if len(event.value) > 40:
            raise ValueError(f"{place}: a number has {len(event.value)} characters; {DIGITS} digits are the most")
        try:
            value = self._loader.construct_object(node(f"tag:yaml.org,2002:{kind}", event.value))
        except ValueError:  # such as 1e, or 0x
            raise ValueError(f"{place}: {event.value!r} is no number") from None
        if isinstance(value, int) and abs(value) >= 10**DIGITS:
            raise ValueError(f"{place}: the number {event.value} is too large; {DIGITS} digits are the most")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{place}: {event.value} is no finite number")
        return value


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
