"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import functools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from bnnedge import rates
from bnnedge.boards import BOARDS, Board
from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration
from bnnedge.data import Dataset
from bnnedge.devices import Opener, open_device
from bnnedge.devices.waves import Waves
from bnnedge.files import same_as_stdout
from bnnedge.network import BUILT_IN, Network
from bnnedge.settings import OPTIMISERS, Settings, parsed_planes
from bnnedge.terminal import nearest

# Networks for images of some shapes, and for the others.
NETWORK = {(8, 8): "digits", (32, 32, 3): "cnv"}, "mlp"
# Defaults for some data sets, and for the others. SVHN has CIFAR-10's, for it is trained with the same networks.
BATCH = {"digits": 64, "cifar10": 64, "svhn": 64}, 128


def default(choice: tuple[Mapping[Any, Any], Any], key: Any) -> Any:
    """What such a table has for `key`."""
    special, usual = choice
    return special.get(key, usual)


def rate(data: str, network: Network) -> float:
    """The learning rate of a fresh network, on the data set of that name."""
    return rates.usual(network, rates.SMALL_DATA_RATE if data == "digits" else rates.RATE)


def positive(text: str) -> int:
    """A positive whole number, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive whole number, not {text}")
    return number


positive.__name__ = "positive whole number"  # argparse names the type in its errors


_NEVER = 1e9  # minutes: a report can hold them, and not infinity


def minutes(text: str) -> float:
    """A number of minutes, 0 or more, for argparse."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of minutes, 0 or more, not {text}")
    return min(number, _NEVER)


minutes.__name__ = "number of minutes"


def megahertz(text: str) -> int:
    """A frequency, for argparse: MHz as text, Hz as a number; up to 250 MHz, the most that a Zynq's fabric gets."""
    number = float(text)
    if not 1 <= number <= 250:
        raise argparse.ArgumentTypeError(f"must be a number of MHz in 1..250, not {text}")
    return round(1e6 * number)


megahertz.__name__ = "number of MHz"


def add_data(parser: argparse.ArgumentParser) -> None:
    """Declare --data, --download and --samples."""
    parser.add_argument(
        "--data",
        default="digits",
        metavar="digits|mnist|fashion-mnist|cifar10|svhn|FILE.npz",
        help="a data set, or a file with x_train, y_train, x_test, y_test (default: digits)",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch a data set that is not on this machine into BNNEDGE_DATA or the cache"
    )
    parser.add_argument("--samples", type=positive, metavar="N", help="train on the first N training images (default: all)")


def limited(data: Dataset, samples: int | None) -> Dataset:
    """The data set with only that many training images."""
    if samples is None:
        return data
    if samples > len(data.x_train):
        raise ValueError(f"--samples {samples}: {data.name} has {len(data.x_train)} training images")
    return dataclasses.replace(data, x_train=data.x_train[:samples], y_train=data.y_train[:samples])


def add_network(parser: argparse.ArgumentParser, default: str = "digits for 8x8 images, cnv for 32x32x3 ones, else mlp") -> None:
    """Declare --network; the default stands in the help only."""
    names = "|".join(BUILT_IN)
    text = f"a built-in network or a YAML file (default: {default})"
    parser.add_argument("--network", metavar=f"{names}|FILE", help=text)


def add_configuration(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare --config; the default stands in the help only."""
    names = ", ".join(CONFIGURATIONS)
    text = f"accelerator: {names}, or a YAML file (default: {default})"
    parser.add_argument("--config", metavar="NAME|FILE", help=text)


def add_waves(parser: argparse.ArgumentParser) -> None:
    """Declare --waves and --wave-steps."""
    text = "write all signals of the simulated accelerator (rtl) to a file that ends in .fst or .vcd; beside it FILE.gtkw"
    parser.add_argument("--waves", metavar="FILE", help=text)
    parser.add_argument("--wave-steps", type=_steps, metavar="N-M", help="first and last step that they show (default: 1-1)")


def _steps(text: str) -> tuple[int, int]:
    """N-M, or N alone, for argparse."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"must be two steps, such as 3-5, not {text!r}")
    return int(found[1]), int(found[2] or found[1])


def waves(arguments: argparse.Namespace) -> Waves | None:
    """What --waves and --wave-steps ask for; ValueError or OSError if that cannot be."""
    if not arguments.waves:
        if arguments.wave_steps:
            raise ValueError("--wave-steps goes with --waves FILE")
        return None
    if arguments.device != "rtl":
        raise ValueError(f"--waves goes with --device rtl alone, not {arguments.device}")
    asked = Waves(arguments.waves, *(arguments.wave_steps or (1, 1)))
    asked.check()
    return asked


def add_arrays(parser: argparse.ArgumentParser) -> None:
    """Declare --arrays."""
    parser.add_argument(
        "--arrays", metavar="LIBRARY", help="that the golden model computes with: numpy (the default), torch, torch:cuda, cupy"
    )


def opener(arguments: argparse.Namespace) -> str | Opener:
    """What --device, --waves, --wave-steps and --arrays ask for, for a trainer; ValueError if that cannot be."""
    asked, arrays = waves(arguments), getattr(arguments, "arrays", None)
    if arrays:
        if arguments.device != "golden":
            raise ValueError(f"--arrays goes with --device golden alone, not {arguments.device}")
        from bnnedge.devices.golden import GoldenDevice
        from bnnedge.sim.arrays import library

        return functools.partial(GoldenDevice, library=library(arrays))
    return functools.partial(open_device, arguments.device, waves=asked) if asked else str(arguments.device)


def add_board(parser: argparse.ArgumentParser, text: str, *, required: bool = True) -> None:
    """Declare --board."""
    names = "|".join(BOARDS)
    text = f"{text}; one of your own is a folder with a board.yaml"
    parser.add_argument("--board", metavar=f"{names}|FOLDER", required=required, help=text)


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


def add_batch(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare --batch; the default stands in the help only."""
    parser.add_argument("--batch", type=int, metavar="N", help=f"images a step, a multiple of 16 (default: {default})")


def add_gradient_planes(parser: argparse.ArgumentParser) -> None:
    """Declare --grad-planes."""
    text = "bits of a gradient, 1..8, or of each layer's; auto: 6 in convolutions, 8 in dense layers (default: auto)"
    parser.add_argument("--grad-planes", type=gradient_planes, metavar="G|G,G,...|auto", help=text)


def gradient_planes(text: str) -> int | tuple[int, ...] | str:
    """What --grad-planes asks for, for argparse; `Settings` checks the range."""
    try:
        return parsed_planes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_settings(parser: argparse.ArgumentParser, batch: str = "64 for digits, cifar10 and svhn, else 128") -> None:
    """Declare the options of `Settings`, each None unless given."""
    defaults = Settings()
    add_batch(parser, batch)
    add_gradient_planes(parser)
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
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


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


def check_folder(out: Path) -> None:
    """OSError if no file could be written to a folder, which need not be there yet: better now than after minutes of work."""
    place = Path(os.path.realpath(out))  # which a link may lead to that leads to nothing yet
    there = next(found for found in (place, *place.parents) if found.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory; give another place", str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def check_unasked(out: Path) -> None:
    """ValueError if what lies at a place that nobody chose is a link or no file: a stranger's folder may hold one."""
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise ValueError(f"{out} is a link, or no file, and nobody asked to write there: move it away")


def beside(out: Path) -> TextIO:
    """Where a command that writes to `out` prints: standard error, if the file goes to standard output."""
    return sys.stderr if same_as_stdout(out) else sys.stdout


def network(name: str, input_shape: Sequence[int] | None = None, classes: int = 10) -> Network:
    """A built-in network, for inputs and classes if given, or one from a file."""
    if name in BUILT_IN:
        make, own_shape = BUILT_IN[name]
        return make(input_shape or own_shape, classes)
    if not Path(name).exists():
        raise ValueError(
            f"there is no network {name!r}: neither a built-in one ({', '.join(BUILT_IN)}) nor a file{nearest(name, BUILT_IN)}"
        )
    return Network.from_file(name)


def network_for(data: Dataset, name: str | None) -> Network:
    """The network of this name for the images and classes of a data set; by default the one for images of their shape."""
    shape = data.x_train.shape[1:]
    return network(name or default(NETWORK, shape), shape, data.classes)
