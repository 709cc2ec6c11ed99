"""Reader of the pickles of CIFAR-10's Python version, in which nothing can run.

A pickle is a program that may call any function it names. The files of CIFAR-10 name three, all NumPy's, to rebuild an
array of bytes; those that were written anew may name some more, by their protocol. Stand-ins take the place of all of them
here, for NumPy's own would trust the strides and types that a file claims.
Beside such arrays a pickle is made of strings, bytes, numbers, lists, tuples and dictionaries; every other name ends the
reading. Before it begins, the program is gone through, operation by operation: those that such files need are on a list, and how
many there are is limited, for a few bytes can ask for gigabytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from bnnedge import bounded
from bnnedge.data.arrays import DataError

_UNSIGNED_BYTE = ("u1", b"u1")
_KNOWN = frozenset(
    re.findall(
        r"\w+",
        """PROTO FRAME STOP MARK POP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 FLOAT BINFLOAT EMPTY_DICT
        DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 STRING BINSTRING
        SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 PUT
        BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD""",
    )
)
# A file of CIFAR-10 has some 60,000, and a number for each thing that it comes back to.
_MOST = 1_000_000
# What makes a thing that it may come back to: no tuples. A few that hold each other twice take for ever to hash or to print.
_SHARED = frozenset(
    name
    for name in _KNOWN
    if re.fullmatch(r"\w*(STRING|UNICODE8?|BYTES8?|BYTEARRAY8|INT\d?|GLOBAL|GET)|(EMPTY_)?(LIST|DICT)|REDUCE", name)
)
# Of tuples, which may lie in each other: reading these goes deeper with each.
_TUPLES = 500
_AXES = 8  # of an array: the product of a million sides would take minutes


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: object) -> None:
        if code not in _UNSIGNED_BYTE:
            what = f"type {code!r:.40}" if isinstance(code, (str, bytes)) else "a type without a name"
            raise pickle.UnpicklingError(f"an array of {what}; only unsigned bytes (u1) are read")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment, which bytes do not have."""


class _Array:
    """Stands in for numpy.ndarray; `values` has what the pickle gives it."""

    values: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, octets = state
        self._fill(shape, kind, octets, "F" if fortran else "C")

    @classmethod
    def of_buffer(cls, octets: object, kind: object, shape: object, order: object) -> _Array:
        """As protocol 5 has it, in one call."""
        made = cls()
        made._fill(shape, kind, octets, "F" if order == "F" else "C")
        return made

    def _fill(self, shape: object, kind: object, octets: object, order: Literal["C", "F"]) -> None:
        if not isinstance(shape, tuple) or len(shape) > _AXES or not all(type(side) is int for side in shape):
            raise pickle.UnpicklingError("an array whose shape is not made of a few whole numbers")
        if not isinstance(kind, _Type) or not isinstance(octets, (bytes, bytearray)) or math.prod(shape) != len(octets):
            raise pickle.UnpicklingError("an array that is not made of as many bytes as its shape says")
        self.values = np.frombuffer(octets, np.uint8).reshape(shape, order=order)


class _Restricted(pickle.Unpickler):
    def __init__(self, octets: bytes) -> None:
        super().__init__(io.BytesIO(octets), encoding="bytes")
        self._left = len(octets)

    def _encoded(self, text: object, code: object) -> bytes:
        """Bytes, as protocols 0 to 2 of Python 3 have them: a character each. Each text once, for a few could fill the memory."""
        if not isinstance(text, str) or code != "latin1" or len(text) > self._left:
            raise pickle.UnpicklingError("it encodes something else than bytes, or more than it has")
        self._left -= len(text)
        return text.encode("latin-1")

    def find_class(self, module: str, name: str) -> Any:
        # Made anew at each call: a pickle can set attributes of what it gets.
        known: dict[tuple[str, str], Callable[..., object] | None] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),  # of NumPy 2
            ("numpy.core.numeric", "_frombuffer"): lambda *given: _Array.of_buffer(*given),  # of protocol 5
            ("numpy._core.numeric", "_frombuffer"): lambda *given: _Array.of_buffer(*given),
            ("_codecs", "encode"): lambda *given: self._encoded(*given),
            ("numpy", "ndarray"): None,  # an argument of _reconstruct
            ("numpy", "dtype"): lambda code, *_: _Type(code),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which data have no need of")
        return known[module, name]


def _check(octets: bytes) -> None:
    """UnpicklingError for a program that does what no data need."""
    tuples, made = 0, ""
    shared: dict[int, bool] = {}  # by its number, whether a thing may be come back to
    for count, (operation, argument, _) in enumerate(pickletools.genops(octets)):
        name = operation.name
        if name not in _KNOWN:
            raise pickle.UnpicklingError(f"it uses {name}, which data have no need of")
        # The arguments of a call are no part of what comes of it.
        tuples += ("TUPLE" in name) - (name == "REDUCE" and "TUPLE" in made)
        memo = int(str(argument)) if "PUT" in name else len(shared)
        if "PUT" in name or name == "MEMOIZE":
            shared[memo] = made in _SHARED
        elif "GET" in name and not shared.get(int(str(argument)), True):
            raise pickle.UnpicklingError("it comes back to a tuple, which data have no need of")
        elif name not in ("PROTO", "FRAME"):
            made = name
        if count > _MOST or not 0 <= memo <= _MOST or tuples > _TUPLES:
            raise pickle.UnpicklingError("it has more parts than data have need of")


def read(where: str, octets: bytes) -> dict[str, Any]:
    """The dictionary in a pickle: keys as str, arrays as uint8 `numpy.ndarray`. Runs nothing that the pickle names.

    Raises DataError, beginning with `where`, if it is damaged, is no dictionary, or holds anything but byte arrays,
    bytes, strings, numbers, lists, tuples and dictionaries.
    """
    try:
        _check(octets)
        content = _Restricted(octets).load()
    # A malformed pickle makes the unpickler raise nearly anything.
    except Exception as error:
        said = bounded.shown(str(error) or type(error).__name__, 200)
        raise DataError(f"{where}: not a pickle of plain data: {said}") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: holds no dictionary")
    found = {}
    for key, value in content.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        # One that was made, but never filled, has no values.
        found[name] = getattr(value, "values", None) if isinstance(value, _Array) else value
    return found
