"""How much memory a few lines of Python take, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_CHILD = """
import sys
def _peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
{prepared}
before = _peak()
try:
    {code}
    said = "read"
except ValueError as error:
    said = "ValueError: " + str(error)
print(said)
print(_peak() - before)
"""


def peak(prepared: str, code: str, *arguments: Any) -> tuple[str, float]:
    """What the line `code` comes to ("read", or "ValueError: ..."), and by how many MB it raises the process's peak.

    prepared: lines that run before. Both find `arguments` in sys.argv[1:].
    """
    program = _CHILD.format(prepared=prepared, code=code)
    ran = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    *said, kilobytes = ran.stdout.splitlines()
    assert len(said) == 1, "a message has one line"
    return said[0], int(kilobytes) / 1024
