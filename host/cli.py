"""The command line: `bnnedge train`, `report`, `export` and the others of `_COMMANDS`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

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
from bnnedge.terminal import guarded

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


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="bnnedge", description="Train binary neural networks on an FPGA.")
    top.add_argument("--traceback", action="store_true", help="show where an error comes from, for bug reports")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        module.add(command)
        command.color = False  # type: ignore[attr-defined]  # of Python 3.14 on: escapes, which `guarded` would show
    top.color = False  # type: ignore[attr-defined]
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 after an error, 2 after a wrong option, 130 after an interrupt."""
    with guarded():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command][0].run(arguments)
    except KeyboardInterrupt:
        print("\nbnnedge: interrupted", file=sys.stderr)
        return 130
    # RuntimeError: devices, their builds and buses, and what --check found. A missing package is an ImportError.
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if arguments.traceback:
            raise
        print(f"bnnedge: error: {_line(error)}", file=sys.stderr)
        return 1


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
