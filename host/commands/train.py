"""`bnnedge train`: train a network, and leave a checkpoint, a report and a learning curve."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnedge import checkpoint
from bnnedge.callbacks import Callback
from bnnedge.checker import MismatchError
from bnnedge.commands import options
from bnnedge.compiler.layout import fits
from bnnedge.configuration import CONFIGURATIONS, Configuration, configuration
from bnnedge.data import Dataset, load
from bnnedge.data.augment import Augment
from bnnedge.devices import DEVICES
from bnnedge.files import make_folder
from bnnedge.overview import shape
from bnnedge.rates import RATE, SCHEDULE, SCHEDULES
from bnnedge.report import Reference, save_curve, summary, write_json
from bnnedge.report.evaluation import origin
from bnnedge.report.progress import Progress
from bnnedge.runner import call_steps
from bnnedge.settings import Settings
from bnnedge.terminal import counted, printable
from bnnedge.trainer import Trainer
from bnnedge.underway import underway

# Defaults for some data sets, and for the others; more of them in `options`.
_EPOCHS = {"digits": 30}, 10
_REFERENCE_RATE = {"digits": 1e-2}, 1e-3


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
    parser.add_argument(
        "--augment",
        type=augmentation,
        metavar="shift,flip",
        help="vary the training images anew for each epoch: move them by up to an eighth of their size, or by another share "
        "(shift=0.1), and mirror them at random",
    )
    parser.add_argument("--device", choices=sorted(DEVICES), default="rtl", help="pynq: a board (default: rtl)")
    options.add_waves(parser)
    options.add_configuration(parser, "that of --resume or of a board's bitstream, else the smallest that holds the network")
    options.add_settings(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=options.positive, metavar="N", help="passes over the data (default: 30 for digits, else 10)"
    )
    length.add_argument("--steps", type=options.positive, metavar="N", help="batches, instead of epochs")
    parser.add_argument(
        "--rate", type=float, metavar="R", help=f"learning rate (default: 0.03 for digits, 0.002 for cifar10, else {RATE:g})"
    )
    parser.add_argument("--schedule", choices=SCHEDULES, help=f"how the rate falls over the epochs (default: {SCHEDULE})")
    checks = parser.add_mutually_exclusive_group()
    checks.add_argument(
        "--check",
        action="store_const",
        const="all",
        default="first",
        help="compare every step with the golden model (default: the first two, with another device than golden)",
    )
    checks.add_argument("--no-check", dest="check", action="store_const", const="none", help="compare none")
    parser.add_argument(
        "--reference", action="store_true", help="also train the float32 standard (without --augment), and report its accuracy"
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--resume", metavar="CHECKPOINT", help="go on with this run; --epochs and --steps then count from its beginning"
    )
    origin.add_argument(
        "--start", metavar="CHECKPOINT", help="begin a new run with the network, weights and settings of this one, unless given"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results (default: runs/DATA-NETWORK-DEVICE)")


def run(arguments: argparse.Namespace) -> int:
    """Train; return the exit status."""
    with underway(f"reading {printable(arguments.data)}", after=2) if not arguments.download else contextlib.nullcontext():
        whole = load(arguments.data, download=arguments.download)
    source, data = origin(arguments.data, whole), options.limited(whole, arguments.samples)
    with _trainer(arguments, data) as trainer:
        before = trainer.plan.step if arguments.resume and trainer.plan else 0
        name = f"{data.name}-{trainer.network.name}-{arguments.device}"
        out = make_folder(arguments.out or Path("runs") / re.sub(r"[^\w.-]+", "-", name)[:60])
        print(_heading(trainer, data, arguments.augment), flush=True)
        started = time.monotonic()
        status = _fit(trainer, data, arguments, out, before)
        if status:
            return status
        seconds = time.monotonic() - started
        with underway("measuring the cycles of a step", after=2):
            measurement = trainer.measure(data.x_train, data.y_train, _extra_steps(trainer))
        # Before the reference, which takes its time and may be interrupted.
        reference, drawn = None, False
        report = {**summary(trainer, data.name, measurement, reference, seconds, before), **source}
        write_json(out / "report.json", report)
        try:
            if arguments.reference:
                reference = _reference(trainer, data)
                report = {**summary(trainer, data.name, measurement, reference, seconds, before), **source}
                write_json(out / "report.json", report)
        finally:
            drawn = _draw(out / "curve.png", report, reference)
        print(_result(trainer, report, out))
    return 0 if drawn else 1


def _trainer(arguments: argparse.Namespace, data: Dataset) -> Trainer:
    if arguments.resume:
        own = {f"--{name}": getattr(arguments, name) for name in ("network", "rate", "schedule", "augment")}
        fixed = {**own, **options.given_settings(arguments)}
        given = [name for name, value in fixed.items() if value is not None]
        if given:
            raise ValueError(f"{', '.join(given)} cannot change with --resume: they come from the checkpoint")
        begun = checkpoint.load(arguments.resume)
        _same_lanes(begun, arguments.config)
        return Trainer.load(begun, options.opener(arguments), configuration=arguments.config, check=arguments.check)
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
            rate=options.default(options.RATE, data.name) if arguments.rate is None else arguments.rate,
            schedule=arguments.schedule,
            check=arguments.check,
        )
    return Trainer(
        options.network_for(data, arguments.network),
        options.opener(arguments),
        configuration=arguments.config,
        settings=options.settings(arguments, Settings(batch=options.default(options.BATCH, data.name))),
        rate=options.default(options.RATE, data.name) if arguments.rate is None else arguments.rate,
        schedule=arguments.schedule or SCHEDULE,
        check=arguments.check,
    )


def _same_lanes(begun: checkpoint.Checkpoint, name: str | None) -> None:
    """ValueError if a run would go on with other random numbers than it began with."""
    own, chosen = begun.configuration, configuration(name) if name else begun.configuration
    if chosen.lanes != own.lanes:
        raise ValueError(
            f"--config {name}: the run began on configuration {own.name!r}, with {own.lanes} lanes; with {chosen.lanes} it would "
            "draw other random numbers, and no longer be the same run: leave --config out, or begin a new run from its weights "
            "with --start"
        )


def _holding(start: checkpoint.Checkpoint, settings: Settings, device: str) -> Configuration:
    """A checkpoint's configuration, or the first with weights of as many bits that holds its network with these settings."""
    own = start.configuration
    others = [other for other in CONFIGURATIONS.values() if other.latent == own.latent and device != "pynq"]
    return next((each for each in (own, *others) if fits(start.network, settings, each)), own)


class _Saver(Callback):
    """Writes a checkpoint after each epoch."""

    def __init__(self, trainer: Trainer, path: Path) -> None:
        self.trainer, self.path = trainer, path

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.trainer.save(self.path)


def _fit(trainer: Trainer, data: Dataset, arguments: argparse.Namespace, out: Path, before: int) -> int:
    """Train, from step `before` on; return the exit status."""
    epochs = arguments.epochs
    if epochs is None and arguments.steps is None and not arguments.resume:
        epochs = options.default(_EPOCHS, data.name)
    path = out / "checkpoint.npz"
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
            callbacks=(_Saver(trainer, path), progress),
            steps_per_call=None if arguments.check == "all" else call_steps(trainer.network, trainer.settings.batch),
        )
        trainer.save(path)
    except BaseException as error:  # whatever went wrong, the last finished step is kept
        progress.close()
        kept = trainer.plan is not None and trainer.plan.step > before
        if kept:
            trainer.save(path)
        if not isinstance(error, KeyboardInterrupt):
            if isinstance(error, MismatchError):
                write_json(out / "report.json", summary(trainer, data.name, None))
            raise
        print(f"\ninterrupted; go on with --resume {path}" if kept else "\ninterrupted", file=sys.stderr)
        return 130
    finally:
        progress.close()
    return 0


def _extra_steps(trainer: Trainer) -> int:
    """Steps to measure, where all of the run were checked: not many more than the run had."""
    plan = trainer.plan
    assert plan is not None
    return min(8, max(2, plan.step))


def _reference(trainer: Trainer, data: Dataset) -> Reference:
    from bnnedge.sim.reference import train

    plan = trainer.plan
    assert plan is not None
    rate = options.default(_REFERENCE_RATE, data.name)
    with underway("training the float32 standard for comparison", f"{counted(plan.epochs, 'epoch')}", stdout=True):
        history = train(
            "standard",
            trainer.network.geometry,
            data.x_train,
            data.y_train,
            data.x_test,
            data.y_test,
            batch=plan.batch,
            epochs=plan.epochs,
            rate=rate,
            seed=trainer.settings.seed & 0xFFFFFFFF,
        )
    return Reference(rate, history.loss, history.train_accuracy, history.test_accuracy)


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


def _heading(trainer: Trainer, data: Dataset, augment: Augment | None) -> str:
    network, settings = trainer.network, trainer.settings
    augment = trainer.plan.augment if trainer.plan else augment
    varied = f"; training images {augment} in each epoch" if augment else ""
    return (
        f"network {printable(network.name)}: {shape(network)}, {network.weights:,} weights\n"
        f"data {printable(data.name)}: {len(data.x_train):,} training and {len(data.x_test):,} test images{varied}\n"
        f"device {trainer.device.name} ({trainer.device.configuration.name}): batch {settings.batch}, "
        f"{settings.gradient_planes}-bit gradients, {settings.optimiser}, rate {trainer.rate:g}, seed {settings.seed}"
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
