"""Long campaigns over random networks at the limits (`limits`): proofs of programs, and RTL against the golden model.

    PYTHONPATH=tests python tests/campaign.py proofs --count 5000
    PYTHONPATH=tests python tests/campaign.py rtl --config least --convolutions --count 250

Each prints a line for what failed, with its seed, and a summary; exit status 1 if anything did.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import sys
import time
from collections.abc import Iterator
from unittest import mock

import limits
import numpy as np
from exact import Pair

from bnnedge import CONFIGURATIONS, Configuration
from bnnedge.compiler import Addresses, Compiler
from bnnedge.compiler.layout import Layout, fits, layout
from bnnedge.compiler.proof import ProofError
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl
from bnnedge.sim.golden import Golden

ALL = {**CONFIGURATIONS, **limits.EXTREMES}


@contextlib.contextmanager
def streaming(always: bool) -> Iterator[None]:
    """Let networks that would stay on the chip stream like the others, if `always`."""
    with mock.patch.object(Layout, "_resident", return_value=None) if always else contextlib.nullcontext():
        layout.cache_clear()
        yield
    layout.cache_clear()


def placed(there: Layout) -> Addresses:
    """Addresses of everything that a program of a layout touches, one behind the other."""
    at, bank = 1 << 20, there.config.lanes * there.config.word // 8

    def place(size: int) -> int:
        nonlocal at
        at += -(-size // 4096) * 4096
        return at - -(-size // 4096) * 4096

    offsets, nbytes = there.arena()
    arena = place(nbytes)
    tensors = {tensor.name: place(tensor.size * bank) for tensor in there.weights()}
    return Addresses(
        tensors={**tensors, **{name: arena + offset for name, offset in offsets.items()}},
        latents=tuple(place(there.latent_bytes(i)) for i in range(len(there.plan.geometry))),
        records=place(1 << 16),
        samples=place(1 << 20),
        order=place(1 << 16),
        reports=place(1 << 16),
        scores=place(1 << 20),
    )


def compiled(seed: int, config: Configuration, *, convolutions: bool) -> str:
    """What becomes of a description: "refused" by the layout, or "accepted", compiled and proven. ProofError if it is not.

    A network that stays on the chip is compiled once more as one that streams.
    """
    network, settings = limits.description(seed, config, convolutions=convolutions)
    try:
        training, inference = (Layout(network, settings, config, training=kind) for kind in (True, False))
    except ValueError:
        return "refused"
    addresses = placed(training)
    Compiler(training, addresses).training(3, 100)
    Compiler(inference, placed(inference)).inference(2)
    if training.resident is not None:
        with streaming(True), contextlib.suppress(ValueError):
            training = Layout(network, settings, config)
        if training.resident is None:
            Compiler(training, placed(training)).training(3, 100)
    return "accepted"


def proofs(count: int, first: int) -> int:
    """Descriptions for all configurations by turns; returns how many accepted ones could not be proven."""
    counts: collections.Counter[str] = collections.Counter()
    names = list(ALL)
    for seed in range(first, first + count):
        name, convolutions = names[seed % len(names)], seed // len(names) % 2 == 1
        try:
            counts[compiled(seed, ALL[name], convolutions=convolutions)] += 1
        except (ValueError, AssertionError, ArithmeticError) as error:
            counts["not proven" if isinstance(error, ProofError) else "failed"] += 1
            kind = "convolutions" if convolutions else "dense"
            print(f"seed {seed}, {name}, {kind}: {type(error).__name__}: {error}", flush=True)
    print(f"proofs: {count} descriptions from seed {first}: {dict(counts)}")
    return counts["not proven"] + counts["failed"]


def compared(device: AcceleratorDevice, seed: int, most: float, *, convolutions: bool) -> bool:
    """One random network, two steps from a corner state and every tensor, on the device and in the golden model.

    With odd seeds everything streams. False if the description does not fit; AssertionError if they differ.
    """
    with streaming(seed % 2 == 1):
        return _compared(device, seed, most, convolutions=convolutions)


def _compared(device: AcceleratorDevice, seed: int, most: float, *, convolutions: bool) -> bool:
    config = device.configuration
    network, settings = limits.description(seed, config, convolutions=convolutions, most=min(1024, config.channels))
    if limits.work(network, settings) > most:
        return False
    if not fits(network, settings, config):
        return False
    state = limits.corner_state(network, settings, config, seed)
    images = limits.images(network, settings.batch + 9, seed)
    random = np.random.RandomState(seed)
    labels = random.randint(0, network.classes, len(images)).astype(np.int64)
    device.prepare(network, settings)
    device.load_state(state)
    pair = Pair(device, Golden(network, settings, config, state.copy(), keep=True), images, labels, random)
    pair.probe()
    pair.train(2)
    pair.infer()
    return True


def rtl(name: str, count: int, first: int, most: float, *, convolutions: bool) -> int:
    """Compare until `count` networks have been; returns how many differed."""
    device = open_rtl(ALL[name])
    kind, failed, done, seed, began = "convolutions" if convolutions else "dense", 0, 0, first, time.monotonic()
    while done < count:
        try:
            done += compared(device, seed, most, convolutions=convolutions)
        except Exception as error:  # whatever it is, the others go on
            done, failed = done + 1, failed + 1
            print(f"seed {seed}, {name}, {kind}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            device.close()
            device = open_rtl(ALL[name])
        seed += 1
        if done and done % 50 == 0 and seed % 2:
            print(f"... {done} compared, {time.monotonic() - began:.0f} s", flush=True)
    print(f"rtl: {name}, {kind}, seeds {first}..{seed - 1}: {count - failed} of {count} equal", flush=True)
    device.close()
    return failed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["proofs", "rtl"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--config", choices=list(ALL), default="least")
    parser.add_argument("--convolutions", action="store_true")
    parser.add_argument("--work", type=float, default=3e7, help="products of a forward pass at most")
    args = parser.parse_args()
    if args.what == "proofs":
        return min(1, proofs(args.count, args.first))
    return min(1, rtl(args.config, args.count, args.first, args.work, convolutions=args.convolutions))


if __name__ == "__main__":
    sys.exit(main())
