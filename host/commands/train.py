"""`bnnedge train`: train a network, and leave a checkpoint, a report and a learning curve."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnedge import checkpoint
from bnnedge.callbacks.periodic import MINUTES
from bnnedge.checker import MismatchError
from bnnedge.commands import options, resuming
from bnnedge.commands.standard import forget, train_standard
from bnnedge.compiler.layout import fits
from bnnedge.configuration import CONFIGURATIONS, Configuration
from bnnedge.data import Dataset, load
from bnnedge.data.augment import Augment
from bnnedge.devices import DEVICES
from bnnedge.files import alone
from bnnedge.overview import shape
from bnnedge.rates import CONVOLUTIONAL_RATE, RATE, SCHEDULE, SCHEDULES, SMALL_DATA_RATE
from bnnedge.report import Reference, save_curve, write_json
from bnnedge.report.evaluation import origin
from bnnedge.report.folder import RunFolder
from bnnedge.report.progress import Progress
from bnnedge.settings import Settings, gradients
from bnnedge.terminal import counted, printable
from bnnedge.trainer import Trainer
from bnnedge.underway import underway

# For some data sets, and for the others; more such defaults in `options`.
_EPOCHS = {"digits": 30}, 10
_TAKEN = "another `bnnedge train` writes there just now: wait for its end, or give another folder (--out)"


def augmentation(text: str) -> Augment:
    """What --augment asks for, for argparse: see `Augment.parse`."""
    try:
        return Augment.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_network(parser)
    options.add_data(parser)
    parser.set_defaults(data=None)  # with --resume that of the run
    parser.add_argument(
        "--augment",
        type=augmentation,
        metavar="shift,flip",
        help="vary the training images anew for each epoch: move them by up to an eighth of their size, or by another share "
        "(shift=0.1), and mirror them at random",
    )
    parser.add_argument("--device", choices=sorted(DEVICES), help="pynq: a board (default: rtl)")
    options.add_waves(parser)
    options.add_arrays(parser)
    options.add_configuration(parser, "that of --resume or of a board's bitstream, else the smallest that holds the network")
    options.add_settings(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=options.positive, metavar="N", help="passes over the data (default: 30 for digits, else 10)"
    )
    length.add_argument("--steps", type=options.positive, metavar="N", help="batches, instead of epochs")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="R",
        help=f"learning rate (default: that of --start; else {CONVOLUTIONAL_RATE:g} with convolutions, {RATE:g} without, and "
        f"{SMALL_DATA_RATE:g} for digits)",
    )
    parser.add_argument("--schedule", choices=SCHEDULES, help=f"how the rate falls over the epochs (default: {SCHEDULE})")
    checks = parser.add_mutually_exclusive_group()
    checks.add_argument(
        "--check",
        action="store_const",
        const="all",
        help="compare every step with the golden model (default: the first two, with another device than golden)",
    )
    checks.add_argument("--no-check", dest="check", action="store_const", const="none", help="compare none")
    parser.add_argument(
        "--reference", action="store_true", help="also train the float32 standard (without --augment), and report its accuracy"
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--resume",
        metavar="DIR|CHECKPOINT",
        help="go on with the run in this folder, as it was begun; --epochs and --steps count from its beginning",
    )
    origin.add_argument(
        "--start",
        metavar="CHECKPOINT",
        help="begin a new run with the network, weights, settings and rate of this one, unless given",
    )
    parser.add_argument(
        "--fresh-averages",
        action="store_true",
        help="with --start: the moving averages begin anew, for images that look otherwise than those of the checkpoint",
    )
    parser.add_argument(
        "--save-every",
        type=options.minutes,
        metavar="MINUTES",
        help=f"keep the state of a run within a long epoch, too, and not only after each one (default: {MINUTES:g})",
    )
    text = "folder for the results (default: that of --resume, else runs/DATA-NETWORK-DEVICE)"
    parser.add_argument("--out", metavar="DIR", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Train; return the exit status."""
    begun = resuming.begun(arguments) if arguments.resume else None
    data, source = _data(arguments, begun)
    arguments.device, arguments.check = arguments.device or "rtl", arguments.check or "first"
    arguments.save_every = MINUTES if arguments.save_every is None else arguments.save_every
    with _trainer(arguments, data, begun) as trainer:
        name = f"{data.name}-{trainer.network.name}-{arguments.device}"
        out = Path(arguments.out or Path("runs") / re.sub(r"[^\w.-]+", "-", name)[:60])
        with alone(out, _TAKEN):
            options.check_folder(out)
            return _run(trainer, data, source, arguments, begun, out)


def _run(
    trainer: Trainer,
    data: Dataset,
    source: Mapping[str, Any],
    arguments: argparse.Namespace,
    begun: resuming.Begun | None,
    out: Path,
) -> int:
    """Train, and leave the results in `out`; return the exit status."""
    print(_heading(trainer, data, arguments), flush=True)
    asked = {name: getattr(arguments, name) for name in ("check", "reference", "arrays", "save_every")}
    folder = RunFolder(out, data.name, {**source, "asked": asked}, arguments.save_every)
    status = _fit(trainer, data, arguments, folder)
    if status:
        return status
    past: dict[str, Any] = {}
    if begun and not folder.trained:
        print("this run has come to its end already: nothing was left to train", flush=True)
        past = begun.past(trainer.plan.step) if trainer.plan else {}
    measurement = None
    if past.get("cycles_per_image") is None and past.get("device", trainer.device.name) == trainer.device.name:
        with underway("measuring the cycles of a step", after=2):
            measurement = trainer.measure(data.x_train, data.y_train, _extra_steps(trainer))
    # Before the reference, which takes its time and may be interrupted.
    drawn, reference = None, Reference(**past["reference"]) if past.get("reference") else None
    report = {**folder.report(measurement), **past}
    write_json(out / "report.json", report)
    try:
        if arguments.reference and not reference:
            reference = train_standard(trainer, data, source["data_sha256"], out, arguments.save_every)
            report = {**folder.report(measurement, reference), **past}
            write_json(out / "report.json", report)
            forget(out)
    except KeyboardInterrupt:
        return _interrupted(out)
    finally:
        drawn = _draw(out / "curve.png", report, reference)
    print(_result(trainer, report, out))
    return 0 if drawn else 1


def _data(arguments: argparse.Namespace, begun: resuming.Begun | None) -> tuple[Dataset, dict[str, Any]]:
    """The images to train and test on, and what the report says of them."""
    recalled = begun is not None and begun.run is not None and arguments.data is None
    if begun and begun.run and recalled:
        name = begun.run.report.get("data_path") or begun.run.report["data"]
    else:
        name = arguments.data or "digits"
    with underway(f"reading {printable(name)}", after=2) if not arguments.download else contextlib.nullcontext():
        whole = begun.data(arguments.download) if begun and recalled else load(name, download=arguments.download)
    source = origin(name, whole)
    if begun:
        begun.check(name, source["data_sha256"])
    return options.limited(whole, arguments.samples), source


def _trainer(arguments: argparse.Namespace, data: Dataset, begun: resuming.Begun | None) -> Trainer:
    if arguments.fresh_averages and not arguments.start:
        raise ValueError("--fresh-averages is of a run that begins with --start: every other has its own averages")
    if begun:
        opener = options.opener(arguments)
        return Trainer.load(begun.checkpoint, opener, configuration=arguments.config, check=arguments.check)
    if arguments.start:
        if arguments.network:
            raise ValueError("--network cannot change with --start: it comes from the checkpoint")
        start = checkpoint.load(arguments.start)
        settings = options.settings(arguments, start.settings)
        return Trainer.load(
            start,
            options.opener(arguments),
            configuration=arguments.config or _holding(start, settings, arguments.device),
            settings=settings,
            rate=arguments.rate,
            schedule=arguments.schedule,
            fresh_averages=arguments.fresh_averages,
            check=arguments.check,
        )
    network = options.network_for(data, arguments.network)
    return Trainer(
        network,
        options.opener(arguments),
        configuration=arguments.config,
        settings=options.settings(arguments, Settings(batch=options.default(options.BATCH, data.name))),
        rate=options.rate(data.name, network) if arguments.rate is None else arguments.rate,
        schedule=arguments.schedule or SCHEDULE,
        check=arguments.check,
    )


def _holding(start: checkpoint.Checkpoint, settings: Settings, device: str) -> Configuration:
    """A checkpoint's configuration, or the first with weights of as many bits that holds its network with these settings."""
    own = start.configuration
    others = [other for other in CONFIGURATIONS.values() if other.latent == own.latent and device != "pynq"]
    return next((each for each in (own, *others) if fits(start.network, settings, each)), own)


def _fit(trainer: Trainer, data: Dataset, arguments: argparse.Namespace, folder: RunFolder) -> int:
    """Train; return the exit status. Whatever goes wrong, the folder keeps the last finished step."""
    epochs = arguments.epochs
    if epochs is None and arguments.steps is None and not arguments.resume:
        epochs = options.default(_EPOCHS, data.name)
    progress = Progress()
    try:
        trainer.fit(
            data.x_train,
            data.y_train,
            epochs=epochs,
            steps=arguments.steps,
            validation_data=(data.x_test, data.y_test),
            augment=arguments.augment,
            resume=bool(arguments.resume),
            callbacks=(folder, progress),
        )
    except MismatchError:
        write_json(folder.folder / "report.json", folder.report(None))
        raise
    except KeyboardInterrupt:
        return _interrupted(folder.folder if folder.trained else None)
    finally:
        progress.close()
    return 0


def _interrupted(kept: Path | None) -> int:
    """Say so, and how to go on with what is kept in a folder; return the exit status."""
    print(f"\ninterrupted{f'; go on with --resume {printable(str(kept))}' if kept else ''}", file=sys.stderr)
    return 130


def _extra_steps(trainer: Trainer) -> int:
    """Steps to measure, where all of the run were checked: not many more than the run had."""
    plan = trainer.plan
    assert plan is not None
    return min(8, max(2, plan.step))


def _draw(path: Path, report: dict[str, Any], reference: Reference | None) -> bool:
    """Draw the curve; False, and a line that says why, where it can't be written. What was trained is told all the same."""
    try:
        with underway(f"drawing {path.name}", after=2):
            save_curve(path, report, reference)
    except ModuleNotFoundError as error:
        print(f"no {path.name}: {error.name} is not installed (pip install 'bnnedge[host]')", file=sys.stderr)
    except (ImportError, ValueError) as error:  # of Matplotlib, which may be damaged, or told to use what it does not have
        print(f"no {path.name}: Matplotlib says: {' '.join(str(error).split())}", file=sys.stderr)
    except OSError as error:
        print(f"bnnedge: error: {error.filename or path}: {error.strerror}", file=sys.stderr)
        return False
    return True


def _heading(trainer: Trainer, data: Dataset, arguments: argparse.Namespace) -> str:
    network, settings, plan = trainer.network, trainer.settings, trainer.plan if arguments.resume else None
    augment = plan.augment if plan else arguments.augment
    place = f"\ngoing on after step {plan.step:,} of {plan.steps:,}" if plan else ""
    varied = f"; training images {augment} in each epoch" if augment else ""
    return (
        f"network {printable(network.name)}: {shape(network)}, {network.weights:,} weights\n"
        f"data {printable(data.name)}: {len(data.x_train):,} training and {len(data.x_test):,} test images{varied}\n"
        f"device {trainer.device.name} ({trainer.device.configuration.name}): batch {settings.batch}, "
        f"{gradients(settings.gradient_planes)}, {settings.optimiser}, rate {trainer.rate:g}, seed {settings.seed}{place}"
    )


def _result(trainer: Trainer, report: dict[str, Any], out: Path) -> str:
    lines = [f"test accuracy {100 * report['test_accuracy']:.2f} % after {counted(report['steps'], 'step')}"]
    if report["reference_accuracy"] is not None:
        lines.append(f"float32 standard {100 * report['reference_accuracy']:.2f} %")
    if report["bit_exact"]:
        count, seconds = report["checked_steps"], report["check_seconds"]
        checked = "the step that was checked equals" if count == 1 else f"the {count:,} steps that were checked equal"
        which = "every step equals" if count == report["steps"] else checked
        lines.append(f"bit-exact: {which} the golden model's ({seconds:.2f} s)")
    elif trainer.device.name != "golden":
        lines.append("no step was compared with the golden model")
    if report["cycles_per_image"] is not None:
        lines.append(
            f"{report['cycles_per_image']:,.0f} cycles per image: {report['images_per_second']:,.0f} images/s "
            f"at {report['clock_hz'] / 1e6:g} MHz"
        )
    if report["memory_bytes"]["ratio"]:
        lines.append(f"{report['memory_bytes']['ratio']:.1f} times less memory than the float32 standard")
    return "\n".join([*lines, f"results in {out}"])
