"""Output to the terminal: control characters, as names in other people's files may hold, are escaped."""

from __future__ import annotations

import contextlib
import difflib
import io
import signal
import sys
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TextIO

# Control characters, marks without a shape (those that turn the direction of text among them), parts of characters, what
# no standard has given a meaning, and what ends a line.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, keep: str = "") -> str:
    r"""The text with escapes, as `\x1b`, for all characters that show nothing or command a terminal, but for those to keep."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN and char not in keep else char for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


class Terminal:
    """A stream whose `write` lets through lines of printable text, and escapes all else; otherwise the one it is made of.

    A name that must not break a line goes through `printable` before.

    aside: called before all else that is written, by whoever has left a line unfinished on the terminal; see `underway`.
    """

    aside: ClassVar[Callable[[], None] | None] = None

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write, with what the stream cannot encode as escapes, too; return the length of `text`."""
        shown, encoding = printable(text, "\n\t"), self.stream.encoding or "utf-8"
        if Terminal.aside and self.stream.isatty():
            Terminal.aside()
        with self._named():
            self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with self._named():
            self.stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Say of which stream an error is, as of a file."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or {1: "standard output", 2: "standard error"}.get(_descriptor(self.stream))
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return -1


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let standard output and error be a `Terminal` each, for all that is printed meanwhile."""
    with contextlib.ExitStack() as stack:
        for stream, redirect in ((sys.stdout, contextlib.redirect_stdout), (sys.stderr, contextlib.redirect_stderr)):
            if stream is not None and not isinstance(stream, Terminal):
                stack.enter_context(redirect(Terminal(stream)))  # type: ignore[type-var]
        yield


@contextlib.contextmanager
def noting(*kinds: type[Warning]) -> Iterator[None]:
    """Let warnings of these kinds be a line each on standard error, `note: ...`, without the place in the code."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, kinds):
                print(f"note: {printable(str(message))}", file=sys.stderr)
            else:
                usual(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


class Terminated(KeyboardInterrupt):
    """The process was told to end, or its terminal has gone: what is under way ends as after Ctrl-C."""


@contextlib.contextmanager
def ending() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP raise `Terminated`, so that nothing is left half done; the list gets the signal's number."""
    got: list[int] = []

    def end(number: int, _: object) -> None:
        got.append(number)
        raise Terminated

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Those alone that nobody handles: nohup ignores SIGHUP. Only the main thread may ask for them.
        if signal.getsignal(number) == signal.SIG_DFL and threading.current_thread() is threading.main_thread():
            before[number] = signal.signal(number, end)
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'digits'?` of the one among `names` that is most like `name`; empty if none is."""
    lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {lower[found[0]]!r}?" if found else ""


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 step, 1,200 steps."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time in words, to about a hundredth: 12 s, 34 min, 5 h 06 min, 7 d 8 h."""
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def bare(stream: Any) -> TextIO:
    """The stream below a `Terminal`, for a bar that moves the cursor, of numbers alone; of None, one to nowhere."""
    found: TextIO = stream.stream if isinstance(stream, Terminal) else stream
    return found if found is not None else io.StringIO()


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")
