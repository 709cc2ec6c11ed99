"""The command line: `bnnedge train`, `report`, `export` and the others of `_COMMANDS`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from bnnedge import caches, isa
from bnnedge.began import interruptible
from bnnedge.commands import (
    bitstream,
    compare,
    doctor,
    estimate,
    export,
    generate,
    imports,
    notebooks,
    package,
    report,
    selftest,
    study,
    synth,
    train,
    tune,
)
from bnnedge.data import DataWarning
from bnnedge.devices.device import DeviceWarning
from bnnedge.terminal import ending, guarded, nearest, noting

_COMMANDS = {
    "train": (train, "train a network on the simulated accelerator or in the golden model"),
    "tune": (tune, "propose a learning rate and a batch for a data set, by short trainings"),
    "estimate": (estimate, "estimate cycles, memory and fit of a network on a configuration"),
    "report": (report, "make a page about a run: curves, confusion matrix, cycles, roofline, memory"),
    "compare": (compare, "set runs side by side: the settings that differ, and the results"),
    "export": (export, "write a trained network for use elsewhere: NumPy arrays, a C header, an ONNX model"),
    "import": (imports, "take over a model of Keras, Larq or Brevitas (QONNX), for training it on"),
    "generate": (generate, "write the accelerator's Verilog and its manifest; for a board, all that its build needs"),
    "synth": (synth, "say what a board's design takes of its part, by Yosys alone"),
    "bitstream": (bitstream, "build a board's bitstream with Vivado or openXC7"),
    "package": (package, "pack a board's overlay, this package and an installer into one archive"),
    "selftest": (selftest, "test a device: registers, memory, and training against the golden model"),
    "notebooks": (notebooks, "copy the notebooks that come with the package into a folder"),
    "study": (study, "run a grid of trainings, and make the table and the curves of it"),
    "doctor": (doctor, "say what is installed, what is missing, and what that prevents"),
}


class _Parser(argparse.ArgumentParser):
    """Errors of which say which name may have been meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            message += nearest(wrong[1], re.findall(r"[\w.-]+", wrong[2]))
        super().error(message)


class _Version(argparse.Action):
    """Prints versions, and ends; they are looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        try:
            own = importlib.metadata.version("bnnedge")
        except importlib.metadata.PackageNotFoundError:
            own = "of a source tree"
        print(f"bnnedge {own} (instruction set {isa.VERSION}; Python {platform.python_version()}, NumPy {np.__version__})")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = _Parser(prog="bnnedge", description="Train binary neural networks on an FPGA.")
    top.add_argument("--version", action=_Version, nargs=0, help="print versions, and exit")
    top.add_argument("--traceback", action="store_true", help="show where an error comes from, for bug reports")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        module.add(command)
        command.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.set_defaults(parser=command)
        command.color = False  # type: ignore[attr-defined]  # of Python 3.14 on: escapes, which `guarded` would show
    top.color = False  # type: ignore[attr-defined]
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status.

    That is 0, 1 after an error, 2 after a wrong option, 130 after an interrupt, 128 and the signal's number where one ended it.
    """
    with guarded(), noting(DataWarning, DeviceWarning), caches.followed("MPLCONFIGDIR"), ending() as ended:
        try:
            status = _run(sys.argv[1:] if argv is None else argv)
            if sys.stdout:
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            return 128 + signal.SIGPIPE  # quietly: whoever read what we print has had enough, as `head` has
        except OSError as error:
            print(f"bnnedge: error: {_line(error)}", file=sys.stderr)
            _drop_output()
            return 1
        return 128 + ended[0] if ended else status


def _drop_output() -> None:
    """Let what could not be printed go where Python, as it closes the stream, gets no error."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _run(argv: Sequence[str]) -> int:
    top = parser()
    arguments = _parsed(top, argv)
    if arguments.command is None:
        top.print_help()
        return 0
    try:
        interruptible()
        return _COMMANDS[arguments.command][0].run(arguments)
    except KeyboardInterrupt:
        print("\nbnnedge: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    # RuntimeError: devices, their builds and buses, and what --check found. A missing package is an ImportError.
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if arguments.traceback:
            raise
        print(f"bnnedge: error: {_line(error)}", file=sys.stderr)
        return 1


def _parsed(top: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """What the arguments say, with ~ in the place of a home in each; ends with status 2 where one is wrong."""
    words: list[str] = []
    for word in argv:
        # argparse takes -1,1 for an option, unless it is written --pixels=-1,1.
        if words and re.fullmatch(r"-[\d.]+,.*", word) and re.fullmatch(r"--[\w-]+", words[-1]):
            words[-1] += f"={word}"
        else:
            words.append(word)
    arguments, rest = top.parse_known_args(words)
    if rest:
        command = getattr(arguments, "parser", top)
        known = [option for action in command._actions for option in action.option_strings]
        wrong = next((word.partition("=")[0] for word in rest if word.startswith("-")), "")
        command.error(f"unrecognized arguments: {' '.join(rest)}{nearest(wrong, known) if wrong else ''}")
    for name, value in vars(arguments).items():
        if value == "" or (isinstance(value, list) and "" in value):
            option = _spelt(arguments.parser, name)
            arguments.parser.error(f"{option} is empty (an unset variable of the shell?): give it a value")
        if isinstance(value, (str, list)):
            setattr(arguments, name, _at_home(value))
    return arguments


def _spelt(command: argparse.ArgumentParser, name: str) -> str:
    """An argument as its command's help calls it."""
    action = next(each for each in command._actions if each.dest == name)
    return action.option_strings[-1] if action.option_strings else str(action.metavar or name)


def _at_home(value: Any) -> Any:
    """A path below ~ as the shell would have given it, which does not look behind --out=."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


_LONGEST = 1200  # characters of an error; more is not the error's text but a file's


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"not enough memory: {error}" if str(error) else "not enough memory"
    if isinstance(error, RuntimeError):
        return text  # the output of a failed tool stays as it is
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 200]} ... {line[-200:]}"  # what to do stands at its end


if __name__ == "__main__":
    sys.exit(main())
