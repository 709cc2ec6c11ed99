"""Device cycles of the paper's networks on the verilated RTL, under the pinned memory model, checked against the golden model.

python tests/benchmarks/cycles.py --config pynq-z2 --grad-planes 4
"""

from __future__ import annotations

import argparse

from exact import Pair

from bnnedge import Settings, configuration
from bnnedge.compiler import estimate
from bnnedge.devices.rtl import open_rtl
from bnnedge.network import BUILT_IN


def main() -> None:
    """Train a few steps, print cycles per image and the counters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="pynq-z2")
    parser.add_argument("--network", default="mlp", choices=BUILT_IN)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--grad-planes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    a = parser.parse_args()
    settings = Settings(batch=a.batch, gradient_planes=a.grad_planes)
    config = configuration(a.config)
    make, shape = BUILT_IN[a.network]
    network = make(shape, 10)
    device = open_rtl(config)
    pair = Pair.of(device, network, settings)
    measured = pair.train(a.steps)[-1] / a.batch
    expected = estimate(network, settings, config).cycles_per_image
    print(f"{a.config}, {a.network}, batch {a.batch}, {a.grad_planes} gradient planes, {a.steps} steps: bit-exact")
    print(f"{measured:.1f} cycles per image, {config.clock_hz / measured:,.0f} images/s; estimated {expected:.1f}")
    for name, value in device.counters().items():
        print(f"{name:14s}{value:>14,}")
    device.close()


if __name__ == "__main__":
    main()
