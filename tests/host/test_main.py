"""The command as a module of Python."""

import subprocess
import sys


def test_is_the_command():
    done = subprocess.run([sys.executable, "-m", "bnnedge", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("bnnedge ")
