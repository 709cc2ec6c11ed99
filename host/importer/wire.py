"""The outline of an ONNX file as Protocol Buffers write it: how many parts it has, before a library makes an object of each."""

from __future__ import annotations

from collections.abc import Iterator

_PARTS = 50_000
# Fields of a message that hold messages, by their numbers in onnx.proto: those that are gone into, and what is refused.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _ANNOTATION = "model", "graph", "node", "attribute", "annotation"
_INSIDE = {
    _MODEL: {7: _GRAPH},
    _GRAPH: {1: _NODE, 14: _ANNOTATION},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {},
    _ANNOTATION: {},
}
_REFUSED = {
    (_MODEL, 20): "a description of its training",
    (_MODEL, 25): "functions of its own (onnx.inliner.inline_local_functions puts them in line)",
    (_GRAPH, 15): "sparse constants",
    (_ATTRIBUTE, 6): "a graph within a node (If, Loop)",
    (_ATTRIBUTE, 11): "graphs within a node (If, Loop)",
    (_ATTRIBUTE, 22): "sparse constants",
    (_ATTRIBUTE, 23): "sparse constants",
}


def check(octets: bytes) -> None:
    """Raise ValueError for a file that is no message, has too many parts, or parts that a chain of layers does not need."""
    count, view = 0, memoryview(octets)
    waiting = [(_MODEL, view)]
    while waiting:
        kind, message = waiting.pop()
        for field, content in _fields(message):
            count += 1
            if count > _PARTS:
                raise ValueError(f"it has more than {_PARTS:,} parts, which no chain of layers needs")
            if (kind, field) in _REFUSED:
                raise ValueError(f"it has {_REFUSED[kind, field]}, which the device has no form for")
            if content is not None and field in _INSIDE[kind]:
                waiting.append((_INSIDE[kind][field], content))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Numbers of the fields of a message, and the content of those that have a length."""
    place = 0
    while place < len(message):
        tag, place = _number(message, place)
        content = None
        if tag & 7 == 0:
            _, place = _number(message, place)
        elif tag & 7 == 2:
            length, place = _number(message, place)
            content = message[place : place + length]
            place += length
        elif tag & 7 in (1, 5):
            place += 8 if tag & 7 == 1 else 4
        else:
            raise ValueError("it is no ONNX model, or damaged")
        if place > len(message):
            raise ValueError("it is no ONNX model, or cut short")
        yield tag >> 3, content


def _number(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        octet = message[place]
        place += 1
        value |= (octet & 127) << shift
        if octet < 128:
            return value, place
    raise ValueError("it is no ONNX model, or cut short")
