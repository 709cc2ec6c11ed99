"""`bnnedge tune`: propose rate and batch for a data set, from short trainings of which a part of the images is held out."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bnnedge.commands import options
from bnnedge.data import load
from bnnedge.devices import DEVICES
from bnnedge.files import make_folder
from bnnedge.network import Network
from bnnedge.report import write_json
from bnnedge.report.spread import largest
from bnnedge.settings import Settings
from bnnedge.terminal import printable
from bnnedge.tuner import BATCH_EXPONENT, FACTORS, MOST_HELD_OUT, Trial, Tuning, tune
from bnnedge.underway import underway


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_network(parser)
    options.add_data(parser)
    parser.add_argument(
        "--device", choices=sorted(DEVICES), default="golden", help="all compute the same; pynq: a board (default: golden)"
    )
    options.add_configuration(parser, "that of a board's bitstream, else the smallest that holds the network")
    options.add_settings(parser)
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        metavar="R",
        help=f"learning rates to try (default: {', '.join(f'{factor:g}' for factor in FACTORS)} times that of `train`)",
    )
    parser.add_argument("--batches", type=int, nargs="+", metavar="N", help="batches to try with each (default: --batch alone)")
    parser.add_argument(
        "--epochs",
        type=options.positive,
        default=2,
        metavar="N",
        help="passes over the data in the first round; each further round takes twice as many (default: 2)",
    )
    parser.add_argument(
        "--holdout",
        type=options.positive,
        metavar="N",
        help=f"training images, the last ones, to measure accuracy on (default: a sixth, {MOST_HELD_OUT:,} at most)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for tuning.json, which has all of it (default: none is written)")


def run(arguments: argparse.Namespace) -> int:
    """Search; return the exit status."""
    if arguments.batch is not None and arguments.batches is not None:
        raise ValueError("give --batch or --batches, not both")
    data = options.limited(load(arguments.data, download=arguments.download), arguments.samples)
    network = options.network_for(data, arguments.network)
    if arguments.out:
        make_folder(arguments.out)
    trials: list[Trial] = []

    def ended(trial: Trial) -> None:
        trials.append(trial)
        print(trial, flush=True)

    try:
        with underway("training for each rate and batch", after=2):
            tuning = tune(
                network,
                data.x_train,
                data.y_train,
                device=arguments.device,
                configuration=arguments.config,
                settings=options.settings(arguments, Settings(batch=options.default(options.BATCH, data.name))),
                rates=arguments.rates or [factor * options.rate(data.name, network) for factor in FACTORS],
                batches=arguments.batches,
                epochs=arguments.epochs,
                holdout=arguments.holdout,
                progress=ended,
            )
    except KeyboardInterrupt:
        if trials:
            print(f"\n{_table(trials, network)}")
        print("\ninterrupted before the search was through", file=sys.stderr)
        return 130
    command = _command(arguments, tuning.best)
    print(f"\n{_table(trials, network)}\n\n{_proposal(tuning)}\n\n{printable(command)}")
    if arguments.out:
        found = {**dataclasses.asdict(tuning), "best": dataclasses.asdict(tuning.best), "proposals": tuning.proposals}
        path = Path(arguments.out) / "tuning.json"
        write_json(path, {"data": data.name, "network": network.to_dict(), **found, "command": command})
        print(f"\n{path}")
    return 0


def _table(trials: Sequence[Trial], network: Network) -> str:
    """A line for each trial; J of the layer with most weights."""
    place = largest(network)
    rows = [("rate", "batch", "epochs", "held-out accuracy", f"J of {network.geometry[place].name}")]
    for trial in trials:
        before, after = trial.spread[place]
        accuracy = f"{100 * trial.accuracy:.2f} %"
        rows.append((f"{trial.rate:g}", str(trial.settings.batch), str(trial.epochs), accuracy, f"{before:.2f} -> {after:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _proposal(tuning: Tuning) -> str:
    best, tried = tuning.best, {trial.rate for trial in tuning.trials}
    lines = [f"left out: {what}: {why}" for what, why in tuning.left_out.items()]
    lines.append(
        f"best: rate {best.rate:g} with batch {best.settings.batch}, {100 * best.accuracy:.2f} % of {tuning.held_out:,} images "
        f"held out after {best.epochs} epochs"
    )
    if len(tried) > 1 and best.rate in (min(tried), max(tried)):
        lines.append(f"  no {'smaller' if best.rate == min(tried) else 'larger'} rate was tried: do so with --rates")
    lines.append(f"the same for other batches, rate ~ batch ** {BATCH_EXPONENT:g}:")
    lines += [f"  rate {rate:.3g} with batch {batch}" for batch, rate in tuning.proposals.items() if batch != best.settings.batch]
    return "\n".join(lines)


def _command(arguments: argparse.Namespace, best: Trial) -> str:
    """The call of `bnnedge train` with the best settings, on all training images."""
    given = {f"--{name}": getattr(arguments, name) for name in ("data", "network", "device", "config")}
    words = {name: value for name, value in given.items() if value is not None} | options.given_settings(arguments)
    words |= {"--batch": str(best.settings.batch), "--rate": repr(best.rate)}
    return shlex.join(["bnnedge", "train", *(word for option in words.items() for word in option)])
