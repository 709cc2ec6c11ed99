"""What takes long is said before it begins, and every few seconds that it still goes on."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator

from bnnedge.terminal import bare, in_notebook, printable

_TERMINAL, _ELSEWHERE = 1.0, 60.0  # seconds between two signs of life
_SECONDS = 24  # characters, of the time behind the text
_alone = threading.Lock()


@contextlib.contextmanager
def underway(what: str, usual: str = "", *, after: float = 0.0, stdout: bool = False) -> Iterator[None]:
    """Say on standard error (of a notebook, in its output) what is being done meanwhile.

    That is one line. On a terminal and in a notebook it counts the seconds; elsewhere each minute is added to it. Within
    another one, or beside one in another thread, it says nothing.

    Parameters
    ----------
    what: in words, such as "compiling the RTL with Verilator".
    usual: how long it takes.
    after: seconds to wait before anything is said, for what is mostly quick.
    stdout: where it is part of what a command prints, say it on standard output.
    """
    if not _alone.acquire(blocking=False):
        yield
        return
    try:
        line = _Line(f"{what} ({usual}) ..." if usual else f"{what} ...", stdout)
        ended = threading.Event()
        teller = threading.Thread(target=line.tell, args=(ended, after), daemon=True)
        if not after:
            line.show()
        teller.start()
        try:
            yield
        except BaseException:
            line.outcome = "stopped after "
            raise
        finally:
            ended.set()
            teller.join()
            line.close()
    finally:
        _alone.release()


class _Line:
    """The line about one thing."""

    def __init__(self, text: str, stdout: bool) -> None:
        notebook = in_notebook()
        self.stream = bare(sys.stdout if stdout or notebook else sys.stderr)
        self.alive = notebook or self.stream.isatty()
        # A line that the terminal breaks could not be written over.
        room = shutil.get_terminal_size().columns - _SECONDS if self.alive and not notebook else len(text)
        self.text = printable(text) if len(text) <= room else f"{printable(text[: room - 4])} ..."
        self.began, self.shown, self.outcome = time.monotonic(), False, ""

    def tell(self, ended: threading.Event, after: float) -> None:
        """Show signs of life until the end."""
        if after:
            if ended.wait(after):
                return
            self.show()
        while not ended.wait(_TERMINAL if self.alive else _ELSEWHERE):
            self._tell()

    def show(self) -> None:
        """Say it."""
        self.shown = True
        self._write(self.text)

    def close(self) -> None:
        """Say how long it took."""
        if self.shown:
            self._tell()
            self._write("\n")

    def _tell(self) -> None:
        start = f"\r{self.text}" if self.alive else ""
        self._write(f"{start} {self.outcome}{time.monotonic() - self.began:.0f} s")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the stream is closed
            encoding = self.stream.encoding or "utf-8"
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self.stream.flush()
