"""`bnnedge import`: take over a model of another library, for fine-tuning."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnnedge import checkpoint, importer
from bnnedge.commands import options
from bnnedge.underway import underway


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="a Keras or Larq model (.keras, .h5) or a QONNX model (.onnx)")
    parser.add_argument(
        "--pixels",
        type=pixels,
        required=True,
        metavar="BLACK,WHITE",
        help="what the model's input is for a black and for a white pixel: 0,1 or -1,1",
    )
    options.add_configuration(parser, "the smallest that holds the network")
    options.add_batch(parser, "128, or what fits")
    options.add_gradient_planes(parser)
    parser.add_argument(
        "--slope-planes", type=int, metavar="N", help="bits of a pixel in the first layer's weight gradient (default: 2)"
    )
    parser.add_argument("--out", metavar="CHECKPOINT", help="(default: beside the model, with .npz for its ending)")


def pixels(text: str) -> tuple[float, float]:
    """What --pixels asks for, for argparse: two numbers, the second larger."""
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be two numbers, such as 0,1 or -1,1, not {text!r}") from None
    return black, white


def run(arguments: argparse.Namespace) -> int:
    """Import; return the exit status."""
    source = Path(arguments.model)
    out = Path(arguments.out) if arguments.out else Path(source.parent, f"{source.stem}.npz")
    if arguments.out:
        options.check_file(out)
    else:
        options.check_unasked(out)
    with underway(f"reading {source.name}, and comparing what becomes of it", "up to a minute", after=2):
        imported = importer.load(
            source,
            arguments.pixels,
            batch=arguments.batch,
            gradient_planes=arguments.grad_planes,
            slope_planes=arguments.slope_planes,
            configuration=arguments.config,
        )
    for note in imported.notes:
        print(f"note: {note}", file=options.beside(out))
    checkpoint.save(out, imported.checkpoint)
    print(f"{out}\ntrain it on with: bnnedge train --start {out} --data DATA", file=options.beside(out))
    return 0
