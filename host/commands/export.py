"""`bnnedge export`: a trained network for use elsewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bnnedge import checkpoint
from bnnedge.commands import options
from bnnedge.export import FORMATS, fold, save
from bnnedge.underway import underway


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="what `train` or `Trainer.save` wrote")
    text = "NumPy arrays, a C99 header, or a model of standard or of QONNX operators"
    parser.add_argument("--format", choices=FORMATS, required=True, help=text)
    parser.add_argument("--out", metavar="FILE", help="(default: beside the checkpoint, with the network's name)")


def run(arguments: argparse.Namespace) -> int:
    """Export; return the exit status."""
    source = Path(arguments.checkpoint)
    if source.is_dir():
        source /= "checkpoint.npz"
    trained = checkpoint.load(source)
    name = re.sub(r"[^\w.-]+", "-", trained.network.name)[:60] + FORMATS[arguments.format]
    out = Path(arguments.out) if arguments.out else source.with_name(name)
    if arguments.out:
        options.check_file(out)
    else:
        options.check_unasked(out)
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out} is the checkpoint itself, and stays: give another file with --out")
    with underway(f"writing {out.name}", after=2):
        save(out, fold(trained), arguments.format)
    print(out, file=options.beside(out))
    return 0
