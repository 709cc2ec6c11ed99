"""Test accuracy of the integer form (golden model) beside the float32 standard, equal in all else, for several seeds.

    python tests/benchmarks/accuracy.py fashion-mnist --epochs 10 --seeds 1 2 3

Prints a line a run and a table at the end. The data is found as `bnnedge train` finds it.
"""

from __future__ import annotations

import argparse
import statistics
import time

from bnnedge import Settings, Trainer, data
from bnnedge.network import digits, mlp
from bnnedge.sim import reference


def main() -> None:
    """Run the grid of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="digits, mnist, fashion-mnist, or a file as for bnnedge train")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--grad-planes", type=int, nargs="+", default=[8])
    parser.add_argument("--slope-planes", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.012)
    parser.add_argument("--reference-rate", type=float, nargs="*", default=[1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--config", default="pynq-z2")
    a = parser.parse_args()

    found = data.load(a.data)
    network = digits() if a.data == "digits" else mlp(found.x_train.shape[1:], found.classes)
    rows: dict[str, list[float]] = {}

    def note(what: str, seed: int, accuracy: float) -> None:
        print(f"{what}, seed {seed}: {accuracy:.2%}", flush=True)
        rows.setdefault(what, []).append(accuracy)

    for seed in a.seeds:
        for planes in a.grad_planes:
            settings = Settings(batch=a.batch, gradient_planes=planes, slope_planes=a.slope_planes, seed=seed)
            with Trainer(network, configuration=a.config, settings=settings, rate=a.rate) as trainer:
                started = time.monotonic()
                trainer.fit(found.x_train, found.y_train, epochs=a.epochs)
                print(f"{(time.monotonic() - started) / a.epochs:.1f} s an epoch")
                accuracy = trainer.evaluate(found.x_test, found.y_test)["accuracy"]
            note(f"integer, {planes} gradient planes", seed, accuracy)
        for rate in a.reference_rate:
            history = reference.train(
                "standard",
                network.sizes,
                found.x_train,
                found.y_train,
                found.x_test,
                found.y_test,
                batch=a.batch,
                epochs=a.epochs,
                rate=rate,
                seed=seed,
            )
            note(f"float32 standard, rate {rate:g}", seed, history.test_accuracy[-1])

    print(f"\n{a.data}, {network.name}, {a.epochs} epochs, batch {a.batch}, last epoch's test accuracy")
    for what, values in rows.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{what:32s} mean {statistics.mean(values):.2%}  +- {spread:.2%}  of {len(values)} seeds")


if __name__ == "__main__":
    main()
