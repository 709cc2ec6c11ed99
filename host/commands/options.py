"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bnnedge.boards import Board
from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration
from bnnedge.network import BUILT_IN, Network
from bnnedge.settings import OPTIMISERS, Settings


def positive(text: str) -> int:
    """A positive whole number, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, not {text}")
    return number


positive.__name__ = "positive whole number"  # argparse names the type in its errors


def megahertz(text: str) -> int:
    """A frequency, for argparse: MHz as text, Hz as a number; up to 250 MHz, the most that a Zynq's fabric gets."""
    number = float(text)
    if not 1 <= number <= 250:
        raise argparse.ArgumentTypeError(f"must be a number of MHz in 1..250, not {text}")
    return round(1e6 * number)


megahertz.__name__ = "number of MHz"


def add_network(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare --network."""
    names = "|".join(BUILT_IN)
    text = f"a built-in network or a YAML file (default: {default})"
    parser.add_argument("--network", metavar=f"{names}|FILE", help=text)


def add_configuration(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare --config; the default stands in the help only."""
    names = ", ".join(CONFIGURATIONS)
    parser.add_argument("--config", metavar="NAME", help=f"accelerator: {names} (default: {default})")


def add_board_configuration(parser: argparse.ArgumentParser) -> None:
    """Declare --config and --clock of commands that take a board."""
    add_configuration(parser, "the board's own; pynq-z2 without a board")
    parser.add_argument("--clock", type=megahertz, metavar="MHZ", help="of the design (default: the configuration's)")


def board_configuration(arguments: argparse.Namespace, default: str) -> Configuration:
    """The configuration that those options ask for; ValueError if there is none of its name."""
    chosen = configuration(arguments.config or default)
    return dataclasses.replace(chosen, clock_hz=arguments.clock) if arguments.clock else chosen


def board_folder(target: Board, config: str) -> Path:
    """Where the files of a board's design with the configuration of this name stand, unless an option says otherwise."""
    return Path("build", target.name, config)


def add_settings(parser: argparse.ArgumentParser, batch: str) -> None:
    """Declare the options of `Settings`, each None unless given."""
    defaults = Settings()
    parser.add_argument("--batch", type=int, metavar="N", help=f"images a step, a power of two (default: {batch})")
    parser.add_argument(
        "--grad-planes", type=int, metavar="G", help=f"bits of a gradient, 1..8 (default: {defaults.gradient_planes})"
    )
    parser.add_argument("--input-planes", type=int, metavar="N", help=f"bits of a pixel, 1..8 (default: {defaults.input_planes})")
    parser.add_argument(
        "--slope-planes",
        type=int,
        metavar="N",
        help=f"how many of them enter the first layer's weight gradient (default: {defaults.slope_planes})",
    )
    parser.add_argument("--optimiser", choices=OPTIMISERS, help=f"(default: {defaults.optimiser})")
    parser.add_argument("--seed", type=int, metavar="N", help=f"of all random numbers (default: {defaults.seed})")


_FIELDS = {
    "batch": "batch",
    "grad_planes": "gradient_planes",
    "input_planes": "input_planes",
    "slope_planes": "slope_planes",
    "optimiser": "optimiser",
    "seed": "seed",
}


def given_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """Options of `Settings` that the command line gave, and their values as text."""
    given = {f"--{name.replace('_', '-')}": getattr(arguments, name, None) for name in _FIELDS}
    return {name: str(value) for name, value in given.items() if value is not None}


def settings(arguments: argparse.Namespace, base: Settings) -> Settings:
    """Settings of the options given, the others as in `base`; ValueError if one is out of range."""
    values = {field: getattr(arguments, name, None) for name, field in _FIELDS.items()}
    chosen = {field: value for field, value in values.items() if value is not None}
    if "slope_planes" not in chosen and isinstance(chosen.get("input_planes"), int):
        # No error about an option that was not given.
        chosen["slope_planes"] = max(1, min(base.slope_planes, chosen["input_planes"]))
    return dataclasses.replace(base, **chosen)


def check_file(out: Path) -> None:
    """ValueError if what --out names is a folder, where a file is wanted."""
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: give the name of a file in it")


def network(name: str, input_shape: Sequence[int] | None = None, classes: int = 10) -> Network:
    """A built-in network, for inputs and classes if given, or one from a file."""
    if name in BUILT_IN:
        make, own_shape = BUILT_IN[name]
        return make(input_shape or own_shape, classes)
    if not Path(name).exists():
        raise ValueError(f"there is no network {name!r}: neither a built-in one ({', '.join(BUILT_IN)}) nor a file")
    return Network.from_file(name)
