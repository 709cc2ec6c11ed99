"""`bnnedge selftest`: whether a device works, from its registers to training."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from bnnedge.commands import options
from bnnedge.configuration import configuration
from bnnedge.devices import DEVICES, own_configuration
from bnnedge.selftest import Result, selftest
from bnnedge.underway import underway


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--device", choices=sorted(DEVICES), default="pynq", help="pynq: a board (default: pynq)")
    options.add_configuration(parser, "that of a board's bitstream; sim-small for other devices")
    options.add_waves(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check, print a line for each result, and return 1 if one failed."""
    if arguments.config:
        chosen = configuration(arguments.config)
    else:
        usual = "pynq-z2" if arguments.device == "pynq" else "sim-small"
        chosen = own_configuration(arguments.device) or configuration(usual)
    failed = []
    for result in _as_they_come(selftest(arguments.device, chosen, options.waves(arguments))):
        print(f"{'FAILED' if result.remedy else 'ok':<8}{result.name:<14}{result.text}", flush=True)
        if result.remedy:
            failed.append(result.name)
            print(f"{'':<22}{result.remedy}", flush=True)
    print(f"\nfailed: {', '.join(failed)}" if failed else f"\n{arguments.device} works")
    return 1 if failed else 0


def _as_they_come(results: Iterator[Result]) -> Iterator[Result]:
    """The results; one that is long in coming says so."""
    while True:
        with underway("testing", "up to a minute", after=2):
            result = next(results, None)
        if result is None:
            return
        yield result
