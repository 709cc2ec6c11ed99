"""Ctrl-C while the command is loading: one line, and no traceback through a library."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Stands for NumPy, which takes its time to load: there the signal comes.
INTERRUPTED = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(6000):\n    time.sleep(0.01)\n"
ENTRY = "import sys\nfrom bnnedge.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


def run(folder: Path, *words: str, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    """Python with these words, and with such a NumPy."""
    (folder / "numpy.py").write_text(INTERRUPTED.replace("6000", "1") if ignored else INTERRUPTED)
    first = signal.SIG_IGN if ignored else signal.default_int_handler
    before = signal.signal(signal.SIGINT, first)  # which a process that is started keeps, if it is ignored
    try:
        variables = {**os.environ, "PYTHONPATH": str(folder)}
        return subprocess.run([sys.executable, *words], env=variables, capture_output=True, text=True, check=False)
    finally:
        signal.signal(signal.SIGINT, before)


def script(folder: Path) -> str:
    """The command as pip installs it."""
    path = folder / "bnnedge"
    path.write_text(ENTRY)
    return str(path)


MODULES = [["-m", "bnnedge"], ["-m", "bnnedge.cli"], ["-X", "utf8", "-m", "bnnedge.cli", "train"]]


@pytest.mark.parametrize("words", [*MODULES, [script, "train"]])
def test_the_command(tmp_path, words):
    words = [word if isinstance(word, str) else word(tmp_path) for word in words]
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nbnnedge: interrupted\n")


def test_a_program_of_a_users_gets_what_it_is_used_to(tmp_path):
    (tmp_path / "own.py").write_text("try:\n    import bnnedge\nexcept KeyboardInterrupt:\n    print('mine')\n")
    assert run(tmp_path, str(tmp_path / "own.py"), "-m", "bnnedge.cli").stdout == "mine\n"


def test_a_background_job_goes_on(tmp_path):
    done = run(tmp_path, "-m", "bnnedge.cli", ignored=True)
    assert "interrupted" not in done.stderr
    assert done.returncode == 1, "such a NumPy has nothing in it"


def test_within_a_command_it_is_an_exception_again(tmp_path):
    code = (
        "import sys\nsys.orig_argv = [sys.executable, 'bin/bnnedge']\n"
        "import signal\nfrom bnnedge import cli\nfrom bnnedge.commands import notebooks\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        "def run(arguments):\n"
        "    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        "    raise KeyboardInterrupt\n"
        "notebooks.run = run\nsys.exit(cli.main(['notebooks', 'x']))\n"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stdout, done.stderr) == (130, "False\nTrue\n", "\nbnnedge: interrupted\n")
