"""What takes long is said before it begins, and every few seconds that it still goes on."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator

from bnnedge.terminal import Terminal, bare, in_notebook, printable

_TERMINAL, _ELSEWHERE = 1.0, 60.0  # seconds between two signs of life
_SECONDS = 24  # characters, of the time behind the text
_alone = threading.Lock()


@contextlib.contextmanager
def underway(what: str, usual: str = "", *, after: float = 0.0, stdout: bool = False) -> Iterator[Callable[[str], None]]:
    """Say on standard error (of a notebook, in its output) what is being done meanwhile.

    That is one line. On a terminal and in a notebook it counts the seconds; elsewhere each minute is added to it. Within
    another one, or beside one in another thread, it says nothing. The function that one gets takes other words for what is being
    done, which a terminal or a notebook shows from then on.

    Parameters
    ----------
    what: in words, such as "compiling the RTL with Verilator".
    usual: how long it takes.
    after: seconds to wait before anything is said, for what is mostly quick.
    stdout: where it is part of what a command prints, say it on standard output.
    """
    if not _alone.acquire(blocking=False):
        yield lambda text: None
        return
    try:
        line = _Line(f"{what} ({usual}) ..." if usual else f"{what} ...", stdout)
        if not after:
            line.show()
        try:
            with beating(line.tell, _TERMINAL if line.alive else _ELSEWHERE, after):
                yield line.say
        except BaseException:
            line.outcome = "stopped after "
            raise
        finally:
            line.close()
    finally:
        _alone.release()


def beating(beat: Callable[[], object], every: float = _TERMINAL, after: float = 0.0) -> contextlib.ExitStack:
    """Call `beat` again and again from a thread, until the stack that is returned, or used with `with`, is closed.

    every: seconds between two calls. after: seconds before the first one; `every` if 0.
    """
    ended = threading.Event()

    def run() -> None:
        wait = after or every
        while not ended.wait(wait):
            beat()
            wait = every

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack = contextlib.ExitStack()
    stack.callback(thread.join)
    stack.callback(ended.set)
    return stack


class _Line:
    """The line about one thing."""

    def __init__(self, text: str, stdout: bool) -> None:
        notebook = in_notebook()
        self.stream = bare(sys.stdout if stdout or notebook else sys.stderr)
        self.alive = notebook or self.stream.isatty()
        # A line that the terminal breaks could not be written over.
        self.room = shutil.get_terminal_size().columns - _SECONDS if self.alive and not notebook else None
        self.text, self.longest = self._cut(text), 0
        self.began, self.shown, self.outcome, self.open = time.monotonic(), False, "", False
        self.lock = threading.Lock()
        if self.alive and not notebook:
            Terminal.aside = self.clear

    def show(self) -> None:
        """Say it."""
        with self.lock:
            self.shown = self.open = True
            self._write(self.text)

    def say(self, text: str) -> None:
        """Show another text from the next sign of life on, where the line can be written over."""
        if self.alive:
            with self.lock:
                self.longest = max(self.longest, len(self.text))
                self.text = self._cut(f"{text} ...")

    def _cut(self, text: str) -> str:
        if self.room is None or len(text) <= self.room:
            return printable(text)
        return f"{printable(text[: self.room - 4])} ..."

    def clear(self) -> None:
        """Make room for a line of somebody else's; the next sign of life comes below it."""
        with self.lock:
            if self.open:
                self._write("\r\x1b[K")
            self.open = False

    def close(self) -> None:
        """Say how long it took."""
        Terminal.aside = None
        if self.shown:
            self.tell()
            self._write("\n")

    def tell(self) -> None:
        """Show a sign of life."""
        if not self.shown:
            self.show()
            return
        with self.lock:
            start = f"\r{self.text}" if self.alive else ""
            rest = " " * max(0, self.longest - len(self.text))  # of a text that was longer
            self._write(f"{start} {self.outcome}{time.monotonic() - self.began:.0f} s{rest}")
            self.open = True

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the stream is closed
            encoding = self.stream.encoding or "utf-8"
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self.stream.flush()
