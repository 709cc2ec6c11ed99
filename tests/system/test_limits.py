"""Networks, settings, states and images at the limits of the smallest accelerators: RTL against the golden model.

`tests/campaign.py` does the same for any number of seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

import limits
import pytest
from campaign import compared
from exact import Pair
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bnnedge import Dense, Network, Settings, bounds
from bnnedge.devices.accelerator import AcceleratorDevice
from bnnedge.devices.rtl import open_rtl

WORK = 1e7  # products of a forward pass
FEW = hypothesis_settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def least() -> Iterator[AcceleratorDevice]:
    device = open_rtl(limits.EXTREMES["least"])
    yield device
    device.close()


@pytest.mark.parametrize("convolutions", [False, True], ids=["dense", "convolutions"])
@given(seed=st.integers(0, 2**20))
@example(seed=20000098)  # these began in the middle of a window of pixels
@example(seed=20000132)
@example(seed=20000476)
@FEW
def test_networks_at_the_limits_of_the_smallest_accelerator(least: AcceleratorDevice, convolutions: bool, seed: int) -> None:
    assume(compared(least, seed, WORK, convolutions=convolutions))


@pytest.mark.parametrize("end", [1, -1])
def test_means_at_the_ends_of_their_range(small: AcceleratorDevice, end: int) -> None:
    network, settings = Network((40,), [Dense(24), Dense(9)]), Settings(batch=64)
    pair = Pair.of(small, network, settings, images=64)
    state = pair.golden.state.copy()
    for i, (layer, g) in enumerate(zip(state.layers, network.geometry, strict=True)):
        layer.mu[:] = end * bounds.mean_sum(g, i, small.configuration)
        layer.beta[:] = 0x7FFF if end > 0 else -0x8000
    state.step = 1000
    small.load_state(state)
    pair.golden.state = state.copy()
    pair.infer()
    pair.probe()
    pair.train(2)


def test_a_mean_beyond_its_range_is_refused(small: AcceleratorDevice) -> None:
    pair = Pair.of(small, [40, 24, 9], Settings(batch=64), images=64)
    state = pair.golden.state.copy()
    state.layers[1].mu[3] = (1 << 27) - 32
    with pytest.raises(ValueError, match=r"layer 2: mu lies in 0..134217696, not in -1600..1600, as the mean of a sum of 24 "):
        small.load_state(state)


@pytest.mark.long
@pytest.mark.parametrize("convolutions", [False, True], ids=["dense", "convolutions"])
@pytest.mark.parametrize("name", limits.EXTREMES)
def test_a_hundred_networks_at_the_limits(name: str, convolutions: bool) -> None:
    device = open_rtl(limits.EXTREMES[name])
    done, seed = 0, 1 << 24
    while done < 100:
        done += compared(device, seed, WORK, convolutions=convolutions)
        seed += 1
    print(f"{name}: 100 random {'convolutions' if convolutions else 'dense networks'}, seeds {1 << 24}..{seed - 1}, bit-exact")
    device.close()
