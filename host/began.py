"""What comes first as bnnedge is loaded: the time, and Ctrl-C while the command is loading the rest."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

LOADED = time.time()
"""When this process began to load bnnedge: what changed on the disk since may not be what it runs."""


def _is_command() -> bool:
    """Whether this is the command `bnnedge`, and no program of a user's that imports the package, nor a worker."""
    words = sys.orig_argv[1:]
    if words and words[0][:1] != "-":
        return os.path.basename(words[0]) == "bnnedge"
    return any(option == "-m" and name in ("bnnedge", "bnnedge.cli") for option, name in zip(words, words[1:], strict=False))


def _leave(*_: Any) -> None:
    """End at once: nothing has been begun, and a traceback through half of NumPy would say nothing."""
    os.write(2, b"\nbnnedge: interrupted\n")
    os._exit(130)


def interruptible() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Not where it is ignored, as in a shell's background jobs.
if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
