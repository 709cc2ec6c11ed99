"""The golden model against tests/opinion.py, which was written from docs/arithmetic.md alone: state, loss, hits, all tensors and
logits of small random networks, from states at the corners of their ranges too.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from cornered import Case, case_of, compare, largest_mu, network_of
from opinion import clip, initial_exponents

from bnnedge import Configuration, Dense, Network, Settings, TrainingState
from bnnedge.codes import codes
from bnnedge.devices.golden import GoldenDevice

CASES = 64


def check(case: Case) -> None:
    compare(case, GoldenDevice(case.configuration))


@pytest.mark.parametrize("seed", range(CASES))
def test_golden_model_agrees_with_the_page(seed: int) -> None:
    check(case_of(seed))


@pytest.mark.parametrize(("accumulator", "inputs"), [(16, 128), (22, 8223)])
def test_sums_at_their_bounds(accumulator: int, inputs: int) -> None:
    """First-layer sums and the last layer's data gradients come as near to the bound as they may."""
    configuration = Configuration("opinion", lanes=16, accumulator=accumulator)
    network = Network((inputs,), [Dense(2), Dense(128)])
    settings = Settings(batch=64, slope_planes=1)
    state = TrainingState.initial(network, configuration.latent, settings.gradient_planes, 1)
    for i, (layer, K) in enumerate(zip(state.layers, (inputs, 2), strict=True)):
        bound = largest_mu(i, K, accumulator)
        layer.weight[:, 0], layer.weight[:, 1:] = 0, -1  # all signs of a channel alike
        layer.mu[:], layer.psi[:], layer.exponent = [bound, -bound] * (len(layer.mu) // 2), 2 * bound, 0
    images = np.zeros((69, inputs), np.uint8)
    images[::2] = 255
    labels = np.arange(69) % 2
    check(Case(configuration, network, settings, state, images, labels, [999, 1]))


@pytest.mark.parametrize(("accumulator", "inputs"), [(16, 128), (16, 200), (22, 40), (22, 8223), (22, 9000)])
def test_states_may_hold_what_the_page_says(accumulator: int, inputs: int) -> None:
    configuration = Configuration("opinion", accumulator=accumulator)
    network = Network((inputs,), [Dense(2), Dense(2)])
    for i, K in enumerate((inputs, 2)):
        for sign in (1, -1):
            state = TrainingState.initial(network, configuration.latent, 8, 1)
            state.layers[i].mu[0] = sign * largest_mu(i, K, accumulator)
            state.check(network, configuration)
            state.layers[i].mu[0] += sign
            with pytest.raises(ValueError, match=f"layer {i + 1}: mu"):
                state.check(network, configuration)


@pytest.mark.long
@pytest.mark.parametrize("start", range(CASES, CASES + 1000, 100))
def test_golden_model_agrees_with_the_page_in_many_cases(start: int) -> None:
    for seed in range(start, start + 100):
        check(case_of(seed))


def test_cases_reach_what_they_are_for() -> None:
    cases = [case_of(seed) for seed in range(CASES)]
    for field in ("input_planes", "slope_planes"):
        assert {getattr(case.settings, field) for case in cases} == set(range(1, 9))
    formats = {code[:2] for case in cases for code in codes(case.network, case.settings)}
    assert formats == {(planes, False) for planes in range(1, 9)} | {(planes, True) for planes in range(2, 9)}
    assert {type(case.settings.gradient_planes) for case in cases} == {int, tuple, str}
    assert {case.settings.batch for case in cases} == {16, 48, 64, 80, 128, 240, 512}
    assert {case.configuration.latent for case in cases} == set(range(4, 11))
    assert {case.configuration.accumulator for case in cases} == set(range(16, 23))
    assert {case.configuration.lanes for case in cases} == {4, 8, 16}
    assert {layer.pool for case in cases for layer in case.network.geometry} == {"none", "signs", "sums"}
    assert {case.settings.optimiser for case in cases} == {"sign-momentum", "sign-sgd"}
    units = {clip(layer.unit, -9, 9) for case in cases for layer in case.state.layers}
    assert units >= {-9, -8, -7, 0, 7, 9}
    assert any((layer.size == 0).any() and (layer.centre != 0).any() for case in cases for layer in case.state.layers)


@pytest.mark.parametrize("planes", [*range(1, 9), "auto"])
def test_initial_exponents(planes: int | str) -> None:
    for seed in range(20):
        network = network_of(random.Random(seed))
        state = TrainingState.initial(network, 12, planes, seed)
        assert [layer.exponent for layer in state.layers] == initial_exponents(network, planes)
