"""Mutants of files: damaged bytes, and tables with other values in them, the same for the same seed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

# What stands in a file for a value; some are no JSON.
TOKENS = (
    *("-1", "0", "1.5", "1e999", "NaN", "-Infinity", "null", "true", "yes", "2024-01-01", "2024-13-45", "12:30", '"'),
    *("[]", "{}", "[[]]", "{a: b}", "&a [*a]", "*a", "!!python/name:os.system", "---", "? ", "\t", ",", "\n", ",,,,", "\x1b[2J"),
    *("\u202e", "\ufffd", "9" * 5000, "1" + "0" * 400),
    *("[" * 3000, "{a: " * 3000, "x" * 300_000, "{gradient_planes:>2000000000}", "{0.__class__}", "../../../etc/passwd", "%s%n"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 1.5, 1e308, -1e308, 10**19, 10**25, "", "x", "1", "\x1b[31m", "\u202e", "\ud800", "x" * 300),
    *("x" * 100_000, "../x", [], {}, [[]], [None], {"": 0}, [0] * 20_000, [[[[[[]]]]]], {str(n): n for n in range(2000)}),
)


def deep(depth: int) -> Any:
    """Lists within each other."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The bytes with one to three faults, as of a bad medium, a torn write or a hand."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = draw.choice(_FAULTS)(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _lose(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + content[start + draw.choice((1, 2, 16, 500)) :]


def _again(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    end = start + draw.choice((1, 2, 16, 500))
    return content[:end] + content[start:]


def _noise(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    noise = draw.randbytes(draw.choice((1, 4, 64)))
    return content[:start] + noise + content[start + draw.choice((0, len(noise))) :]


def _token(content: bytes, draw: random.Random) -> bytes:
    """Another one in the place of a word or number."""
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content
    word = draw.choice(words)
    return content[: word.start()] + draw.choice(TOKENS).encode() + content[word.end() :]


_FAULTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flip, _cut, _lose, _again, _noise, _token, _token, _token)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand, from the outside in; of long lists the first few."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _places(item, (*path, key))


def altered(table: Any, draw: random.Random) -> Any:
    """A table, of what JSON has, with another value, without one, or with one more, in one to three places."""
    table = json.loads(json.dumps(table))
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = [path for path in _places(table) if path]
        if not places:
            break
        *outer, key = draw.choice(places)
        around = table
        for step in outer:
            around = around[step]
        kind = draw.choice(("replace", "replace", "replace", "replace", "remove", "add"))
        value = draw.choice((*VALUES, deep(30)))
        if kind == "remove":
            del around[key]
        elif kind == "add" and isinstance(around, dict):
            around[draw.choice(("x", "", "\x1b", "name", "version"))] = value
        elif kind == "add":
            around.insert(key, value)
        else:
            around[key] = value
    return table
